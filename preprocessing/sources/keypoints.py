"""Stages from keypoint files alone to stored detections: people are linked, drawn, never seen."""

from __future__ import annotations

import json

import numpy as np

from diffpose.platform.base.errors import DiffPoseError, SourceError
from diffpose.platform.execution.ray_stages import Row, RowFunction
from diffpose.platform.store.clips import Clip, clip_id
from diffpose.preprocessing.keypoints.recorded import (
    RecordedSettings,
    Recording,
    read_recording,
    recorded_heatmaps,
)
from diffpose.preprocessing.keypoints.recordings import KeypointSource, Located, keypoint_recordings
from diffpose.preprocessing.people.track_files import VideoTracks, read_tracks, write_tracks
from diffpose.preprocessing.people.tracking import Track, link
from diffpose.preprocessing.planning.plan import Span
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.mocap import blank_arrays, fill_rows
from diffpose.preprocessing.sources.video import DEFAULT_FOCAL_RATIO, clip_boxes, summary_of


def make_probe_fn(settings: PreprocessSettings) -> RowFunction:
    """Return a function that links a file's people: {"source"} -> its clips or its error."""
    source, detector = _of(settings)
    located = keypoint_recordings(source.uri)

    def probe(row: Row) -> Row:
        name = row["source"]
        try:
            recording = _read(detector, located, name)
            tracks = _linked(settings, source, recording, name)
        except DiffPoseError as error:
            return {"source": name, "clips": "[]", "error": str(error)}
        write_tracks(settings.store, name, tracks)
        stem = name.rsplit("/", 1)[-1]
        clips = [
            Clip(
                clip=clip_id(name, first, min(source.clip_frames, stop - first), f"#{one.track}"),
                source=name,
                subject=stem.rpartition(".")[0] or stem,
                action=source.action_of(name),
                camera="camera_0",
                track=one.track,
                split="test",  # there is no truth to train on
                fps=source.fps,
                width=source.width,
                height=source.height,
                first_frame=first,
                first_row=0,
                n_rows=min(source.clip_frames, stop - first),
            ).model_dump(mode="json")
            for one in tracks.tracks
            for stop in (one.first + len(one.boxes_px),)
            for first in range(one.first, stop, source.clip_frames)
        ]
        return {"source": name, "clips": json.dumps(clips), "error": ""}

    return probe


def make_draw_fn(settings: PreprocessSettings) -> RowFunction:
    """Return a function that draws a span's keypoints as heatmaps."""
    source, detector = _of(settings)
    located = keypoint_recordings(source.uri)
    focal = source.focal_px or DEFAULT_FOCAL_RATIO * max(source.width, source.height)
    camera = np.array([focal, focal, source.width / 2, source.height / 2])

    def draw(row: Row) -> Row:
        span = Span.model_validate_json(row["span"])
        arrays = blank_arrays(span)
        errors: dict[str, str] = {}
        for clip in span.clips:
            try:
                recording = _read(detector, located, clip.source)
            except DiffPoseError as error:
                errors[clip.clip] = str(error)
                continue
            tracks = read_tracks(settings.store, clip.source)
            boxes = clip_boxes(tracks, clip)
            rows = slice(clip.first_frame, clip.first_frame + clip.n_rows)
            keypoints, confidence = recording.along(tracks.frame_index[rows], boxes)
            drawn = recorded_heatmaps(keypoints, confidence, boxes, detector)
            known = {
                "camera": np.tile(camera, (clip.n_rows, 1)),
                "timestamp_s": tracks.time_s[rows],
            }
            fill_rows(arrays, span, clip, {**known, **summary_of(*drawn)})
        return {"span": row["span"], "errors": json.dumps(errors), "arrays": arrays}

    return draw


def _linked(
    settings: PreprocessSettings, source: KeypointSource, recording: Recording, name: str
) -> VideoTracks:
    known = sorted(frame for frame, people in recording.frames.items() if people and frame >= 0)
    if not known:
        raise SourceError(f"{name}: nobody is in any of its {len(recording.frames)} frames.")
    points = np.concatenate(
        [person.box_px.reshape(2, 2) for frame in known for person in recording.people(frame)]
    )
    size = np.array([source.width, source.height])
    inside = ((points >= -0.25 * size) & (points <= 1.25 * size)).all(axis=-1).mean()
    if np.abs(points).max() <= 2:
        raise SourceError(
            f"{name}: all coordinates are within {np.abs(points).max():.2g} of 0. Keypoints must "
            "be in px, not normalised by the image's size."
        )
    if inside < 0.5:
        raise SourceError(
            f"{name}: {100 - 100 * inside:.0f} % of the people lie outside an image of "
            f"{source.width} x {source.height}. Give source.width and source.height of the images."
        )
    frames = np.arange(known[-1] + 1)
    times = frames / source.fps
    boxes = [
        np.array([[*p.box_px, p.score, p.track] for p in recording.people(f)], np.float64)
        for f in known
    ]
    people = settings.people

    def linked(shortest_s: float) -> list[Track]:
        return link(
            times, known, boxes,
            several=people.several, patience_s=people.patience_s, shortest_s=shortest_s,
        )  # fmt: skip

    tracks = linked(people.shortest_s)
    longest = max(len(track.boxes_px) for track in tracks)
    if (longest - 1) / source.fps < people.shortest_s:
        tracks = linked(0.0)  # single pictures: everyone counts
    return VideoTracks(frames.astype(np.int64), times, frames.astype(np.int64), tuple(tracks))


def _read(detector: RecordedSettings, located: dict[str, Located], name: str) -> Recording:
    if name not in located:
        raise SourceError(
            f"{name} was there when the store was planned, and is no longer at source.uri. Put it "
            "back, or make a new store."
        )
    return read_recording(detector, located[name].uri, located[name].video)


def _of(settings: PreprocessSettings) -> tuple[KeypointSource, RecordedSettings]:
    assert isinstance(settings.source, KeypointSource)
    assert isinstance(settings.detector, RecordedSettings)
    return settings.source, settings.detector
