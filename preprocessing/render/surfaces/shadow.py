"""Shadows of people on the floor: the light's, and the dimness under and around the feet."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

CELLS = 160
CELL_M = 0.03


@njit(cache=True, fastmath=True, nogil=True)
def cast(ends, radii, direction, softness, corner, grid):  # type: ignore[no-untyped-def]
    """Cast the shadows of round cones along a direction onto a grid of the floor.

    Args:
        ends: (n, 2, 3), world frame, m.
        radii: (n, 2), m.
        direction: (3,), to the light; z above 0.
        softness: how fast the shadow fades with the height of what casts it; 0: not at all.
        corner: (2,), place of the grid's first cell, m.
        grid: (CELLS, CELLS) float32, darkness 0 .. 1; raised in place.
    """
    sx, sy = direction[0] / direction[2], direction[1] / direction[2]
    for n in range(len(ends)):
        ax, ay = ends[n, 0, 0] - sx * ends[n, 0, 2], ends[n, 0, 1] - sy * ends[n, 0, 2]
        bx, by = ends[n, 1, 0] - sx * ends[n, 1, 2], ends[n, 1, 1] - sy * ends[n, 1, 2]
        height = max(0.5 * (ends[n, 0, 2] + ends[n, 1, 2]), 0.0)
        strength = math.exp(-softness * height)
        if strength < 0.05:
            continue
        blur = 0.03 + 0.05 * height
        reach = max(radii[n, 0], radii[n, 1]) + blur
        i0 = max(int((min(ay, by) - reach - corner[1]) / CELL_M), 0)
        i1 = min(int((max(ay, by) + reach - corner[1]) / CELL_M) + 2, CELLS)
        j0 = max(int((min(ax, bx) - reach - corner[0]) / CELL_M), 0)
        j1 = min(int((max(ax, bx) + reach - corner[0]) / CELL_M) + 2, CELLS)
        lx, ly = bx - ax, by - ay
        square = lx * lx + ly * ly + 1e-9
        for i in range(i0, i1):
            y = corner[1] + i * CELL_M - ay
            for j in range(j0, j1):
                x = corner[0] + j * CELL_M - ax
                s = min(max((x * lx + y * ly) / square, 0.0), 1.0)
                off = math.sqrt((x - s * lx) ** 2 + (y - s * ly) ** 2)
                edge = radii[n, 0] + s * (radii[n, 1] - radii[n, 0]) - off
                dark = strength * min(max(0.5 + edge / (2.0 * blur), 0.0), 1.0)
                grid[i, j] = max(grid[i, j], dark)


@njit(cache=True, fastmath=True, nogil=True)
def darken(floor, corner, sun_grid, sky_grid, shares, region, colour):  # type: ignore[no-untyped-def]
    """Darken the floor's pixels.

    Args:
        floor: (rows, columns, 2) float32, m; far below all places off the floor.
        corner: (2,), of the grids.
        sun_grid: (CELLS, CELLS) float32, shadow of the light.
        sky_grid: the same, dimness near what touches the floor.
        shares: (2,), how much darker the floor is in full sun shadow and full dimness.
        region: y0, x0, y1, x1 in px.
        colour: (rows, columns, 3) float32, changed in place.
    """
    for i in range(region[0], region[2]):
        for j in range(region[1], region[3]):
            x = floor[i, j, 0]
            if x <= corner[0]:
                continue
            a = (x - corner[0]) / CELL_M
            b = (floor[i, j, 1] - corner[1]) / CELL_M
            if a >= CELLS - 1 or b < 0.0 or b >= CELLS - 1:
                continue
            q, p = int(a), int(b)
            a, b = a - q, b - p
            w00, w01, w10, w11 = (1 - b) * (1 - a), (1 - b) * a, b * (1 - a), b * a
            sun = (
                w00 * sun_grid[p, q]
                + w01 * sun_grid[p, q + 1]
                + w10 * sun_grid[p + 1, q]
                + w11 * sun_grid[p + 1, q + 1]
            )
            sky = (
                w00 * sky_grid[p, q]
                + w01 * sky_grid[p, q + 1]
                + w10 * sky_grid[p + 1, q]
                + w11 * sky_grid[p + 1, q + 1]
            )
            factor = np.float32((1.0 - shares[0] * sun) * (1.0 - shares[1] * sky))
            colour[i, j, 0] *= factor
            colour[i, j, 1] *= factor
            colour[i, j, 2] *= factor
