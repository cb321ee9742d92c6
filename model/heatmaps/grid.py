"""Heatmaps: the grid over a person crop, drawing a distribution into it, and drawing from it.

Conventions. A heatmap has 64 rows and 48 columns over an upright crop of the image. The crop is
``(x0, y0, w, h)`` in pixels: its top-left corner and the size of one cell, so that cell (i, j)
covers x0 + j w .. x0 + (j + 1) w and y0 + i h .. y0 + (i + 1) h; its centre is at + 0.5. Pixel
coordinates are continuous, (0, 0) is the image's top-left corner.

A heatmap stands for a probability per cell (any positive scale) and is stored as uint8 with its
peak at 255. Axis legend: R rows (frames), J joints, S draws.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import erf

from diffpose.model.heatmaps.sampling import sample_cells

HEIGHT, WIDTH = 64, 48
N_MODE_VALUES = 7  # what summarise() says of a joint: see there
CROP_PADDING = 1.25  # the person box is widened by this factor, as top-down detectors do
_LEAST_SPREAD = 2.0 / 12.0  # no mode is narrower than one evenly filled cell (1/12 per axis)


def crop_around(points_px: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the crops (R, 4) around sets of points (R, J, 2): padded, 3:4, square cells."""
    low, high = points_px.min(axis=1), points_px.max(axis=1)
    centre = (low + high) / 2
    size = np.maximum((high - low) * CROP_PADDING, 16.0)
    cell = np.maximum(size[:, 0] / WIDTH, size[:, 1] / HEIGHT)
    corner = centre - 0.5 * cell[:, None] * np.array([WIDTH, HEIGHT])
    return np.concatenate([corner, cell[:, None], cell[:, None]], axis=1).astype(np.float32)


