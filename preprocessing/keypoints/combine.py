"""Heatmaps of another layout's joints become those of our 17, as probabilities.

A joint of ours that is the mean of several of theirs has the distribution of the mean of draws from
their maps. Averaging the maps would be wrong: the middle of two hips is not "at one hip or at the
other". So the sources are sampled and the samples combined.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.model.heatmaps.grid import HEIGHT, WIDTH

_N_DRAWS = 4096
# Width in cells of the kernel that turns draws into a density: well below any detector's own.
_SMOOTHING_CELLS = 0.6


def combined(scores: NDArray[np.floating], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Turn heatmaps of K joints into heatmaps of ours.

    Args:
        scores: (B, K, h, w), any scale; below 0 counts as 0, an empty map as "anywhere".
        matrix: (17, K), of joint_layouts.to_h36m; weights may be negative (a crown above the ears).

    Returns:
        (B, 17, 64, 48), summing to 1 over the cells, over the same window (edges on edges).
    """
    maps = np.nan_to_num(np.asarray(scores, dtype=np.float64), nan=0.0, posinf=0.0)
    maps = np.maximum(maps, 0.0)
    total = maps.sum(axis=(2, 3), keepdims=True)
    maps = np.where(total > 0, maps / np.where(total > 0, total, 1.0), 1.0 / maps[0, 0].size)
    result = np.empty((len(maps), N_JOINTS, HEIGHT, WIDTH), dtype=np.float32)
    single = (matrix != 0).sum(axis=1) == 1
    sources = matrix.argmax(axis=1)
    if single.any():
        result[:, single] = regridded(maps[:, sources[single]])
    mixed = np.flatnonzero(~single)
    if len(mixed):
        needed = np.flatnonzero((matrix[mixed] != 0).any(axis=0))
        places = np.empty((len(needed), _N_DRAWS, 2))
        for b in range(len(maps)):
            for i, joint in enumerate(needed):
                _stratified(maps[b, joint], i, places[i])
            for row in mixed:
                draws = np.einsum("k,ksc->sc", matrix[row, needed], places)
                result[b, row] = _density(draws)
    return result


def regridded(maps: NDArray[np.floating]) -> NDArray[np.float32]:
    """Bring probabilities (..., h, w) onto the 64 x 48 grid over the same window; sums are kept."""
    rows, columns = maps.shape[-2:]
    if (rows, columns) == (HEIGHT, WIDTH):
        return maps.astype(np.float32)
    down, across = _overlaps(rows, HEIGHT), _overlaps(columns, WIDTH)
    moved = np.einsum("yi,...ij,xj->...yx", down, maps, across, optimize=True)
    return np.asarray(moved, dtype=np.float32)


def _overlaps(n_from: int, n_to: int) -> NDArray[np.float64]:
    """Return what share of each old cell falls into each new one, (n_to, n_from)."""
    old = np.linspace(0, 1, n_from + 1)
    new = np.linspace(0, 1, n_to + 1)
    low = np.maximum(new[:-1, None], old[None, :-1])
    high = np.minimum(new[1:, None], old[None, 1:])
    share: NDArray[np.float64] = np.clip(high - low, 0, None) * n_from
    return share


def _density(draws: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the histogram of draws (S, 2), x, y in 0 .. 1, smoothed; beyond counts at the rim."""
    draws = np.clip(draws, 0.0, 1.0)
    counts, _, _ = np.histogram2d(
        draws[:, 1], draws[:, 0], bins=(HEIGHT, WIDTH), range=((0, 1), (0, 1))
    )
    smooth = gaussian_filter(counts, _SMOOTHING_CELLS, mode="constant")
    return np.asarray(smooth / smooth.sum(), dtype=np.float32)


@njit(cache=True)
def _stratified(heatmap, sequence, places):  # type: ignore[no-untyped-def]
    """Draw places (S, 2), x, y in 0 .. 1, one in each S-th of the probability, shuffled.

    The draws of two joints must be independent: each joint visits its strata in an order of its
    own (a multiplicative permutation), and moves within the cell by its own low-discrepancy steps.
    """
    n_rows, n_columns = heatmap.shape
    n = places.shape[0]
    cell, reached = 0, heatmap[0, 0]
    golden = 0.6180339887498949
    # odd and far from 1: a permutation of 0 .. n - 1 where n is a power of two
    stride = 2 * (719 + 613 * sequence) + 1
    for s in range(n):
        target = (s + 0.5) / n
        while reached < target and cell < n_rows * n_columns - 1:
            cell += 1
            reached += heatmap[cell // n_columns, cell % n_columns]
        place = (s * stride + 97 * sequence) % n
        across = (s * golden + 0.37 * sequence) % 1.0
        down = (s * golden * golden + 0.61 * sequence) % 1.0
        places[place, 0] = (cell % n_columns + across) / n_columns
        places[place, 1] = (cell // n_columns + down) / n_rows
