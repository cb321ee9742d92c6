"""Detections in ray space: conversion, mirroring, and what the denoiser is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffpose.model.geometry.skeleton import JOINT_NAMES, LEFT, RIGHT
from diffpose.model.observations.detections import (
    N_CONDITION_VALUES,
    POSE_SCALE_PER_MM,
    TWO_MODE_WEIGHT,
    Detections,
    condition,
    mirrored_poses,
)

EXCHANGED = [
    JOINT_NAMES.index({"L": "R", "R": "L"}.get(name[0], name[0]) + name[1:]) for name in JOINT_NAMES
]


def some_detections(rows: int = 4, seed: int = 0) -> Detections:
    rng = np.random.default_rng(seed)

    def mode() -> torch.Tensor:
        place, sigma = rng.uniform(-0.2, 0.2, (rows, 17, 2)), rng.uniform(1e-3, 0.02, (rows, 17, 1))
        return torch.tensor(np.concatenate([place, sigma], axis=-1), dtype=torch.float32)

    weight = np.where(rng.random((rows, 17)) < 0.4, rng.uniform(0.05, 0.5, (rows, 17)), 0.0)
    rays = torch.tensor(rng.uniform(-0.2, 0.2, (rows, 17, 2)), dtype=torch.float32)
    return Detections(rays, mode(), mode(), torch.tensor(weight, dtype=torch.float32))


def poses_and_roots(rows: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(3)
    poses = rng.normal(0, 300, (rows, 17, 3))
    poses[:, 0] = 0
    roots = rng.uniform([-500, -500, 4000], [500, 500, 6000], (rows, 3))
    return torch.tensor(poses, dtype=torch.float32), torch.tensor(roots, dtype=torch.float32)


def test_from_pixels_by_hand() -> None:
    camera = torch.tensor([[1000.0, 1200.0, 500.0, 400.0]])
    keypoints = torch.tensor([600.0, 280.0]).expand(1, 17, 2)
    mode = torch.tensor([600.0, 280.0, 11.0, 400.0, 520.0, 22.0, 0.25]).expand(1, 17, 7)
    seen = Detections.from_pixels(keypoints, mode, camera)
    torch.testing.assert_close(seen.rays[0, 3], torch.tensor([0.1, -0.1]))
    # sigma is divided by the mean focal length, 1100
    torch.testing.assert_close(seen.first_mode[0, 3], torch.tensor([0.1, -0.1, 0.01]))
    torch.testing.assert_close(seen.second_mode[0, 3], torch.tensor([-0.1, 0.1, 0.02]))
    assert (seen.second_weight == 0.25).all()


def test_mirroring_twice_is_the_identity() -> None:
    seen, (poses, _) = some_detections(), poses_and_roots()
    which = torch.tensor([True, False, True, True])
    once, twice = seen.mirrored(which), seen.mirrored(which).mirrored(which)
    for name in ("rays", "first_mode", "second_mode", "second_weight"):
        assert torch.equal(getattr(twice, name), getattr(seen, name))
        assert torch.equal(getattr(once, name)[1], getattr(seen, name)[1])  # not asked for
        assert not torch.equal(getattr(once, name)[0], getattr(seen, name)[0])
    assert torch.equal(mirrored_poses(mirrored_poses(poses, which), which), poses)


def test_mirroring_exchanges_the_sides() -> None:
    seen = some_detections()
    turned = seen.mirrored(torch.ones(4, dtype=torch.bool))
    for joint, partner in enumerate(EXCHANGED):
        flip = torch.tensor([-1.0, 1.0])
        assert torch.equal(turned.rays[:, joint], seen.rays[:, partner] * flip)
        for name in ("first_mode", "second_mode"):
            was, now = getattr(seen, name)[:, partner], getattr(turned, name)[:, joint]
            assert torch.equal(now, was * torch.tensor([-1.0, 1.0, 1.0]))
        assert torch.equal(turned.second_weight[:, joint], seen.second_weight[:, partner])
    assert sorted(EXCHANGED[j] for j in LEFT) == sorted(RIGHT)


def test_mirroring_commutes_with_projection() -> None:
    poses, roots = poses_and_roots()
    which = torch.tensor([True, False, True, False])
    seen = some_detections()
    points = poses + roots[:, None]
    seen = Detections(
        points[..., :2] / points[..., 2:], seen.first_mode, seen.second_mode, seen.second_weight
    )
    flip = torch.where(which[:, None], torch.tensor([-1.0, 1.0, 1.0]), torch.ones(3))
    mirrored_points = mirrored_poses(poses, which) + (roots * flip)[:, None]
    expected = mirrored_points[..., :2] / mirrored_points[..., 2:]
    torch.testing.assert_close(seen.mirrored(which).rays, expected, atol=1e-6, rtol=0)
    # Hence the root of a mirrored pose under mirrored detections is the mirrored root.
    solved = seen.mirrored(which).translation_mm(mirrored_poses(poses, which))
    torch.testing.assert_close(solved, roots * flip, atol=0.5, rtol=0)


def test_mirroring_keeps_what_the_denoiser_is_told() -> None:
    poses, roots = poses_and_roots()
    seen, every = some_detections(), torch.ones(4, dtype=torch.bool)
    told = condition(seen, poses, roots)
    roots_mirrored = roots * torch.tensor([-1.0, 1.0, 1.0])
    mirrored = condition(seen.mirrored(every), mirrored_poses(poses, every), roots_mirrored)
    flip = torch.ones(N_CONDITION_VALUES)
    flip[[0, 3]] = -1  # the two x coordinates
    torch.testing.assert_close(mirrored, told[:, EXCHANGED] * flip, atol=1e-5, rtol=1e-5)


def test_condition_by_hand() -> None:
    poses, roots = poses_and_roots()
    seen = some_detections()
    told = condition(seen, poses, roots)
    assert told.shape == (4, 17, N_CONDITION_VALUES)
    for row in range(4):
        for joint in range(17):
            z = float(poses[row, joint, 2])
            depth = z + float(roots[row, 2])
            first, second = (m[row, joint].double() for m in (seen.first_mode, seen.second_mode))
            place = [depth * float(first[c]) - float(roots[row, c]) for c in range(2)]
            weight = float(seen.second_weight[row, joint])
            there = float(weight > 0)
            expected = [
                *(POSE_SCALE_PER_MM * value for value in (*place, z)),
                *(
                    POSE_SCALE_PER_MM * depth * float(second[c] - first[c]) * there
                    for c in range(2)
                ),
                2 * weight,
                3 * POSE_SCALE_PER_MM * depth * float(first[2]),
                3 * POSE_SCALE_PER_MM * depth * float(second[2]) * there,
                1.0 if there else -1.0,
            ]
            np.testing.assert_allclose(told[row, joint], expected, atol=2e-5)


@pytest.mark.parametrize("weight", [0.0, 0.01])
def test_condition_is_silent_about_an_absent_second_mode(weight: float) -> None:
    poses, roots = poses_and_roots()
    seen = some_detections()
    alone = Detections(
        seen.rays, seen.first_mode, seen.second_mode, torch.full_like(seen.second_weight, weight)
    )
    told = condition(alone, poses, roots)
    assert (told[..., [3, 4, 7]] == 0).all()
    assert (told[..., 5] == 2 * torch.tensor(weight)).all()
    assert (told[..., 8] == -1).all()


def test_trust_is_one_over_sigma_and_less_for_two_modes() -> None:
    seen = some_detections()
    sigma = seen.first_mode[..., 2].double().numpy()
    two = seen.second_weight.numpy() > 0.05
    expected = np.where(two, TWO_MODE_WEIGHT, 1.0) / sigma
    assert two.any()
    np.testing.assert_allclose(seen.trust(), expected, rtol=1e-5)
    thin = Detections(seen.rays, 0 * seen.first_mode, seen.second_mode, 0 * seen.second_weight)
    np.testing.assert_allclose(thin.trust(), 1000, rtol=1e-6)
