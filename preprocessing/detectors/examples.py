"""From films with known truth to training examples of the bundled detector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.errors import SourceError
from diffpose.platform.store.detector_examples import CROP_PADDING, CROP_SIZE, FRAME_SIDE, Examples
from diffpose.preprocessing.videos.cut import cut_windows
from diffpose.preprocessing.videos.decode import decode
from diffpose.preprocessing.videos.sidecar import Truth, read_sidecar, read_truth

# Whole frames are for the person finder, which needs fewer than the crops.
_CROPS_PER_FRAME = 3


def examples_of_film(uri: str, per_second: float, first: int = 0) -> Examples:
    """Cut examples out of one film.

    Args:
        uri: of a video whose sidecar names intrinsics and true poses.
        per_second: frames that become examples.
        first: which of every three of these also gives a whole frame.

    Raises:
        SourceError: the film has no truth or cannot be decoded.
    """
    sidecar = read_sidecar(uri)
    truth = read_truth(uri, sidecar)
    if truth is None or sidecar.intrinsics_px is None:
        raise SourceError(f"{uri} has no sidecar with intrinsics_px and truth; diffpose render "
                          "writes films that do.")  # fmt: skip
    joints_px = sidecar.project_px(truth.joints_mm)
    boxes = person_boxes(truth, joints_px)
    crops, joints, crop_boxes, frames, frame_boxes = [], [], [], [], []
    next_s, taken = -np.inf, 0
    for frame in decode(uri):
        if frame.time_s < next_s - 1e-6:
            continue
        next_s = frame.time_s + 1.0 / per_second
        (moment,) = truth.at(np.array([frame.time_s]))
        if moment < 0:
            continue
        height, width = frame.pixels.shape[:2]
        people = [p for p in range(len(boxes)) if _visible(boxes[p, moment], width, height)]
        for person in people:
            window = _window(boxes[person, moment])
            crops.append(cut_windows(frame.pixels, window[None], CROP_SIZE)[0])
            joints.append((joints_px[person, moment] - window[:2]) / window[2:])
            crop_boxes.append((boxes[person, moment].reshape(2, 2) - window[:2]) / window[2:])
        if taken % _CROPS_PER_FRAME == first % _CROPS_PER_FRAME:
            scale = max(height, width) / FRAME_SIDE
            whole = np.array([[0.0, 0.0, scale, scale]])
            frames.append(cut_windows(frame.pixels, whole, (FRAME_SIDE, FRAME_SIDE))[0])
            in_frame = np.full((len(boxes), 4), np.nan)
            limit = np.array([width, height, width, height])
            for person in people:
                in_frame[person] = np.clip(boxes[person, moment], 0, limit) / scale
            frame_boxes.append(in_frame)
        taken += 1
    return Examples(
        crops=np.array(crops, dtype=np.uint8).reshape(-1, *CROP_SIZE, 3),
        joints_px=np.array(joints, dtype=np.float32).reshape(-1, 17, 2),
        boxes_px=np.array(crop_boxes, dtype=np.float32).reshape(-1, 4),
        frames=np.array(frames, dtype=np.uint8).reshape(-1, FRAME_SIDE, FRAME_SIDE, 3),
        frame_boxes_px=np.array(frame_boxes, dtype=np.float32).reshape(-1, len(boxes), 4),
    )


def person_boxes(truth: Truth, joints_px: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the box of each person and moment, (P, T, 4): the silhouette's, else the joints'."""
    low, high = joints_px.min(axis=2), joints_px.max(axis=2)
    boxes: NDArray[np.float64] = np.concatenate([low, high], axis=-1).astype(np.float64)
    if truth.boxes_px is not None:
        known = np.isfinite(truth.boxes_px).all(axis=-1, keepdims=True)
        boxes = np.where(known, truth.boxes_px, boxes)
    return boxes


def _window(box: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = CROP_SIZE
    size = CROP_PADDING * (box[2:] - box[:2])
    pixel = max(size[0] / columns, size[1] / rows, 0.05)
    corner = (box[:2] + box[2:]) / 2 - 0.5 * pixel * np.array([columns, rows])
    return np.array([*corner, pixel, pixel])


def _visible(box: NDArray[np.float64], width: int, height: int) -> bool:
    """Tell whether at least half of a box of some size lies within the image."""
    if not np.isfinite(box).all():
        return False
    size = box[2:] - box[:2]
    common = np.minimum(box[2:], [width, height]) - np.maximum(box[:2], 0)
    inside = max(common[0], 0.0) * max(common[1], 0.0)
    return bool(size.min() >= 8 and inside >= 0.5 * size.prod())
