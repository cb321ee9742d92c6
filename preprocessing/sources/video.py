"""Stages from planned video clips to detections: decode and cut, detect, put into the store's rows.

Pixels exist for one span at a time. Frames are decoded in order, once for all people in them, and
only the windows around the people are kept.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.model.heatmaps import grid as hm
from diffpose.model.heatmaps.temperature import quantised
from diffpose.platform.base.errors import DiffPoseError, SourceError
from diffpose.platform.execution.ray_stages import Row, RowFunction
from diffpose.platform.store.clips import Clip
from diffpose.preprocessing.detectors.interface import windows_around
from diffpose.preprocessing.detectors.registry import PixelDetectorSettings, pixel_detector
from diffpose.preprocessing.keypoints.recorded import (
    RecordedSettings,
    recorded_heatmaps,
    recording_of,
)
from diffpose.preprocessing.people.stages import limits_of
from diffpose.preprocessing.people.track_files import VideoTracks, read_tracks
from diffpose.preprocessing.people.tracking import Track
from diffpose.preprocessing.planning.plan import Span
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.mocap import blank_arrays, fill_rows
from diffpose.preprocessing.videos.cut import cut_windows
from diffpose.preprocessing.videos.decode import decode
from diffpose.preprocessing.videos.settings import VideoSource
from diffpose.preprocessing.videos.sidecar import Sidecar, Truth, read_sidecar, read_truth

# Human3.6M's cameras: the focal length is 1.145 times the image width.
DEFAULT_FOCAL_RATIO = 1.145


def make_crop_fn(
    settings: PreprocessSettings, uris: dict[str, str], input_size: tuple[int, int]
) -> RowFunction:
    """Return a function that adds to a span its people's pixels and what is known of them."""
    source = settings.source
    assert isinstance(source, VideoSource)

    def cut(row: Row) -> Row:
        span = Span.model_validate_json(row["span"])
        arrays = blank_arrays(span)
        pixels = np.zeros((span.n_rows, *input_size, 3), dtype=np.uint8)
        windows = np.zeros((span.n_rows, 4), dtype=np.float32)
        errors: dict[str, str] = {}
        bent: dict[str, str] = {}  # clip -> its sidecar, where that tells of distortion
        by_source: dict[str, list[Clip]] = defaultdict(list)
        for clip in span.clips:
            by_source[clip.source].append(clip)
        for name, clips in by_source.items():
            try:
                uri = _uri_of(uris, name)
                tracks = read_tracks(settings.store, name)
                sidecar = read_sidecar(uri)
                if sidecar.lens is not None:
                    bent.update((clip.clip, sidecar.model_dump_json()) for clip in clips)
                wanted = _wanted(tracks, clips, span.first_row)
                for clip in clips:
                    rows = slice(clip.first_row - span.first_row, None)
                    boxes = clip_boxes(tracks, clip)
                    windows[rows][: clip.n_rows] = windows_around(boxes, input_size)
                    fill_rows(arrays, span, clip, _known(uri, source, tracks, clip, boxes))
                _cut_frames(uri, source, wanted, windows, pixels)
            except DiffPoseError as error:
                errors.update({clip.clip: str(error) for clip in clips})
        return {
            "span": row["span"],
            "errors": json.dumps(errors),
            "arrays": arrays,
            "pixels": pixels,
            "windows": windows,
            "bent": json.dumps(bent),
        }

    return cut


