"""Files of keypoints of several calibrated cameras: how far off each file is, by the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import JOINT_NAMES, MIRROR, N_JOINTS
from diffpose.model.multiview.calibrated_camera import CalibratedCamera
from diffpose.model.multiview.triangulation import projected_covariance_px2, triangulate
from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.keypoints.joint_widths import KEY, joint_widths, sizes_px
from diffpose.preprocessing.keypoints.recorded import RecordedSettings, read_recording
from diffpose.preprocessing.multiview.views import View

Array = NDArray[np.float64]
# Of Gaussian errors in two dimensions, half lie within this many standard deviations.
_MEDIAN = float(np.sqrt(2 * np.log(2)))
_LEAST_FOUND = 30  # errors of a joint; fewer tell too little of their width


@dataclass(frozen=True)
class RecordedViews:
    """Synchronous keypoints of one person; C cameras, n frames.

    Attributes:
        cameras: C, in px of the keypoints' pictures.
        keypoints_px: (C, n, 17, 2), H36M-17 order; NaN where unknown.
        confidence: (C, n, 17), 0 where unknown.
        boxes_px: (C, n, 4); NaN where nobody was seen.
    """

    cameras: list[CalibratedCamera]
    keypoints_px: Array
    confidence: Array
    boxes_px: Array


def recorded_views(views: Sequence[View], settings: RecordedSettings) -> RecordedViews:
    """Read files of keypoints side by side; the same frame numbers are the same moments.

    Of several people in a frame the largest is taken.

    Raises:
        SourceError: a file cannot be read or holds nobody.
    """
    recordings = [read_recording(settings, view.uri, view.video) for view in views]
    for view, recording in zip(views, recordings, strict=True):
        if not any(recording.frames.values()):
            raise SourceError(f"{view.uri}: nobody is in any of its frames. Leave it out.")
    n = 1 + max(frame for recording in recordings for frame in recording.frames)
    keypoints = np.full((len(views), n, N_JOINTS, 2), np.nan)
    confidence = np.zeros((len(views), n, N_JOINTS))
    boxes = np.full((len(views), n, 4), np.nan)
    for c, recording in enumerate(recordings):
        for frame in (f for f in recording.frames if f >= 0 and recording.frames[f]):
            people = recording.people(frame)
            size = [float(np.prod(p.box_px[2:] - p.box_px[:2])) for p in people]
            person = people[int(np.argmax(size))]
            known = person.confidence > 0
            keypoints[c, frame, known] = person.keypoints_px[known]
            confidence[c, frame] = person.confidence
            boxes[c, frame] = person.box_px
    return RecordedViews([view.camera for view in views], keypoints, confidence, boxes)


def fitted_widths(found: RecordedViews, spread: float) -> dict[str, Any]:
    """Return how wide each joint's errors are as a share of the box's longer side, as JSON values.

    Each camera is compared with what the others triangulate; the median of the squared distance is
    taken for 2 ln 2 variances, and the triangulation's own variance is taken out. What all cameras
    have wrong alike is not seen.

    Args:
        found: three cameras or more.
        spread: how much wider a joint of no confidence is (detector.spread).

    Raises:
        SourceError: too few cameras, or too few joints that are known in all of them.
    """
    n_cameras = len(found.cameras)
    if n_cameras < 3:
        raise SourceError(
            f"{n_cameras} cameras cannot judge each other: one is compared with the point that two "
            "others or more give. Give files of three cameras."
        )
    squared, own = [], []
    for c, camera in enumerate(found.cameras):
        others = [i for i in range(n_cameras) if i != c]
        points = triangulate(
            [found.cameras[i] for i in others], found.keypoints_px[others], mirror=MIRROR
        )
        unit = sizes_px(found.boxes_px[c], "longer side")[:, None]
        unit = unit * (1 + spread * (1 - np.clip(found.confidence[c], 0, 1)))
        error = camera.straightened(found.keypoints_px[c]) - camera.straight.project(
            points.points_mm
        )
        theirs = projected_covariance_px2(camera, points.points_mm, points.covariance_mm2)
        squared.append((error**2).sum(axis=-1) / unit**2)
        own.append(np.trace(theirs, axis1=-2, axis2=-1) / 2 / unit**2)
    off, uncertain = np.concatenate(squared), np.concatenate(own)
    count = np.isfinite(off).sum(axis=0)
    if (count < _LEAST_FOUND).any():
        few = [JOINT_NAMES[j] for j in np.flatnonzero(count < _LEAST_FOUND)]
        raise SourceError(
            f"{', '.join(few)}: known in fewer than {_LEAST_FOUND} pictures by a camera and two "
            "others. Give longer films, or a layout that has these joints."
        )
    apparent = np.nanmedian(off, axis=0) / _MEDIAN**2
    # of a variance at least a quarter is the detector's own, however unsure the others are
    share = np.sqrt(np.maximum(apparent - np.nanmedian(uncertain, axis=0), apparent / 4))
    median = float(np.nanmedian(np.sqrt(off)))
    coco = joint_widths("coco").sigma_px(found.boxes_px.reshape(-1, 4))
    longer = sizes_px(found.boxes_px.reshape(-1, 4), "longer side")
    return {
        KEY: dict(zip(JOINT_NAMES, share.tolist(), strict=True)),
        "apparent": dict(zip(JOINT_NAMES, np.sqrt(apparent).tolist(), strict=True)),
        "coco": dict(
            zip(JOINT_NAMES, np.nanmedian(coco / longer[:, None], axis=0).tolist(), strict=True)
        ),
        "median_error": median,
        "cameras": [camera.name for camera in found.cameras],
        "errors": int(count.sum()),
    }
