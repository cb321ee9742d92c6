"""Heatmaps: rasterising, drawing, and the summary of modes. Lengths in cells unless named px."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from diffpose.model.heatmaps.grid import CROP_PADDING, crop_around, rasterise, sample, summarise

CROP = np.array([120.0, -30.0, 7.5, 8.0], dtype=np.float32)  # cells are not square here
Array = NDArray[np.float64]


def to_px(cells: Array, crop: Array = CROP) -> Array:
    result: Array = crop[:2] + crop[2:] * cells
    return result


def seeds(*values: int) -> NDArray[np.uint64]:
    return np.array(values, dtype=np.uint64)


def draw_modes(
    centres: Array, sigmas: Array, weights: Array, cell_px: float = 8.0
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Heatmaps of n rows and one joint, from centres (n, C, 2) and sigmas (n, C) in cells."""
    crops = np.tile(np.array([100, 50, cell_px, cell_px], dtype=np.float32), (len(centres), 1))
    centres_px = crops[0, :2] + cell_px * centres
    maps = rasterise(centres_px[:, None], cell_px * sigmas[:, None], weights[:, None], crops)
    return maps, crops


def in_cells(px: NDArray[np.floating], crops: NDArray[np.float32]) -> Array:
    result: Array = (px.astype(np.float64) - crops[:, :2]) / crops[:, 2:]
    return result


def test_rasterise_gives_each_cell_its_integral() -> None:
    # Midpoint rule with 24 x 24 points per cell: 1e-4 of the peak at sigma 0.4 cells and above.
    modes = [
        (np.array([20.3, 31.8]), 3.1, 0.62),
        (np.array([33.9, 12.5]), 9.0, 0.38),  # px
    ]
    maps = rasterise(
        np.array([[[to_px(place) for place, _, _ in modes]]]),
        np.array([[[sigma for _, sigma, _ in modes]]]),
        np.array([[[weight for _, _, weight in modes]]]),
        CROP[None],
    )
    assert maps.shape == (1, 1, 64, 48)
    assert maps.dtype == np.uint8
    assert maps.max() == 255
    offsets = (np.arange(24) + 0.5) / 24
    x = CROP[0] + CROP[2] * (np.arange(48)[:, None] + offsets).ravel()
    y = CROP[1] + CROP[3] * (np.arange(64)[:, None] + offsets).ravel()
    density = np.zeros((len(y), len(x)))
    for place, sigma, weight in modes:
        cx, cy = to_px(place)
        square = (x[None, :] - cx) ** 2 + (y[:, None] - cy) ** 2
        density += weight / (2 * np.pi * sigma**2) * np.exp(-square / (2 * sigma**2))
    mass = density.reshape(64, 24, 48, 24).mean(axis=(1, 3))
    expected = 255 * mass / mass.max()
    assert (expected > 1).sum() > 35
    assert np.abs(maps[0, 0] - expected).max() < 0.55  # half a level, and the rule's own error


def test_a_centre_outside_the_crop_moves_to_its_rim() -> None:
    sigmas, weights = np.full((3, 1), 1.5), np.ones((3, 1))
    outside = np.array([[[-9.0, 20.0]], [[60.0, 20.0]], [[10.0, 90.0]]])
    rim = np.array([[[0.0, 20.0]], [[48.0, 20.0]], [[10.0, 64.0]]])
    far, near = draw_modes(outside, sigmas, weights)[0], draw_modes(rim, sigmas, weights)[0]
    assert np.array_equal(far, near)
    peaks = [np.unravel_index(m[0].argmax(), (64, 48))[i] for m, i in zip(near, (1, 1, 0))]  # noqa: B905
    assert peaks == [0, 47, 63]


def test_crop_around_by_hand() -> None:
    # 100 x 300 px: padded 125 x 375; 375 / 64 px per cell is the larger of the two.
    points = np.array([[[100.0, 200.0], [200.0, 500.0], [150.0, 300.0]]])
    cell = 300 * CROP_PADDING / 64
    expected = [150 - 24 * cell, 350 - 32 * cell, cell, cell]
    np.testing.assert_allclose(crop_around(points)[0], expected, rtol=1e-6)
    wide = crop_around(points[..., ::-1])[0]
    np.testing.assert_allclose(wide[2:], 300 * CROP_PADDING / 48, rtol=1e-6)
    one_spot = crop_around(np.full((1, 17, 2), 50.0))[0]
    np.testing.assert_allclose(one_spot[2:], 16 / 48, rtol=1e-6)


