"""Coverage and temperature on heatmaps whose honesty is known by construction."""

from __future__ import annotations

import numpy as np
import pytest

from diffpose.model.heatmaps.temperature import (
    LEVELS,
    TruthCounts,
    fit_temperature,
    locate_truth,
    quantised,
)

TEMPERATURES = np.geomspace(0.25, 4.0, 17)  # 1.0 is the middle
CROP = np.array([[0.0, 0.0, 1.0, 1.0]])


def gaussian_maps(rng: np.random.Generator, rows: int, sigma: float) -> np.ndarray:
    """(rows, 1, 64, 48) Gaussians around random centres, and the centres."""
    centre = rng.uniform([18, 24], [30, 40], (rows, 2))
    x, y = np.arange(48) + 0.5, np.arange(64) + 0.5
    across = np.exp(-0.5 * ((x - centre[:, :1]) / sigma) ** 2)
    down = np.exp(-0.5 * ((y - centre[:, 1:]) / sigma) ** 2)
    return (down[:, :, None] * across[:, None, :])[:, None].astype(np.float32), centre


@pytest.mark.parametrize(("shown", "expected"), [(2.0, 1.0), (1.0, 4.0), (4.0, 0.25)])
def test_temperature_mends_a_wrong_width(shown: float, expected: float) -> None:
    # A Gaussian to the power 1/T has sqrt(T) times its width; the true noise has sigma 2.
    rng = np.random.default_rng(0)
    maps, centre = gaussian_maps(rng, 1500, shown)
    truth = (centre + rng.normal(0, 2.0, centre.shape))[:, None]
    found = locate_truth(maps, np.tile(CROP, (1500, 1)), truth, TEMPERATURES).counted()
    temperature = fit_temperature(found, TEMPERATURES)
    best = int(np.abs(TEMPERATURES - temperature[0]).argmin())
    assert temperature[0] == pytest.approx(expected, rel=0.2)
    assert found.coverage(0.5)[0, best] == pytest.approx(0.5, abs=0.05)
    assert found.coverage(0.9)[0, best] == pytest.approx(0.9, abs=0.04)


def test_honest_heatmaps_cover_what_they_claim() -> None:
    rng = np.random.default_rng(1)
    maps, centre = gaussian_maps(rng, 3000, 1.5)
    truth = (centre + rng.normal(0, 1.5, centre.shape))[:, None]
    found = locate_truth(maps, np.tile(CROP, (3000, 1)), truth, np.ones(1)).counted()
    for level in (0.5, 0.9):
        assert found.coverage(level)[0, 0] == pytest.approx(level, abs=0.03)


def test_likelihood_is_that_of_the_stored_cell() -> None:
    maps = np.zeros((1, 1, 64, 48), np.float32)
    maps[0, 0, 10, 20], maps[0, 0, 40, 30] = 3.0, 1.0
    truth = np.array([[[30.5, 40.5]]])
    found = locate_truth(maps, CROP, truth, np.ones(1))
    stored = quantised(maps, np.ones(1)).astype(float)
    assert found.nll[0, 0, 0] == pytest.approx(-np.log(stored[0, 0, 40, 30] / stored.sum()))
    assert found.denser[0, 0, 0] == pytest.approx(255 / (255 + 85))
    assert found.own[0, 0, 0] == pytest.approx(85 / (255 + 85))


def test_truth_outside_is_covered_by_nothing_and_unknown_truth_by_no_count() -> None:
    rng = np.random.default_rng(2)
    maps, centre = gaussian_maps(rng, 4, 2.0)
    truth = centre[:, None].copy()
    truth[1] = [500.0, 20.0]
    truth[2] = np.nan
    found = locate_truth(maps, np.tile(CROP, (4, 1)), truth, np.ones(1))
    assert np.isnan(found.nll[2]).all()
    assert np.isfinite(found.nll[[0, 1, 3]]).all()
    # of the three known, two lie on the peak and one outside
    assert found.counted().coverage(0.9)[0, 0] == pytest.approx(2 / 3, abs=0.01)


def test_counts_of_parts_add_up_to_those_of_all() -> None:
    rng = np.random.default_rng(3)
    maps, centre = gaussian_maps(rng, 60, 2.0)
    truth = (centre + rng.normal(0, 3.0, centre.shape))[:, None]
    truth[5] = np.nan
    crops = np.tile(CROP, (60, 1))
    whole = locate_truth(maps, crops, truth, TEMPERATURES)
    cut = [
        locate_truth(maps[part], crops[part], truth[part], TEMPERATURES).counted()
        for part in (slice(0, 7), slice(7, 60))
    ]
    added = TruthCounts.total(cut)
    for level in LEVELS:
        np.testing.assert_allclose(
            added.coverage(level), np.nanmean(whole.within(level), axis=0), rtol=1e-12
        )
    np.testing.assert_allclose(
        added.nll / added.n[:, None], np.nanmean(whole.nll, axis=0), rtol=1e-12
    )


def test_quantised_peak_is_255_and_temperature_widens() -> None:
    maps, _ = gaussian_maps(np.random.default_rng(3), 5, 1.0)
    plain, wide = quantised(maps * 1e-6, np.ones(1)), quantised(maps, np.array([4.0]))
    assert plain.dtype == np.uint8
    assert (plain.max(axis=(1, 2, 3)) == 255).all()
    assert (wide.astype(int).sum(axis=(2, 3)) > 2 * plain.astype(int).sum(axis=(2, 3))).all()
    assert ((wide >= plain) | (plain == 255)).all()