def crop_middles(crops: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the middles (R, 2), px, of crops (R, 4)."""
    corner_and_cell = np.asarray(crops, dtype=np.float64)
    half = corner_and_cell[:, 2:] * np.array([WIDTH, HEIGHT]) / 2
    middles: NDArray[np.float64] = corner_and_cell[:, :2] + half
    return middles


def rasterise(
    centres_px: NDArray[np.floating],
    sigmas_px: NDArray[np.floating],
    weights: NDArray[np.floating],
    crops: NDArray[np.floating],
) -> NDArray[np.uint8]:
    """Draw mixtures of round Gaussians into heatmaps: each cell gets its exact probability mass.

    Args:
        centres_px: (R, J, C, 2), C modes per joint; centres outside the crop are moved to its rim.
        sigmas_px: (R, J, C), standard deviations.
        weights: (R, J, C), summing to 1 over C.
        crops: (R, 4).

    Returns:
        (R, J, 64, 48) uint8 with the peak at 255.
    """
    corner, cell = crops[:, None, None, :2], crops[:, None, None, 2:]
    grid = np.array([WIDTH, HEIGHT], dtype=np.float64)
    centres = np.clip((centres_px - corner) / cell, 0.0, grid)  # in cells
    spread = sigmas_px[..., None] / cell
    mass = []
    for axis, n_cells in ((0, WIDTH), (1, HEIGHT)):
        edges = np.arange(n_cells + 1) - centres[..., axis, None]
        cumulative = erf(edges / (math.sqrt(2.0) * spread[..., axis, None]))
        mass.append(np.diff(cumulative, axis=-1).astype(np.float32))
    columns, rows = mass
    heatmaps = np.einsum("rjc,rjcy,rjcx->rjyx", weights.astype(np.float32), rows, columns)
    peak = heatmaps.max(axis=(2, 3), keepdims=True)
    quantised: NDArray[np.uint8] = np.rint(heatmaps * (255.0 / np.maximum(peak, 1e-30))).astype(
        np.uint8
    )
    return quantised


def sample(
    heatmaps: NDArray[np.uint8],
    crops: NDArray[np.floating],
    n_draws: int,
    seeds: NDArray[np.uint64],
    *,
    stratified: bool = False,
) -> NDArray[np.float32]:
    """Draw 2D positions: a cell by its probability (inverse CDF), then evenly within the cell.

    Args:
        heatmaps: (R, J, 64, 48).
        crops: (R, 4).
        n_draws: S.
        seeds: (R,), one per row, so that a row's draws do not depend on its neighbours.
        stratified: one draw from each of S equally probable parts of a joint's heatmap instead of
            iid draws: lower variance; a joint's draws are then not independent of each other, the
            joints of a draw still are.

    Returns:
        (R, S, J, 2) in pixels; a view of (R, J, 2, S).

    Raises:
        ValueError: a heatmap is empty (names row and joint).
    """
    _refuse_empty(heatmaps)
    rows, joints = heatmaps.shape[:2]
    cells = heatmaps.reshape(rows, joints, HEIGHT * WIDTH)
    draws = np.empty((rows, joints, 2, n_draws), dtype=np.float32)
    sample_cells(cells, WIDTH, crops.astype(np.float64), seeds.astype(np.uint64), stratified, draws)
    return draws.transpose(0, 3, 1, 2)


def summarise(
    heatmaps: NDArray[np.uint8], crops: NDArray[np.floating]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Say in a few numbers what a heatmap claims.

    A two-mode mixture of round Gaussians is fitted to the cells by EM; the first mode is the one
    that holds the peak, the second the rest (at the first's place with weight 0 if there is none).

    Args:
        heatmaps: (R, J, 64, 48).
        crops: (R, 4).

    Returns:
        keypoints_px (R, J, 2): centre of the mass around the peak (5 x 5 cells);
        confidence (R, J): share of the mass in these cells, 0 .. 1;
        modes (R, J, 7): x, y, sigma of the first mode, x, y, sigma of the second (all px), and
        the second mode's weight, 0 .. 1.

    Raises:
        ValueError: a heatmap is empty (names row and joint).
    """
    _refuse_empty(heatmaps)
    rows, joints = heatmaps.shape[:2]
    keypoints = np.empty((rows, joints, 2), dtype=np.float32)
    confidence = np.empty((rows, joints), dtype=np.float32)
    modes = np.empty((rows, joints, N_MODE_VALUES), dtype=np.float32)
    _summarise_cells(heatmaps, crops.astype(np.float64), keypoints, confidence, modes)
    return keypoints, confidence, modes


def _refuse_empty(heatmaps: NDArray[np.uint8]) -> None:
    if heatmaps.ndim != 4 or heatmaps.shape[2:] != (HEIGHT, WIDTH):
        raise ValueError(f"heatmaps must have shape (R, J, 64, 48), got {heatmaps.shape}.")
    empty = np.argwhere(~heatmaps.reshape(*heatmaps.shape[:2], -1).any(axis=2))
    if len(empty):
        row, joint = empty[0]
        raise ValueError(f"The heatmap of row {row}, joint {joint} is empty (all cells are 0).")


# numba inlines one loop nest: hence the one long function
@njit(cache=True)
def _summarise_cells(  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915
    heatmaps, crops, keypoints, confidence, modes
):
    n_rows, n_joints = heatmaps.shape[:2]
    xs = np.empty(HEIGHT * WIDTH)
    ys = np.empty(HEIGHT * WIDTH)
    ps = np.empty(HEIGHT * WIDTH)
    for r in range(n_rows):
        for j in range(n_joints):
            n = 0
            total = 0.0
            peak = 0.0
            peak_x = 0
            peak_y = 0
            for y in range(HEIGHT):
                for x in range(WIDTH):
                    value = np.float64(heatmaps[r, j, y, x])
                    if value > 0.0:
                        xs[n], ys[n], ps[n] = x + 0.5, y + 0.5, value
                        n += 1
                        total += value
                        if value > peak:
                            peak, peak_x, peak_y = value, x, y
            near, near_x, near_y = 0.0, 0.0, 0.0
            for y in range(max(peak_y - 2, 0), min(peak_y + 3, HEIGHT)):
                for x in range(max(peak_x - 2, 0), min(peak_x + 3, WIDTH)):
                    value = np.float64(heatmaps[r, j, y, x])
                    near += value
                    near_x += value * (x + 0.5)
                    near_y += value * (y + 0.5)
            near_x /= near
            near_y /= near
            # second mode starts where most probability lies far from the peak
            far, far_x, far_y = 0.0, near_x, near_y
            for i in range(n):
                distance = (xs[i] - near_x) ** 2 + (ys[i] - near_y) ** 2
                if ps[i] * distance > far:
                    far, far_x, far_y = ps[i] * distance, xs[i], ys[i]
            ax, ay, av, bx, by, bv, w = near_x, near_y, 1.0, far_x, far_y, 1.0, 0.3
            for _ in range(12):
                sa, sax, say, saa = 1e-9, 0.0, 0.0, 0.0
                sb, sbx, sby, sbb = 1e-9, 0.0, 0.0, 0.0
                for i in range(n):
                    da = (xs[i] - ax) ** 2 + (ys[i] - ay) ** 2
                    db = (xs[i] - bx) ** 2 + (ys[i] - by) ** 2
                    # difference of logs: far cells would underflow both densities
                    gap = math.log(w / (1.0 - w)) + math.log(av / bv) + 0.5 * (da / av - db / bv)
                    rb = 1.0 / (1.0 + math.exp(min(max(-gap, -40.0), 40.0)))
                    pb = ps[i] * rb
                    pa = ps[i] - pb
                    sa += pa
                    sax += pa * xs[i]
                    say += pa * ys[i]
                    saa += pa * da
                    sb += pb
                    sbx += pb * xs[i]
                    sby += pb * ys[i]
                    sbb += pb * db
                na_x, na_y, nb_x, nb_y = sax / sa, say / sa, sbx / sb, sby / sb
                if sa > 1e-6:
                    av = max(saa / sa - (na_x - ax) ** 2 - (na_y - ay) ** 2, _LEAST_SPREAD) / 2
                    ax, ay = na_x, na_y
                if sb > 1e-6:
                    bv = max(sbb / sb - (nb_x - bx) ** 2 - (nb_y - by) ** 2, _LEAST_SPREAD) / 2
                    bx, by = nb_x, nb_y
                w = min(max(sb / (sa + sb), 1e-4), 1.0 - 1e-4)
            owns_a = (
                (1.0 - w)
                / av
                * math.exp(-0.5 * ((peak_x + 0.5 - ax) ** 2 + (peak_y + 0.5 - ay) ** 2) / av)
            )
            owns_b = (
                w / bv * math.exp(-0.5 * ((peak_x + 0.5 - bx) ** 2 + (peak_y + 0.5 - by) ** 2) / bv)
            )
            if owns_b > owns_a:
                ax, ay, av, bx, by, bv, w = bx, by, bv, ax, ay, av, 1.0 - w
            apart = math.sqrt((ax - bx) ** 2 + (ay - by) ** 2)
            if apart < 2.0 * math.sqrt((av + bv) / 2) + 0.5 or w < 0.005:
                # EM cut one hump in two (two equal Gaussians are bimodal from 2 sigma on): rejoin
                mean_x, mean_y = (1.0 - w) * ax + w * bx, (1.0 - w) * ay + w * by
                av = (1.0 - w) * av + w * bv + w * (1.0 - w) * apart * apart / 2
                ax, ay, bx, by, bv, w = mean_x, mean_y, mean_x, mean_y, av, 0.0
            x0, y0, cw, ch = crops[r, 0], crops[r, 1], crops[r, 2], crops[r, 3]
            keypoints[r, j, 0] = x0 + cw * near_x
            keypoints[r, j, 1] = y0 + ch * near_y
            confidence[r, j] = near / total
            size = math.sqrt(cw * ch)
            modes[r, j, 0] = x0 + cw * ax
            modes[r, j, 1] = y0 + ch * ay
            modes[r, j, 2] = size * math.sqrt(av)
            modes[r, j, 3] = x0 + cw * bx
            modes[r, j, 4] = y0 + ch * by
            modes[r, j, 5] = size * math.sqrt(bv)
            modes[r, j, 6] = w
