"""From planned video clips to detections: pictures are decoded, cut and judged, or keypoints drawn.

Pixels exist for one span at a time. Frames are decoded in order, once for all people in them, and
only the windows around the people are kept.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.model.geometry.person_view import directions, turn_onto
from diffpose.model.heatmaps import grid as hm
from diffpose.model.heatmaps.temperature import quantised
from diffpose.platform.base.errors import DiffPoseError, SourceError
from diffpose.platform.execution.ray_stages import ActorStage, Stage
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.fields import DETECTED_POSE, DETECTION_FIELDS, Field
from diffpose.preprocessing.detectors.interface import (
    PixelDetectorKind,
    PoseHeatmapDetector,
    windows_around,
)
from diffpose.preprocessing.detectors.registry import pixel_detector
from diffpose.preprocessing.keypoints.recorded import (
    RecordedSettings,
    recorded_heatmaps,
    recording_of,
)
from diffpose.preprocessing.people.track_files import VideoTracks, clip_boxes, read_tracks
from diffpose.preprocessing.people.video_job import VideoJob
from diffpose.preprocessing.planning.run_spans import detecting
from diffpose.preprocessing.planning.span_row import SpanRow, summary_of
from diffpose.preprocessing.sources.interface import Heatmaps
from diffpose.preprocessing.sources.video_truth import known_of
from diffpose.preprocessing.videos.cut import cut_windows
from diffpose.preprocessing.videos.decode import decode
from diffpose.preprocessing.videos.sidecar import Sidecar, read_sidecar


@dataclass
class CutSpan(SpanRow):
    """A span whose people have been cut out of their pictures.

    Attributes:
        pixels: (R, rows, columns, 3) uint8, RGB.
        windows: (R, 4), where the pixels lie in their images (detectors.interface).
        lenses: clip -> its sidecar, where that tells of distortion.
    """

    pixels: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 0, 3), np.uint8))
    windows: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    lenses: dict[str, Sidecar] = field(default_factory=dict)


class VideoDetection(Protocol):
    """How the clips of videos become detections."""

    def stages(
        self, job: VideoJob, temperature: NDArray[np.float64] | None
    ) -> list[Stage | ActorStage]:
        """See Source.stages."""
        ...

    def heatmaps(self, row: SpanRow, clip: Clip, rows: NDArray[np.integer]) -> Heatmaps:
        """See Source.heatmaps."""
        ...


@dataclass(frozen=True)
class PictureDetection:
    """A network looks at windows cut around the people."""

    detector: PixelDetectorKind

    def stages(
        self, job: VideoJob, temperature: NDArray[np.float64] | None
    ) -> list[Stage | ActorStage]:
        """Frames -> windows on people -> heatmaps."""
        fields = DETECTION_FIELDS + ((DETECTED_POSE,) if self.detector.gives_pose else ())
        cut = functools.partial(
            cut_people, job=job, crop_size=self.detector.crop_size(), fields=fields
        )
        if temperature is None:
            return [cut]
        device = "cuda" if job.settings.detector_gpus else "cpu"
        judge = functools.partial(self.detect, temperature=temperature, device=device)
        return [cut, detecting(judge, job.settings)]

    def detect(
        self, row: CutSpan, temperature: NDArray[np.float64], device: str = "cpu"
    ) -> SpanRow:
        """Turn a span's pixels into detections."""
        if device == "cpu":
            torch.set_num_threads(1)
        done = SpanRow(row.span, row.arrays, row.errors, row.skipped)
        for clip in done.span.clips:
            if clip.clip in done.errors:
                done.clear(clip, ("pose_3d", "root_position", "camera", "timestamp_s"))
                continue
            place = done.rows_of(clip)
            rows = np.arange(place.start, place.stop)
            found = self.heatmaps(row, clip, rows, device)
            done.fill(clip, summary_of(quantised(found.heatmaps, temperature), found.crops))
            if found.poses_mm is not None:
                turned = in_camera_axes(found, done.arrays["camera"][rows])
                done.fill(clip, {DETECTED_POSE.name: turned})
        return done

    def heatmaps(
        self, row: SpanRow, clip: Clip, rows: NDArray[np.integer], device: str = "cpu"
    ) -> Heatmaps:
        """Return what the network says of some rows, as a lens without distortion has them."""
        cut = cast(CutSpan, row)  # what this detection's own stages gave
        detector = pixel_detector(self.detector, device)
        poses_mm = None
        if isinstance(detector, PoseHeatmapDetector):
            heatmaps, crops, poses_mm = detector.detect_with_pose(
                cut.pixels[rows], cut.windows[rows]
            )
        else:
            heatmaps, crops = detector.detect(cut.pixels[rows], cut.windows[rows])
        if clip.clip in cut.lenses:  # the truth is of a straight lens, as in a store
            crops = straightened(crops, cut.lenses[clip.clip])
        return Heatmaps(heatmaps, crops, poses_mm)


