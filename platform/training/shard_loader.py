"""Shuffled training batches from a pose store, never row by row.

Small sets are read once into memory. Larger ones are read in blocks of neighbouring rows: eight
random blocks fill a buffer, which is shuffled and cut into batches (row-wise random reads of a
sharded Zarr are a hundred times slower). Local arrays without a codec are mapped into memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffpose.platform.base.errors import StoreError
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.pose_store import PoseStore, contiguous_ranges

Batch = dict[str, Tensor]
_BLOCK_ROWS = 1024
_BLOCKS_IN_BUFFER = 8


class BatchLoader:
    """Yields the same number of batches on every rank; rows with unknown values are left out."""

    def __init__(
        self,
        store: PoseStore,
        fields: Sequence[str],
        clips: Sequence[Clip],
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        memory_limit_gb: float = 4.0,
    ) -> None:
        """Prepare, reading everything where it fits.

        Args:
            store: the pose store.
            fields: names of arrays, for example ``pose_3d`` or ``mixtures/encoder/weights``.
            clips: whose rows to use.
            batch_size: rows per batch over all ranks together.
            rank, world_size: this worker's share.
            seed: of the shuffling; the same on all ranks.
            memory_limit_gb: read everything at once up to this size per worker.

        Raises:
            StoreError: there is no row to train on, or fewer rows than ranks.
        """
        self.store, self.fields = store, tuple(fields)
        self.rank, self.world_size, self.seed = rank, world_size, seed
        self._readers = {name: store.reader(name) for name in self.fields}
        self.ranges = list(contiguous_ranges(clips, _BLOCK_ROWS))
        n_rows = sum(stop - start for start, stop in self.ranges)
        if n_rows < world_size:
            raise StoreError(
                f"The store at {store.uri!r} has {n_rows} rows for {world_size} workers in the "
                "split that was asked for; check split.* of preprocessing with diffpose inspect."
            )
        self.local_batch = max(min(batch_size, n_rows) // world_size, 1)
        row_bytes = sum(self._row_bytes(name) for name in self.fields)
        self.in_memory = n_rows * row_bytes <= memory_limit_gb * 1e9
        self._rows: dict[str, NDArray[Any]] | None = None
        if self.in_memory:
            self._rows = self._read(self.ranges)
            n_rows = len(next(iter(self._rows.values())))
            if n_rows < world_size:
                raise StoreError(
                    f"Only {n_rows} of the rows of {store.uri!r} that were asked for have all of "
                    f"{', '.join(self.fields)}; {world_size} workers need one each. See the failed "
                    "clips with diffpose inspect."
                )
            self.local_batch = max(min(batch_size, n_rows) // world_size, 1)
        self.n_rows = n_rows
        self.batches_per_epoch = max(n_rows // (self.local_batch * world_size), 1)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch, in an order of its own."""
        rng = np.random.default_rng([self.seed, number])
        if self._rows is not None:
            yield from self._from_memory(self._rows, rng)
        else:
            yield from self._from_blocks(rng)

    def _from_memory(
        self, rows: dict[str, NDArray[Any]], rng: np.random.Generator
    ) -> Iterator[Batch]:
        order = rng.permutation(self.n_rows)
        size, step = self.local_batch, self.local_batch * self.world_size
        for i in range(self.batches_per_epoch):
            chosen = order[i * step + self.rank * size :][:size]
            yield _batch(rows, chosen)

    def _from_blocks(self, rng: np.random.Generator) -> Iterator[Batch]:
        order = rng.permutation(len(self.ranges))
        # With fewer blocks than ranks each rank reads all of them, in an order of its own.
        apart = len(order) >= self.world_size
        mine = order[self.rank :: self.world_size] if apart else np.roll(order, self.rank)
        within = np.random.default_rng([int(rng.integers(2**32)), self.rank])
        rest: dict[str, NDArray[Any]] | None = None
        made = 0
        while made < self.batches_per_epoch:  # ranks with smaller blocks go round again
            made_before = made
            for first in range(0, len(mine), _BLOCKS_IN_BUFFER):
                blocks = [self.ranges[i] for i in mine[first : first + _BLOCKS_IN_BUFFER]]
                buffer = self._read(blocks)
                if rest is not None:
                    buffer = {n: np.concatenate([rest[n], v]) for n, v in buffer.items()}
                shuffled = within.permutation(len(buffer[self.fields[0]]))
                n_batches = len(shuffled) // self.local_batch
                for i in range(min(n_batches, self.batches_per_epoch - made)):
                    chosen = shuffled[i * self.local_batch : (i + 1) * self.local_batch]
                    made += 1
                    yield _batch(buffer, chosen)
                rest = {n: v[shuffled[n_batches * self.local_batch :]] for n, v in buffer.items()}
                if made >= self.batches_per_epoch:
                    return
            if made == made_before and (rest is None or len(rest[self.fields[0]]) == 0):
                raise StoreError(
                    f"No row of {self.store.uri!r} has all of {', '.join(self.fields)}."
                )

    def _read(self, ranges: Sequence[tuple[int, int]]) -> dict[str, NDArray[Any]]:
        parts = {
            name: np.concatenate([read(a, b) for a, b in ranges])
            for name, read in self._readers.items()
        }
        known = np.ones(len(parts[self.fields[0]]), dtype=bool)
        for values in parts.values():
            if values.dtype.kind == "f":
                known &= _all_finite(values.reshape(len(values), -1))
        return parts if known.all() else {name: v[known] for name, v in parts.items()}

    def _row_bytes(self, name: str) -> int:
        return self.store.stored(name).row_bytes


def _batch(rows: dict[str, NDArray[Any]], chosen: NDArray[np.integer]) -> Batch:
    """Return chosen rows as tensors; floating-point numbers as float32.

    Rows stay in their stored type until here: half-precision factors would take twice the memory.
    """
    batch = {name: torch.from_numpy(values[chosen]) for name, values in rows.items()}
    return {name: v.float() if v.is_floating_point() else v for name, v in batch.items()}


def _all_finite(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell for each row of (n, ...) whether all its numbers are finite."""
    if values.dtype == np.float16:
        # numpy tests halves one by one; the exponent's bits, all set, say the same in vector code
        exponent = values.view(np.uint16) & np.uint16(0x7C00)
        finite: NDArray[np.bool_] = exponent.max(axis=1) != 0x7C00
        return finite
    with np.errstate(invalid="ignore", over="ignore"):
        if np.isfinite(values.sum()):  # half the time, and nearly always enough
            return np.ones(len(values), dtype=bool)
    return np.asarray(np.isfinite(values).all(axis=1))
