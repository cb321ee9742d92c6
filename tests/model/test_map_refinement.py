"""The refined pose: the optimum of what is written down, pulled by heatmaps, bones and company."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from standing import standing

from diffpose.model.geometry.skeleton import MIRROR, PARENTS
from diffpose.model.observations.detections import Detections
from diffpose.model.refinement.map_refinement import (
    BONE_SPREAD_MM,
    LENGTH_QUANTILE,
    MISS_SHARE,
    MISS_SPREAD,
    N_VALUES,
    bone_lengths,
    refine,
    second_moment,
)

Array = NDArray[np.float64]
ROOT_MM = np.array([[200.0, -100.0, 5000.0]])
PELVIS_TO_HEAD = [7, 8, 9, 10]


def rays_of(pose: Array) -> Array:
    at = pose + ROOT_MM
    return np.asarray(at[:, :2] / at[:, 2:])


def detections(
    first: Array, sigma: Array, second: Array | None = None, weight: Array | None = None
) -> Detections:
    """One frame whose modes are at rays (17, 2) with standard deviations (17,)."""

    def mode(place: Array) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([place, sigma[:, None]], axis=1))[None]

    weights = np.zeros(17) if weight is None else weight
    other = mode(first if second is None else second)
    return Detections(
        torch.from_numpy(first)[None], mode(first), other, torch.from_numpy(weights)[None]
    )


def covariance(rng: np.random.Generator, size_mm: float) -> Array:
    factor = rng.normal(0, size_mm / 7, (N_VALUES, N_VALUES))
    return factor @ factor.T + (size_mm / 2) ** 2 * np.eye(N_VALUES)


def test_it_is_the_optimum_of_the_posterior() -> None:
    rng = np.random.default_rng(0)
    answer = standing() + np.concatenate([np.zeros((1, 3)), rng.normal(0, 40, (16, 3))])
    first = rays_of(standing() + rng.normal(0, 10, (17, 3)))
    second = first + rng.normal(0, 0.02, (17, 2))
    sigma, weight = rng.uniform(0.002, 0.006, 17), rng.uniform(0.0, 0.5, 17)
    moment = covariance(rng, 50.0)
    seen = detections(first, sigma, second, weight)
    poses, roots = refine(answer[None], ROOT_MM, seen, moment, None)
    found = poses[0]

    lengths = bone_lengths(answer[None], None)[0]
    precision = np.linalg.inv(moment + np.eye(N_VALUES))

    def energy(values: Array) -> float:
        pose = np.concatenate([np.zeros((1, 3)), values[:N_VALUES].reshape(16, 3)])
        at = pose + values[N_VALUES:]
        total = 0.0
        for j in range(17):
            likelihood = 0.0
            share = np.clip([1 - weight[j], weight[j], MISS_SHARE], 1e-3, None)
            modes = ((first[j], sigma[j]), (second[j], sigma[j]), (first[j], MISS_SPREAD))
            for (place, wide), part in zip(modes, share, strict=True):
                squared = ((at[j, :2] / at[j, 2] - place) ** 2).sum() / wide**2
                likelihood += part * np.exp(-squared / 2) / wide**2
            total -= np.log(likelihood + 1e-300)
            if j:
                length = np.linalg.norm(pose[j] - pose[PARENTS[j]])
                total += (length - lengths[j - 1]) ** 2 / (2 * BONE_SPREAD_MM**2)
        away = (pose - answer)[1:].ravel()
        return float(total + away @ precision @ away / 2)

    start = np.concatenate([found[1:].ravel(), ROOT_MM[0]]).astype(float)
    best = minimize(energy, start, method="L-BFGS-B", options={"maxiter": 3000, "maxfun": 10**6})
    moved = np.linalg.norm(best.x[:N_VALUES].reshape(16, 3) - found[1:], axis=1)
    assert moved.max() < 2.0  # of changes of some 40 mm
    assert np.linalg.norm(found - answer, axis=1).mean() > 20
    assert (found[0] == 0).all()
    assert np.linalg.norm(best.x[N_VALUES:] - roots[0]) < 5.0
    assert np.linalg.norm(ROOT_MM[0] - roots[0]) > 20


def test_a_joint_goes_where_it_is_seen_and_takes_its_company_along() -> None:
    pose = standing()
    wrong = pose.copy()
    wrong[12:14, 0] += 80  # an elbow and its wrist
    sigma = np.full(17, 0.0005)
    sigma[13] = 1.0  # the wrist is not seen at all
    seen = detections(rays_of(pose), sigma)
    alone = np.eye(N_VALUES) * 40.0**2
    together = alone.copy()
    elbow, wrist = slice(33, 36), slice(36, 39)  # values of joints 12 and 13
    together[elbow, wrist] = together[wrist, elbow] = 0.95 * alone[elbow, elbow]

    def error(moment: Array, joint: int) -> float:
        found = refine(wrong[None], ROOT_MM, seen, moment, None)[0][0]
        return float(np.linalg.norm(found[joint] - pose[joint]))

    assert error(alone, 12) < 12
    assert error(together, 13) < 0.5 * error(alone, 13)


def test_what_was_detected_far_off_pulls_little() -> None:
    pose = standing()
    off = rays_of(pose)
    off[16, 0] += 0.2  # a metre at 5 m
    moment = np.eye(N_VALUES) * 40.0**2
    found = refine(pose[None], ROOT_MM, detections(off, np.full(17, 0.001)), moment, None)[0][0]
    assert np.linalg.norm(found[16] - pose[16]) < 20


def test_two_modes_the_answer_chooses() -> None:
    pose = standing()
    first = rays_of(pose)
    second = first.copy()
    second[16] += [0.05, 0.0]
    weight = np.zeros(17)
    weight[16] = 0.4  # the truth is the less likely mode, the answer is near it
    seen = detections(second, np.full(17, 0.002), first, weight)
    answer = pose.copy()
    answer[16] += [20.0, 10.0, 0.0]
    found = refine(answer[None], ROOT_MM, seen, np.eye(N_VALUES) * 40.0**2, None)[0][0]
    assert np.linalg.norm(found[16, :2] - pose[16, :2]) < 8


def test_lengths_are_those_of_both_sides_and_of_the_sequence() -> None:
    rng = np.random.default_rng(0)
    poses = standing() + rng.normal(0, 20, (7, 17, 3))
    bones = np.linalg.norm(poses[:, 1:] - poses[:, PARENTS[1:]], axis=-1)
    own = bone_lengths(poses, None)
    for b in range(16):
        other = MIRROR[b + 1] - 1
        np.testing.assert_allclose(own[:, b], (bones[:, b] + bones[:, other]) / 2)
    whole = bone_lengths(poses, [4, 3])
    for part in (slice(0, 4), slice(4, 7)):
        expected = np.quantile(own[part], LENGTH_QUANTILE, axis=0)
        np.testing.assert_allclose(whole[part], np.tile(expected, (len(own[part]), 1)))


def test_bones_of_unequal_sides_become_more_alike() -> None:
    pose = standing()
    pose[3, 1] += 120  # one shin too long
    blind = detections(rays_of(pose), np.full(17, 1.0))
    found = refine(pose[None], ROOT_MM, blind, np.eye(N_VALUES) * 60.0**2, None)[0][0]

    def difference(p: Array) -> float:
        shins = [np.linalg.norm(p[a] - p[b]) for a, b in ((3, 2), (6, 5))]
        return abs(float(shins[0] - shins[1]))

    assert difference(found) < 0.2 * difference(pose)
    np.testing.assert_allclose(found[PELVIS_TO_HEAD], pose[PELVIS_TO_HEAD], atol=3)


def test_what_agrees_stays() -> None:
    pose = standing()
    seen = detections(rays_of(pose), np.full(17, 0.003))
    found, root = refine(pose[None], ROOT_MM, seen, np.eye(N_VALUES) * 50.0**2, [1])
    np.testing.assert_allclose(found[0], pose, atol=0.01)
    np.testing.assert_allclose(root, ROOT_MM, atol=0.1)


def test_second_moment_of_errors() -> None:
    rng = np.random.default_rng(0)
    factor = rng.normal(0, 30, (51, 51))
    errors = (rng.normal(size=(20_000, 51)) @ factor.T).reshape(-1, 17, 3)
    moment = second_moment(errors)
    assert moment.shape == (N_VALUES, N_VALUES)
    plain = np.mean(errors[:, 1, 0] * errors[:, 2, 2])
    assert moment[0, 5] == pytest.approx(plain, rel=0.05, abs=500)
    # of few poses the plain moment would be singular: this one is not
    assert np.linalg.eigvalsh(second_moment(errors[:20])).min() > 100


def test_wrong_moments_are_refused() -> None:
    seen = detections(rays_of(standing()), np.full(17, 0.003))
    with pytest.raises(ValueError, match=r"48 x 48, got \(3, 3\)"):
        refine(standing()[None], ROOT_MM, seen, np.eye(3), None)
    with pytest.raises(ValueError, match="positive definite"):
        refine(standing()[None], ROOT_MM, seen, -1e4 * np.eye(N_VALUES), None)