def test_draws_of_one_cell_are_even_over_exactly_this_cell() -> None:
    maps = np.zeros((1, 2, 64, 48), dtype=np.uint8)
    maps[0, 0, 17, 5] = 255
    maps[0, 1, 63, 47] = 3
    draws = sample(maps, CROP[None], 5000, seeds(1))
    assert draws.shape == (1, 5000, 2, 2)
    for joint, (row, column) in enumerate([(17, 5), (63, 47)]):
        low, high = to_px(np.array([column, row])), to_px(np.array([column + 1, row + 1]))
        place = (draws[0, :, joint] - low) / (high - low)
        assert (place >= -1e-4).all()
        assert (place <= 1 + 1e-4).all()
        for axis in (0, 1):
            assert stats.kstest(place[:, axis], "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(place.T)[0, 1]) < 0.06


def test_draws_follow_the_heatmap() -> None:
    rng = np.random.default_rng(3)
    maps = np.zeros((1, 2, 64, 48), dtype=np.uint8)
    for joint in range(2):
        cells = rng.choice(64 * 48, 40, replace=False)
        maps[0, joint].flat[cells] = rng.integers(5, 256, 40)
    n = 20_000
    draws = sample(maps, CROP[None], n, seeds(9))
    flat = []
    for joint in range(2):
        cells = np.floor((draws[0, :, joint] - CROP[:2]) / CROP[2:]).astype(int)
        flat.append(cells[:, 1] * 48 + cells[:, 0])
        seen = np.bincount(flat[joint], minlength=64 * 48)
        share = maps[0, joint].ravel() / maps[0, joint].sum(dtype=float)
        assert seen[share == 0].sum() == 0  # no draw where there is no mass
        assert stats.chisquare(seen[share > 0], n * share[share > 0]).pvalue > 1e-3
    # The joints are drawn independently of each other.
    ranks = [maps[0, joint].ravel()[flat[joint]] for joint in range(2)]
    assert abs(np.corrcoef(ranks)[0, 1]) < 0.03


def test_a_rows_draws_depend_on_its_seed_alone() -> None:
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 256, (4, 17, 64, 48)).astype(np.uint8)
    crops = CROP + rng.random((4, 4)).astype(np.float32)
    together = sample(maps, crops, 50, seeds(5, 6, 7, 5))
    for row, seed in enumerate((5, 6, 7, 5)):
        alone = sample(maps[row : row + 1], crops[row : row + 1], 50, seeds(seed))
        assert np.array_equal(alone[0], together[row])
    fewer = sample(maps, crops, 20, seeds(5, 6, 7, 5))
    assert np.array_equal(fewer, together[:, :20])
    same_map = sample(maps[[0, 0]], crops[[0, 0]], 50, seeds(5, 6))
    assert not np.array_equal(same_map[0], same_map[1])


def test_summary_of_two_known_modes() -> None:
    # Away from the rim and 4.5 sigma apart or more: centres within 0.2 cells (a mode of weight 0.1
    # has levels of up to 28 only), weight within 0.015; sigma is that of the cells' masses, whose
    # variance exceeds sigma^2 by 1/12 (Sheppard); -8 % where the weak mode's tails round to 0.
    rng = np.random.default_rng(1)
    n = 200
    for sigma, apart, weight in (
        (0.8, 5.0, 0.7),
        (1.2, 8.0, 0.85),
        (2.0, 10.0, 0.6),
        (2.0, 12.0, 0.9),
    ):
        angle = rng.uniform(0, 2 * np.pi, n)
        middle = rng.uniform([18, 24], [30, 40], (n, 2))
        half = apart / 2 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        centres = np.stack([middle + half, middle - half], axis=1)
        maps, crops = draw_modes(
            centres, np.full((n, 2), sigma), np.tile([weight, 1 - weight], (n, 1))
        )
        _, _, modes = summarise(maps, crops)
        assert modes.shape == (n, 1, 7)
        for mode, place in ((0, 0), (1, 3)):
            found = in_cells(modes[:, 0, place : place + 2], crops)
            assert np.linalg.norm(found - centres[:, mode], axis=1).max() < 0.2
            width = modes[:, 0, place + 2] / 8 / np.sqrt(sigma**2 + 1 / 12)
            assert width.min() > 0.92
            assert width.max() < 1.03
        assert np.abs(modes[:, 0, 6] - (1 - weight)).max() < 0.015


def test_summary_of_modes_with_different_widths() -> None:
    # The narrow mode owns the peak even where it has the smaller share.
    centres = np.tile([[14.2, 20.7], [33.1, 41.4]], (2, 1, 1))
    sigmas = np.array([[1.5, 4.0], [1.5, 4.0]])
    maps, crops = draw_modes(centres, sigmas, np.array([[0.7, 0.3], [0.4, 0.6]]))
    _, _, modes = summarise(maps, crops)
    np.testing.assert_allclose(in_cells(modes[:, 0, :2], crops), centres[:, 0], atol=0.1)
    np.testing.assert_allclose(in_cells(modes[:, 0, 3:5], crops), centres[:, 1], atol=0.25)
    np.testing.assert_allclose(modes[:, 0, 2] / 8, 1.5, rtol=0.05)
    np.testing.assert_allclose(modes[:, 0, 5] / 8, 4.0, rtol=0.06)
    np.testing.assert_allclose(modes[:, 0, 6], [0.3, 0.6], atol=0.03)


