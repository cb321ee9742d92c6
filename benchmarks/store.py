"""Shuffled training reads from the pose store against a memory-mapped file, on two cores."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from diffpose.benchmarks.measure import Figure, table
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.fields import LARGEST_SPAN
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.training.shard_loader import BatchLoader
from diffpose.preprocessing.derived.mixture_stages import mixture_fields

SMALL = ("keypoints_2d", "pose_3d", "mixtures/joint/weights", "mixtures/joint/means_mm")
FACTORS = ("mixtures/pose/scale_tril_mm",)
BATCH = 4096


def benchmark(folder: Path, frames: int, rounds: int) -> tuple[list[Figure], list[str]]:
    """Measure; returns figures and Markdown."""
    rows_small, rows_factors = 2048 * frames, 256 * frames
    small = _make_store(folder / f"store_small_{rows_small}", rows_small, SMALL)
    factors = _make_store(folder / f"store_factors_{rows_factors}", rows_factors, FACTORS)
    ways: dict[str, tuple[Callable[..., int], tuple[Any, ...], int]] = {
        "small fields, ours": (_read_store, (small, SMALL, rows_small), rows_small),
        "small fields, memmap": (_read_memmap, (small, rows_small), rows_small),
        "full factors, ours": (_read_store, (factors, FACTORS, rows_factors), rows_factors),
        "full factors, memmap": (_read_memmap, (factors, rows_factors), rows_factors),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with get_context("spawn").Pool(2) as pool:
        for turn in range(rounds + 1):
            for name, (function, arguments, _) in ways.items():
                start = time.perf_counter()
                parts = [pool.apply_async(function, (*arguments, rank, turn)) for rank in (0, 1)]
                read = sum(part.get() for part in parts)
                if turn:  # the first warms the page cache and the processes
                    taken[name].append((time.perf_counter() - start) / read)
    rates = {name: 1 / float(np.median(seconds)) for name, seconds in taken.items()}
    bytes_of = {"small": _row_bytes(small, SMALL), "full": _row_bytes(factors, FACTORS)}
    table_rows = [
        [name, f"{rate:.0f}", f"{rate * bytes_of[name.split()[0]] / 1e6:.0f}"]
        for name, rate in rates.items()
    ]
    figures = [
        Figure(
            f"store.shuffled_{short}", rates[f"{name}, ours"], "rows/s", "memmap",
            rates[f"{name}, memmap"],
        )
        for short, name in (("small", "small fields"), ("factors", "full factors"))
    ]  # fmt: skip
    text = [
        f"{rows_small} rows of the small fields (keypoints, pose, weights and means of 17 "
        f"mixtures: {bytes_of['small']} bytes a row), {rows_factors} rows of full float16 factors "
        f"({bytes_of['full']} bytes a row), one epoch of shuffled batches of {BATCH} by two "
        "processes (ranks), files in the page cache, wall time, medians of "
        f"{rounds}. The memmap is read by the same plan: eight random blocks of 1024 rows, "
        "shuffled, cut into batches.",
        "",
        *table(["rows", "rows / s", "MB / s"], table_rows),
        "",
        f"Small fields: {figures[0].record()['ratio']:.2f} of the memmap; factors: "
        f"{figures[1].record()['ratio']:.2f}.",
    ]
    return figures, text


def _clip(n_rows: int) -> Clip:
    return Clip(
        clip="0", source="made", subject="s", action="a", camera="c", split="train", fps=50,
        width=1000, height=1000, first_frame=0, first_row=0, n_rows=n_rows,
    )  # fmt: skip


def _make_store(path: Path, n_rows: int, fields: tuple[str, ...]) -> str:
    """Write a store of random values, and the same rows as .npy files, or find them."""
    marker = path / "made"
    if marker.exists():
        return str(path)
    store = PoseStore.create(str(path), n_rows, LARGEST_SPAN, {})
    for scope in ("joint", "pose"):
        for field in mixture_fields(MixtureSpec.model_validate({"scope": scope})):
            if f"mixtures/{scope}/{field.name}" in fields:
                store.require_array(f"mixtures/{scope}", field, n_rows)
    rng = np.random.default_rng(0)
    for name in fields:
        array = store.stored(name)
        flat = np.lib.format.open_memmap(
            path / f"{name.replace('/', '_')}.npy", mode="w+", dtype=array.dtype, shape=array.shape
        )
        for first in range(0, n_rows, LARGEST_SPAN):
            stop = min(first + LARGEST_SPAN, n_rows)
            values = rng.normal(size=(stop - first, *array.shape[1:])).astype(array.dtype)
            store.write(name, first, values)
            flat[first:stop] = values
    marker.write_text("")
    return str(path)


def _row_bytes(uri: str, fields: tuple[str, ...]) -> int:
    store = PoseStore.open(uri)
    return sum(store.stored(name).row_bytes for name in fields)


def _read_store(uri: str, fields: tuple[str, ...], n_rows: int, rank: int, turn: int) -> int:
    """Read this rank's half of an epoch; returns the rows."""
    loader = BatchLoader(
        PoseStore.open(uri), fields, [_clip(n_rows)], 2 * BATCH, rank=rank, world_size=2,
        memory_limit_gb=0.0,
    )  # fmt: skip
    return sum(len(next(iter(batch.values()))) for batch in loader.epoch(turn))


def _read_memmap(uri: str, n_rows: int, rank: int, turn: int) -> int:
    """Do the same from .npy files."""
    arrays = [np.load(path, mmap_mode="r") for path in sorted(Path(uri).glob("*.npy"))]
    rng = np.random.default_rng(turn)
    mine = rng.permutation(n_rows // 1024)[rank::2]
    read = 0
    for first in range(0, len(mine), 8):
        blocks = mine[first : first + 8]
        order = rng.permutation(1024 * len(blocks))
        buffers = [np.concatenate([a[1024 * b : 1024 * (b + 1)] for b in blocks]) for a in arrays]
        for i in range(0, len(order), BATCH):
            batch = [np.asarray(b[order[i : i + BATCH]], dtype=np.float32) for b in buffers]
            read += len(batch[0])
    return read
