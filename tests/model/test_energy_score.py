"""The energy score against sums written out, known closed forms and draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import erf, gammaln

from diffpose.model.energy_score import (
    best_of_n_mpjpe,
    expected_distance,
    gaussian_score,
    hypotheses_score,
)


def test_hypotheses_by_hand() -> None:
    """Two hypotheses of joint 3 at (0, 0, 0) and (6, 0, 0), truth at (0, 8, 0)."""
    hypotheses, truth = np.zeros((1, 2, 17, 3)), np.zeros((1, 17, 3))
    hypotheses[0, 1, 3, 0] = 6
    truth[0, 3, 1] = 8
    joints, pose = hypotheses_score(hypotheses, truth)
    assert joints[0, 3] == pytest.approx((8 + 10) / 2 - 6 / 2)
    assert joints[0, [0, 1, 2, 4]] == pytest.approx([0, 0, 0, 0])
    assert pose[0] == pytest.approx(6)
    assert best_of_n_mpjpe(hypotheses, truth)[0] == pytest.approx(8 / 17)


def test_hypotheses_are_the_sums_written_out() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 50, (3, 5, 17, 3)), rng.normal(0, 50, (3, 17, 3))
    x[:, :, 0] = 0
    joints, poses = hypotheses_score(x.astype(np.float32), y.astype(np.float32))
    for i in range(3):
        for j in (1, 16):
            near = np.mean([np.linalg.norm(x[i, a, j] - y[i, j]) for a in range(5)])
            pairs = [
                np.linalg.norm(x[i, a, j] - x[i, b, j])
                for a in range(5)
                for b in range(5)
                if a != b
            ]
            assert joints[i, j] == pytest.approx(near - np.mean(pairs) / 2, rel=1e-5)
        flat, target = x[i, :, 1:].reshape(5, -1), y[i, 1:].ravel()
        pairs = [np.linalg.norm(flat[a] - flat[b]) for a in range(5) for b in range(5) if a != b]
        near = np.linalg.norm(flat - target, axis=1).mean()
        assert poses[i] == pytest.approx(near - np.mean(pairs) / 2, rel=1e-5)


def test_a_single_or_equal_hypotheses_are_scored_by_distance() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(0, 50, (4, 1, 17, 3)), rng.normal(0, 50, (4, 17, 3))
    distance = np.linalg.norm(x[:, 0] - y, axis=-1)
    for hypotheses in (x, np.repeat(x, 5, axis=1)):
        joints, poses = hypotheses_score(hypotheses, y)
        np.testing.assert_allclose(joints, distance)
        np.testing.assert_allclose(poses, np.sqrt((distance[:, 1:] ** 2).sum(axis=1)))
    joints, poses = gaussian_score(x[:, 0], np.zeros((4, 17, 3, 3)), y)
    np.testing.assert_allclose(joints[:, 1:], distance[:, 1:], rtol=1e-6)
    np.testing.assert_array_equal(joints[:, 0], 0)  # the root is no question
    np.testing.assert_allclose(best_of_n_mpjpe(x, y), distance.mean(axis=1))


def test_expected_distances_known_in_closed_form() -> None:
    """Isotropic in 3-D, centred or not (the mean of a noncentral chi); in 1-D, in 48-D; a point."""
    m = np.array([0.0, 0.3, 1, 3, 10, 100, 1000])
    zero = np.zeros_like(m)
    found = expected_distance(np.ones((7, 3)), np.stack([m**2, zero, zero], axis=1))
    at = m[1:]
    known = math.sqrt(2 / math.pi) * np.exp(-(at**2) / 2) + (at + 1 / at) * erf(at / math.sqrt(2))
    np.testing.assert_allclose(found[1:], known, rtol=2e-6)
    assert found[0] == pytest.approx(math.sqrt(8 / math.pi), rel=1e-6)
    line = np.array([[4.0, 0, 0]])
    assert expected_distance(line, 0 * line)[0] == pytest.approx(2 * math.sqrt(2 / math.pi), 1e-5)
    assert expected_distance(0 * line, line)[0] == pytest.approx(2, rel=1e-6)
    assert expected_distance(0 * line, 0 * line)[0] == 0
    wide = expected_distance(np.full((1, 48), 9.0), np.zeros((1, 48)))[0]
    assert wide == pytest.approx(3 * math.sqrt(2) * math.exp(gammaln(24.5) - gammaln(24)), 1e-6)


def test_gaussian_is_what_its_draws_say() -> None:
    rng = np.random.default_rng(2)
    factors = rng.normal(0, 30, (2, 17, 3, 3))
    factors[:, 0] = 0
    covariance = factors @ factors.swapaxes(-1, -2)
    mean, truth = rng.normal(0, 200, (2, 17, 3)), rng.normal(0, 200, (2, 17, 3))
    mean[:, 0] = truth[:, 0] = 0
    joints, poses = gaussian_score(mean, covariance, truth)
    noise = rng.normal(size=(2, 600, 17, 3))
    draws = mean[:, None] + np.einsum("njab,nhjb->nhja", factors, noise)
    sampled_joints, sampled_poses = hypotheses_score(draws, truth)
    np.testing.assert_allclose(joints, sampled_joints, rtol=0.1, atol=1)
    np.testing.assert_allclose(poses, sampled_poses, rtol=0.02)
    shared, _ = gaussian_score(mean, covariance[0], truth)
    np.testing.assert_allclose(shared[0], joints[0])


def test_the_score_is_proper() -> None:
    """On average the truth's own distribution scores best, and the fair estimator agrees."""
    rng = np.random.default_rng(3)
    truth, mean = rng.normal(0, 20, (3000, 17, 3)), np.zeros((3000, 17, 3))
    scores = [
        gaussian_score(mean, np.tile((size**2) * np.eye(3), (17, 1, 1)), truth)[0][:, 1:].mean()
        for size in (8.0, 20.0, 50.0)
    ]
    assert scores[1] < min(scores[0], scores[2])
    # of N(0, s^2 I) against itself: E|X - y| = sqrt(2) s sqrt(8/pi), half of it remains
    assert scores[1] == pytest.approx(20 * math.sqrt(2) * math.sqrt(8 / math.pi) / 2, rel=0.01)
    draws = rng.normal(0, 20, (3000, 3, 17, 3))
    assert hypotheses_score(draws, truth)[0].mean() == pytest.approx(scores[1], rel=0.02)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(2, 5, 17, 3\) and \(3, 17, 3\)"):
        hypotheses_score(np.zeros((2, 5, 17, 3)), np.zeros((3, 17, 3)))
