"""The saved tracks of a video: which frames were chosen, and who is where in them."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.storage import join, read_bytes, write_bytes
from diffpose.platform.store.clips import Clip
from diffpose.preprocessing.people.tracking import Track

FOLDER = "people"  # of a store


@dataclass(frozen=True)
class VideoTracks:
    """People of one video.

    Attributes:
        pts: (T,) int64, presentation time stamps of the chosen frames.
        time_s: (T,), their times.
        frame_index: (T,), their numbers among all frames of the video.
        tracks: people over the chosen frames.
    """

    pts: NDArray[np.int64]
    time_s: NDArray[np.float64]
    frame_index: NDArray[np.int64]
    tracks: tuple[Track, ...]


def write_tracks(store: str, name: str, tracks: VideoTracks) -> None:
    """Save the tracks of a video."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        pts=tracks.pts,
        time_s=tracks.time_s,
        frame_index=tracks.frame_index,
        track=np.array([t.track for t in tracks.tracks], np.int64),
        first=np.array([t.first for t in tracks.tracks], np.int64),
        length=np.array([len(t.boxes_px) for t in tracks.tracks], np.int64),
        boxes_px=np.concatenate([t.boxes_px for t in tracks.tracks]),
    )
    write_bytes(join(store, FOLDER, f"{digest(name)}.tracks.npz"), buffer.getvalue())


def read_tracks(store: str, name: str) -> VideoTracks:
    """Read the saved tracks of a video."""
    data = read_bytes(join(store, FOLDER, f"{digest(name)}.tracks.npz"))
    with np.load(io.BytesIO(data), allow_pickle=False) as saved:
        ends = np.cumsum(saved["length"])
        boxes = np.split(saved["boxes_px"], ends[:-1])
        tracks = tuple(
            Track(int(number), int(first), part)
            for number, first, part in zip(saved["track"], saved["first"], boxes, strict=True)
        )
        return VideoTracks(saved["pts"], saved["time_s"], saved["frame_index"], tracks)


def digest(name: str) -> str:
    """Return a short file name for a text."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def track_of(tracks: VideoTracks, clip: Clip) -> Track:
    """Return the person whom a clip follows."""
    return next(track for track in tracks.tracks if track.track == clip.track)


def clip_boxes(tracks: VideoTracks, clip: Clip) -> NDArray[np.float32]:
    """Return the person's boxes over a clip, (R, 4), px."""
    track = track_of(tracks, clip)
    first = clip.first_frame - track.first
    return track.boxes_px[first : first + clip.n_rows]
