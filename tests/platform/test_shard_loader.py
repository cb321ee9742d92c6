"""Training batches: which rows, how often, in what order, on which rank; both ways of reading."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stored_clips import made_clip

from diffpose.platform.base.errors import StoreError
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.training import shard_loader
from diffpose.platform.training.shard_loader import BatchLoader

N_ROWS = 256
MODES = ("memory", "blocks")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PoseStore:
    """Every value of a row is the row's number; timestamps are unknown in rows 40 to 59."""
    made = PoseStore.create(str(tmp_path_factory.mktemp("loader") / "store"), N_ROWS, 64, {})
    rows = np.arange(N_ROWS)
    made.write("camera", 0, np.repeat(rows[:, None], 4, axis=1).astype(np.float32))
    made.write("root_position", 0, np.repeat(rows[:, None] + 1000, 3, axis=1).astype(np.float32))
    known = np.where((rows >= 40) & (rows < 60), np.nan, rows).astype(np.float64)
    made.write("timestamp_s", 0, known)
    confidence = np.repeat(rows[:, None], 17, axis=1).astype(np.float32)
    confidence[::3, 5] = np.nan
    confidence[1::3, 16] = np.inf
    made.write("confidence", 0, confidence)
    return made


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_loader, "_BLOCK_ROWS", 16)
    monkeypatch.setattr(shard_loader, "_BLOCKS_IN_BUFFER", 2)


def loader(store: PoseStore, mode: str, clips: list[Clip], batch_size: int, **more) -> BatchLoader:
    fields = more.pop("fields", ["camera"])
    limit = 4.0 if mode == "memory" else 1e-9
    made = BatchLoader(store, fields, clips, batch_size, memory_limit_gb=limit, **more)
    assert made.in_memory == (mode == "memory")
    return made


def batches(made: BatchLoader, number: int = 0) -> list[list[int]]:
    """Return the row numbers of an epoch's batches."""
    return [batch["camera"][:, 0].long().tolist() for batch in made.epoch(number)]


def flat(parts: list[list[int]]) -> list[int]:
    return [row for part in parts for row in part]