def make_pixel_detect_fn(
    detector_settings: PixelDetectorSettings, temperature: NDArray[np.float64], device: str
) -> RowFunction:
    """Return a function that turns a span's pixels into detections."""

    def detect(row: Row) -> Row:
        if device == "cpu":
            torch.set_num_threads(1)
        span = Span.model_validate_json(row["span"])
        detector = pixel_detector(detector_settings, device)
        errors = json.loads(row["errors"])
        bent = json.loads(row.get("bent", "{}"))
        arrays = {name: np.array(values) for name, values in row["arrays"].items()}
        for clip in span.clips:
            if clip.clip in errors:
                continue
            first = clip.first_row - span.first_row
            rows = slice(first, first + clip.n_rows)
            found, crops = detector.detect(row["pixels"][rows], row["windows"][rows])
            if clip.clip in bent:
                crops = straightened(crops, Sidecar.model_validate_json(bent[clip.clip]))
            fill_rows(arrays, span, clip, summary_of(quantised(found, temperature), crops))
        for clip in span.clips:
            if clip.clip in errors:
                fill_rows(arrays, span, clip, _unknown(clip))
        return {"span": row["span"], "errors": json.dumps(errors), "arrays": arrays}

    return detect


def make_recorded_fn(settings: PreprocessSettings, uris: dict[str, str]) -> RowFunction:
    """Return a function that draws recorded keypoints as heatmaps; no pixel is looked at."""
    source, detector = settings.source, settings.detector
    assert isinstance(source, VideoSource)
    assert isinstance(detector, RecordedSettings)

    def draw(row: Row) -> Row:
        span = Span.model_validate_json(row["span"])
        arrays = blank_arrays(span)
        errors: dict[str, str] = {}
        for clip in span.clips:
            try:
                uri = _uri_of(uris, clip.source)
                tracks = read_tracks(settings.store, clip.source)
                boxes = clip_boxes(tracks, clip)
                known = _known(uri, source, tracks, clip, boxes)
                frames = tracks.frame_index[clip.first_frame : clip.first_frame + clip.n_rows]
                recording = recording_of(detector, uri)
                keypoints, confidence = recording.along(frames, boxes)
                heatmaps, crops = recorded_heatmaps(keypoints, confidence, boxes, detector)
                crops = straightened(crops, read_sidecar(uri))
            except DiffPoseError as error:
                errors[clip.clip] = str(error)
                continue
            fill_rows(arrays, span, clip, {**known, **summary_of(heatmaps, crops)})
        return {"span": row["span"], "errors": json.dumps(errors), "arrays": arrays}

    return draw


def straightened(crops: NDArray[np.float32], sidecar: Sidecar) -> NDArray[np.float32]:
    """Return crops as a lens without distortion would have them, where the sidecar tells of one."""
    lens = sidecar.lens
    if lens is None:
        return crops
    straight = lens.straightened_crops(crops.astype(np.float64), (hm.HEIGHT, hm.WIDTH))
    return straight.astype(np.float32)


def summary_of(heatmaps: NDArray[np.uint8], crops: NDArray[np.float32]) -> dict[str, Any]:
    """Return the store's fields of a clip's heatmaps."""
    keypoints, confidence, modes = hm.summarise(heatmaps, crops)
    return {
        "keypoints_2d": keypoints,
        "confidence": confidence,
        "heatmap_modes": modes,
        "heatmap_crop": crops,
        "heatmaps": heatmaps,
    }


def _uri_of(uris: dict[str, str], name: str) -> str:
    """Return where a planned video is.

    Raises:
        SourceError: it is no longer among the source's files.
    """
    if name not in uris:
        raise SourceError(
            f"{name} was there when the store was planned, and is no longer at source.uri. Put it "
            "back, or make a new store."
        )
    return uris[name]


def clip_boxes(tracks: VideoTracks, clip: Clip) -> NDArray[np.float32]:
    """Return the person's boxes over a clip, (R, 4), px."""
    track = _track(tracks, clip)
    first = clip.first_frame - track.first
    return track.boxes_px[first : first + clip.n_rows]


def _track(tracks: VideoTracks, clip: Clip) -> Track:
    return next(track for track in tracks.tracks if track.track == clip.track)