@dataclass(frozen=True)
class RecordedDetection:
    """Recorded keypoints are drawn as heatmaps; no picture is looked at."""

    detector: RecordedSettings

    def stages(
        self, job: VideoJob, temperature: NDArray[np.float64] | None
    ) -> list[Stage | ActorStage]:
        """Keypoints -> heatmaps."""
        del temperature
        return [functools.partial(self.rasterise, job=job)]

    def rasterise(self, row: SpanRow, job: VideoJob) -> SpanRow:
        """Rasterise a span's keypoints as heatmaps."""
        row = row.with_blank(DETECTION_FIELDS)
        for clip in row.span.clips:
            try:
                uri = job.uri_of(clip.source)
                tracks = read_tracks(job.settings.store, clip.source)
                boxes = clip_boxes(tracks, clip)
                known = known_of(uri, job.source, tracks, clip)
                frames = tracks.frame_index[clip.first_frame : clip.first_frame + clip.n_rows]
                recording = recording_of(self.detector, uri)
                keypoints, confidence = recording.along(frames, boxes)
                heatmaps, crops = recorded_heatmaps(keypoints, confidence, boxes, self.detector)
                crops = straightened(crops, read_sidecar(uri))
            except DiffPoseError as error:
                row.errors[clip.clip] = str(error)
                continue
            row.fill(clip, {**known, **summary_of(heatmaps, crops)})
        return row

    def heatmaps(self, row: SpanRow, clip: Clip, rows: NDArray[np.integer]) -> Heatmaps:
        """Return what was drawn."""
        del clip
        heatmaps = row.arrays["heatmaps"][rows].astype(np.float32)
        return Heatmaps(heatmaps, row.arrays["heatmap_crop"][rows])


def in_camera_axes(found: Heatmaps, camera: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return a detector's own poses (R, 17, 3) in the axes of the cameras (R, 4) that filmed.

    It looked straight at the crop's middle, the camera looks along its own axis.
    """
    assert found.poses_mm is not None
    rays = torch.from_numpy((hm.crop_middles(found.crops) - camera[:, 2:]) / camera[:, :2])
    rotation = turn_onto(directions(rays)).numpy()
    turned = np.einsum("rij,rkj->rki", rotation, found.poses_mm)
    return np.asarray(turned, dtype=np.float32)


def cut_people(
    row: SpanRow,
    job: VideoJob,
    crop_size: tuple[int, int],
    fields: Sequence[Field] = DETECTION_FIELDS,
) -> CutSpan:
    """Add to a span its people's pixels and what is known of them."""
    span = row.span
    blank = row.with_blank(fields)
    cut = CutSpan(
        **vars(blank),
        pixels=np.zeros((span.n_rows, *crop_size, 3), dtype=np.uint8),
        windows=np.zeros((span.n_rows, 4), dtype=np.float32),
    )
    by_source: dict[str, list[Clip]] = defaultdict(list)
    for clip in span.clips:
        by_source[clip.source].append(clip)
    for name, clips in by_source.items():
        try:
            uri = job.uri_of(name)
            tracks = read_tracks(job.settings.store, name)
            sidecar = read_sidecar(uri)
            if sidecar.lens is not None:
                cut.lenses.update((clip.clip, sidecar) for clip in clips)
            for clip in clips:
                boxes = clip_boxes(tracks, clip)
                cut.windows[cut.rows_of(clip)] = windows_around(boxes, crop_size)
                cut.fill(clip, known_of(uri, job.source, tracks, clip))
            _cut_frames(uri, job, _wanted(tracks, clips, span.first_row), cut)
        except DiffPoseError as error:
            cut.errors.update({clip.clip: str(error) for clip in clips})
    return cut


def straightened(crops: NDArray[np.float32], sidecar: Sidecar) -> NDArray[np.float32]:
    """Return crops as a lens without distortion would have them, where the sidecar tells of one."""
    lens = sidecar.lens
    if lens is None:
        return crops
    straight = lens.straightened_crops(crops.astype(np.float64), (hm.HEIGHT, hm.WIDTH))
    return straight.astype(np.float32)


def _wanted(tracks: VideoTracks, clips: list[Clip], first_row: int) -> dict[int, list[int]]:
    """Return for each presentation time stamp the rows of the span that show its frame."""
    wanted: dict[int, list[int]] = defaultdict(list)
    for clip in clips:
        for i in range(clip.n_rows):
            pts = int(tracks.pts[clip.first_frame + i])
            wanted[pts].append(clip.first_row - first_row + i)
    return wanted


def _cut_frames(uri: str, job: VideoJob, wanted: dict[int, list[int]], cut: CutSpan) -> None:
    """Decode the wanted frames and cut their windows.

    Raises:
        SourceError: the file no longer gives all frames that it gave when it was planned.
    """
    left = set(wanted)
    frames = decode(
        uri,
        first_pts=min(wanted),
        stop_pts=max(wanted) + 1,
        limits=job.source.limits(),
        wanted=left.copy(),
    )
    for frame in frames:
        rows = wanted[frame.pts]
        cut.pixels[rows] = cut_windows(frame.pixels, cut.windows[rows], cut.pixels.shape[1:3])
        left.discard(frame.pts)
    if left:
        raise SourceError(
            f"{uri}: {len(left)} of {len(wanted)} frames that were there when the store was "
            "planned are gone. Put the original file back, or make a new store."
        )
