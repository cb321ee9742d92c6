"""Square regions that turn with the person, cut out of pictures and put back into them.

A region is ``(x, y, side, angle)``: centre and side in px of a picture, and by how much it is
turned, in radians, clockwise as seen in the picture; at 0 it stands upright. A point of a region
is (u, v) in 0 .. 1 from its own top-left corner, u along its own right and v along its own down:

    picture = centre + side R(angle) ((u, v) - 1/2),   R(angle) (1, 0) = (cos angle, sin angle)

Picture coordinates are continuous, (0, 0) is the top-left corner of the first pixel. BlazePose
(Bazarevsky et al., 2020) looks at the person in such regions, turned so that hips -> head is up.

Axis legend: K points or maps.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from diffpose.model.heatmaps.grid import HEIGHT, WIDTH

# The region is this many times as wide as the distance hip middle -> rim of the circle around the
# whole body: a square around the circle, widened by a quarter.
SIDE_PER_RADIUS = 2.5


def upright_region(rows: float, columns: float, angle: float = 0.0) -> NDArray[np.float64]:
    """Return the smallest square around the middle of a picture that holds all of it, turned."""
    return np.array([columns / 2, rows / 2, max(rows, columns), angle])


def region_of(middle: NDArray[np.floating], top: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the region of the person whose hip middle and circle point are known, (2,) each.

    The circle point lies on the circle around the whole body, straight above the hips as the body
    has it.
    """
    dx, dy = (np.asarray(top, dtype=np.float64) - middle).tolist()
    side = max(SIDE_PER_RADIUS * math.hypot(dx, dy), 1.0)
    return np.array([middle[0], middle[1], side, math.atan2(dx, -dy)])


def to_picture(region: NDArray[np.floating], points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return where points (K, 2) of a region, 0 .. 1, lie in the picture, px."""
    x, y, side, angle = np.asarray(region, dtype=np.float64).tolist()
    c, s = math.cos(angle), math.sin(angle)
    turned = (np.asarray(points, dtype=np.float64) - 0.5) @ np.array([[c, s], [-s, c]])
    return np.asarray(turned * side + [x, y])


def to_region(region: NDArray[np.floating], points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return where points (K, 2) of the picture, px, lie in a region; undoes to_picture."""
    x, y, side, angle = np.asarray(region, dtype=np.float64).tolist()
    c, s = math.cos(angle), math.sin(angle)
    offset = np.asarray(points, dtype=np.float64) - [x, y]
    return np.asarray(offset @ np.array([[c, -s], [s, c]]) / side + 0.5)


def cut_region(
    picture: NDArray[np.uint8], region: NDArray[np.floating], n: int
) -> NDArray[np.float32]:
    """Resample a region to (n, n, 3), 0 .. 255; what lies outside the picture is black.

    Each pixel of the result is the mean of bilinear samples, evenly spread over it and at most two
    pixels of the picture apart: next to free of aliasing where the region is made smaller.
    """
    result = np.zeros((n, n, 3), dtype=np.float32)
    x, y, side, angle = np.asarray(region, dtype=np.float64).tolist()
    # half as many as it covers pixels, each of which has its neighbours' share already
    samples = max(1, math.ceil(side / n / 2))
    _cut(np.ascontiguousarray(picture), x, y, side, angle, samples, result)
    return result


def onto_window(
    maps: NDArray[np.float32],
    region: NDArray[np.floating],
    rows: int,
    columns: int,
    offset: float = 0.0,
) -> NDArray[np.float32]:
    """Bring densities from a turned region's grid onto the upright 64 x 48 grid of a window.

    Args:
        maps: (n, n, K), at least 0, over the region.
        region: (4,), in px of the window's picture.
        rows: of the window's picture; the grid's outer edges are the picture's.
        columns: of the window's picture.
        offset: where in its cell, 0 .. 1 from the cell's near edge, a value of ``maps`` stands:
            value i lies at (i + offset) / n of the side.

    Returns:
        (K, 64, 48): the mean of the density in each cell, in the unit of ``maps``.
    """
    result = np.zeros((HEIGHT, WIDTH, maps.shape[2]), dtype=np.float32)
    x, y, side, angle = np.asarray(region, dtype=np.float64).tolist()
    cell = max(rows / HEIGHT, columns / WIDTH) / (side / maps.shape[0])
    samples = max(2, math.ceil(2 * cell))
    _resample(
        np.ascontiguousarray(maps), x, y, side, angle, offset, rows / HEIGHT, columns / WIDTH,
        samples, result,
    )  # fmt: skip
    return np.ascontiguousarray(result.transpose(2, 0, 1))


@njit(cache=True, fastmath=True)
def _cut(picture, x, y, side, angle, samples, result):  # type: ignore[no-untyped-def]
    n = result.shape[0]
    height, width = picture.shape[:2]
    step = side / (n * samples)
    across, down = step * math.cos(angle), step * math.sin(angle)
    weight = np.float32(1.0 / (samples * samples))
    first = 0.5 - 0.5 * n * samples
    for i in range(n * samples):
        v = first + i
        for j in range(n * samples):
            u = first + j
            # pixel i stands for the place i + 0.5
            px = x + across * u - down * v - 0.5
            py = y + down * u + across * v - 0.5
            left, above = math.floor(px), math.floor(py)
            if left < -1 or above < -1 or left >= width or above >= height:
                continue
            fx, fy = np.float32(px - left), np.float32(py - above)
            for dy in range(2):
                row = above + dy
                if row < 0 or row >= height:
                    continue
                wy = weight * (fy if dy else np.float32(1.0) - fy)
                for dx in range(2):
                    column = left + dx
                    if column < 0 or column >= width:
                        continue
                    w = wy * (fx if dx else np.float32(1.0) - fx)
                    for channel in range(3):
                        result[i // samples, j // samples, channel] += (
                            w * picture[row, column, channel]
                        )


@njit(cache=True)
def _resample(  # type: ignore[no-untyped-def]
    maps, x, y, side, angle, offset, cell_h, cell_w, samples, result
):
    n, n_maps = maps.shape[0], maps.shape[2]
    c, s = math.cos(angle) / side, math.sin(angle) / side
    weight = 1.0 / (samples * samples)
    for i in range(result.shape[0]):
        for j in range(result.shape[1]):
            for a in range(samples):
                py = (i + (a + 0.5) / samples) * cell_h - y
                for b in range(samples):
                    px = (j + (b + 0.5) / samples) * cell_w - x
                    across = (c * px + s * py + 0.5) * n - offset
                    down = (c * py - s * px + 0.5) * n - offset
                    left, above = math.floor(across), math.floor(down)
                    fx, fy = across - left, down - above
                    for dy in range(2):
                        row = above + dy
                        if row < 0 or row >= n:
                            continue
                        wy = fy if dy else 1.0 - fy
                        for dx in range(2):
                            column = left + dx
                            if column < 0 or column >= n:
                                continue
                            w = weight * wy * (fx if dx else 1.0 - fx)
                            for k in range(n_maps):
                                result[i, j, k] += w * maps[row, column, k]
