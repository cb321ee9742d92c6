"""What is known of a video's clip before anything is detected: camera, times, perhaps the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.pinhole import assumed_intrinsics_px
from diffpose.platform.base.errors import SourceError
from diffpose.platform.store.clips import Clip
from diffpose.preprocessing.detectors.examples import person_boxes
from diffpose.preprocessing.people.track_files import VideoTracks, clip_boxes
from diffpose.preprocessing.videos.settings import VideoSource
from diffpose.preprocessing.videos.sidecar import Sidecar, Truth, read_sidecar, read_truth


def known_of(
    uri: str, source: VideoSource, tracks: VideoTracks, clip: Clip
) -> dict[str, NDArray[Any]]:
    """Return the store's fields of camera and times, and the true pose where a sidecar has one.

    Raises:
        SourceError: the sidecar cannot be read.
    """
    sidecar = read_sidecar(uri)
    times = tracks.time_s[clip.first_frame : clip.first_frame + clip.n_rows]
    if sidecar.intrinsics_px is not None:
        intrinsics = np.array(sidecar.intrinsics_px)
    else:
        intrinsics = assumed_intrinsics_px(clip.width, clip.height, source.focal_px)
    truth = read_truth(uri, sidecar)
    known: dict[str, NDArray[Any]] = {
        "camera": np.tile(intrinsics, (clip.n_rows, 1)),
        "timestamp_s": times,
    }
    if truth is not None:
        complete = sidecar.model_copy(update={"intrinsics_px": tuple(intrinsics.tolist())})
        joints_mm = _true_joints_mm(truth, times, complete, clip_boxes(tracks, clip))
        known["root_position"] = joints_mm[:, 0]
        known["pose_3d"] = joints_mm - joints_mm[:, :1]
    return known


def _true_joints_mm(
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


def truth_covariances_px2(uri: str, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far off the true joints of a film's one person may be, (R, 17, 2, 2), px^2.

    Raises:
        SourceError: its truth does not say.
    """
    truth = read_truth(uri, read_sidecar(uri))
    if truth is None or truth.joints_covariance_px2 is None:
        raise SourceError(f"{uri} has no truth that tells its own errors (joints_covariance_px2).")
    found = truth.joints_covariance_px2[0, np.maximum(truth.at(times_s), 0)]
    return np.asarray(found, dtype=np.float64)


def silhouette_heights_px(
    uri: str, truth_px: NDArray[np.float64], times_s: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the height (R,) of the silhouette's box of the person whose joints are (R, 17, 2).

    None where the sidecar has no silhouettes' boxes.
    """
    sidecar = read_sidecar(uri)
    truth = read_truth(uri, sidecar)
    if truth is None or truth.boxes_px is None or sidecar.intrinsics_px is None:
        return None
    joints = sidecar.project_px(truth.joints_mm)
    boxes = person_boxes(truth, joints)[:, np.maximum(truth.at(times_s), 0)]
    middle = (truth_px.min(axis=1) + truth_px.max(axis=1)) / 2
    off = np.linalg.norm((boxes[..., :2] + boxes[..., 2:]) / 2 - middle, axis=-1)
    nearest = np.nan_to_num(off, nan=np.inf).argmin(axis=0)
    chosen = boxes[nearest, np.arange(len(times_s))]
    return np.asarray(np.maximum(chosen[:, 3] - chosen[:, 1], 1.0))
