"""A video as inspected, its segments, and what looking through each of them gave, saved.

A rerun takes up what is saved; the names tell the video as inspected and the settings, so that
nothing stale is taken.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.storage import exists, join, read_bytes, write_bytes
from diffpose.preprocessing.people.track_files import FOLDER, digest
from diffpose.preprocessing.settings import PreprocessSettings


@dataclass(frozen=True)
class InspectedVideo:
    """What a video's packets tell.

    Attributes:
        name: in the store.
        error: why it cannot be used; the rest is empty then.
        width: of its frames, px.
        height: of its frames, px.
        fps: on average.
        damage: what is wrong from some packet on, or "".
        segments: (first, stop) presentation time stamps, cut at keyframes.
        keyframes: their presentation time stamps.
    """

    name: str
    error: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    damage: str = ""
    segments: tuple[tuple[int | None, int | None], ...] = ()
    keyframes: tuple[int, ...] = ()

    @property
    def content(self) -> str:
        """Return all that was found as text, equal for equal videos."""
        return json.dumps(
            {
                "width": self.width,
                "height": self.height,
                "fps": self.fps,
                "damage": self.damage,
                "segments": [list(segment) for segment in self.segments],
                "keyframes": list(self.keyframes),
            }
        )


@dataclass(frozen=True)
class Segment:
    """One of a video's segments, by its number."""

    video: InspectedVideo
    number: int

    @property
    def pts(self) -> tuple[int | None, int | None]:
        """Return its first and stop presentation time stamp; None: the video's own."""
        return self.video.segments[self.number]


@dataclass(frozen=True)
class LookedThrough:
    """What looking through a video, or a segment of it, found, up to the first damage.

    Attributes:
        pts: (T,), presentation times of all frames, in the stream's ticks.
        time_s: (T,), their times.
        looks: (n,), indices of the frames that were looked at.
        boxes: of each of these the people, (people, 5): x0, y0, x1, y1 in px, score.
        damage: what is wrong after the last frame, or "".
    """

    pts: NDArray[np.int64]
    time_s: NDArray[np.float64]
    looks: NDArray[np.int64]
    boxes: list[NDArray[np.float32]]
    damage: str


def segment_uri(settings: PreprocessSettings, segment: Segment) -> str:
    """Return where what a segment gave is saved."""
    chosen = settings.model_dump(mode="json", include={"source", "people", "detector"})
    video = segment.video
    key = digest(json.dumps([video.name, video.content, chosen], sort_keys=True))
    return join(settings.store, FOLDER, f"{key}.{segment.number:05d}.npz")


def save_segment(settings: PreprocessSettings, segment: Segment, found: LookedThrough) -> None:
    """Save what a segment gave."""
    counts = [len(people) for people in found.boxes]
    flat = np.concatenate(found.boxes) if found.boxes else np.zeros((0, 5), np.float32)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, pts=found.pts, time_s=found.time_s, looks=found.looks,
        counts=np.array(counts, np.int64), boxes=flat, error=np.array(found.damage),
    )  # fmt: skip
    write_bytes(segment_uri(settings, segment), buffer.getvalue())


def load_segment(settings: PreprocessSettings, segment: Segment) -> LookedThrough | None:
    """Return what a segment gave, None where it was not looked through yet."""
    uri = segment_uri(settings, segment)
    if not exists(uri):
        return None
    with np.load(io.BytesIO(read_bytes(uri)), allow_pickle=False) as saved:
        counts = saved["counts"]
        boxes = np.split(saved["boxes"], np.cumsum(counts)[:-1]) if len(counts) else []
        return LookedThrough(
            saved["pts"], saved["time_s"], saved["looks"], boxes, str(saved["error"])
        )


def load_video(settings: PreprocessSettings, video: InspectedVideo) -> LookedThrough:
    """Put a video's segments together; from a damage on nothing is taken."""
    parts: list[LookedThrough] = []
    looks: list[NDArray[np.int64]] = []
    count, last = 0, -(2**62)
    for number in range(len(video.segments)):
        part = load_segment(settings, Segment(video, number))
        assert part is not None, f"segment {number} of {video.name} was not looked through"
        assert (part.pts > last).all(), f"segments of {video.name} overlap"
        parts.append(part)
        looks.append(part.looks + count)
        count += len(part.pts)
        last = int(part.pts[-1]) if len(part.pts) else last
        if part.damage:
            break
    return LookedThrough(
        pts=np.concatenate([part.pts for part in parts]),
        time_s=np.concatenate([part.time_s for part in parts]),
        looks=np.concatenate(looks).astype(np.int64),
        boxes=[people for part in parts for people in part.boxes],
        damage=parts[-1].damage,
    )
