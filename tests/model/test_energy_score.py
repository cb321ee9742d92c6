"""The energy score against sums written out, known closed forms and draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import erf, gammaln

from diffpose.model.lifting.sampling import SamplingSettings, centred
from diffpose.model.uncertainty.covariances import Draws, sample_covariance
from diffpose.model.uncertainty.energy_score import (
    best_of_n_mpjpe,
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


def one_joint(mean_mm: list[float], variances: list[float]) -> float:
    """Return the score of joint 4's Gaussian about ``mean_mm``; truth is 0, all else certain."""
    mean, covariance = np.zeros((1, 17, 3)), np.zeros((1, 17, 3, 3))
    mean[0, 4], covariance[0, 4] = mean_mm, np.diag(variances)
    joints, poses = gaussian_score(mean, covariance, np.zeros((1, 17, 3)))
    assert poses[0] == pytest.approx(joints[0, 4], rel=1e-6)  # the only one that is uncertain
    return float(joints[0, 4])


@pytest.mark.parametrize("m", [0.3, 1.0, 3.0, 10.0, 100.0, 1000.0])
def test_isotropic_gaussians_known_in_closed_form(m: float) -> None:
    """E |X - y| is the mean of a noncentral chi distribution, E |X - X'| of a central one."""
    far = math.sqrt(2 / math.pi) * math.exp(-(m**2) / 2) + (m + 1 / m) * erf(m / math.sqrt(2))
    pair = math.sqrt(2) * math.sqrt(8 / math.pi)
    assert one_joint([0, m, 0], [1, 1, 1]) == pytest.approx(far - pair / 2, rel=3e-6)
    assert one_joint([0, 7 * m, 0], [49] * 3) == pytest.approx(7 * (far - pair / 2), rel=3e-6)


def test_flat_gaussians_known_in_closed_form() -> None:
    """On a line E |X| = s sqrt(2/pi), nearly so with a tiny second axis; of a point, distance."""
    line = 2 * math.sqrt(2 / math.pi) * (1 - math.sqrt(2) / 2)
    assert one_joint([0, 0, 0], [4, 0, 0]) == pytest.approx(line, rel=3e-5)
    assert one_joint([0, 0, 0], [4, 1e-6, 0]) == pytest.approx(line, rel=3e-5)
    assert one_joint([3, 0, 4], [0, 0, 0]) == pytest.approx(5, rel=1e-6)
    assert one_joint([0, 0, 0], [0, 0, 0]) == 0


def test_whole_pose_known_in_closed_form() -> None:
    """16 moving joints of variance 9: a chi distribution of 48 degrees of freedom."""
    zero = np.zeros((1, 17, 3))
    _, poses = gaussian_score(zero, np.tile(9 * np.eye(3), (17, 1, 1)), zero)
    mean = 3 * math.sqrt(2) * math.exp(gammaln(24.5) - gammaln(24))
    assert poses[0] == pytest.approx(mean * (1 - math.sqrt(2) / 2), rel=1e-5)


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


def drawn(draws: Draws, n_poses: int, n: int, sigma: float = 100.0) -> np.ndarray:
    """Hypotheses (n_poses, N, 17, 3) of N(0, sigma^2 I) that hang together as the lifter's do."""
    noise = torch.from_numpy(np.random.default_rng(n).normal(0, sigma, (n_poses, n, 17, 3)))
    noise[:, :, 0] = 0
    if draws == "held":
        noise = noise - noise.mean(dim=1, keepdim=True)
    return centred(noise, SamplingSettings(centred=draws == "centred")).numpy()


@pytest.mark.parametrize("n", [2, 3, 5, 20])
@pytest.mark.parametrize("draws", ["independent", "centred", "held"])
def test_scores_are_unbiased_however_the_draws_hang_together(draws: Draws, n: int) -> None:
    """Truth and hypotheses of N(0, 100^2 I): the score is half of E |X - X'|, 112.84 mm."""
    truth = np.random.default_rng(1).normal(0, 100, (12_000, 17, 3))
    truth[:, 0] = 0
    exact = 100 * math.sqrt(16 / math.pi) / 2
    assert exact == pytest.approx(112.84, abs=0.005)
    hypotheses = drawn(draws, len(truth), n)
    joints, poses = hypotheses_score(hypotheses, truth, draws)
    assert joints[:, 1:].mean() == pytest.approx(exact, abs=0.7)
    covariance = np.tile(100.0**2 * np.eye(3), (17, 1, 1))
    covariance[0] = 0
    _, whole = gaussian_score(np.zeros_like(truth), covariance, truth)
    assert poses.mean() == pytest.approx(whole.mean(), rel=0.01)
    if draws != "independent" and n <= 5:  # taken as independent, the score is biased
        wrong, _ = hypotheses_score(hypotheses, truth)
        assert abs(wrong[:, 1:].mean() - exact) > 5


def test_partly_centred_draws_have_no_score() -> None:
    x, y = np.ones((2, 5, 17, 3)), np.zeros((2, 17, 3))
    joints, poses = hypotheses_score(x, y, "partly centred")
    assert np.isnan(joints).all()
    assert np.isnan(poses).all()
    assert np.isfinite(hypotheses_score(x[:, :1], y, "partly centred")[0]).all()


@pytest.mark.parametrize("n", [2, 5, 20])
@pytest.mark.parametrize("draws", ["independent", "centred", "held"])
def test_sample_covariances_are_unbiased(draws: Draws, n: int) -> None:
    hypotheses = drawn(draws, 4000, n)[:, :, 1:]
    found = sample_covariance(hypotheses, draws).mean(axis=(0, 1))
    np.testing.assert_allclose(found, 100.0**2 * np.eye(3), atol=250)


@pytest.mark.parametrize(
    ("changes", "draws"),
    [
        ({}, "independent"), ({"centred": True}, "centred"), ({"held_mean": True}, "held"),
        ({"centred": True, "held_mean": True}, "centred"),
        ({"centred": True, "start": "mixture"}, "partly centred"),
    ],
)  # fmt: skip
def test_sampling_says_how_draws_hang_together(changes: dict[str, object], draws: Draws) -> None:
    assert SamplingSettings.model_validate(changes).draws == draws
