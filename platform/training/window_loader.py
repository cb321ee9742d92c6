"""Shuffled training batches of whole windows, for context encoders that look at several frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.platform.base.errors import StoreError
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.training.shard_loader import Batch

KNOWN, STEP = "known", "step_s"


def fitting_strides(n_rows: int, frames: int, strides: Sequence[int]) -> list[int]:
    """Return the strides at which a clip has a whole window; the smallest where none has."""
    fitting = [s for s in strides if (frames - 1) * s < n_rows]
    return fitting or [min(strides)]


def window_steps_s(
    clips: Sequence[Clip], frames: int, strides: Sequence[int]
) -> NDArray[np.float64]:
    """Return the time steps of the windows that cover clips, at each stride once, in s."""
    steps = [
        np.full(-(-clip.n_rows // frames), stride / clip.fps)
        for clip in clips
        if clip.n_rows > 0
        for stride in fitting_strides(clip.n_rows, frames, strides)
    ]
    return np.concatenate(steps) if steps else np.empty(0)


class WindowLoader:
    """Yields the same number of batches of windows on every rank.

    Each epoch cuts each clip into as many windows as cover it, at random places; a shorter clip
    repeats its last frame. Batches hold ``(windows, frames, ...)``, ``known``
    (windows, frames): 1 where a row is the clip's own and has all its values, else 0 (and zeros
    for what is unknown), and ``step_s`` (windows,): the time from frame to frame. Of several
    strides each window draws one of those that its clip is long enough for.
    """

    def __init__(
        self,
        store: PoseStore,
        fields: Sequence[str],
        clips: Sequence[Clip],
        batch_size: int,
        frames: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        memory_limit_gb: float = 4.0,
        strides: Sequence[int] = (1,),
    ) -> None:
        """Prepare, reading everything where it fits.

        Args:
            store: the pose store.
            fields: names of arrays.
            clips: whose rows to use.
            batch_size: rows per batch over all ranks together; rounded to whole windows.
            frames: rows of a window.
            rank, world_size: this worker's share.
            seed: of the places and the order; the same on all ranks.
            memory_limit_gb: read everything at once up to this size per worker.
            strides: a window takes every s-th row of its clip, s drawn from these.

        Raises:
            StoreError: fewer windows than ranks.
        """
        self.store, self.fields, self.frames = store, tuple(fields), frames
        self.rank, self.world_size, self.seed = rank, world_size, seed
        self.strides = tuple(strides)
        self.clips = [clip for clip in clips if clip.n_rows > 0]
        self._readers = {name: store.reader(name) for name in self.fields}
        n_windows = sum(self._windows_of(clip) for clip in self.clips)
        if n_windows < world_size:
            raise StoreError(
                f"The store at {store.uri!r} has {n_windows} windows of {frames} frames for "
                f"{world_size} workers in the split that was asked for; check split.* of "
                "preprocessing with diffpose inspect."
            )
        per_step = max(batch_size // frames, 1)
        self.windows_per_batch = max(min(per_step, n_windows) // world_size, 1)
        self.local_batch = self.windows_per_batch * frames
        self.batches_per_epoch = max(n_windows // (self.windows_per_batch * world_size), 1)
        size = sum(c.n_rows for c in self.clips) * sum(self._row_bytes(n) for n in self.fields)
        self._rows: dict[str, list[NDArray[Any]]] | None = None
        if size <= memory_limit_gb * 1e9:
            self._rows = {
                name: [
                    np.array(read(c.first_row, c.first_row + c.n_rows)) for c in self.clips
                ]
                for name, read in self._readers.items()
            }  # fmt: skip

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch, cut and ordered in a way of its own."""
        rng = np.random.default_rng([self.seed, number])
        windows = []
        for i, clip in enumerate(self.clips):
            n, fitting = self._windows_of(clip), self._strides_of(clip)
            # one stride draws nothing: training as it was before there were several
            drawn = rng.choice(fitting, n) if len(fitting) > 1 else np.full(n, fitting[0])
            last = np.maximum(clip.n_rows - (self.frames - 1) * drawn - 1, 0)
            # stratified, so that no part of a clip is left out by chance
            starts = np.floor((np.arange(n) + rng.random(n)) / n * (last + 1)).astype(np.int64)
            windows += [(i, int(s), int(d)) for s, d in zip(starts, drawn, strict=True)]
        order = rng.permutation(len(windows))
        size = self.windows_per_batch
        for i in range(self.batches_per_epoch):
            chosen = order[(i * self.world_size + self.rank) * size :][:size]
            yield self._batch([windows[w] for w in chosen])

    def _windows_of(self, clip: Clip) -> int:
        return -(-clip.n_rows // self.frames)

    def _strides_of(self, clip: Clip) -> list[int]:
        return fitting_strides(clip.n_rows, self.frames, self.strides)

    def _batch(self, windows: Sequence[tuple[int, int, int]]) -> Batch:
        known = np.ones((len(windows), self.frames), dtype=np.float32)
        parts: dict[str, NDArray[Any]] = {}
        for name in self.fields:
            values = np.stack([self._window(name, *window) for window in windows])
            if np.issubdtype(values.dtype, np.floating):
                bad = ~np.isfinite(values)
                known[bad.reshape(*known.shape, -1).any(axis=2)] = 0
                values[bad] = 0
            parts[name] = values
        for i, (clip, _, stride) in enumerate(windows):
            known[i, -(-self.clips[clip].n_rows // stride) :] = 0
        steps = [stride / self.clips[clip].fps for clip, _, stride in windows]
        batch = {name: torch.from_numpy(values) for name, values in parts.items()}
        batch = {n: v.float() if v.is_floating_point() else v for n, v in batch.items()}
        told = torch.tensor(steps, dtype=torch.float32)
        return {**batch, KNOWN: torch.from_numpy(known), STEP: told}

    def _window(self, name: str, number: int, start: int, stride: int) -> NDArray[Any]:
        clip = self.clips[number]
        stop = min(start + (self.frames - 1) * stride + 1, clip.n_rows)
        if self._rows is not None:
            rows = self._rows[name][number][start:stop]
        else:
            rows = self._readers[name](clip.first_row + start, clip.first_row + stop)
        rows = rows[::stride]
        missing = self.frames - len(rows)
        return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows

    def _row_bytes(self, name: str) -> int:
        return self.store.stored(name).row_bytes
