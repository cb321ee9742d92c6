"""The plan: which clip gets which rows, whatever the order of the input; it only grows."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from diffpose.platform.base.errors import SourceError, StoreError
from diffpose.platform.store.fields import LARGEST_SPAN
from diffpose.preprocessing.planning.plan import (
    Plan,
    Probe,
    body_of,
    extend_plan,
    load_plan,
    save_plan,
)
from diffpose.preprocessing.records.splits import SplitSettings, assign_splits, check_patterns
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.mocap import MocapRecordings
from diffpose.preprocessing.sources.registry import source_of

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class File:
    """A motion file: its frame ranges, or why it cannot be read."""

    source: str
    segments: tuple[tuple[int, int], ...] = ()
    error: str = ""


def extended(
    plan: Plan | None, made: PreprocessSettings, files: list[File], names: list[str]
) -> Plan:
    splits = assign_splits(names, made.split, made.seed)
    source = source_of(made)
    assert isinstance(source, MocapRecordings)
    found = [
        Probe(f.source, source.clips(f.source, splits[f.source], 10.0, f.segments), f.error)
        for f in files
    ]
    return extend_plan(plan, made, found, LARGEST_SPAN)


def settings(store: str = "store", **changes: Any) -> PreprocessSettings:
    values = {"source": {"uri": "recordings"}, "store": store, "cameras": {"count": 2}, **changes}
    return PreprocessSettings.model_validate(values)


def probes(n: int, longest: int = 30, prefix: str = "walk") -> list[File]:
    rng = random.Random(n)
    made = []
    for i in range(n):
        cut, end = sorted(rng.sample(range(1, longest + 1), 2))
        made.append(File(f"{prefix}_{i:02d}.bvh", ((0, cut), (cut, end))))
    return made


def plan_of(
    found: list[File], made: PreprocessSettings | None = None, plan: Plan | None = None
) -> Plan:
    known = sorted(plan.sources()) if plan else []
    names = [*known, *(probe.source for probe in found)]
    return extended(plan, made or settings(), found, names)


def check_rows(plan: Plan) -> None:
    """Spans follow each other on borders; clips lie whole and apart within one span."""
    row = 0
    for number, span in enumerate(plan.spans):
        assert (span.span, span.first_row) == (number, row)
        assert span.n_rows > 0
        assert span.n_rows % plan.span_rows == span.first_row % plan.span_rows == 0
        place = span.first_row
        for clip in span.clips:
            assert clip.first_row == place
            place += clip.n_rows
        assert place <= span.first_row + span.n_rows
        assert len({clip.split for clip in span.clips}) == 1
        row += span.n_rows
    assert plan.n_rows == row


def test_rows_of_a_plan() -> None:
    found = probes(20)
    plan = plan_of(found)
    check_rows(plan)
    clips = [clip for span in plan.spans for clip in span.clips]
    assert len(clips) == 20 * 2 * 2
    assert len({clip.clip for clip in clips}) == len(clips)
    assert sum(clip.n_rows for clip in clips) == 2 * sum(p.segments[-1][1] for p in found)
    assert {(c.camera, c.source, c.first_frame, c.n_rows) for c in clips} == {
        (camera, p.source, start, stop - start)
        for camera in ("camera_0", "camera_1")
        for p in found
        for start, stop in p.segments
    }
    splits = [SPLITS.index(clip.split) for clip in clips]
    assert splits == sorted(splits)
    assert {(clip.action, clip.status, clip.fps) for clip in clips} == {("walk", "pending", 10.0)}
    assert len(plan.spans) < len(clips) / 2, "clips do not share spans"


def test_any_order_gives_the_same_plan() -> None:
    found = probes(15)
    names = [probe.source for probe in found]
    plan = extended(None, settings(), found, names)
    for seed in range(5):
        random.Random(seed).shuffle(found)
        random.Random(seed + 50).shuffle(names)
        assert extended(None, settings(), found, names) == plan


def test_the_seed_matters() -> None:
    found = probes(15)
    assert plan_of(found, settings(seed=1)).spans != plan_of(found, settings(seed=2)).spans


def test_a_long_clip_gets_a_longer_span() -> None:
    long = File("dance.bvh", ((0, 150),))
    plan = plan_of([*probes(4), long], settings(split={"test_share": 0, "validation_share": 0}))
    assert plan.span_rows == 64
    check_rows(plan)
    spans = [span for span in plan.spans if span.clips[0].source == "dance.bvh"]
    assert [(span.n_rows, len(span.clips)) for span in spans] == [(192, 1), (192, 1)]
    assert all(span.n_rows == 64 for span in plan.spans if span not in spans)


def test_a_clip_of_exactly_a_span() -> None:
    exact = [File(f"a{i}.bvh", ((0, 64),)) for i in range(2)]
    plan = plan_of(exact, settings(cameras={"count": 1}))
    check_rows(plan)
    assert [(span.n_rows, len(span.clips)) for span in plan.spans] == [(64, 1), (64, 1)]


def test_many_rows_get_larger_spans() -> None:
    many = [File(f"a{i}.bvh", ((0, 1000),)) for i in range(6)]
    plan = plan_of(many)  # 12000 rows
    assert plan.span_rows == 256
    check_rows(plan)


def test_extending_keeps_rows_and_appends() -> None:
    old = plan_of(probes(10))
    # The new names sort before the old ones, and there are enough for larger spans.
    new = [File(f"aa_{i}.bvh", ((0, 400),)) for i in range(20)]
    plan = plan_of(new, plan=old)
    check_rows(plan)
    assert plan.spans[: len(old.spans)] == old.spans
    assert plan.span_rows == old.span_rows == 64
    added = plan.spans[len(old.spans) :]
    assert {clip.source for span in added for clip in span.clips} == {p.source for p in new}
    assert min(span.first_row for span in added) == old.n_rows
    assert plan.sources() == old.sources() | {p.source for p in new}


def test_extending_by_nothing_changes_nothing() -> None:
    old = plan_of(probes(5))
    assert plan_of([], plan=old) == old


def test_unreadable_files_are_recorded_and_retried() -> None:
    bad = [File("zz_1.bvh", error="no skeleton"), File("zz_2.bvh", error="empty")]
    plan = plan_of([*probes(4), *bad])
    assert plan.unreadable == {"zz_1.bvh": "no skeleton", "zz_2.bvh": "empty"}
    assert plan.sources().isdisjoint(plan.unreadable)  # so the next run probes them again
    names = [*plan.sources(), "zz_1.bvh", "zz_2.bvh"]
    again = [File("zz_1.bvh", ((0, 12),)), File("zz_2.bvh", error="still empty")]
    retried = extended(plan, settings(), again, names)
    assert retried.unreadable == {"zz_2.bvh": "still empty"}
    assert retried.spans[: len(plan.spans)] == plan.spans
    assert {c.source for s in retried.spans[len(plan.spans) :] for c in s.clips} == {"zz_1.bvh"}
    check_rows(retried)


def test_nothing_readable() -> None:
    plan = plan_of([File("a.bvh", error="broken")])
    assert (plan.n_rows, plan.spans, plan.unreadable) == (0, [], {"a.bvh": "broken"})


def test_saved_plan_round_trip(tmp_path: Path) -> None:
    made = settings(str(tmp_path / "store"))
    assert load_plan(made) is None
    plan = plan_of([*probes(6), File("zz.bvh", error="broken")], made)
    save_plan(made.store, plan)
    assert load_plan(made) == plan
    # What does not change the rows may change between runs.
    free = {"workers": 3, "stages": ["mixtures"], "strict": True, "mixture": {"name": "own"}}
    assert load_plan(settings(made.store, **free)) == plan


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"seed": 5}, "seed: saved 0, now 5"),
        ({"cameras": {"count": 3}}, "cameras.count: saved 2, now 3"),
        (
            {"source": {"uri": "recordings", "poses_per_second": 25}},
            "source.poses_per_second: saved 10.0, now 25.0",
        ),
        ({"split": {"test": ["*x*"]}}, "split.test: saved [], now ['*x*']"),
        ({"bodies": {"train": 3}}, "bodies.train: saved {body}, now 3"),
    ],
)
def test_changed_settings(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    made = settings(str(tmp_path / "store"))
    save_plan(made.store, plan_of(probes(3), made))
    with pytest.raises(StoreError) as caught:
        load_plan(settings(made.store, **changes))
    lines = str(caught.value).splitlines()
    assert lines[0] == f"The store at {made.store!r} was made with other settings:"
    assert [text.strip() for text in lines[1:-1]] == [line.format(body=made.bodies.train)]
    assert "Give another store=" in lines[-1]


def names_of(n: int) -> list[str]:
    return [f"dir/walk_{i}.bvh" for i in range(n)]


@pytest.mark.parametrize("n", [3, 4, 5, 10, 100])
@pytest.mark.parametrize("shares", [(0.2, 0.1), (0.01, 0.01), (0.5, 0.4), (0.4, 0.5), (0.9, 0.9)])
def test_no_split_of_three_or_more_files_is_empty(n: int, shares: tuple[float, float]) -> None:
    split = SplitSettings(test_share=shares[0], validation_share=shares[1])
    for seed in range(3):
        assigned = assign_splits(names_of(n), split, seed)
        assert set(assigned) == set(names_of(n))
        assert set(assigned.values()) == set(SPLITS)


def test_shares() -> None:
    assigned = assign_splits(names_of(100), SplitSettings(), 0)
    counts = [list(assigned.values()).count(split) for split in SPLITS]
    assert counts == [70, 10, 20]
    nothing = SplitSettings(test_share=0, validation_share=0)
    assert set(assign_splits(names_of(100), nothing, 0).values()) == {"train"}
    assert set(assign_splits(names_of(2), SplitSettings(), 0).values()) == {"train"}


def test_splits_depend_on_names_and_seed_alone() -> None:
    names = names_of(40)
    first = assign_splits(names, SplitSettings(), 7)
    assert assign_splits(names[::-1], SplitSettings(), 7) == first
    assert assign_splits(names, SplitSettings(), 8) != first


def test_splits_by_pattern() -> None:
    names = [f"{action}_{i}.bvh" for action in ("walk", "kick", "run") for i in range(4)]
    split = SplitSettings(test=["kick_*", "run_0*"], validation=["run_*"])
    expected = {
        name: "test" if name.startswith("kick") or name == "run_0.bvh" else "validation"
        for name in names
        if not name.startswith("walk")
    }
    assert assign_splits(names, split, 0) == {
        **expected,
        **{name: "train" for name in names if name.startswith("walk")},
    }
    # With a pattern for one split only, the other takes its share of the rest.
    half = assign_splits(names, SplitSettings(test=["kick_*"], validation_share=0.5), 0)
    assert {name for name, s in half.items() if s == "test"} == {f"kick_{i}.bvh" for i in range(4)}
    assert list(half.values()).count("validation") == 4


@pytest.mark.parametrize("which", ["test", "validation"])
def test_a_pattern_that_means_no_file_is_refused(which: str) -> None:
    names = ["walk_0.bvh", "kick_1.bvh"]
    check_patterns(names, SplitSettings(**{which: ["kick_*"]}))
    with pytest.raises(SourceError, match=rf"split.{which}: 'run_\*'.* 2 files.*'kick_1.bvh'"):
        check_patterns(names, SplitSettings(**{which: ["kick_*", "run_*"]}))


def test_bodies() -> None:
    made = settings(bodies={"train": 5, "validation": 2, "test": 3})
    sources = names_of(300)
    for split, n_bodies in (("train", 5), ("validation", 2), ("test", 3)):
        bodies = [body_of(made, source, split) for source in sources]
        assert set(bodies) == set(range(n_bodies))
        assert bodies == [body_of(made, source, split) for source in sources]
    other = settings(bodies=made.bodies.model_dump(), seed=1)
    assert [body_of(other, s, "train") for s in sources] != [
        body_of(made, s, "train") for s in sources
    ]


def test_subjects_of_splits_are_disjoint() -> None:
    plan = plan_of(probes(40))
    subjects: dict[str, set[str]] = {split: set() for split in SPLITS}
    for span in plan.spans:
        for clip in span.clips:
            subjects[clip.split].add(clip.subject)
            assert (
                clip.subject == f"{clip.split}_{body_of(settings(), clip.source, clip.split):02d}"
            )
    assert all(subjects.values())
    assert sum(map(len, subjects.values())) == len(set().union(*subjects.values()))
