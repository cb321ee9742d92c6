"""Linking person boxes over time: by overlap with where a person should be now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import linear_sum_assignment

# Two boxes belong together from this overlap (IoU) on; a person that moves fast is predicted.
_LEAST_OVERLAP = 0.2
_SMOOTHING_S = 0.08


@dataclass(frozen=True)
class Track:
    """One person over the frames first .. first + len(boxes_px) - 1.

    Attributes:
        track: stable number, from 0 by first appearance.
        first: index of the first frame.
        boxes_px: (n, 4), x0, y0, x1, y1; between looks interpolated.
    """

    track: int
    first: int
    boxes_px: NDArray[np.float32]


@dataclass
class _Open:
    """A track in the making: looks and boxes so far."""

    looks: list[int] = field(default_factory=list)
    boxes: list[NDArray[np.float64]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def add(self, look: int, person: NDArray[np.float64]) -> None:
        """Go on with a person's box and score."""
        self.looks.append(look)
        self.boxes.append(person[:4])
        self.scores.append(float(person[4]))

    def predicted(self, times_s: NDArray[np.float64], now_s: float) -> NDArray[np.float64]:
        """Return where the box should be now: its centre goes on at its last speed."""
        last = self.boxes[-1]
        if len(self.boxes) < 2:
            return last
        gap = times_s[self.looks[-1]] - times_s[self.looks[-2]]
        ahead = min(now_s - times_s[self.looks[-1]], 0.3)  # speed tells little of later
        speed = (_centre(last) - _centre(self.boxes[-2])) / max(gap, 1e-6)
        now: NDArray[np.float64] = last + np.tile(speed * ahead, 2)
        return now


def link(
    times_s: NDArray[np.floating],
    looked_at: Sequence[int],
    found: Sequence[NDArray[np.floating]],
    *,
    several: bool,
    patience_s: float,
    shortest_s: float,
) -> list[Track]:
    """Turn boxes per look into tracks.

    Args:
        times_s: (T,), time of every frame.
        looked_at: frames in which people were looked for, ascending.
        found: per look (n, 5): box and score, or (n, 6) with a known track number (>= 0) last.
        several: keep everyone; else at any time one person, first who is large and sure: by the
            area of all boxes times the mean score.
        patience_s: a track ends when unseen for longer; a number that comes back later is another.
        shortest_s: shorter tracks are dropped.
    """
    times = np.asarray(times_s, dtype=np.float64)
    finished: list[_Open] = []
    open_tracks: list[_Open] = []
    named: dict[int, _Open] = {}
    trusted = _numbers_can_be(found)
    for look, people in zip(looked_at, found, strict=True):
        boxes = np.asarray(people, dtype=np.float64)
        now = times[look]
        if trusted and boxes.shape[1] > 5 and len(boxes) > 0 and bool((boxes[:, 5] >= 0).all()):
            for row in boxes:
                number = int(row[5])
                if number in named and now - times[named[number].looks[-1]] > patience_s:
                    finished.append(named.pop(number))
                named.setdefault(number, _Open()).add(look, row)
            continue
        still = [t for t in open_tracks if now - times[t.looks[-1]] <= patience_s]
        finished += [t for t in open_tracks if now - times[t.looks[-1]] > patience_s]
        open_tracks = still
        taken = _assign([t.predicted(times, now) for t in open_tracks], boxes[:, :4])
        for i in range(len(boxes)):
            if i not in taken:
                open_tracks.append(_Open())
                taken[i] = len(open_tracks) - 1
            open_tracks[taken[i]].add(look, boxes[i])
    everyone = sorted([*finished, *open_tracks, *named.values()], key=lambda t: t.looks[0])
    closed = [_closed(i, t, times) for i, t in enumerate(everyone)]
    sure = {i: float(np.mean(track.scores)) for i, track in enumerate(everyone)}
    long = [t for t in closed if _duration(t, times) >= shortest_s]
    # a video of a single moment still has its person
    candidates = long or closed[:1]
    return candidates if several else _one_at_a_time(candidates, sure)


def _numbers_can_be(found: Sequence[NDArray[np.floating]]) -> bool:
    """Tell whether people's numbers tell them apart: no number is twice in one look."""
    for people in found:
        boxes = np.asarray(people)
        if boxes.ndim == 2 and boxes.shape[1] > 5:
            numbers = boxes[boxes[:, 5] >= 0, 5]
            if len(np.unique(numbers)) < len(numbers):
                return False
    return True


def thinned(track: Track, chosen: NDArray[np.integer]) -> Track | None:
    """Return a track over chosen frames (ascending) alone, numbered among them; None if in none."""
    first, stop = np.searchsorted(chosen, [track.first, track.first + len(track.boxes_px)])
    if first == stop:
        return None
    return Track(track.track, int(first), track.boxes_px[chosen[first:stop] - track.first])


def _assign(predicted: Sequence[NDArray[np.float64]], boxes: NDArray[np.float64]) -> dict[int, int]:
    """Return box index -> track index, the assignment of greatest total overlap."""
    if not predicted or not len(boxes):
        return {}
    overlap = iou(np.array(predicted)[:, None], boxes[None])
    # what is too little to be a match must not cost another its own
    tracks, chosen = linear_sum_assignment(-np.where(overlap >= _LEAST_OVERLAP, overlap, 0.0))
    return {
        int(b): int(t)
        for t, b in zip(tracks, chosen, strict=True)
        if overlap[t, b] >= _LEAST_OVERLAP
    }


def _closed(number: int, track: _Open, times: NDArray[np.float64]) -> Track:
    """Fill the frames between looks, and calm the boxes' trembling."""
    first, last = track.looks[0], track.looks[-1]
    frames = np.arange(first, last + 1)
    known = np.array(track.boxes)
    boxes = np.stack(
        [np.interp(times[frames], times[track.looks], known[:, i]) for i in range(4)], axis=1
    )
    if len(frames) > 2:
        spacing = float(np.median(np.diff(times[frames])))
        sigma = _SMOOTHING_S / max(spacing, 1e-3)
        boxes = gaussian_filter1d(boxes, sigma, axis=0, mode="nearest")
    return Track(number, first, boxes.astype(np.float32))


def _one_at_a_time(tracks: Sequence[Track], sure: Mapping[int, float]) -> list[Track]:
    """Keep tracks by total area times score, each only if no kept one shares a frame with it."""
    kept: list[Track] = []
    for track in sorted(tracks, key=lambda t: -float(_area(t.boxes_px).sum()) * sure[t.track]):
        start, stop = track.first, track.first + len(track.boxes_px)
        if all(stop <= k.first or start >= k.first + len(k.boxes_px) for k in kept):
            kept.append(track)
    return sorted(kept, key=lambda t: t.first)


def iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the intersection over union of boxes (..., 4)."""
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., 2:], b[..., 2:])
    common = np.clip(high - low, 0, None).prod(axis=-1)
    union: NDArray[np.float64] = np.maximum(_area(a) + _area(b) - common, 1e-9)
    return np.asarray(common / union, dtype=np.float64)


def _area(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1), np.float64)


def _centre(box: NDArray[np.float64]) -> NDArray[np.float64]:
    return (box[:2] + box[2:]) / 2


def _duration(track: Track, times: NDArray[np.float64]) -> float:
    return float(times[track.first + len(track.boxes_px) - 1] - times[track.first])
