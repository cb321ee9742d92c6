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

KNOWN = "known"


class WindowLoader:
    """Yields the same number of batches of windows on every rank.

    Each epoch cuts each clip into as many windows as cover it, at random places; a shorter clip
    repeats its last frame. Batches hold ``(windows, frames, ...)`` and ``known``
    (windows, frames): 1 where a row is the clip's own and has all its values, else 0 (and zeros
    for what is unknown).
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

        Raises:
            StoreError: fewer windows than ranks.
        """
        self.store, self.fields, self.frames = store, tuple(fields), frames
        self.rank, self.world_size, self.seed = rank, world_size, seed
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
            n, last = self._windows_of(clip), max(clip.n_rows - self.frames, 0)
            # stratified, so that no part of a clip is left out by chance
            starts = np.floor((np.arange(n) + rng.random(n)) / n * (last + 1)).astype(np.int64)
            windows += [(i, int(start)) for start in starts]
        order = rng.permutation(len(windows))
        size = self.windows_per_batch
        for i in range(self.batches_per_epoch):
            chosen = order[(i * self.world_size + self.rank) * size :][:size]
            yield self._batch([windows[w] for w in chosen])

    def _windows_of(self, clip: Clip) -> int:
        return -(-clip.n_rows // self.frames)

    def _batch(self, windows: Sequence[tuple[int, int]]) -> Batch:
        known = np.ones((len(windows), self.frames), dtype=np.float32)
        parts: dict[str, NDArray[Any]] = {}
        for name in self.fields:
            values = np.stack([self._window(name, *window) for window in windows])
            if np.issubdtype(values.dtype, np.floating):
                bad = ~np.isfinite(values)
                known[bad.reshape(*known.shape, -1).any(axis=2)] = 0
                values[bad] = 0
            parts[name] = values
        for i, (clip, _) in enumerate(windows):
            known[i, self.clips[clip].n_rows :] = 0
        batch = {name: torch.from_numpy(values) for name, values in parts.items()}
        batch = {n: v.float() if v.is_floating_point() else v for n, v in batch.items()}
        return {**batch, KNOWN: torch.from_numpy(known)}

    def _window(self, name: str, number: int, start: int) -> NDArray[Any]:
        clip = self.clips[number]
        stop = min(start + self.frames, clip.n_rows)
        if self._rows is not None:
            rows = self._rows[name][number][start:stop]
        else:
            rows = self._readers[name](clip.first_row + start, clip.first_row + stop)
        missing = self.frames - len(rows)
        return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows

    def _row_bytes(self, name: str) -> int:
        return self.store.stored(name).row_bytes
