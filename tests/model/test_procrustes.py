"""The closed-form alignment against the singular value decomposition, ordinary and odd poses."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from diffpose.model.geometry.procrustes import align, align_by_svd, aligned_errors

Array = NDArray[np.float64]


def poses(n: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    target = rng.normal(0, [200, 400, 150], (n, 17, 3))
    turns = Rotation.random(n, random_state=seed).as_matrix()
    noise = rng.normal(0, 40, target.shape)
    predicted = (target + noise) @ turns * rng.uniform(0.5, 2, (n, 1, 1)) + rng.normal(
        0, 1000, (n, 1, 3)
    )
    return predicted, target


def test_same_as_svd_on_ordinary_poses() -> None:
    predicted, target = poses(3000)
    aligned = align(predicted, target)
    np.testing.assert_allclose(aligned, align_by_svd(predicted, target), atol=1e-7)
    errors = np.linalg.norm(aligned - target, axis=-1).mean(axis=-1)
    np.testing.assert_allclose(aligned_errors(predicted, target), errors, rtol=1e-10)
    assert 20 < errors.mean() < 60  # what the noise leaves


def test_poses_without_any_likeness() -> None:
    rng = np.random.default_rng(1)
    predicted, target = rng.normal(0, 300, (2, 2000, 17, 3))
    np.testing.assert_allclose(align(predicted, target), align_by_svd(predicted, target), atol=1e-6)


def test_a_similarity_is_undone_exactly() -> None:
    _, target = poses(200)
    turns = Rotation.random(200, random_state=3).as_matrix()
    predicted = 0.37 * target @ turns + np.array([10.0, -2000, 5000])
    assert aligned_errors(predicted, target).max() < 1e-8


@pytest.mark.parametrize("kind", ["mirror", "plane", "line", "nearly-line", "two-points", "point"])
def test_odd_poses(kind: str) -> None:
    predicted, target = poses(400, seed=5)
    if kind == "mirror":
        predicted = target * np.array([-1.0, 1, 1])
    elif kind == "plane":
        predicted[..., 2] = target[..., 1] = 0
    elif kind == "line":
        predicted = predicted[:, :, :1] * np.array([1.0, 2, 3])
        target = target[:, :, :1] * np.array([-1.0, 0, 2])
    elif kind == "nearly-line":
        predicted[..., 1:] *= 1e-6
        target[..., 1:] *= 1e-6
    elif kind == "two-points":
        predicted[:, 2:] = predicted[:, 1:2]
    else:
        predicted[:] = predicted[:, :1]
    aligned, expected = align(predicted, target), align_by_svd(predicted, target)
    own, other = (np.linalg.norm(a - target, axis=-1) for a in (aligned, expected))
    # the rotation of a line about itself is free: the errors, not the poses, are defined
    np.testing.assert_allclose((own**2).sum(axis=1), (other**2).sum(axis=1), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(aligned_errors(predicted, target), own.mean(axis=1), rtol=1e-9)
    if kind == "mirror":
        assert (own.mean(axis=1) > 10).all()  # a reflection would have made it 0
    if kind == "point":
        centre = target.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(aligned, np.broadcast_to(centre, target.shape), atol=1e-9)


def test_targets_that_coincide_and_unknown_poses() -> None:
    predicted, target = poses(3)
    target[0] = target[0, :1]
    np.testing.assert_allclose(align(predicted, target)[0], target[0], atol=1e-9)
    predicted[1, 4, 2] = np.nan
    errors = aligned_errors(predicted, target)
    assert np.isnan(errors[1])  # an unknown pose is no pose with an error of 0
    assert np.isfinite(errors[[0, 2]]).all()
    assert np.isnan(align(predicted, target)[1]).all()


def test_no_poses() -> None:
    assert aligned_errors(np.empty((0, 17, 3)), np.empty((0, 17, 3))).shape == (0,)
    assert align(np.empty((0, 17, 3)), np.empty((0, 17, 3))).shape == (0, 17, 3)
