"""Compiled random draws: cells of heatmaps, depths, and the way from pixels to poses.

Numbers come from counters, not from a generator's state (splitmix64: Steele, Lea and Flood, OOPSLA
2014): draw s of joint j of a row is a function of the row's seed, j and s alone, so it depends on
neither the batch nor the worker. All arrays are coordinate-major, the S draws of a coordinate lie
side by side: what EM and vector registers want.

Axis legend: R rows (frames), J joints, S draws, C cells of a heatmap.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_GOLDEN = 0x9E3779B97F4A7C15
_BUCKETS = 256  # of the guide table: a power of 2
# streams of a row: joints' places are 1 .. J, then their depths, then their shuffles
_STREAMS = 64


@njit(cache=True, inline="always")
def scramble(value):  # type: ignore[no-untyped-def]
    """splitmix64's finaliser: a counter becomes random bits."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True, inline="always")
def _stream(seed, number):  # type: ignore[no-untyped-def]
    return scramble(seed + np.uint64(_GOLDEN) * np.uint64(number))


@njit(cache=True, inline="always")
def _fraction(bits):  # type: ignore[no-untyped-def]
    """The lowest 16 bits as a place within a cell, 0 .. 1."""
    return (np.float32(bits & np.uint64(0xFFFF)) + np.float32(0.5)) * np.float32(1.0 / 65536.0)


