"""Cutting windows out of frames: the pixels that a detector sees of a person."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray


def cut_windows(
    frame: NDArray[np.uint8], windows: NDArray[np.floating], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Resample windows of a frame; what lies outside the frame is black.

    Each output pixel is a weighted mean with a triangle as wide as the scale (bilinear when the
    window is enlarged, free of aliasing when it is reduced).

    Args:
        frame: (H, W, 3).
        windows: (P, 4), corner and size of an output pixel, in px of the frame.
        size: rows, columns of the output.

    Returns:
        (P, rows, columns, 3).
    """
    result = np.zeros((len(windows), *size, 3), dtype=np.uint8)
    for window, target in zip(np.asarray(windows, dtype=np.float64), result, strict=True):
        _cut(frame, window, target)
    return result


@njit(cache=True)
def _taps(start, scale, n_out, n_in):  # type: ignore[no-untyped-def]
    """Return for each output pixel its first input pixel, weights, and their number."""
    reach = max(scale, 1.0)
    width = math.ceil(2.0 * reach) + 2
    first = np.empty(n_out, dtype=np.int64)
    weights = np.zeros((n_out, width), dtype=np.float32)
    for i in range(n_out):
        centre = start + (i + 0.5) * scale
        low = math.floor(centre - reach - 0.5) + 1
        total = 0.0
        for t in range(width):
            total += max(0.0, 1.0 - abs(low + t + 0.5 - centre) / reach)
        first[i] = min(max(low, 0), max(n_in - width, 0))
        for t in range(width):
            place = low + t
            if 0 <= place < n_in and place - first[i] < width:
                value = max(0.0, 1.0 - abs(place + 0.5 - centre) / reach)
                weights[i, place - first[i]] = value / total
    return first, weights


@njit(cache=True, fastmath=True)
def _cut(frame, window, target):  # type: ignore[no-untyped-def]
    n_rows, n_columns = target.shape[0], target.shape[1]
    height, width = frame.shape[0], frame.shape[1]
    y_first, y_weights = _taps(window[1], window[3], n_rows, height)
    x_first, x_weights = _taps(window[0], window[2], n_columns, width)
    y_taps, x_taps = min(y_weights.shape[1], height), min(x_weights.shape[1], width)
    line = np.empty((width, 3), dtype=np.float32)
    low = max(x_first[0], 0)
    high = min(x_first[n_columns - 1] + x_taps, width)
    for i in range(n_rows):
        line[low:high] = 0.0
        for t in range(y_taps):
            w = y_weights[i, t]
            if w != 0.0:
                y = y_first[i] + t
                for x in range(low, high):
                    line[x, 0] += w * frame[y, x, 0]
                    line[x, 1] += w * frame[y, x, 1]
                    line[x, 2] += w * frame[y, x, 2]
        for j in range(n_columns):
            r, g, b = np.float32(0.5), np.float32(0.5), np.float32(0.5)
            x0 = x_first[j]
            for t in range(x_taps):
                w = x_weights[j, t]
                r += w * line[x0 + t, 0]
                g += w * line[x0 + t, 1]
                b += w * line[x0 + t, 2]
            target[i, j, 0] = min(max(r, 0.0), 255.0)
            target[i, j, 1] = min(max(g, 0.0), 255.0)
            target[i, j, 2] = min(max(b, 0.0), 255.0)
