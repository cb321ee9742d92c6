"""Errors and coverage where the truth itself was measured."""

from __future__ import annotations

import numpy as np
import pytest

from diffpose.model.geometry.skeleton import MIRROR
from diffpose.model.heatmaps.temperature import fit_temperature, locate_truth
from diffpose.model.heatmaps.uncertain_truth import locate_uncertain_truth
from diffpose.model.metrics.protocols import jitter
from diffpose.model.metrics.uncertain_truth import (
    LIMB_JOINTS,
    coverage_figures,
    error_figures,
    root_relative_covariance,
)

TEMPERATURES = np.geomspace(0.5, 4.0, 13)


def drawn(rng: np.random.Generator, n: int, sigma_px: float, own_px: float, claimed_px: float):  # type: ignore[no-untyped-def]
    """Heatmaps that claim one width, of real places with another, and what others measured."""
    crops = np.tile([0.0, 0.0, 4.0, 4.0], (n, 1))
    real = rng.uniform([60, 80], [130, 170], (n, 17, 2))
    peak = real + rng.normal(0, sigma_px, real.shape)
    # as a detector gives them, not as stored: tails that 8 bits cut off cannot be widened
    x, y = (np.arange(48) + 0.5) * 4, (np.arange(64) + 0.5) * 4
    across = np.exp(-0.5 * ((x - peak[..., :1]) / claimed_px) ** 2)
    down = np.exp(-0.5 * ((y - peak[..., 1:]) / claimed_px) ** 2)
    heatmaps = (down[..., :, None] * across[..., None, :]).astype(np.float32)
    measured = real + rng.normal(0, own_px, real.shape)
    spread = np.tile(own_px**2 * np.eye(2), (n, 17, 1, 1))
    return heatmaps, crops, measured, spread


def test_the_truths_own_error_is_not_held_against_the_heatmaps() -> None:
    rng = np.random.default_rng(0)
    heatmaps, crops, measured, spread = drawn(rng, 60, 8.0, 12.0, 8.0)
    honest = locate_uncertain_truth(heatmaps, crops, measured, spread, TEMPERATURES).counted()
    fitted = fit_temperature(honest, TEMPERATURES)
    np.testing.assert_allclose(np.median(fitted), 1.0, atol=0.2)
    blind = locate_truth(heatmaps, crops, measured, TEMPERATURES).counted()
    # (8^2 + 12^2) / 8^2: as if the detector had made the others' errors too
    assert np.median(fit_temperature(blind, TEMPERATURES)) > 2.5


def test_heatmaps_that_claim_too_much_are_widened_by_their_own_errors_alone() -> None:
    rng = np.random.default_rng(1)
    heatmaps, crops, measured, spread = drawn(rng, 200, 12.0, 8.0, 8.0)
    found = locate_uncertain_truth(heatmaps, crops, measured, spread, TEMPERATURES).counted()
    np.testing.assert_allclose(
        np.median(fit_temperature(found, TEMPERATURES)),
        (12 / 8) ** 2,
        rtol=0.2,  # a step of TEMPERATURES
    )


def test_a_truth_without_errors_of_its_own_is_found_where_it_was() -> None:
    rng = np.random.default_rng(2)
    heatmaps, crops, measured, spread = drawn(rng, 10, 8.0, 0.0, 8.0)
    one = locate_uncertain_truth(heatmaps, crops, measured, spread, np.ones(1))
    other = locate_truth(heatmaps, crops, measured, np.ones(1))
    np.testing.assert_allclose(one.denser, other.denser, atol=0.02)


def test_regions_hold_what_they_claim_when_the_truths_errors_are_added() -> None:
    rng = np.random.default_rng(3)
    n = 2000
    pose = rng.normal(0, 300, (n, 17, 3))
    pose[:, 0] = 0
    predicted_mm2, truth_mm2 = 40.0**2 * np.eye(3), 25.0**2 * np.eye(3)
    own = np.tile(truth_mm2, (n, 17, 1, 1))
    real = pose + rng.multivariate_normal(np.zeros(3), predicted_mm2, (n, 17))
    measured = real + rng.multivariate_normal(np.zeros(3), truth_mm2, (n, 17))
    measured[:, 0] = pose[:, 0]
    claimed = np.tile(predicted_mm2, (n, 17, 1, 1))
    right = coverage_figures(pose, claimed, np.inf, measured, own)
    assert right["coverage50"] == pytest.approx(0.5, abs=0.02)
    assert right["coverage90"] == pytest.approx(0.9, abs=0.02)
    blind = coverage_figures(pose, claimed, np.inf, measured, 0 * own)
    assert blind["coverage50"] < 0.42


def test_a_joint_less_the_root_has_both_errors() -> None:
    own = np.tile(4.0 * np.eye(3), (2, 17, 1, 1))
    relative = root_relative_covariance(own)
    np.testing.assert_array_equal(relative[:, 1:], 2 * own[:, 1:])
    assert (relative[:, 0] == 0).all()


def test_errors_are_over_pelvis_and_limbs_and_leave_unknown_poses_out() -> None:
    rng = np.random.default_rng(4)
    truth = rng.normal(0, 300, (6, 17, 3))
    truth[:, 0] = 0
    pose = 1.25 * truth
    pose[:, 9] += 500  # the nose is no limb
    truth[5, 3] = np.nan
    found = error_figures(pose, truth)
    limbs = np.linalg.norm(0.25 * truth[:5, LIMB_JOINTS], axis=-1).mean()
    assert found["mpjpe_mm"] == pytest.approx(limbs)
    assert found["n_mpjpe_mm"] == pytest.approx(0, abs=1e-9)
    assert found["p_mpjpe_mm"] == pytest.approx(0, abs=1e-4)
    assert found["p_mpjpe_17_mm"] > 5
    assert found["n_poses"] == 5
    assert len(LIMB_JOINTS) == 13
    assert {MIRROR[j] for j in LIMB_JOINTS} == set(LIMB_JOINTS)


def test_jitter_is_the_mean_second_difference_within_clips() -> None:
    t = np.arange(10.0)
    path = np.zeros((20, 2, 3))
    path[:10, 0, 0] = 3 * t**2  # second difference 6
    path[10:, 1, 2] = 100 + 7 * t  # 0
    assert jitter(path, np.array([10, 10])) == pytest.approx(6 / 4)
    path[4, 0] = np.nan
    assert jitter(path, np.array([10, 10])) == pytest.approx((5 * 6) / (5 + 8 + 16))
    with pytest.raises(ValueError, match="add up to 9"):
        jitter(path, np.array([9]))
