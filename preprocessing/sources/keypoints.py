"""Keypoint files alone as a source: people are linked, drawn, never seen."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.pinhole import assumed_intrinsics_px
from diffpose.platform.base.errors import DiffPoseError, SourceError
from diffpose.platform.base.progress import Progress
from diffpose.platform.execution.ray_stages import ActorStage, Stage, run_stages
from diffpose.platform.store.clips import Clip, Split, clip_id
from diffpose.platform.store.fields import DETECTION_FIELDS, LARGEST_SPAN
from diffpose.preprocessing.keypoints.recorded import (
    RecordedSettings,
    Recording,
    read_recording,
    recorded_heatmaps,
)
from diffpose.preprocessing.keypoints.recorded_formats import read_frames
from diffpose.preprocessing.keypoints.recordings import KeypointSource, Located, keypoint_recordings
from diffpose.preprocessing.people.track_files import (
    VideoTracks,
    clip_boxes,
    read_tracks,
    write_tracks,
)
from diffpose.preprocessing.people.tracking import Track, link
from diffpose.preprocessing.planning.plan import Probe
from diffpose.preprocessing.planning.run_spans import session
from diffpose.preprocessing.planning.span_row import SpanRow, summary_of
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.files import look_through
from diffpose.preprocessing.sources.interface import (
    SourceFile,
    SourceReport,
    WithoutPictures,
    splits_by_rule,
)
from diffpose.preprocessing.videos.settings import PeopleSettings

# People walk out of pictures, and detectors guess joints beyond the border; a fifth is too many.
_LEAST_INSIDE = 0.8


@dataclass(frozen=True)
class KeypointRecordings(WithoutPictures):
    """Keypoint files without their videos; see Source."""

    settings: PreprocessSettings
    source: KeypointSource
    detector: RecordedSettings

    longest_span = LARGEST_SPAN

    @functools.cached_property
    def _located(self) -> dict[str, Located]:
        return keypoint_recordings(self.source.uri)

    def recordings(self) -> dict[str, str]:
        """Return the files, or the folders of files that hold a frame each."""
        return {name: located.uri for name, located in self._located.items()}

    def splits(self, names: Sequence[str], earlier: Collection[str]) -> dict[str, Split]:
        """Test all: there is no truth to train on. Patterns are checked nevertheless."""
        splits_by_rule(names, earlier, self.settings.split, self.settings.seed)
        return dict.fromkeys(names, "test")

    def probe(self, files: Sequence[SourceFile]) -> list[Probe]:
        """Link every file's people, in parallel."""
        progress = Progress("probe", len(files), "files")
        probes = []
        with session(self.settings):
            for probe in run_stages(files, [self.probe_one], self.settings.workers):
                probes.append(probe)
                progress.advance(1)
        return probes

    def probe_one(self, file: SourceFile) -> Probe:
        """Link a file's people, save their tracks, and return their clips or the file's error."""
        name, source = file.name, self.source
        try:
            tracks = _linked(self.settings.people, source, self._read(name), name)
        except DiffPoseError as error:
            return Probe(name, error=str(error))
        write_tracks(self.settings.store, name, tracks)
        stem = name.rsplit("/", 1)[-1]
        clips = tuple(
            Clip(
                clip=clip_id(name, first, n_rows, f"#{one.track}"),
                source=name,
                subject=stem.rpartition(".")[0] or stem,
                action=source.action_of(name),
                camera="camera_0",
                track=one.track,
                split=file.split,
                fps=source.fps,
                width=source.width,
                height=source.height,
                first_frame=first,
                first_row=0,
                n_rows=n_rows,
            )
            for one in tracks.tracks
            for stop in (one.first + len(one.boxes_px),)
            for first in range(one.first, stop, source.clip_frames)
            for n_rows in (min(source.clip_frames, stop - first),)
        )
        return Probe(name, clips)

    def stages(self, temperature: NDArray[np.float64] | None) -> list[Stage | ActorStage]:
        """Keypoints -> heatmaps."""
        del temperature
        return [self.rasterise]

    def rasterise(self, row: SpanRow) -> SpanRow:
        """Rasterise a span's keypoints as heatmaps."""
        source = self.source
        camera = assumed_intrinsics_px(source.width, source.height, source.focal_px)
        row = row.with_blank(DETECTION_FIELDS)
        for clip in row.span.clips:
            try:
                recording = self._read(clip.source)
            except DiffPoseError as error:
                row.errors[clip.clip] = str(error)
                continue
            tracks = read_tracks(self.settings.store, clip.source)
            boxes = clip_boxes(tracks, clip)
            rows = slice(clip.first_frame, clip.first_frame + clip.n_rows)
            keypoints, confidence = recording.along(tracks.frame_index[rows], boxes)
            drawn = recorded_heatmaps(keypoints, confidence, boxes, self.detector)
            known = {
                "camera": np.tile(camera, (clip.n_rows, 1)),
                "timestamp_s": tracks.time_s[rows],
            }
            row.fill(clip, {**known, **summary_of(*drawn)})
        return row

    def check(self) -> SourceReport:
        """Read every file."""

        def look(name: str, uri: str) -> str:
            frames = read_frames(uri, "auto", self._located[name].video).frames
            people = [len(p) for p in frames.values()]
            joints = sorted({len(p.keypoints_px) for one in frames.values() for p in one})
            return f"{len(frames)} frames, up to {max(people, default=0)} people, {joints} joints"

        return look_through(self.recordings(), look)

    def _read(self, name: str) -> Recording:
        if name not in self._located:
            raise SourceError(
                f"{name} was there when the store was planned, and is no longer at source.uri. Put "
                "it back, or make a new store."
            )
        located = self._located[name]
        return read_recording(self.detector, located.uri, located.video)


