"""Cameras: projection, placement, and the root translation that puts a pose onto its rays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffpose.model.geometry.camera import (
    MAX_DEPTH_MM,
    MIN_DEPTH_MM,
    back_project,
    rays_from_pixels,
    solve_root_translation,
)
from diffpose.model.geometry.pinhole import look_at, project

CAMERA = np.array([1100.0, 1200.0, 500.0, 480.0])


def scene(seed: int, rows: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Root-relative poses, where they stand, and their exact rays."""
    rng = np.random.default_rng(seed)
    poses = rng.normal(0, 300, (rows, 17, 3))
    poses[:, 0] = 0
    roots = rng.uniform([-1000, -1000, 3000], [1000, 1000, 9000], (rows, 3))
    points = poses + roots[:, None]
    rays = points[..., :2] / points[..., 2:]
    return torch.tensor(poses), torch.tensor(roots), torch.tensor(rays)


def test_project_by_hand() -> None:
    points = np.array([[0.0, 0.0, 4000.0], [1000.0, -500.0, 2000.0]])
    expected = [[500.0, 480.0], [1100 * 0.5 + 500, 1200 * -0.25 + 480]]
    np.testing.assert_allclose(project(points, CAMERA), expected)


def test_rays_are_the_inverse_of_project() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform([-1, -1, 2], [1, 1, 8], (4, 17, 3)) * 1000
    cameras = CAMERA * rng.uniform(0.5, 2, (4, 1))
    pixels = project(points, cameras[:, None])
    rays = rays_from_pixels(torch.tensor(pixels), torch.tensor(cameras)).numpy()
    for row in range(4):
        for joint in range(17):
            x, y, z = points[row, joint]
            np.testing.assert_allclose(rays[row, joint], [x / z, y / z], atol=1e-12)


@given(
    position=st.tuples(st.floats(1, 9), st.floats(-9, 9), st.floats(0, 4)),
    target=st.tuples(st.floats(-1, 0), st.floats(-1, 1), st.floats(0, 2)),
)
def test_look_at_is_an_upright_rotation_towards_the_target(
    position: tuple[float, float, float], target: tuple[float, float, float]
) -> None:
    rotation = look_at(np.array(position), np.array(target))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    seen = rotation @ (np.array(target) - position)
    np.testing.assert_allclose(seen[:2], 0, atol=1e-9)  # in the image's centre
    assert seen[2] == pytest.approx(np.linalg.norm(np.array(target) - position))
    above = rotation @ (np.array([0, 0, 0.1]) + target - position)
    assert above[1] < 0  # the world's up is -y of the image
    assert above[0] == pytest.approx(0, abs=1e-9)  # and leans to neither side


def test_look_at_by_hand() -> None:
    # From +x towards the origin: right is +y, down is -z, forward is -x.
    rotation = look_at(np.array([5.0, 0, 1]), np.array([0.0, 0, 1]))
    np.testing.assert_allclose(rotation, [[0, 1, 0], [0, 0, -1], [-1, 0, 0]], atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), spread=st.floats(0, 3))
def test_the_translation_of_exact_rays_is_exact(seed: int, spread: float) -> None:
    poses, roots, rays = scene(seed)
    weights = torch.rand(3, 17, generator=torch.Generator().manual_seed(seed)).double()
    solved = solve_root_translation(poses, rays, (spread * weights).exp())
    torch.testing.assert_close(solved, roots, atol=1e-6, rtol=0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_translation_is_the_weighted_least_squares_solution(seed: int) -> None:
    poses, _, rays = scene(seed)
    rng = np.random.default_rng(seed)
    rays = rays + torch.tensor(rng.normal(0, 0.004, rays.shape))
    weights = rng.uniform(0.1, 3, (3, 17))
    solved = solve_root_translation(poses, rays, torch.tensor(weights)).numpy()
    for row in range(3):
        matrix, right = [], []
        for (px, py, pz), (u, v), w in zip(
            poses[row].numpy(), rays[row].numpy(), weights[row], strict=True
        ):
            # (p + T)_x = u (p_z + T_z): T_x - u T_z = u p_z - p_x
            matrix += [np.sqrt(w) * np.array([1, 0, -u]), np.sqrt(w) * np.array([0, 1, -v])]
            right += [np.sqrt(w) * (u * pz - px), np.sqrt(w) * (v * pz - py)]
        expected, *_ = np.linalg.lstsq(np.array(matrix), np.array(right))
        assert len(right) == 34
        assert MIN_DEPTH_MM < expected[2] < MAX_DEPTH_MM
        np.testing.assert_allclose(solved[row], expected, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rays_on_one_spot_give_a_finite_clamped_translation(dtype: torch.dtype) -> None:
    poses = scene(0)[0].to(dtype)
    for value in (0.0, 0.13, -0.4):
        rays = torch.full((3, 17, 2), value, dtype=dtype)
        solved = solve_root_translation(poses, rays, torch.ones(3, 17, dtype=dtype))
        assert solved.isfinite().all()
        assert ((solved[:, 2] >= MIN_DEPTH_MM) & (solved[:, 2] <= MAX_DEPTH_MM)).all()


def test_depth_is_clamped_on_both_sides() -> None:
    poses, _, rays = scene(1)
    ones = torch.ones(3, 17, dtype=torch.float64)
    near = solve_root_translation(poses, -rays, ones)  # mirrored rays: behind the camera
    assert (near[:, 2] == MIN_DEPTH_MM).all()
    far = solve_root_translation(1e4 * poses, rays - rays.mean(1, keepdim=True), ones)
    assert (far[:, 2] == MAX_DEPTH_MM).all()


def test_back_project_is_the_inverse_of_projection() -> None:
    poses, roots, rays = scene(2)
    torch.testing.assert_close(back_project(rays, poses[..., 2], roots), poses, atol=1e-9, rtol=0)
    # By hand: u = 0.1 at 200 mm behind a root that stands at (30, -40, 5000).
    ray, z = torch.tensor([[0.1, -0.2]]), torch.tensor([200.0])
    result = back_project(ray, z, torch.tensor([30.0, -40.0, 5000.0]))
    torch.testing.assert_close(result, torch.tensor([[520.0 - 30, -1040.0 + 40, 200.0]]))
