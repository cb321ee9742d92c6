"""Videos as a source: people are looked for, followed, and detected in windows around them."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.progress import Progress
from diffpose.platform.execution.ray_stages import ActorStage, Stage, run_stages
from diffpose.platform.store.clips import Clip, Split
from diffpose.preprocessing.keypoints.recorded import RecordedSettings
from diffpose.preprocessing.people.look import make_inspect_fn, make_look_fn
from diffpose.preprocessing.people.segments import InspectedVideo, Segment, load_segment
from diffpose.preprocessing.people.track_files import read_tracks
from diffpose.preprocessing.people.tracks import VideoToTrack, make_tracks_fn
from diffpose.preprocessing.people.video_job import VideoJob
from diffpose.preprocessing.planning.plan import Probe
from diffpose.preprocessing.planning.run_spans import detecting, session
from diffpose.preprocessing.planning.span_row import SpanRow
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.files import look_through
from diffpose.preprocessing.sources.interface import (
    Heatmaps,
    SourceFile,
    SourceReport,
    joint_heights_px,
    splits_by_rule,
)
from diffpose.preprocessing.sources.video_detection import VideoDetection
from diffpose.preprocessing.sources.video_truth import silhouette_heights_px
from diffpose.preprocessing.videos.decode import decode, inspect_video, named_videos
from diffpose.preprocessing.videos.settings import VideoSource


@dataclass(frozen=True)
class VideoRecordings:
    """Video files; see Source.

    Attributes:
        settings: of the store.
        source: those of the videos among them.
        detection: by a network, or recorded keypoints.
        recorded: these keypoints' settings, where they are the detector.
    """

    settings: PreprocessSettings
    source: VideoSource
    detection: VideoDetection
    recorded: RecordedSettings | None = None

    @property
    def longest_span(self) -> int:
        """Return at most a clip's frames: pixels weigh three times as much as heatmaps.

        A power of two, since spans are whole shards and chunks; a longer clip gets several of them.
        """
        return 1 << (self.source.clip_frames.bit_length() - 1)

    @functools.cached_property
    def _uris(self) -> dict[str, str]:
        return named_videos(self.source.uri)

    @property
    def _job(self) -> VideoJob:
        return VideoJob(self.settings, self.source, self._uris, self.recorded)

    def recordings(self) -> dict[str, str]:
        """Return the files."""
        return self._uris

    def splits(self, names: Sequence[str], earlier: Collection[str]) -> dict[str, Split]:
        """Split by split.*; a sidecar's own word counts more."""
        return splits_by_rule(names, earlier, self.settings.split, self.settings.seed)

    def probe(self, files: Sequence[SourceFile]) -> list[Probe]:
        """Inspect videos, look through their segments, link people into tracks; restartable."""
        with session(self.settings):
            return self._look_for_people(files)

    def _look_for_people(self, files: Sequence[SourceFile]) -> list[Probe]:
        job, workers = self._job, self.settings.workers
        names = [file.name for file in files]
        videos: list[InspectedVideo] = sorted(
            run_stages(names, [make_inspect_fn(job)], workers), key=lambda video: video.name
        )
        probes = [Probe(video.name, error=video.error) for video in videos if video.error]
        usable = [video for video in videos if not video.error]
        segments = [Segment(v, number) for v in usable for number in range(len(v.segments))]
        left = [segment for segment in segments if not self._is_done(segment)]
        if left:
            already = len(segments) - len(left)
            progress = Progress("people", len(segments), "video segments", already=already)
            gpus = self.settings.detector_gpus
            look = make_look_fn(job, "cuda" if gpus else "cpu")
            stage = detecting(look, self.settings) if gpus else look
            for _ in run_stages(left, [stage], workers):
                progress.advance(1)
        splits = {file.name: file.split for file in files}
        to_track = [VideoToTrack(video, splits[video.name]) for video in usable]
        return [*probes, *run_stages(to_track, [make_tracks_fn(job)], workers)]

    def _is_done(self, segment: Segment) -> bool:
        """Tell whether a segment was looked through before, without damage."""
        found = load_segment(self.settings, segment)
        return found is not None and not found.damage

    def stages(self, temperature: NDArray[np.float64] | None) -> list[Stage | ActorStage]:
        """Detect by the network, or draw what was recorded."""
        return self.detection.stages(self._job, temperature)

    def heatmaps(self, row: SpanRow, clip: Clip, rows: NDArray[np.integer]) -> Heatmaps:
        """Return the network's or the recording's words."""
        return self.detection.heatmaps(row, clip, rows)

    def attributes(self) -> dict[str, Any]:
        """Return nothing: it is no data set with rules of its own."""
        return {}

    def frames(
        self, store_uri: str, clip: Clip, offsets: Sequence[int]
    ) -> Iterator[NDArray[np.uint8]]:
        """Decode frames of a clip."""
        uri = self._uris.get(clip.source)
        if uri is None:
            raise SourceError(
                f"The video {clip.source!r} is no longer at {self.source.uri!r}; put it back to "
                "see it."
            )
        tracks = read_tracks(store_uri, clip.source)
        wanted = [int(tracks.pts[clip.first_frame + offset]) for offset in offsets]
        frames = decode(
            uri,
            first_pts=wanted[0],
            stop_pts=wanted[-1] + 1,
            limits=self.source.limits(),
            wanted=set(wanted),
        )
        yield from (frame.pixels for frame in frames)

    def box_heights_px(
        self, clip: Clip, truth_px: NDArray[np.float64], times_s: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the silhouette's height where a sidecar has it, else the joints'."""
        heights = silhouette_heights_px(self._uris[clip.source], truth_px, times_s)
        return joint_heights_px(truth_px) if heights is None else heights

    def check(self) -> SourceReport:
        """Look at every video's packets."""

        def look(_name: str, uri: str) -> str:
            info = inspect_video(uri, self.source.limits())
            damage = f", damaged: {info.damage}" if info.damage else ""
            return f"{info.width} x {info.height}, {info.average_fps:.3g} frames per second{damage}"

        return look_through(self._uris, look)
