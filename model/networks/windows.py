"""Windows over sequences of any length: which frames each holds, and who answers for a frame.

The frames of a window are as far apart in time as those that its encoder was trained on: of a
sequence with more frames per second every d-th is taken (its dilation), and the d interleaved
phases i, i + d, i + 2d, ... are covered one by one, so that every frame has an answer of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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
            is shorter than a window (of a phase, where frames are left out) is repeated.
        window, place: (n,), where each frame's answer is found: window and place in it.
        sequence: (windows,), the sequence that each window is of.
    """

    frames: NDArray[np.int64]
    window: NDArray[np.int64]
    place: NDArray[np.int64]
    sequence: NDArray[np.int64]


def dilation_of(frame_step_s: float, window_step_s: float | None) -> int:
    """Return d: of how many frames one is taken, so that windows are as long as they should be.

    Args:
        frame_step_s: time from frame to frame of a sequence; NaN: not known.
        window_step_s: time from frame to frame of the windows that an encoder was trained on.

    Returns:
        At least 1: what has fewer frames per second than the encoder saw is taken as it is.
    """
    if window_step_s is None or not np.isfinite(frame_step_s) or frame_step_s <= 0:
        return 1
    # the half goes up, whatever the last digits of the times are
    return max(1, int(np.floor(window_step_s / frame_step_s + 0.5 + 1e-6)))


def cut_windows(
    lengths: Sequence[int],
    size: int,
    hop: int | None = None,
    dilations: Sequence[int] | None = None,
) -> Windows:
    """Cover sequences with windows that never cross from one to the next.

    Windows start every ``hop`` of their frames, the last one ends with its sequence. A frame's
    answer comes from the window in which it is most central (the earlier of two): an edge frame
    of a window sees one side only.

    Args:
        lengths: frames of each sequence.
        size: T, frames of a window.
        hop: frames from window to window; default half a window.
        dilations: d of each sequence; default 1.

    Raises:
        ValueError: a sequence is empty, the windows would leave gaps, or there is not one dilation
            of at least 1 per sequence.
    """
    hop = max(size // 2, 1) if hop is None else hop
    if not lengths or min(lengths) < 1:
        raise ValueError(f"Every sequence needs at least one frame, got lengths {list(lengths)}.")
    if not 1 <= hop <= size:
        raise ValueError(f"The hop must lie between 1 and the window's {size} frames, got {hop}.")
    dilations = [1] * len(lengths) if dilations is None else dilations
    if len(dilations) != len(lengths) or min(dilations) < 1:
        raise ValueError(
            f"Expected a dilation of at least 1 for each of {len(lengths)} sequences, got "
            f"{list(dilations)}."
        )
    n = sum(lengths)
    window, place = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    frames, sequence = [], []
    first, n_windows = 0, 0
    for number, (length, dilation) in enumerate(zip(lengths, dilations, strict=True)):
        for phase in range(min(dilation, length)):
            rows = np.arange(first + phase, first + length, dilation)
            inside, own, at = _cover(len(rows), size, hop)
            frames.append(rows[inside])
            window[rows], place[rows] = n_windows + own, at
            sequence.append(np.full(len(inside), number))
            n_windows += len(inside)
        first += length
    return Windows(
        np.concatenate(frames).astype(np.int64),
        window,
        place,
        np.concatenate(sequence).astype(np.int64),
    )


def _cover(length: int, size: int, hop: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the windows of one sequence (windows, size), and each frame's own and place in it."""
    last = max(length - size, 0)
    starts = np.unique(np.append(np.arange(0, last + 1, hop), last))
    inside = np.minimum(starts[:, None] + np.arange(size), length - 1)
    offset = np.arange(length)[:, None] - starts  # (length, windows)
    off_centre = np.abs(2 * offset - (min(size, length) - 1)).astype(np.float64)
    off_centre[(offset < 0) | (offset >= size)] = np.inf
    own = off_centre.argmin(axis=1)
    return inside, own, np.arange(length) - starts[own]


def over_windows(
    encode: Callable[..., tuple[Tensor, ...]],
    inputs: Tensor,
    lengths: Sequence[int] | None,
    size: int,
    hop: int | None,
    dilations: Sequence[int] | None = None,
    told: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Encode sequences window by window; each frame's answer is that of its own window.

    Args:
        encode: from windows (B, T, ...), and where something is told (B,) of that, to any number
            of tensors (B, T, ...).
        inputs: (n, ...), frames of one sequence after the other.
        lengths: frames of each sequence, adding up to n; default: one sequence.
        size: T.
        hop: see cut_windows.
        dilations: of each sequence, see cut_windows.
        told: (sequences,), what else ``encode`` is told of each window.

    Returns:
        What ``encode`` gives, (n, ...) each.
    """
    cut = cut_windows(lengths or [len(inputs)], size, hop, dilations)
    frames, window, place = (
        torch.from_numpy(part).to(inputs.device) for part in (cut.frames, cut.window, cut.place)
    )
    at_once = max(1, _FRAMES_AT_ONCE[inputs.device.type] // size)
    if told is None:
        parts = [encode(inputs[rows]) for rows in torch.split(frames, at_once)]
    else:
        own = told.to(inputs.device)[torch.from_numpy(cut.sequence).to(inputs.device)]
        pairs = zip(torch.split(frames, at_once), torch.split(own, at_once), strict=True)
        parts = [encode(inputs[rows], of_windows) for rows, of_windows in pairs]
    return tuple(torch.cat(found)[window, place] for found in zip(*parts, strict=True))
