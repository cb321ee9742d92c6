"""Pose errors against loops and an independent Procrustes alignment."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation

from diffpose.model.metrics.pose_errors import align, joint_errors, mpjpe, p_mpjpe

Poses = NDArray[np.float64]


def pair(seed: int, n: int = 6) -> tuple[Poses, Poses]:
    rng = np.random.default_rng(seed)
    target = rng.normal(0, 300, (n, 17, 3))
    return target + rng.normal(0, 60, target.shape), target


def kabsch(predicted: Poses, target: Poses) -> Poses:
    """One pose aligned by scipy's orthogonal Procrustes, with the sign rule against reflections."""
    p, t = predicted - predicted.mean(0), target - target.mean(0)
    rotation, _ = orthogonal_procrustes(p, t)
    if np.linalg.det(rotation) < 0:
        # The best proper rotation turns about the direction of least covariance.
        left, _, right = np.linalg.svd(p.T @ t)
        rotation = left @ np.diag([1, 1, -1]) @ right
    q = p @ rotation
    scale = (q * t).sum() / (q * q).sum()  # least squares along the rotated pose
    result: Poses = scale * q + target.mean(0)
    return result


def test_mpjpe_is_the_mean_distance() -> None:
    predicted, target = pair(0)
    for row in range(6):
        distances = [
            sum((predicted[row, j, c] - target[row, j, c]) ** 2 for c in range(3)) ** 0.5
            for j in range(17)
        ]
        np.testing.assert_allclose(joint_errors(predicted, target)[row], distances)
        assert mpjpe(predicted, target)[row] == pytest.approx(sum(distances) / 17)


def test_errors_of_float32_poses_are_float64() -> None:
    predicted, target = (x.astype(np.float32) for x in pair(0))
    assert mpjpe(predicted, target).dtype == p_mpjpe(predicted, target).dtype == np.float64


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 10))
def test_p_mpjpe_ignores_scale_rotation_and_translation(seed: int, scale: float) -> None:
    predicted, target = pair(seed, n=1)
    rotation = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    moved = scale * predicted @ rotation.T + [500.0, -20.0, 4000.0]
    np.testing.assert_allclose(p_mpjpe(moved, target), p_mpjpe(predicted, target), rtol=1e-9)
    np.testing.assert_allclose(p_mpjpe(moved, predicted), 0, atol=1e-8)
    assert mpjpe(moved, predicted)[0] > 100


def test_p_mpjpe_does_not_forgive_a_reflection() -> None:
    _, target = pair(3)
    assert (p_mpjpe(target * [-1, 1, 1], target) > 50).all()
    assert (p_mpjpe(-target, target) > 50).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_alignment_is_that_of_an_independent_procrustes(seed: int) -> None:
    predicted, target = pair(seed, n=3)
    predicted[1] *= [-1, 1, 1]  # the unconstrained optimum would be a reflection
    aligned = align(predicted, target)
    for row in range(3):
        expected = kabsch(predicted[row], target[row])
        np.testing.assert_allclose(aligned[row], expected, atol=1e-8)
        errors = np.linalg.norm(expected - target[row], axis=1)
        assert p_mpjpe(predicted, target)[row] == pytest.approx(errors.mean())


def test_no_nearby_similarity_fits_better_in_squares() -> None:
    predicted, target = pair(4, n=1)
    aligned = align(predicted, target)
    best = ((aligned - target) ** 2).sum()
    rng = np.random.default_rng(0)
    for _ in range(200):
        turn = Rotation.from_rotvec(rng.normal(0, 0.01, 3)).as_matrix()
        other = rng.normal(1, 0.01) * aligned @ turn.T + rng.normal(0, 1, 3)
        assert ((other - target) ** 2).sum() >= best


def test_degenerate_poses_give_finite_errors() -> None:
    _, target = pair(5, n=3)
    point = np.full_like(target, 7.0)
    # Without extent the prediction lands on the target's centre.
    centre = np.linalg.norm(target - target.mean(1, keepdims=True), axis=-1).mean(-1)
    np.testing.assert_allclose(p_mpjpe(point, target), centre)
    np.testing.assert_allclose(p_mpjpe(target, point), 0, atol=1e-9)
    line = np.linspace(0, 1, 17)[None, :, None] * np.array([[[300.0, -200.0, 100.0]]])
    for predicted, other in ((line, target[:1]), (target[:1], line)):
        error = p_mpjpe(predicted, other)
        assert np.isfinite(error).all()
        assert (error > 1).all()
    # A line onto a line of other direction and length: a perfect fit.
    turned = np.linspace(0, 1, 17)[None, :, None] * np.array([[[0.0, 50.0, 90.0]]])
    np.testing.assert_allclose(p_mpjpe(line, turned), 0, atol=1e-8)


def test_shape_errors_name_both_shapes() -> None:
    for measure in (joint_errors, mpjpe, p_mpjpe):
        with pytest.raises(ValueError, match=r"\(2, 17, 3\) and \(2, 16, 3\)"):
            measure(np.zeros((2, 17, 3)), np.zeros((2, 16, 3)))
        with pytest.raises(ValueError, match=r"\(2, 17, 2\)"):
            measure(np.zeros((2, 17, 2)), np.zeros((2, 17, 2)))
