"""Covariances, ellipsoids and their recalibration, against cases with known answers."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats

from diffpose.model.uncertainty import covariances as un
from diffpose.model.uncertainty import recalibration
from diffpose.model.uncertainty.covariances import Ellipsoids, coverage, mahalanobis_squared, radius
from diffpose.model.uncertainty.recalibration import fit_ellipsoids

Array = NDArray[np.float64]
ONES = np.ones(17)


def gaussian_poses(rng: np.random.Generator, n: int, size_mm: float) -> tuple[Array, Array]:
    """Return factors A (n, 17, 3, 3) of random covariances A A^T; the root's is 0."""
    factors = size_mm * (np.eye(3) + rng.normal(0, 0.3, (n, 17, 3, 3)))
    factors *= np.exp(rng.normal(0, 0.4, (n, 17, 1, 1)))
    factors[:, 0] = 0
    return factors, factors @ factors.swapaxes(-1, -2)


def draws(rng: np.random.Generator, factors: Array, n_draws: int) -> Array:
    noise = rng.normal(size=(len(factors), n_draws, 17, 3))
    return np.einsum("njab,nhjb->nhja", factors, noise)


def negative_log_likelihood(ellipsoids: Ellipsoids, sample: Array, residual_mm: Array) -> float:
    """Return what the fit makes small, of given ellipsoids: the mean of -log p per joint."""
    scale = ellipsoids.scale[un.MOVING]
    logit = math.log(max(ellipsoids.weight, 1e-12) / (1 - ellipsoids.weight))
    parameters = np.concatenate(
        [
            [logit, math.log(ellipsoids.dof - 2)],
            np.log(scale * ellipsoids.floor_mm2[un.MOVING]),
            np.log(scale),
        ]
    )
    return recalibration._loss(parameters, *recalibration._rotated(sample, residual_mm))[0]


def test_sample_covariance_is_numpy_s() -> None:
    poses = np.random.default_rng(0).normal(0, 9, (2, 5, 17, 3)).astype(np.float32)
    found = un.sample_covariance(poses)
    np.testing.assert_allclose(found[1, 4], np.cov(poses[1, :, 4].T), rtol=1e-5)
    np.testing.assert_allclose(un.unpacked(un.packed(found)), found, rtol=1e-6)
    np.testing.assert_allclose(found, found.swapaxes(-1, -2))
    equal = un.sample_covariance(np.repeat(poses[:, :1], 5, axis=1))
    np.testing.assert_allclose(equal, 0, atol=1e-9)


def test_one_hypothesis_has_no_covariance() -> None:
    with pytest.raises(ValueError, match=r"at least 2 hypotheses, got 1\. Draw more"):
        un.sample_covariance(np.zeros((3, 1, 17, 3)))


def test_shrinkage_by_hand() -> None:
    sample = np.tile(np.diag([1.0, 4.0, 7.0]), (1, 17, 1, 1))
    sample[..., 0, 1] = sample[..., 1, 0] = 1.0
    floor, scale = np.arange(17.0), np.linspace(1, 2, 17)
    found = Ellipsoids(0.25, floor, scale, math.inf).covariance(sample)
    # 3/4 S + 1/4 tr(S)/3 I + 2 I for joint 2, times its scale
    expected = np.array([[0.75 + 1 + 2, 0.75, 0], [0.75, 3 + 1 + 2, 0], [0, 0, 5.25 + 1 + 2]])
    np.testing.assert_allclose(found[0, 2], scale[2] * expected)
    np.testing.assert_array_equal(found[0, 0], 0)  # the root
    none = Ellipsoids(0.0, 0 * ONES, ONES, math.inf).covariance(sample)
    np.testing.assert_array_equal(none[:, 1:], sample[:, 1:])
    assert un.uncalibrated(4).weight == 0.5
    assert un.uncalibrated(1000).weight < 0.003