def test_the_mode_that_holds_the_peak_comes_first() -> None:
    # Given in either order, of equal width: the heavier one has the peak.
    centres = np.array([[[12.5, 20.5], [30.5, 40.5]], [[30.5, 40.5], [12.5, 20.5]]])
    maps, crops = draw_modes(centres, np.full((2, 2), 1.5), np.array([[0.35, 0.65], [0.65, 0.35]]))
    keypoints, _, modes = summarise(maps, crops)
    np.testing.assert_allclose(in_cells(modes[:, 0, :2], crops), [[30.5, 40.5]] * 2, atol=0.1)
    np.testing.assert_allclose(in_cells(keypoints[:, 0], crops), [[30.5, 40.5]] * 2, atol=0.1)
    np.testing.assert_allclose(modes[:, 0, 6], 0.35, atol=0.01)


@pytest.mark.parametrize("sigma", [0.1, 0.2, 0.3, 0.4, 0.5, 1.0, 2.0, 4.0])
def test_one_mode_has_a_second_weight_of_exactly_zero(sigma: float) -> None:
    # Narrow modes on a cell's border fill two or four cells alike; these are no two modes.
    # Nearer to the rim than 2.5 sigma the mode is cut off and no Gaussian any more.
    rng = np.random.default_rng(2)
    n, margin = 400, 2.5 * sigma
    centres = rng.uniform([margin, margin], [48 - margin, 64 - margin], (n, 1, 2))
    centres[: n // 4] = np.rint(centres[: n // 4])  # on corners of cells
    centres[n // 4 : n // 2, :, 0] = np.rint(centres[n // 4 : n // 2, :, 0])
    maps, crops = draw_modes(centres, np.full((n, 1), sigma), np.ones((n, 1)))
    keypoints, confidence, modes = summarise(maps, crops)
    assert (modes[:, 0, 6] == 0).all()
    # Without a second mode its place is the first's.
    assert np.array_equal(modes[:, 0, 3:6], modes[:, 0, 0:3])
    if sigma >= 0.5:
        found = in_cells(modes[:, 0, :2], crops)
        assert np.linalg.norm(found - centres[:, 0], axis=1).max() < 0.12
        width = modes[:, 0, 2] / 8 / np.sqrt(sigma**2 + 1 / 12)
        assert np.abs(width - 1).max() < 0.04
    # Keypoints: below a cell; the 5 x 5 window follows wide modes by half a cell.
    error = np.linalg.norm(in_cells(keypoints[:, 0], crops) - centres[:, 0], axis=1)
    limit = 0.72 if sigma < 0.5 or sigma > 2 else 0.5
    assert error.max() < limit
    if 0.3 <= sigma <= 1:
        assert error.max() < 0.1
    # Confidence is the share of the 25 cells: all of it for narrow modes, 25 / (2 pi 16) at 4.
    if sigma <= 0.5:
        assert confidence.min() > 0.999
    if sigma == 4:
        assert confidence.min() > 0.2
        assert confidence.max() < 0.29


def test_summary_is_in_the_crops_pixels() -> None:
    centres, sigmas = np.array([[[20.5, 30.5]]]), np.array([[1.5]])
    small = summarise(*draw_modes(centres, sigmas, np.ones((1, 1)), cell_px=2.0))
    large = summarise(*draw_modes(centres, sigmas, np.ones((1, 1)), cell_px=10.0))
    np.testing.assert_allclose(small[0][0, 0], [100 + 41, 50 + 61], atol=0.02)
    np.testing.assert_allclose(large[0][0, 0], [100 + 205, 50 + 305], atol=0.1)
    assert large[2][0, 0, 2] / small[2][0, 0, 2] == pytest.approx(5, rel=1e-5)
    assert small[1] == large[1]


def test_a_rows_summary_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(8)
    centres = rng.uniform([5, 5], [43, 59], (5, 2, 2))
    maps, crops = draw_modes(centres, rng.uniform(1, 3, (5, 2)), np.full((5, 2), 0.5))
    together = summarise(maps, crops)
    for row in range(5):
        for whole, alone in zip(
            together, summarise(maps[row : row + 1], crops[row : row + 1]), strict=True
        ):
            assert np.array_equal(whole[row], alone[0])


def test_empty_and_misshapen_heatmaps_are_refused_by_name() -> None:
    maps = np.ones((3, 17, 64, 48), dtype=np.uint8)
    maps[1, 4] = 0
    crops = np.tile(CROP, (3, 1))
    with pytest.raises(ValueError, match="row 1, joint 4 is empty"):
        sample(maps, crops, 10, seeds(0, 1, 2))
    with pytest.raises(ValueError, match="row 1, joint 4 is empty"):
        summarise(maps, crops)
    for shape in ((3, 17, 48, 64), (17, 64, 48)):
        wrong = np.ones(shape, dtype=np.uint8)
        expected = r"\(R, J, 64, 48\), got \(" + ", ".join(map(str, shape))
        with pytest.raises(ValueError, match=expected):
            sample(wrong, crops, 10, seeds(0, 1, 2))
        with pytest.raises(ValueError, match=expected):
            summarise(wrong, crops)
