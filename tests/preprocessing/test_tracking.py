"""People over time: crossing, gaps, the largest one, numbers that stay."""

from __future__ import annotations

import numpy as np

from diffpose.preprocessing.people.tracking import Track, _assign, iou, link, thinned

TIMES = np.arange(60) / 30.0
OPTIONS = {"patience_s": 0.5, "shortest_s": 0.2}


def box(x: float, size: float = 100.0) -> list[float]:
    return [x, 50.0, x + size * 0.5, 50.0 + size, 0.9]


def at(track: Track, frame: int) -> np.ndarray:
    return track.boxes_px[frame - track.first]


def test_two_people_cross_and_keep_their_numbers() -> None:
    left = [20 + 6.0 * i for i in range(60)]
    right = [380 - 6.0 * i for i in range(60)]
    rng = np.random.default_rng(0)
    found = [
        np.array([box(a), box(b)])[rng.permutation(2)] for a, b in zip(left, right, strict=True)
    ]
    tracks = link(TIMES, range(60), found, several=True, **OPTIONS)
    assert [t.track for t in tracks] == [0, 1]
    first = next(t for t in tracks if at(t, 0)[0] < 100)
    assert abs(at(first, 59)[0] - left[59]) < 15
    other = next(t for t in tracks if t is not first)
    assert abs(at(other, 59)[0] - right[59]) < 15


def test_one_at_a_time_is_the_largest() -> None:
    found = [np.array([box(20, 60), box(200, 140)]) for _ in range(60)]
    (only,) = link(TIMES, range(60), found, several=False, **OPTIONS)
    assert len(only.boxes_px) == 60
    assert abs(at(only, 30)[0] - 200) < 1


def test_a_second_person_is_taken_when_the_first_has_gone() -> None:
    found = [np.array([box(20)] if i < 25 else [box(300)]) for i in range(60)]
    one, two = link(TIMES, range(60), found, several=False, **OPTIONS)
    assert (one.first, len(one.boxes_px)) == (0, 25)
    assert (two.first, len(two.boxes_px)) == (25, 35)
    assert one.track != two.track


def test_looks_between_are_interpolated_and_short_gaps_bridged() -> None:
    looks = [i for i in range(0, 60, 3) if not 24 < i < 36]
    found = [np.array([box(10.0 + 4 * i)]) for i in looks]
    (track,) = link(TIMES, looks, found, several=True, **OPTIONS)
    assert (track.first, len(track.boxes_px)) == (0, looks[-1] + 1)
    for frame in (10, 30, 50):
        assert abs(at(track, frame)[0] - (10.0 + 4 * frame)) < 3


def test_a_track_ends_with_the_last_look_that_saw_it() -> None:
    looks = [*range(0, 60, 7), 59]
    found = [np.array([box(10.0 + 4 * i)]) for i in looks]
    (track,) = link(TIMES, looks, found, several=True, **OPTIONS)
    assert (track.first, len(track.boxes_px)) == (0, 60)
    # who had gone by the last look does not come back, and a file that ends early stays ended
    found[-1] = np.zeros((0, 5))
    (track,) = link(TIMES, looks, found, several=True, **OPTIONS)
    assert len(track.boxes_px) == 57
    early = [np.array([box(10.0)]) for _ in range(40)]
    (track,) = link(TIMES, range(40), early, several=True, **OPTIONS)
    assert len(track.boxes_px) == 40


def test_a_long_absence_ends_a_track_and_flickers_are_dropped() -> None:
    found = [np.zeros((0, 5)) if 20 <= i < 40 else np.array([box(50)]) for i in range(60)]
    found[30] = np.array([box(500)])
    tracks = link(TIMES, range(60), found, several=True, **OPTIONS)
    assert [(t.first, len(t.boxes_px)) for t in tracks] == [(0, 20), (40, 20)]


def test_known_numbers_are_taken_as_they_are() -> None:
    rows = [np.array([[*box(20), 7], [*box(22), 3]]) for _ in range(60)]
    tracks = link(TIMES, range(60), rows, several=True, **OPTIONS)
    assert len(tracks) == 2
    assert sorted(round(float(at(t, 30)[0])) for t in tracks) == [20, 22]


def test_a_single_moment_has_its_person_and_nothing_gives_nothing() -> None:
    (one,) = link(np.zeros(1), [0], [np.array([box(20)])], several=False, **OPTIONS)
    assert len(one.boxes_px) == 1
    assert link(TIMES, range(60), [np.zeros((0, 5))] * 60, several=True, **OPTIONS) == []


def test_iou() -> None:
    a = np.array([0.0, 0.0, 2.0, 2.0])
    assert iou(a, a) == 1.0
    assert iou(a, np.array([1.0, 0.0, 3.0, 2.0])) == 1 / 3
    assert iou(a, np.array([5.0, 5.0, 6.0, 6.0])) == 0.0


def test_a_poor_match_does_not_cost_a_good_one() -> None:
    """Overlaps .379 and 0 against .19 and .19, which are too little to be matches at all."""
    tracks = [np.array([0.0, 0, 100, 100]), np.array([113.0, 0, 213, 100])]
    boxes = np.array([[45.0, 0, 145, 100], [-68.0, 0, 32, 100]])
    assert _assign(tracks, boxes) == {0: 0}


def test_thinned_tracks_keep_the_boxes_of_their_frames() -> None:
    found = [np.array([box(10.0 + 4 * i)]) for i in range(60)]
    (whole,) = link(TIMES, range(60), found, several=False, **OPTIONS)
    part = thinned(whole, np.arange(0, 60, 7))
    assert part is not None
    assert (part.track, part.first, len(part.boxes_px)) == (whole.track, 0, 9)
    np.testing.assert_array_equal(part.boxes_px, whole.boxes_px[::7])
    later = Track(3, 10, whole.boxes_px[:5])  # frames 10 to 14
    assert thinned(later, np.array([0, 15, 30])) is None
    inner = thinned(later, np.array([0, 12, 30]))
    assert inner is not None
    assert (inner.first, len(inner.boxes_px)) == (1, 1)
