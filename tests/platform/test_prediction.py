"""Whose clips belong together, what the files are called, what stands in them."""

from __future__ import annotations

import pytest
from stored_clips import made_clip

from diffpose.platform.prediction.predict import (
    Person,
    file_names,
    people_of,
    sequence_lengths,
)


def test_clips_of_a_person_are_put_together_in_order() -> None:
    clips = [
        made_clip(0, 8, source="a.mp4", track=0, first_frame=8),
        made_clip(8, 8, source="a.mp4", track=1, first_frame=0),
        made_clip(16, 8, source="a.mp4", track=0, first_frame=0),
        made_clip(24, 8, source="b/a.mp4", track=0, first_frame=0),
    ]
    people = people_of(clips)
    assert [(p.source, p.track, [c.first_row for c in p.clips]) for p in people] == [
        ("a.mp4", 0, [16, 0]), ("a.mp4", 1, [8]), ("b/a.mp4", 0, [24]),
    ]  # fmt: skip
    assert file_names(people) == ["a_person_0", "a_person_1", "b__a_person_0"]


def test_the_only_person_is_number_0_whatever_the_track() -> None:
    (person,) = people_of([made_clip(0, 8, source="a.mp4", track=3)])
    assert (person.track, person.number) == (3, 0)
    assert file_names([person]) == ["a_person_0"]


def test_names_that_would_meet_keep_their_suffix() -> None:
    people = [Person(name, 0, 0, ()) for name in ("a.mp4", "a.mkv", "c.mp4")]
    assert file_names(people) == ["a.mp4_person_0", "a.mkv_person_0", "c_person_0"]


@pytest.mark.parametrize(
    ("pieces", "lengths"),
    [([(0, 8), (8, 4)], [12]), ([(0, 8), (9, 4)], [8, 4]), ([(3, 1)], [1]), ([], [])],
)
def test_broken_tracks_are_sequences_of_their_own(
    pieces: list[tuple[int, int]], lengths: list[int]
) -> None:
    clips = [made_clip(8 * i, n, first_frame=f) for i, (f, n) in enumerate(pieces)]
    assert sequence_lengths(clips) == lengths
