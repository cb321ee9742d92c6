"""Windows over sequences of any length: which frames each holds, and who answers for a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Windows:
    """Windows of T frames over sequences that lie one after the other, n frames together.

    Attributes:
        frames: (windows, T), the frames that each window holds; the last frame of a sequence that
            is shorter than a window is repeated.
        window, place: (n,), where each frame's answer is found: window and place in it.
    """

    frames: NDArray[np.int64]
    window: NDArray[np.int64]
    place: NDArray[np.int64]


def cut_windows(lengths: Sequence[int], size: int, hop: int | None = None) -> Windows:
    """Cover sequences with windows that never cross from one to the next.

    Windows start every ``hop`` frames, the last one ends with its sequence. A frame's answer comes
    from the window in which it is most central (the earlier of two): an edge frame of a window
    sees one side only.

    Args:
        lengths: frames of each sequence.
        size: T, frames of a window.
        hop: frames from window to window; default half a window.

    Raises:
        ValueError: a sequence is empty, or the windows would leave gaps.
    """
    hop = max(size // 2, 1) if hop is None else hop
    if not lengths or min(lengths) < 1:
        raise ValueError(f"Every sequence needs at least one frame, got lengths {list(lengths)}.")
    if not 1 <= hop <= size:
        raise ValueError(f"The hop must lie between 1 and the window's {size} frames, got {hop}.")
    frames, window, place = [], [], []
    first, n_windows = 0, 0
    for length in lengths:
        last = max(length - size, 0)
        starts = np.unique(np.append(np.arange(0, last + 1, hop), last))
        inside = np.minimum(starts[:, None] + np.arange(size), length - 1)
        frames.append(first + inside)
        offset = np.arange(length)[:, None] - starts  # (length, windows)
        off_centre = np.abs(2 * offset - (min(size, length) - 1)).astype(np.float64)
        off_centre[(offset < 0) | (offset >= size)] = np.inf
        own = off_centre.argmin(axis=1)
        window.append(n_windows + own)
        place.append(np.arange(length) - starts[own])
        first += length
        n_windows += len(starts)
    return Windows(
        np.concatenate(frames).astype(np.int64),
        np.concatenate(window).astype(np.int64),
        np.concatenate(place).astype(np.int64),
    )