# 96 rows in two pieces; the rows between and after belong to others.
CLIPS = [made_clip(8, 40), made_clip(48, 8), made_clip(128, 48)]
ROWS = {*range(8, 56), *range(128, 176)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch_size", [1, 7, 16, 96])
def test_each_row_at_most_once(store: PoseStore, mode: str, batch_size: int) -> None:
    made = loader(store, mode, CLIPS, batch_size)
    parts = batches(made, 3)
    assert len(parts) == made.batches_per_epoch == len(ROWS) // batch_size
    assert {len(part) for part in parts} == {batch_size}
    rows = flat(parts)
    assert len(set(rows)) == len(rows)
    assert set(rows) <= ROWS
    assert len(ROWS - set(rows)) == len(ROWS) % batch_size


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_rows(store: PoseStore, mode: str, world_size: int) -> None:
    ranks = [
        loader(store, mode, CLIPS, 4 * world_size, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for epoch in (0, 1):
        parts = [batches(made, epoch) for made in ranks]
        expected = len(ROWS) // (4 * world_size)
        assert [len(part) for part in parts] == [expected] * world_size
        assert {len(batch) for part in parts for batch in part} == {4}
        rows = [row for part in parts for row in flat(part)]
        assert len(set(rows)) == len(rows) == len(ROWS)  # 6 equal blocks: none left, none twice
        assert set(rows) == ROWS


@pytest.mark.parametrize("world_size", [2, 3])
def test_uneven_blocks_still_give_every_rank_as_many_batches(
    store: PoseStore, world_size: int
) -> None:
    clips = [made_clip(0, 16 * 4 + 3), made_clip(100, 5), made_clip(200, 1)]
    allowed = {*range(67), *range(100, 105), 200}
    for epoch in range(4):
        seen: list[set[int]] = []
        counts = []
        for rank in range(world_size):
            made = loader(store, "blocks", clips, 2 * world_size, rank=rank, world_size=world_size)
            parts = batches(made, epoch)
            counts.append(len(parts))
            assert {len(part) for part in parts} == {2}
            seen.append(set(flat(parts)))
        assert counts == [len(allowed) // (2 * world_size)] * world_size
        assert sum(map(len, seen)) == len(set().union(*seen)), "two ranks saw the same row"
        assert set().union(*seen) <= allowed


@pytest.mark.parametrize("mode", MODES)
def test_fewer_blocks_than_ranks(store: PoseStore, mode: str) -> None:
    clips = [made_clip(16, 12)]
    parts = [batches(loader(store, mode, clips, 6, rank=rank, world_size=3)) for rank in range(3)]
    assert [len(part) for part in parts] == [2, 2, 2]
    assert {len(batch) for part in parts for batch in part} == {2}
    for part in parts:
        assert set(flat(part)) <= set(range(16, 28))
        assert len(set(flat(part))) == 4


@pytest.mark.parametrize("mode", MODES)
def test_rows_with_unknown_values_are_left_out(store: PoseStore, mode: str) -> None:
    made = loader(store, mode, [made_clip(32, 64)], 4, fields=["timestamp_s", "camera"])
    good = {*range(32, 40), *range(60, 96)}
    seen = set()
    for epoch in range(3):
        for batch in made.epoch(epoch):
            assert torch.isfinite(batch["timestamp_s"]).all()
            seen |= set(batch["timestamp_s"].long().tolist())
    assert seen <= good
    assert len(seen) > len(good) // 2
    if mode == "memory":
        assert (made.n_rows, made.batches_per_epoch) == (len(good), len(good) // 4)


@pytest.mark.parametrize("mode", MODES)
def test_one_bad_value_of_a_row_is_enough(store: PoseStore, mode: str) -> None:
    made = loader(store, mode, [made_clip(0, 48)], 4, fields=["confidence"])
    seen = {int(v) for batch in made.epoch(0) for v in batch["confidence"][:, 0]}
    assert seen
    assert {row % 3 for row in seen} == {2}


@pytest.mark.parametrize("mode", MODES)
def test_fields_of_a_row_stay_together(store: PoseStore, mode: str) -> None:
    made = loader(store, mode, CLIPS, 10, fields=["camera", "root_position", "timestamp_s"])
    n = 0
    for batch in made.epoch(0):
        assert (batch["camera"] + 1000)[:, :3].equal(batch["root_position"])
        assert batch["camera"][:, 0].equal(batch["timestamp_s"])
        n += len(batch["camera"])
    assert n >= 70


@pytest.mark.parametrize("mode", MODES)
def test_types(store: PoseStore, mode: str) -> None:
    made = loader(store, mode, [made_clip(0, 16)], 4, fields=["heatmaps", "timestamp_s"])
    batch = next(made.epoch(0))
    assert (batch["heatmaps"].dtype, batch["heatmaps"].shape) == (torch.uint8, (4, 17, 64, 48))
    assert (batch["timestamp_s"].dtype, batch["timestamp_s"].shape) == (torch.float32, (4,))


@pytest.mark.parametrize("mode", MODES)
def test_order(store: PoseStore, mode: str) -> None:
    made = loader(store, mode, CLIPS, 8, seed=5)
    first, second = batches(made, 0), batches(made, 1)
    assert first != second
    assert flat(first) != sorted(flat(first))
    assert batches(made, 0) == first
    assert batches(loader(store, mode, CLIPS, 8, seed=5), 0) == first
    assert batches(loader(store, mode, CLIPS, 8, seed=6), 0) != first


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("world_size", [1, 2])
def test_batch_larger_than_the_set(store: PoseStore, mode: str, world_size: int) -> None:
    clips = [made_clip(0, 16), made_clip(32, 16)]
    parts = [
        batches(loader(store, mode, clips, 1000, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert [len(part) for part in parts] == [1] * world_size
    assert sorted(flat(flat(parts))) == [*range(16), *range(32, 48)]


def test_memory_limit_counts_all_fields(store: PoseStore) -> None:
    bytes_needed = 96 * (4 + 3) * 4
    for limit, fits in ((bytes_needed, True), (bytes_needed - 1, False)):
        made = BatchLoader(
            store, ["camera", "root_position"], CLIPS, 8, memory_limit_gb=limit / 1e9
        )
        assert made.in_memory == fits


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("clips", "world_size"), [([], 1), ([made_clip(0, 2)], 3)])
def test_too_few_rows(store: PoseStore, mode: str, clips: list[Clip], world_size: int) -> None:
    with pytest.raises(StoreError) as caught:
        loader(store, mode, clips, 8, world_size=world_size)
    n_rows = sum(c.n_rows for c in clips)
    assert repr(store.uri) in str(caught.value)
    assert f"has {n_rows} rows for {world_size} workers" in str(caught.value)
    assert "split.*" in str(caught.value)


@pytest.mark.parametrize("mode", MODES)
def test_no_known_row_at_all(store: PoseStore, mode: str) -> None:
    with pytest.raises(StoreError) as caught:
        list(loader(store, mode, [made_clip(40, 20)], 8, fields=["camera", "timestamp_s"]).epoch(0))
    assert repr(store.uri) in str(caught.value)
    assert "camera, timestamp_s" in str(caught.value)


def test_fewer_known_rows_than_ranks(store: PoseStore) -> None:
    # Rows 38 and 39 are known, 40 to 57 are not: a third rank would get empty batches.
    with pytest.raises(StoreError) as caught:
        loader(store, "memory", [made_clip(38, 20)], 9, world_size=3, fields=["timestamp_s"])
    assert "Only 2 of the rows" in str(caught.value)
    assert "timestamp_s; 3 workers need one each" in str(caught.value)
    assert "diffpose inspect" in str(caught.value)


def test_unknown_field(store: PoseStore) -> None:
    with pytest.raises(StoreError, match="no array 'pose_4d'; it has camera, "):
        loader(store, "memory", CLIPS, 8, fields=["pose_4d"])