def _share_inside(points_px: NDArray[np.float64], size: NDArray[np.int_]) -> float:
    """Return the share of points (n, 2) in an image, or a tenth of its size beyond."""
    inside = (points_px >= -0.1 * size) & (points_px <= 1.1 * size)
    return float(inside.all(axis=-1).mean())


def _linked(
    people: PeopleSettings, source: KeypointSource, recording: Recording, name: str
) -> VideoTracks:
    known = sorted(frame for frame, people in recording.frames.items() if people and frame >= 0)
    if not known:
        raise SourceError(f"{name}: nobody is in any of its {len(recording.frames)} frames.")
    size = np.array([source.width, source.height])
    if recording.size is not None and recording.size != (source.width, source.height):
        raise SourceError(
            f"{name} says that its pictures are {recording.size[0]} x {recording.size[1]}, "
            f"source.width and source.height say {source.width} x {source.height}. Give the size "
            "of the pictures that the keypoints are in."
        )
    points = np.concatenate(
        [
            person.keypoints_px[person.confidence > 0]
            for frame in known
            for person in recording.people(frame)
        ]
    )
    if len(points) == 0:
        raise SourceError(f"{name}: no joint of anybody is known.")
    inside = _share_inside(points, size)
    if np.abs(points).max() <= 2:
        raise SourceError(
            f"{name}: all coordinates are within {np.abs(points).max():.2g} of 0. Keypoints must "
            "be in px, not normalised by the image's size."
        )
    if inside < _LEAST_INSIDE:
        turned = _share_inside(points, size[::-1])
        fits = f" {source.height} x {source.width} would hold them." if turned > 0.98 else ""
        raise SourceError(
            f"{name}: {100 - 100 * inside:.0f} % of the joints lie outside an image of "
            f"{source.width} x {source.height}.{fits} Give source.width and source.height of the "
            "images."
        )
    frames = np.arange(known[-1] + 1)
    times = frames / source.fps
    boxes = [
        np.array([[*p.box_px, p.score, p.track] for p in recording.people(f)], np.float64)
        for f in known
    ]

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
