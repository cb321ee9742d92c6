"""Batches of windows: whole clips are covered, nothing crosses a clip, ranks share an epoch."""

from __future__ import annotations

import numpy as np
import pytest
from stored_clips import made_clip

from diffpose.platform.base.errors import StoreError
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.training.window_loader import KNOWN, STEP, WindowLoader, window_steps_s

N_ROWS, FRAMES = 128, 8
LENGTHS = (30, 8, 3, 40)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PoseStore:
    """Every value of a row is the row's number; the times of rows 10 to 12 are unknown."""
    made = PoseStore.create(str(tmp_path_factory.mktemp("windows") / "store"), N_ROWS, 64, {})
    rows = np.arange(N_ROWS)
    made.write("camera", 0, np.repeat(rows[:, None], 4, axis=1).astype(np.float32))
    made.write("timestamp_s", 0, np.where((rows >= 10) & (rows < 13), np.nan, rows).astype(float))
    return made


def clips(lengths: tuple[int, ...] = LENGTHS) -> list[Clip]:
    starts = np.cumsum([0, *lengths])
    return [made_clip(int(first), n) for first, n in zip(starts, lengths, strict=False)]


def loader(store: PoseStore, batch_size: int = 16, **more) -> WindowLoader:
    return WindowLoader(store, ["camera", "timestamp_s"], clips(), batch_size, FRAMES, **more)


@pytest.mark.parametrize("limit", [4.0, 0.0])
def test_windows_lie_within_clips_and_follow_frame_by_frame(store: PoseStore, limit: float) -> None:
    made = loader(store, memory_limit_gb=limit)
    ends = np.cumsum(LENGTHS)
    for number in range(3):
        for batch in made.epoch(number):
            assert batch["camera"].shape == (2, FRAMES, 4)
            rows = batch["camera"][..., 0].long().numpy()
            for window, known in zip(rows, batch[KNOWN].numpy(), strict=True):
                clip = int(np.searchsorted(ends, window[0], side="right"))
                last = ends[clip] - 1
                np.testing.assert_array_equal(
                    window, np.minimum(window[0] + np.arange(FRAMES), last)
                )
                own = window[0] + np.arange(FRAMES) <= last
                expected = own & ~((window >= 10) & (window < 13))
                np.testing.assert_array_equal(known.astype(bool), expected)


def test_memory_and_files_give_the_same_batches(store: PoseStore) -> None:
    for one, other in zip(
        loader(store).epoch(5), loader(store, memory_limit_gb=0).epoch(5), strict=True
    ):
        assert all(one[name].equal(other[name]) for name in one)


def test_an_epoch_has_enough_windows_to_cover_every_clip(store: PoseStore) -> None:
    made = loader(store, batch_size=FRAMES)
    counts = np.zeros(sum(LENGTHS))
    for number in range(40):
        batches = list(made.epoch(number))
        assert len(batches) == made.batches_per_epoch == 4 + 1 + 1 + 5
        for batch in batches:
            counts[np.unique(batch["camera"][..., 0].long())] += 1
    assert counts.min() > 0


def test_unknown_values_are_zeros_that_do_not_count(store: PoseStore) -> None:
    seen = [
        (batch["timestamp_s"], batch[KNOWN]) for n in range(5) for batch in loader(store).epoch(n)
    ]
    assert any((times == 0)[known == 0].any() for times, known in seen)
    assert all(np.isfinite(times.numpy()).all() for times, _ in seen)


def test_ranks_share_an_epoch(store: PoseStore) -> None:
    def starts(**share) -> list[int]:
        made = loader(store, batch_size=2 * FRAMES, **share)
        return [int(w) for b in made.epoch(1) for w in b["camera"][:, 0, 0]]

    alone = starts()
    apart = [starts(rank=rank, world_size=2) for rank in (0, 1)]
    assert len(apart[0]) == len(apart[1])
    assert sorted(apart[0] + apart[1]) == sorted(alone[: 2 * len(apart[0])])


def test_too_few_windows_are_refused(store: PoseStore) -> None:
    with pytest.raises(StoreError, match="1 windows of 8 frames for 2 workers"):
        WindowLoader(store, ["camera"], clips((5,)), 16, FRAMES, world_size=2)


def test_strides_take_every_so_manieth_row_and_say_the_time_step(store: PoseStore) -> None:
    made = loader(store, strides=(1, 2, 4))
    ends = np.cumsum(LENGTHS)
    seen = set()
    for number in range(6):
        for batch in made.epoch(number):
            rows = batch["camera"][..., 0].long().numpy()
            steps = batch[STEP].numpy()
            for window, known, step in zip(rows, batch[KNOWN].numpy(), steps, strict=True):
                clip = int(np.searchsorted(ends, window[0], side="right"))
                stride = round(float(step) * 9.99)
                seen.add((LENGTHS[clip], stride))
                expected = window[0] + stride * np.arange(FRAMES)
                np.testing.assert_array_equal(window, np.minimum(expected, ends[clip] - 1))
                unknown = (window >= 10) & (window < 13)
                own = expected <= ends[clip] - 1
                np.testing.assert_array_equal(known.astype(bool), own & ~unknown)
    # 8 and 3 rows are too short for windows of 8 at stride 2, 30 rows hold 29 at stride 4
    assert seen == {(30, 1), (30, 2), (30, 4), (8, 1), (3, 1), (40, 1), (40, 2), (40, 4)}


def test_one_stride_cuts_as_it_did_before_there_were_several(store: PoseStore) -> None:
    for one, other in zip(loader(store).epoch(2), loader(store, strides=[1]).epoch(2), strict=True):
        assert one["camera"].equal(other["camera"])
        np.testing.assert_allclose(one[STEP], 1 / 9.99, rtol=1e-6)


def test_the_time_steps_of_windows_are_those_of_clips_and_strides() -> None:
    made = [made_clip(0, 30, fps=20.0), made_clip(30, 12, fps=20.0)]
    steps = window_steps_s(made, 8, [1, 2, 3])
    np.testing.assert_allclose(np.sort(steps), [0.05] * 6 + [0.1] * 4 + [0.15] * 4)