def _wanted(tracks: VideoTracks, clips: list[Clip], first_row: int) -> dict[int, list[int]]:
    """Return for each presentation time stamp the rows of the span that show its frame."""
    wanted: dict[int, list[int]] = defaultdict(list)
    for clip in clips:
        for i in range(clip.n_rows):
            pts = int(tracks.pts[clip.first_frame + i])
            wanted[pts].append(clip.first_row - first_row + i)
    return wanted


def _cut_frames(
    uri: str,
    source: VideoSource,
    wanted: dict[int, list[int]],
    windows: NDArray[np.float32],
    pixels: NDArray[np.uint8],
) -> None:
    """Decode the wanted frames and cut their windows.

    Raises:
        SourceError: the file no longer gives all frames that it gave when it was planned.
    """
    left = set(wanted)
    frames = decode(
        uri,
        first_pts=min(wanted),
        stop_pts=max(wanted) + 1,
        limits=limits_of(source),
        wanted=left.copy(),
    )
    for frame in frames:
        rows = wanted[frame.pts]
        pixels[rows] = cut_windows(frame.pixels, windows[rows], pixels.shape[1:3])
        left.discard(frame.pts)
    if left:
        raise SourceError(
            f"{uri}: {len(left)} of {len(wanted)} frames that were there when the store was "
            "planned are gone. Put the original file back, or make a new store."
        )


def _known(
    uri: str, source: VideoSource, tracks: VideoTracks, clip: Clip, boxes: NDArray[np.float32]
) -> dict[str, Any]:
    """Return camera, times, and the true pose where the sidecar has one."""
    sidecar = read_sidecar(uri)
    frames = slice(clip.first_frame, clip.first_frame + clip.n_rows)
    times = tracks.time_s[frames]
    if sidecar.intrinsics_px is not None:
        intrinsics = np.array(sidecar.intrinsics_px)
    else:
        focal = source.focal_px or DEFAULT_FOCAL_RATIO * max(clip.width, clip.height)
        intrinsics = np.array([focal, focal, clip.width / 2, clip.height / 2])
    truth = read_truth(uri, sidecar)
    known: dict[str, Any] = {"camera": np.tile(intrinsics, (clip.n_rows, 1)), "timestamp_s": times}
    if truth is not None:
        seen = sidecar.model_copy(update={"intrinsics_px": tuple(intrinsics.tolist())})
        joints_mm = _true_joints(truth, times, seen, boxes)
        known["root_position"] = joints_mm[:, 0]
        known["pose_3d"] = joints_mm - joints_mm[:, :1]
    return known


def _true_joints(
    truth: Truth,
    times: NDArray[np.float64],
    sidecar: Sidecar,
    boxes: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the joints (R, 17, 3) of the person whom the boxes follow; NaN where unknown.

    That person is the one whose joints' middle lies nearest the boxes' middle, over the clip.
    """
    moments = truth.at(times)
    joints = truth.joints_mm[:, np.maximum(moments, 0)].copy()  # (P, R, 17, 3)
    joints[:, moments < 0] = np.nan
    pixels = sidecar.project_px(joints)
    middle = (pixels.min(axis=2) + pixels.max(axis=2)) / 2
    size = np.maximum(boxes[:, 3] - boxes[:, 1], 1.0)
    off = np.linalg.norm(middle - (boxes[:, :2] + boxes[:, 2:]) / 2, axis=-1) / size
    counted = np.isfinite(off)
    mean = np.where(counted, off, 0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    person = int(np.where(counted.any(axis=1), mean, np.inf).argmin())
    # boxes that follow nobody whom the truth knows
    return joints[person] if mean[person] < 0.5 else np.full_like(joints[person], np.nan)


def _unknown(clip: Clip) -> dict[str, Any]:
    """Return what the rows of a failed clip hold: nothing."""
    return {
        name: np.full((clip.n_rows, *shape), np.nan)
        for name, shape in (("pose_3d", (17, 3)), ("root_position", (3,)), ("camera", (4,)),
                            ("timestamp_s", ()))
    }  # fmt: skip
