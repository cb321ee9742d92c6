"""Windows over sequences of any length: which frames each holds, and who answers for a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Frames that are encoded at a time: on a CPU they stay near, a GPU takes what fits its memory.
_FRAMES_AT_ONCE = {"cpu": 256, "cuda": 65536}


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


def over_windows(
    encode: Callable[[Tensor], tuple[Tensor, ...]],
    inputs: Tensor,
    lengths: Sequence[int] | None,
    size: int,
    hop: int | None,
) -> tuple[Tensor, ...]:
    """Encode sequences window by window; each frame's answer is that of its own window.

    Args:
        encode: from windows (B, T, ...) to any number of tensors (B, T, ...).
        inputs: (n, ...), frames of one sequence after the other.
        lengths: frames of each sequence, adding up to n; default: one sequence.
        size: T.
        hop: see cut_windows.

    Returns:
        What ``encode`` gives, (n, ...) each.
    """
    cut = cut_windows(lengths or [len(inputs)], size, hop)
    frames, window, place = (
        torch.from_numpy(part).to(inputs.device) for part in (cut.frames, cut.window, cut.place)
    )
    at_once = max(1, _FRAMES_AT_ONCE[inputs.device.type] // size)
    parts = [encode(inputs[rows]) for rows in torch.split(frames, at_once)]
    return tuple(torch.cat(found)[window, place] for found in zip(*parts, strict=True))