# numba inlines one loop nest: hence the one long function
@njit(cache=True)
def sample_cells(  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915
    cells, width, crops, seeds, stratified, draws
):
    """Draw places: a cell by its probability, then evenly within it.

    iid draws invert the cumulative sum through a guide table (Chen and Asau, 1974): the upper bits
    of the random number name a bucket, the table says where its search begins. Stratified draws
    take one number from each of S equal parts of [0, 1), in shuffled order, since the joints of a
    draw must be independent: lower variance, not iid.

    Args:
        cells: (R, J, C) uint8, none empty.
        width: columns of a heatmap.
        crops: (R, 4), px.
        seeds: (R,) uint64.
        stratified: or iid.
        draws: (R, J, 2, S) float32, filled with pixels.
    """
    golden = np.uint64(_GOLDEN)
    n_rows, n_joints, n_cells = cells.shape
    n_draws = draws.shape[3]
    cumulative = np.empty(n_cells, dtype=np.uint32)
    left, top = np.empty(n_cells, dtype=np.float32), np.empty(n_cells, dtype=np.float32)
    guide = np.empty(_BUCKETS, dtype=np.int32)
    for r in range(n_rows):
        x0, y0 = np.float32(crops[r, 0]), np.float32(crops[r, 1])
        across, down = np.float32(crops[r, 2]), np.float32(crops[r, 3])
        for j in range(n_joints):
            total, n = np.uint32(0), 0
            for c in range(n_cells):
                value = cells[r, j, c]
                if value > 0:
                    total += np.uint32(value)
                    cumulative[n] = total
                    left[n] = c % width
                    top[n] = c // width
                    n += 1
            state = _stream(seeds[r], j + 1)
            xs, ys = draws[r, j, 0], draws[r, j, 1]
            whole = np.uint64(total)
            if stratified:
                at = 0
                for s in range(n_draws):
                    state += golden
                    bits = scramble(state)
                    part = np.float64(bits >> np.uint64(32)) * (1.0 / 4294967296.0)
                    target = np.uint32(min((s + part) / n_draws * total, total - 1.0))
                    while cumulative[at] <= target:
                        at += 1
                    xs[s] = left[at] + _fraction(bits >> np.uint64(16))
                    ys[s] = top[at] + _fraction(bits)
                state = _stream(seeds[r], 2 * _STREAMS + j)
                for s in range(n_draws - 1, 0, -1):  # Fisher and Yates
                    state += golden
                    other = np.int64(
                        ((scramble(state) >> np.uint64(32)) * np.uint64(s + 1)) >> np.uint64(32)
                    )
                    xs[s], xs[other] = xs[other], xs[s]
                    ys[s], ys[other] = ys[other], ys[s]
            else:
                at = 0
                for b in range(_BUCKETS):
                    first = np.uint32((np.uint64(b) * whole) // np.uint64(_BUCKETS))
                    while cumulative[at] <= first:
                        at += 1
                    guide[b] = at
                for s in range(n_draws):
                    state += golden
                    bits = scramble(state)
                    # 32 bits choose the cell, 16 each the place within it
                    upper = bits >> np.uint64(32)
                    target = np.uint32((upper * whole) >> np.uint64(32))
                    at = guide[upper >> np.uint64(24)]
                    while cumulative[at] <= target:
                        at += 1
                    xs[s] = left[at] + _fraction(bits >> np.uint64(16))
                    ys[s] = top[at] + _fraction(bits)
            for s in range(n_draws):
                xs[s] = x0 + across * xs[s]
                ys[s] = y0 + down * ys[s]


@njit(cache=True)
def sample_normal(mean, sigma, seeds, draws):  # type: ignore[no-untyped-def]
    """Fill draws (R, J, S) with normal numbers of mean (R, J) and standard deviation sigma (J,).

    By the inverse of the normal distribution, to 1e-7 (Wichura, AS 241, Applied Statistics 37,
    1988, PPND7): its middle, 85 % of all, is vector code.
    """
    golden = np.uint64(_GOLDEN)
    n_rows, n_joints, n_draws = draws.shape
    offset = np.empty(n_draws, dtype=np.float32)
    for r in range(n_rows):
        for j in range(n_joints):
            start = _stream(seeds[r], _STREAMS + j)
            out = draws[r, j]
            m, d = np.float32(mean[r, j]), np.float32(sigma[j])
            for s in range(n_draws):
                bits = scramble(start + golden * np.uint64(s + 1))
                # 23 bits and a half: exact in float32, never 0 or 1
                q = (np.float32(np.int32(bits >> np.uint64(41))) + np.float32(0.5)) * np.float32(
                    2.0**-23
                ) - np.float32(0.5)
                offset[s] = q
                t = np.float32(0.180625) - q * q
                top = (
                    (np.float32(5.9109374720e1) * t + np.float32(1.5929113202e2)) * t
                    + np.float32(5.0434271938e1)
                ) * t + np.float32(3.3871327179)
                bottom = (
                    (np.float32(6.7187563600e1) * t + np.float32(7.8757757664e1)) * t
                    + np.float32(1.7895169469e1)
                ) * t + np.float32(1.0)
                out[s] = m + d * q * top / bottom
            for s in range(n_draws):
                q = offset[s]
                if abs(q) <= np.float32(0.425):
                    continue
                tail = math.sqrt(-math.log(np.float32(0.5) - abs(q)))
                if tail <= 5.0:
                    far = tail - 1.6
                    size = (
                        ((1.7023821103e-1 * far + 1.3067284816) * far + 2.7568153900) * far
                        + 1.4234372777
                    ) / ((1.2021132975e-1 * far + 7.3700164250e-1) * far + 1.0)
                else:
                    far = tail - 5.0
                    size = (
                        ((1.7337203997e-2 * far + 4.2868294337e-1) * far + 3.0812263860) * far
                        + 6.6579051150
                    ) / ((1.2258202635e-2 * far + 2.4197894225e-1) * far + 1.0)
                out[s] = m + d * np.float32(math.copysign(size, q))


@njit(cache=True)
def sample_bins(edges, cumulative, seeds, draws):  # type: ignore[no-untyped-def]
    """Fill draws (R, J, S) from histograms: a bin by its count, then evenly within it.

    Args:
        edges: (J, n + 1) of evenly wide bins.
        cumulative: (J, n), running sums of the counts.
        seeds: (R,) uint64.
        draws: filled.
    """
    golden = np.uint64(_GOLDEN)
    n_rows, n_joints, n_draws = draws.shape
    n_bins = cumulative.shape[1]
    for j in range(n_joints):
        total = cumulative[j, -1]
        low = edges[j, 0]
        bin_width = (edges[j, -1] - low) / n_bins
        for r in range(n_rows):
            state = _stream(seeds[r], _STREAMS + j)
            for s in range(n_draws):
                state += golden
                bits = scramble(state)
                target = np.float64(bits >> np.uint64(32)) * (1.0 / 4294967296.0) * total
                first, last = 0, n_bins - 1
                while first < last:
                    middle = (first + last) >> 1
                    if cumulative[j, middle] > target:
                        last = middle
                    else:
                        first = middle + 1
                place = (np.float64(bits & np.uint64(0xFFFFFFFF)) + 0.5) * (1.0 / 4294967296.0)
                draws[r, j, s] = low + (first + place) * bin_width


@njit(cache=True)
def place_in_space(pixels, z, camera, translation, root, poses):  # type: ignore[no-untyped-def]
    """Turn pixels and depths into root-relative points of the camera frame; the root is 0.

    As camera.rays_from_pixels and camera.back_project do.

    Args:
        pixels: (R, J, 2, S).
        z: (R, J, S), mm, relative to the root.
        camera: (R, 4), px.
        translation: (R, 3), root position, mm.
        root: the root's number.
        poses: (R, J, 3, S), filled, mm.
    """
    n_rows, n_joints, _, n_draws = pixels.shape
    for r in range(n_rows):
        fx, fy = np.float32(1.0) / camera[r, 0], np.float32(1.0) / camera[r, 1]
        cx, cy = camera[r, 2], camera[r, 3]
        tx, ty, tz = translation[r, 0], translation[r, 1], translation[r, 2]
        for j in range(n_joints):
            if j == root:
                poses[r, j] = 0.0
                continue
            us, vs, depth = pixels[r, j, 0], pixels[r, j, 1], z[r, j]
            xs, ys, zs = poses[r, j, 0], poses[r, j, 1], poses[r, j, 2]
            for s in range(n_draws):
                far = depth[s] + tz
                xs[s] = (us[s] - cx) * fx * far - tx
                ys[s] = (vs[s] - cy) * fy * far - ty
                zs[s] = depth[s]
