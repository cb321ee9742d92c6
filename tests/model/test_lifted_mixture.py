"""Kernels of the image plane in space: their moments are those of draws from H_K."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffpose.model.geometry.pinhole import fit_pinhole
from diffpose.model.mixtures.from_2d import depth_variance, lift_kernels
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec, joint_kernels
from diffpose.model.observations.initial_distribution import EncoderDepth, HistogramDepth

SPEC = MixtureSpec(n_kernels=2, reg_covar_mm=1.0)


def test_moments_are_those_of_draws() -> None:
    rng = np.random.default_rng(0)
    centres = rng.uniform(-0.3, 0.3, (1, 17, 2, 2))
    sigmas = rng.uniform(0.002, 0.02, (1, 17, 2, 2))
    weights = np.tile([0.7, 0.3], (1, 17, 1))
    depth, variance = rng.normal(0, 200, (1, 17)), rng.uniform(30, 200, (1, 17)) ** 2
    away = np.array([[120.0, -80.0, 4500.0]])
    lifted = lift_kernels(
        *map(torch.from_numpy, (weights, centres, sigmas, depth, variance, away)), SPEC
    )
    share, means, covariances = joint_kernels(lifted, SPEC)
    np.testing.assert_allclose(share, weights, atol=1e-6)
    for joint, kernel in ((3, 0), (16, 1)):
        u = centres[0, joint, kernel] + sigmas[0, joint, kernel] * rng.normal(size=(400_000, 2))
        z = depth[0, joint] + np.sqrt(variance[0, joint]) * rng.normal(size=400_000)
        xy = u * (z + away[0, 2])[:, None] - away[0, :2]
        draws = np.column_stack([xy, z])
        spread = np.sqrt(np.diag(np.cov(draws.T)))
        off = (means[0, joint, kernel].numpy() - draws.mean(axis=0)) / spread
        assert np.abs(off).max() < 0.01
        ours = covariances[0, joint, kernel].double().numpy() - np.eye(3)
        np.testing.assert_allclose(ours / np.outer(spread, spread), np.corrcoef(draws.T), atol=0.02)
    assert (means[:, 0] == 0).all()
    np.testing.assert_allclose(covariances[0, 0, 1], np.eye(3))


def test_variances_of_both_priors() -> None:
    sigma = torch.linspace(0, 100, 17)
    np.testing.assert_allclose(depth_variance(EncoderDepth(sigma), 3)[2], sigma.double() ** 2)
    poses = np.random.default_rng(1).normal(0, 150, (50_000, 17, 3))
    found = depth_variance(HistogramDepth.from_poses(poses), 2)
    np.testing.assert_allclose(found[1], poses[..., 2].var(axis=0), rtol=0.01)


def test_another_spec_is_refused() -> None:
    five = torch.ones(1, 17, 5)
    with pytest.raises(ValueError, match="scope=joint"):
        lift_kernels(five, five, five, five, five, five, SPEC)


def test_the_pinhole_behind_points() -> None:
    rng = np.random.default_rng(2)
    points = rng.normal([0, 0, 4000], 500, (200, 3))
    camera = np.array([1500.0, 1490.0, 1020.0, 1050.0])
    seen = points[:, :2] / points[:, 2:] * camera[:2] + camera[2:]
    found, left = fit_pinhole(points, seen)
    np.testing.assert_allclose(found, camera)
    assert left < 1e-6
    _, left = fit_pinhole(points, seen + rng.normal(0, 3, seen.shape))
    assert 3.5 < left < 4.7  # px: both axes
    with pytest.raises(ValueError, match="one line of sight"):
        fit_pinhole(np.tile(points[:1], (5, 1)), np.tile(seen[:1], (5, 1)))
    with pytest.raises(ValueError, match="in front"):
        fit_pinhole(-points, seen)
