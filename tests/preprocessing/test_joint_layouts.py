"""Other layouts become ours: the documented maps, and heatmaps combined as draws."""

from __future__ import annotations

import numpy as np
import pytest

from diffpose.model.geometry.skeleton import JOINT_NAMES, LEFT, RIGHT
from diffpose.preprocessing.keypoints.combine import combined, regridded
from diffpose.preprocessing.keypoints.joint_layouts import (
    NAMES,
    Layout,
    layout_of,
    to_h36m,
    to_h36m_points,
)

GRID = (64, 48)


@pytest.mark.parametrize("layout", sorted(NAMES))
def test_maps_are_means_and_keep_sides(layout: Layout) -> None:
    matrix = to_h36m(layout)
    assert matrix.shape == (17, len(NAMES[layout]))
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    for ours in (*LEFT, *RIGHT):
        (source,) = np.flatnonzero(matrix[ours])
        assert NAMES[layout][source][0] == JOINT_NAMES[ours][0]  # L from L, R from R


def test_documented_numbers_of_coco_and_halpe() -> None:
    coco = to_h36m("coco_17")
    for ours, theirs in zip(
        [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16, 9],
        [12, 14, 16, 11, 13, 15, 5, 7, 9, 6, 8, 10, 0],
        strict=True,
    ):
        assert coco[ours, theirs] == 1
    assert coco[0, [11, 12]].tolist() == [0.5, 0.5]
    assert coco[8, [5, 6]].tolist() == [0.5, 0.5]
    assert coco[7, [5, 6, 11, 12]].tolist() == [0.25] * 4
    assert coco[10, [1, 2]].tolist() == [0.5, 0.5]
    halpe = to_h36m("halpe_26")
    assert [int(halpe[j].argmax()) for j in (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 14)] == [
        19, 12, 14, 16, 11, 13, 15, 18, 0, 17, 5, 6
    ]  # fmt: skip
    assert [layout_of(n) for n in (17, 26, 25, 18, 16, 99)] == [
        "coco_17", "halpe_26", "body_25", "openpose_18", "mpii_16", None
    ]  # fmt: skip


def test_points_are_missing_where_a_source_is() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (5, 17, 2))
    confidence = np.full((5, 17), 0.9)
    confidence[2, 11] = 0.0  # left hip
    points[2, 11] = np.nan
    ours, sure = to_h36m_points(points, confidence, "coco_17")
    np.testing.assert_allclose(ours[0, 0], points[0, [11, 12]].mean(axis=0))
    missing = {JOINT_NAMES[j] for j in np.flatnonzero(sure[2] == 0)}
    assert missing == {"Hip", "LHip", "Spine"}
    assert np.isfinite(ours).all()


def gaussian(x: float, y: float, sigma: float) -> np.ndarray:
    columns, rows = np.arange(GRID[1]) + 0.5, np.arange(GRID[0]) + 0.5
    return np.exp(-0.5 * ((rows[:, None] - y) ** 2 + (columns - x) ** 2) / sigma**2)


def moments(heatmap: np.ndarray) -> tuple[float, float, float]:
    """Mean x, mean y, variance across."""
    p = heatmap / heatmap.sum()
    columns, rows = np.arange(GRID[1]) + 0.5, np.arange(GRID[0]) + 0.5
    x, y = (p.sum(axis=0) * columns).sum(), (p.sum(axis=1) * rows).sum()
    return float(x), float(y), float((p.sum(axis=0) * (columns - x) ** 2).sum())


def test_the_middle_of_two_joints_has_the_distribution_of_the_mean() -> None:
    scores = np.full((1, 17, *GRID), 0.0)
    scores[:] = gaussian(20, 20, 1.5)
    scores[0, 11], scores[0, 12] = gaussian(15, 40, 3.0), gaussian(33, 44, 4.0)
    found = combined(scores * 7.0, to_h36m("coco_17"))
    x, y, variance = moments(found[0, 0])
    assert x == pytest.approx(24, abs=0.1)
    assert y == pytest.approx(42, abs=0.1)
    # var((a + b) / 2) = (var a + var b) / 4, plus the smoothing kernel
    assert variance == pytest.approx((9 + 16) / 4 + 0.6**2, rel=0.06)
    np.testing.assert_allclose(found.sum(axis=(2, 3)), 1, rtol=1e-5)
    assert moments(found[0, 9])[0] == pytest.approx(20, abs=1e-3)  # a single source is untouched


def test_two_modes_of_one_hip_give_two_middles_not_three_places() -> None:
    scores = np.full((1, 17, *GRID), 0.0)
    scores[:] = gaussian(24, 30, 1.0)
    scores[0, 11] = gaussian(10, 40, 1.0) + gaussian(30, 40, 1.0)
    scores[0, 12] = gaussian(38, 40, 1.0)
    found = combined(scores, to_h36m("coco_17"))[0, 0]
    # middles at 24 and 34; averaging the maps would put mass at 10, 30 and 38
    assert found[35:45, 22:26].sum() + found[35:45, 32:36].sum() > 0.95
    assert found[:, :18].sum() < 0.01


def test_odd_scores_become_probabilities() -> None:
    scores = np.full((2, 17, *GRID), -0.01)
    scores[0, :, 10, 10] = np.nan
    scores[1, :, 30, 20] = 1.0
    found = combined(scores, to_h36m("coco_17"))
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    np.testing.assert_allclose(found[0, 9], 1 / (64 * 48), rtol=1e-4)  # nothing known: anywhere
    assert found[1, 9].argmax() == 30 * 48 + 20
    np.testing.assert_array_equal(combined(scores, to_h36m("coco_17")), found)


@pytest.mark.parametrize("grid", [(128, 96), (32, 24), (96, 72), (56, 56)])
def test_other_grids_keep_mass_and_place(grid: tuple[int, int]) -> None:
    rows = (np.arange(grid[0]) + 0.5) / grid[0]
    columns = (np.arange(grid[1]) + 0.5) / grid[1]
    maps = np.exp(-0.5 * (((rows[:, None] - 0.4) / 0.08) ** 2 + ((columns - 0.7) / 0.08) ** 2))
    found = regridded(maps[None, None] / maps.sum())[0, 0]
    assert found.shape == GRID
    assert found.sum() == pytest.approx(1, abs=1e-5)
    x, y, _ = moments(found)
    assert x / GRID[1] == pytest.approx(0.7, abs=0.003)
    assert y / GRID[0] == pytest.approx(0.4, abs=0.003)