def test_radii_are_those_of_the_distributions() -> None:
    assert radius(0.5) == pytest.approx(1.5382, abs=1e-4)
    assert radius(0.9) == pytest.approx(2.5003, abs=1e-4)
    assert radius(0.9, 1e7) == pytest.approx(radius(0.9), rel=1e-5)
    rng = np.random.default_rng(0)
    dof = 5.0
    t = rng.normal(size=(400_000, 3)) / np.sqrt(rng.chisquare(dof, (400_000, 1)) / dof)
    distance = np.linalg.norm(t, axis=1) / math.sqrt(dof / (dof - 2))  # in units of its std
    for level in (0.5, 0.9, 0.99):
        assert (distance <= radius(level, dof)).mean() == pytest.approx(level, abs=0.003)
        at_radius = np.array([[radius(level, dof) ** 2]])
        assert Ellipsoids(0, ONES, ONES, dof).levels(at_radius)[0, 0] == pytest.approx(level)
    with pytest.raises(ValueError, match="between 0 and 1, got 90"):
        radius(90)


def test_distance_is_the_solved_one_and_the_root_is_left_out() -> None:
    rng = np.random.default_rng(1)
    _, covariance = gaussian_poses(rng, 6, 20)
    residual = rng.normal(0, 30, (6, 17, 3))
    found = mahalanobis_squared(residual, covariance)
    assert np.isnan(found[:, 0]).all()
    for i, j in ((0, 1), (5, 16)):
        r = residual[i, j]
        assert found[i, j] == pytest.approx(r @ np.linalg.solve(covariance[i, j], r), rel=1e-6)
    one = mahalanobis_squared(residual, covariance[0])  # one matrix per joint for all poses
    np.testing.assert_allclose(one[0], found[0])


def test_exact_gaussians_are_covered_as_claimed() -> None:
    rng = np.random.default_rng(2)
    factors, covariance = gaussian_poses(rng, 4000, 25)
    residual = draws(rng, factors, 1)[:, 0]
    claim = Ellipsoids(0.0, 0 * ONES, ONES, math.inf)
    levels = claim.levels(mahalanobis_squared(residual, claim.covariance(covariance)))
    for level in (0.1, 0.5, 0.9):
        assert coverage(levels, level) == pytest.approx(level, abs=0.01)
    assert stats.kstest(levels[:, 1:].ravel(), "uniform").pvalue > 1e-3
    half = mahalanobis_squared(2 * residual, covariance)  # half as wide as they should be
    inside = stats.chi2.cdf(stats.chi2.ppf(0.9, 3) / 4, 3)
    assert coverage(claim.levels(half), 0.9) == pytest.approx(inside, abs=0.01)
    assert math.isnan(coverage(np.full((2, 17), np.nan), 0.5))


def test_volume_radius_by_hand() -> None:
    covariance = np.tile(np.diag([1.0, 4.0, 16.0]), (1, 17, 1, 1))
    found = un.equal_volume_radius(covariance, 1.5)
    np.testing.assert_allclose(found, 1.5 * 2)  # half axes 1, 2, 4: as large as a sphere of 2
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    np.testing.assert_allclose(un.equal_volume_radius(turn @ covariance @ turn.T, 1.5), 3.0)
    np.testing.assert_array_equal(un.equal_volume_radius(0 * covariance, 1.5), 0)


def test_student_t_is_recovered() -> None:
    """Covariances are ideal, errors of a t with dof 6, scales differ: no shrinkage, no floor."""
    rng = np.random.default_rng(3)
    factors, covariance = gaussian_poses(rng, 4000, 25)
    dof, scale = 6.0, np.linspace(0.5, 4, 17)
    heavy = np.sqrt((dof - 2) / rng.chisquare(dof, (4000, 17, 1)))  # unit covariance
    residual = draws(rng, factors, 1)[:, 0] * heavy * np.sqrt(scale)[:, None]
    found = fit_ellipsoids(covariance, residual, 5)
    assert found.dof == pytest.approx(dof, rel=0.1)
    np.testing.assert_allclose(found.scale[1:], scale[1:], rtol=0.1)
    assert found.weight < 0.01
    assert (found.floor_mm2[1:] < 5).all()
    truth = Ellipsoids(1e-3, 1e-1 * ONES, scale, dof)
    best = negative_log_likelihood(found, covariance, residual)
    assert best <= negative_log_likelihood(truth, covariance, residual)
    # the density itself, by scipy
    alone = np.mean(
        [
            -stats.multivariate_t.logpdf(
                residual[i, j], shape=truth.covariance(covariance)[i, j] * 4 / 6, df=dof
            )
            for i in range(20)
            for j in range(1, 17)
        ]
    )
    short = negative_log_likelihood(truth, covariance[:20], residual[:20])
    assert short == pytest.approx(alone, rel=1e-9)


