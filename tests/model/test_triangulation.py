"""Triangulation against exact geometry: wrong views, exchanged sides, honest covariances."""

from __future__ import annotations

import numpy as np
import pytest
from camera_ring import ring
from hypothesis import given, settings
from hypothesis import strategies as st

from diffpose.model.geometry.skeleton import MIRROR
from diffpose.model.metrics.truth_error import truth_error
from diffpose.model.multiview.calibrated_camera import CalibratedCamera
from diffpose.model.multiview.triangulation import projected_covariance_px2, triangulate

N_FRAMES = 40


def motion(rng: np.random.Generator, n_frames: int = N_FRAMES) -> np.ndarray:
    """A person of 17 joints, some 1.7 m high, who moves by some mm a frame: (n, 17, 3)."""
    body = rng.normal(0, 1, (17, 3)) * [250, 150, 420] + [0, 0, 1000]
    return body + np.cumsum(rng.normal(0, 3, (n_frames, 17, 3)), axis=0)


def seen(cameras: list[CalibratedCamera], points: np.ndarray) -> np.ndarray:
    return np.stack([camera.project(points) for camera in cameras])


@given(seed=st.integers(0, 10_000), count=st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_exact_pixels_give_the_exact_points(seed: int, count: int) -> None:
    cameras, points = ring(count), motion(np.random.default_rng(seed), 3)
    found = triangulate(cameras, seen(cameras, points))
    known = np.isfinite(found.points_mm).all(axis=-1)
    # two cameras that face each other see a point between them along one line
    assert known.mean() > 0.9
    np.testing.assert_allclose(found.points_mm[known], points[known], atol=1e-3)
    assert np.nanmax(found.residual_px) < 1e-4


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_one_wrong_view_of_four_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cameras, points = ring(), motion(rng, 5)
    pixels = seen(cameras, points)
    wrong = rng.integers(4, size=points.shape[:2])
    away = rng.normal(0, 1, (*points.shape[:2], 2))
    away *= rng.uniform(100, 400, (*points.shape[:2], 1)) / np.linalg.norm(
        away, axis=-1, keepdims=True
    )
    for c in range(4):
        pixels[c][wrong == c] += away[wrong == c]
    found = triangulate(cameras, pixels)
    off = np.linalg.norm(found.points_mm - points, axis=-1)
    assert (off < 1).mean() > 0.97  # moved along an epipolar line, a wrong view looks right
    left_out = np.concatenate([~found.inlier[c][wrong == c] for c in range(4)])
    assert left_out.mean() > 0.97


def test_two_wrong_views_of_four_are_told_by_the_surer_neighbours_in_time() -> None:
    rng = np.random.default_rng(3)
    cameras, points = ring(), motion(rng)
    pixels = seen(cameras, points) + rng.normal(0, 4, (4, N_FRAMES, 17, 2))
    broken = rng.random((N_FRAMES, 17)) < 0.25
    for frame, joint in zip(*np.nonzero(broken), strict=True):
        two = rng.choice(4, 2, replace=False)
        pixels[two, frame, joint] += rng.normal(0, 150, (2, 2))
    found = triangulate(cameras, pixels)
    off = np.linalg.norm(found.points_mm - points, axis=-1)
    assert np.nanmedian(off[broken]) < 30
    # a wrong view and a right one, or three by chance, agree every now and then
    assert np.mean(off[broken] > 150) < 0.08
    assert np.isfinite(off).mean() > 0.97


@pytest.mark.parametrize("n_exchanged", [1, 2])
def test_left_and_right_exchanged_in_some_views_are_put_right(n_exchanged: int) -> None:
    rng = np.random.default_rng(4)
    cameras, points = ring(), motion(rng)
    pixels = seen(cameras, points) + rng.normal(0, 4, (4, N_FRAMES, 17, 2))
    for frame in range(0, N_FRAMES, 4):
        which = rng.choice(4, n_exchanged, replace=False)
        pixels[which, frame] = pixels[which, frame][:, list(MIRROR)]
    found = triangulate(cameras, pixels, mirror=MIRROR)
    off = np.linalg.norm(found.points_mm - points, axis=-1)
    assert np.mean(off > 150) < 0.02
    sided = [joint for joint in range(17) if MIRROR[joint] != joint]
    told = found.exchanged[:, ::4][:, :, sided].sum(axis=0)
    assert (told == n_exchanged).mean() > 0.8
    assert found.exchanged[:, 1::4].mean() < 0.03


def test_covariances_are_those_of_the_errors() -> None:
    rng = np.random.default_rng(5)
    cameras = ring()
    points = motion(rng, 300)
    for noise in (3.0, 9.0):
        found = triangulate(cameras, seen(cameras, points) + rng.normal(0, noise, (4, 300, 17, 2)))
        error = found.points_mm - points
        squared = np.einsum("nji,njik,njk->nj", error, np.linalg.inv(found.covariance_mm2), error)
        # 3 of a right claim; the robust weights cost some percent
        assert 2.6 < squared.mean() < 4.0
        np.testing.assert_allclose(found.sigma_px, noise, rtol=0.15)
        claimed = np.sqrt(np.trace(found.covariance_mm2, axis1=-2, axis2=-1).mean())
        assert claimed == pytest.approx(np.sqrt((error**2).sum(axis=-1).mean()), rel=0.15)


def test_a_projected_covariance_is_that_of_projected_draws() -> None:
    rng = np.random.default_rng(6)
    camera = ring()[1].straight
    spread = np.diag([20.0, 5.0, 10.0]) ** 2
    point = np.array([100.0, -200.0, 900.0])
    drawn = camera.project(rng.multivariate_normal(point, spread, 20_000))
    claimed = projected_covariance_px2(camera, point[None], spread[None])[0]
    np.testing.assert_allclose(np.cov(drawn.T), claimed, rtol=0.1, atol=1.0)


def test_views_that_do_not_see_a_joint_are_left_out_and_too_few_leave_it_unknown() -> None:
    cameras, points = ring(), motion(np.random.default_rng(7), 4)
    pixels = seen(cameras, points)
    pixels[0, :, 3] = np.nan
    pixels[1:, 2, 5] = np.nan
    found = triangulate(cameras, pixels)
    np.testing.assert_allclose(found.points_mm[:, 3], points[:, 3], atol=1e-3)
    assert np.isnan(found.points_mm[2, 5]).all()
    assert np.isnan(found.covariance_mm2[2, 5]).all()
    assert np.isnan(found.residual_px[0, :, 3]).all()
    assert not found.inlier[0, :, 3].any()


def test_fewer_agreeing_views_than_asked_for_leave_a_joint_unknown() -> None:
    cameras, points = ring(), motion(np.random.default_rng(8), 4)
    pixels = seen(cameras, points)
    pixels[0, :, 3] += 200
    pixels[1, :, 3] -= 200
    assert np.isnan(triangulate(cameras, pixels, least_views=3).points_mm[:, 3]).all()


def test_what_cannot_be_triangulated_is_refused() -> None:
    cameras, points = ring(), motion(np.random.default_rng(9), 2)
    with pytest.raises(ValueError, match="two views"):
        triangulate(cameras[:1], seen(cameras[:1], points))
    with pytest.raises(ValueError, match=r"\(4, n, J, 2\)"):
        triangulate(cameras, seen(cameras[:3], points))


def test_a_truths_own_error_is_that_of_its_joints_by_both_witnesses() -> None:
    rng = np.random.default_rng(10)
    body = rng.normal(0, 1, (17, 3)) * [250, 150, 420] + [0, 0, 1000]
    still = np.tile(body, (400, 1, 1))
    noise = 12.0
    error = truth_error(
        still + rng.normal(0, noise, still.shape),
        np.tile(noise**2 * np.eye(3), (400, 17, 1, 1)),
    )
    assert error.from_residuals_mm == pytest.approx(noise * np.sqrt(3))
    assert error.from_limbs_mm == pytest.approx(noise * np.sqrt(3), rel=0.08)
    assert error.own_error_mm >= error.from_limbs_mm
    assert error.known == 1
