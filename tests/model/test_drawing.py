"""The compiled draws: distributions to their tails, strata, independence."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from diffpose.model.heatmaps.grid import sample
from diffpose.model.heatmaps.sampling import place_in_space, sample_bins, sample_normal

CROP = np.array([[100.0, 50.0, 4.0, 5.0]], dtype=np.float32)


def seeds(n: int, first: int = 0) -> NDArray[np.uint64]:
    return np.arange(first, first + n, dtype=np.uint64)


def normal(rows: int, n: int, first: int = 0) -> NDArray[np.float32]:
    draws = np.empty((rows, 17, n), dtype=np.float32)
    sample_normal(np.zeros((rows, 17)), np.ones(17), seeds(rows, first), draws)
    return draws


def test_normal_draws_are_normal_to_their_tails() -> None:
    draws = normal(600, 1000)
    assert np.isfinite(draws).all()  # ten million: the last number before 1 is among them
    values = draws.ravel().astype(np.float64)
    n = len(values)
    for order, expected in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
        error = np.sqrt(stats.norm.moment(2 * order) / n)
        assert abs((values**order).mean() - expected) < 4.5 * error
    for limit in (0.5, 1.5, 3.0, 4.0, 4.8):
        for side in (values > limit, values < -limit):
            expected = n * stats.norm.sf(limit)
            assert abs(side.sum() - expected) < 4.5 * np.sqrt(expected)
    assert stats.kstest(values[:200_000], "norm").pvalue > 1e-3


def test_joints_rows_and_neighbours_are_independent() -> None:
    draws = normal(1, 50_000)[0]
    assert np.abs(np.corrcoef(draws) - np.eye(17)).max() < 5 / np.sqrt(50_000)
    assert abs(np.corrcoef(draws[0, :-1], draws[0, 1:])[0, 1]) < 0.025
    np.testing.assert_array_equal(normal(4, 50)[3], normal(1, 50, first=3)[0])
    np.testing.assert_array_equal(normal(1, 50), normal(1, 80)[..., :50])


def test_strata_hold_what_they_should_and_joints_stay_independent() -> None:
    rng = np.random.default_rng(0)
    maps = np.zeros((1, 2, 64, 48), dtype=np.uint8)
    for joint in range(2):
        cells = rng.choice(64 * 48, 60, replace=False)
        maps[0, joint].flat[cells] = rng.integers(5, 256, 60)
    n = 4000
    counts = {}
    for stratified in (False, True):
        draws = sample(maps, CROP, n, seeds(1), stratified=stratified)
        assert draws.shape == (1, n, 2, 2)
        cells = np.floor((draws[0] - CROP[0, :2]) / CROP[0, 2:]).astype(int)
        flat = cells[..., 1] * 48 + cells[..., 0]
        for joint in range(2):
            seen = np.bincount(flat[:, joint], minlength=64 * 48)
            share = maps[0, joint].ravel() / maps[0, joint].sum(dtype=float)
            assert seen[share == 0].sum() == 0
            counts[stratified, joint] = np.abs(seen - n * share).max()
            place = (draws[0, :, joint] - CROP[0, :2]) / CROP[0, 2:] % 1
            for axis in (0, 1):
                assert stats.kstest(place[:, axis], "uniform").pvalue > 1e-3
        ranks = [stats.rankdata(flat[:, joint]) for joint in range(2)]
        assert abs(np.corrcoef(ranks)[0, 1]) < 4.5 / np.sqrt(n)
    for joint in range(2):
        assert counts[True, joint] <= 2  # a cell's part of [0, 1) cuts at most two strata
        assert counts[False, joint] > 4


def test_strata_lower_the_variance_of_the_mean() -> None:
    maps = np.zeros((200, 1, 64, 48), dtype=np.uint8)
    y, x = np.mgrid[:64, :48]
    maps[:, 0] = np.rint(255 * np.exp(-((x - 20) ** 2 + (y - 30) ** 2) / 50)).astype(np.uint8)
    crops = np.repeat(CROP, 200, axis=0)
    spread = [
        sample(maps, crops, 100, seeds(200), stratified=flag).mean(axis=1)[..., 1].std()
        for flag in (False, True)
    ]
    assert spread[1] < 0.35 * spread[0]


@pytest.mark.parametrize("stratified", [False, True])
def test_one_cell_and_full_maps(stratified: bool) -> None:
    maps = np.full((1, 2, 64, 48), 255, dtype=np.uint8)
    maps[0, 0] = 0
    maps[0, 0, 63, 47] = 1
    draws = sample(maps, CROP, 3000, seeds(1, 2**63), stratified=stratified)
    place = (draws[0] - CROP[0, :2]) / CROP[0, 2:]
    assert (np.floor(place[:, 0]) == [47, 63]).all()
    assert stats.kstest(place[:, 1, 0] / 48, "uniform").pvalue > 1e-3
    assert stats.kstest(place[:, 1, 1] / 64, "uniform").pvalue > 1e-3


def test_bins_follow_their_counts() -> None:
    edges = np.linspace([-10.0, 5.0], [10.0, 6.0], 5, axis=1)
    counts = np.array([[1.0, 0, 3, 4], [0, 0, 1, 0]])
    draws = np.empty((1, 2, 20_000), dtype=np.float32)
    sample_bins(edges, counts.cumsum(axis=1), seeds(1), draws)
    for joint in range(2):
        seen, _ = np.histogram(draws[0, joint], edges[joint])
        assert seen.sum() == 20_000
        filled = counts[joint] > 0
        assert seen[~filled].sum() == 0
        expected = 20_000 * counts[joint][filled] / counts[joint].sum()
        assert np.abs(seen[filled] - expected).max() < 4.5 * np.sqrt(20_000 / 4)


def test_points_project_back_onto_their_pixels() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.uniform(200, 800, (2, 17, 2, 30)).astype(np.float32)
    z = rng.normal(0, 200, (2, 17, 30)).astype(np.float32)
    camera = np.array([[1100, 1090, 500, 480], [900, 910, 300, 310]], dtype=np.float32)
    root = np.array([[100, 50, 4000], [-200, 10, 5000]], dtype=np.float32)
    poses = np.empty((2, 17, 3, 30), dtype=np.float32)
    place_in_space(pixels, z, camera, root, 4, poses)
    assert (poses[:, 4] == 0).all()
    points = poses.astype(np.float64) + root[:, None, :, None]
    seen = (
        points[:, :, :2] / points[:, :, 2:] * camera[:, None, :2, None] + camera[:, None, 2:, None]
    )
    others = np.arange(17) != 4
    np.testing.assert_allclose(seen[:, others], pixels[:, others], atol=0.01)
    np.testing.assert_array_equal(poses[:, others, 2], z[:, others])