def test_narrow_hypotheses_are_repaired_on_other_poses() -> None:
    rng = np.random.default_rng(4)
    factors, _ = gaussian_poses(rng, 3000, 25)
    hypotheses = draws(rng, factors, 5)
    truth = 2 * draws(rng, factors, 1)[:, 0]
    sample, residual = un.sample_covariance(hypotheses), truth - hypotheses.mean(axis=1)
    fitted = fit_ellipsoids(sample[:1500], residual[:1500], 5)
    figures = {}
    for name, claim in (("before", un.uncalibrated(5)), ("after", fitted)):
        distance = mahalanobis_squared(residual[1500:], claim.covariance(sample[1500:]))
        figures[name] = [coverage(claim.levels(distance), level) for level in un.LEVELS]
    assert figures["before"][0] < 0.3
    assert figures["before"][1] < 0.6
    assert figures["after"] == pytest.approx([0.5, 0.9], abs=0.03)
    again = Ellipsoids.from_json(json.loads(json.dumps(fitted.to_json())))
    np.testing.assert_array_equal(again.scale, fitted.scale)
    assert (again.weight, again.dof) == (fitted.weight, fitted.dof)


def test_equal_hypotheses_leave_the_floor() -> None:
    """No spread at all: what is fitted is the size of the errors."""
    rng = np.random.default_rng(5)
    residual = rng.normal(0, 30, (2000, 17, 3))
    residual[:, 0] = 0
    zero = np.zeros((2000, 17, 3, 3))
    fitted = fit_ellipsoids(zero, residual, 5)
    np.testing.assert_allclose(
        fitted.covariance(zero[:1])[0, 1:], np.tile(900 * np.eye(3), (16, 1, 1)), rtol=0.08, atol=1
    )
    before = un.uncalibrated(5)
    levels = before.levels(mahalanobis_squared(residual, before.covariance(zero)))
    assert coverage(levels, 0.9) < 0.001


def test_gradient() -> None:
    rng = np.random.default_rng(6)
    values, squares = rng.exponential(400, (9, 16, 3)), rng.exponential(900, (9, 16, 3))
    at = np.concatenate([[0.3, 1.0], rng.normal(3, 0.5, 16), rng.normal(0, 0.5, 16)])
    numerical = optimize.approx_fprime(at, lambda x: recalibration._loss(x, values, squares)[0])
    np.testing.assert_allclose(recalibration._loss(at, values, squares)[1], numerical, atol=1e-5)


def test_fitted_gaussian() -> None:
    rng = np.random.default_rng(7)
    covariance = np.array([[400.0, 100, 0], [100, 225, 50], [0, 50, 900]])
    residual = rng.multivariate_normal(np.zeros(3), covariance, (20_000, 17))
    residual[:, 0] = 0
    found = un.fit_gaussian(residual)
    np.testing.assert_allclose(found[5], covariance, rtol=0.05, atol=15)
    np.testing.assert_array_equal(found[0], 0)
    levels = un.uncalibrated(1).levels(mahalanobis_squared(residual, found))
    assert coverage(levels, 0.9) == pytest.approx(0.9, abs=0.01)
    with pytest.raises(ValueError, match="at least 4 known poses, got 3"):
        un.fit_gaussian(residual[:3])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weight": 1.5}, "weight must be from 0 to 1, got 1.5"),
        ({"dof": 2.0}, "dof must be above 2"),
        ({"scale": ONES[:5]}, "scale must hold 17"),
        ({"floor_mm2": -ONES}, "floor_mm2 must hold 17 finite values >= 0"),
    ],
)
def test_wrong_values_are_named(changes: dict[str, Any], words: str) -> None:
    values = {"weight": 0.5, "floor_mm2": ONES, "scale": ONES, "dof": 5.0, **changes}
    with pytest.raises(ValueError, match=words):
        Ellipsoids(**values)


def test_fits_of_wrong_data_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 10 known poses, got 4"):
        fit_ellipsoids(np.zeros((4, 17, 3, 3)), np.zeros((4, 17, 3)), 5)
    with pytest.raises(ValueError, match="leave unknown poses out"):
        fit_ellipsoids(np.zeros((20, 17, 3, 3)), np.full((20, 17, 3), np.nan), 5)
    with pytest.raises(ValueError, match=r"got \(20, 16, 3\)"):
        fit_ellipsoids(np.zeros((20, 17, 3, 3)), np.zeros((20, 16, 3)), 5)
