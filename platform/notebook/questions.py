"""What a user hands over, as the lifter wants it; what does not fit is said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffpose.model.geometry.pinhole import assumed_intrinsics_px
from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.platform.base.errors import ConfigError
from diffpose.preprocessing.keypoints.joint_layouts import (
    NAMES,
    Conversion,
    Layout,
    layout_of,
    to_h36m_points,
)

Array = NDArray[np.float64]
_FURTHEST_PX = 1e6


def in_our_joints(
    keypoints_px: ArrayLike,
    confidence: ArrayLike | None,
    layout: Layout | None,
    conversion: Conversion,
) -> tuple[Array, Array, Array]:
    """Return the keypoints in Human3.6M's joints.

    Args:
        keypoints_px: (T, K, 2), (T, K, 3) with confidence last, or one frame of these.
        confidence: (T, K), 0 .. 1, or None.
        layout: of the joints; None: by their number.
        conversion: of COCO's joints.

    Returns:
        points (T, 17, 2), confidence (T, 17), and the box (T, 4) of what is known in each frame,
        NaN where nothing is.

    Raises:
        ConfigError: the shapes are others, the layout cannot be told, or nothing is known.
    """
    given = np.asarray(keypoints_px, dtype=np.float64)
    if given.ndim == 2:
        given = given[None]
    if given.ndim != 3 or given.shape[-1] not in (2, 3) or 0 in given.shape:
        raise ConfigError(
            "keypoints_px must be (T, K, 2), or (T, K, 3) with confidence last, got "
            f"{np.shape(keypoints_px)}."
        )
    points = given[..., :2]
    known = np.isfinite(points).all(axis=-1)
    sure = given[..., 2] if given.shape[-1] == 3 else known.astype(np.float64)
    if confidence is not None:
        sure = np.asarray(confidence, dtype=np.float64).reshape(-1, given.shape[1])
        if len(sure) != len(given):
            raise ConfigError(
                f"confidence has {len(sure)} frames, keypoints_px {len(given)}; both need one "
                "entry per frame and joint."
            )
    sure = np.where(known, np.nan_to_num(sure), 0.0)
    if (sure < 0).any() or (sure > 1).any():
        raise ConfigError(f"confidence must be from 0 to 1, got {sure.min():g} to {sure.max():g}.")
    there = sure > 0
    if not there.any():
        raise ConfigError(
            "keypoints_px has no joint that is known: all are NaN or of confidence 0."
        )
    furthest = float(np.abs(points[there]).max())
    if furthest > _FURTHEST_PX:
        raise ConfigError(f"keypoints_px must lie within {_FURTHEST_PX:g} px, got {furthest:g}.")
    chosen = _layout(given.shape[1], layout)
    if conversion == "tuned" and chosen != "coco_17":
        raise ConfigError(f"conversion='tuned' is for coco_17; these joints are {chosen}.")
    boxes = _boxes(points, there)
    ours, certain = to_h36m_points(points, sure, chosen, conversion)
    return ours, certain, boxes


def _layout(n_joints: int, layout: Layout | None) -> Layout:
    if layout is None:
        if n_joints == N_JOINTS:
            raise ConfigError(
                "17 joints may be COCO's or Human3.6M's: give layout='coco_17' or layout='h36m_17'."
            )
        layout = layout_of(n_joints)
    if layout not in NAMES:
        raise ConfigError(
            f"layout={layout!r} is unknown for {n_joints} joints; known: {', '.join(NAMES)}."
        )
    if len(NAMES[layout]) != n_joints:
        raise ConfigError(
            f"layout={layout!r} has {len(NAMES[layout])} joints, keypoints_px {n_joints}."
        )
    return layout


def _boxes(points: Array, there: NDArray[np.bool_]) -> Array:
    low = np.where(there[..., None], points, np.inf).min(axis=1)
    high = np.where(there[..., None], points, -np.inf).max(axis=1)
    boxes = np.concatenate([low, high], axis=-1)
    return np.where(np.isfinite(boxes), boxes, np.nan)


def boxes_around(known: Array) -> Array:
    """Fill the boxes (T, 4) of frames in which nothing is known: on the line between others."""
    boxes = known.copy()
    frames = np.arange(len(boxes))
    there = np.isfinite(boxes).all(axis=-1)
    for side in range(4):
        boxes[:, side] = np.interp(frames, frames[there], boxes[there, side])
    return boxes


def camera_of(
    camera: float | Sequence[float] | NDArray[np.floating] | None,
    image_size: tuple[int, int] | None,
    frames: int,
) -> tuple[tuple[int, int], NDArray[np.float32]]:
    """Return the image's size and the intrinsics (T, 4) in px.

    Raises:
        ConfigError: the size is neither given nor told by the camera, or a value is impossible.
    """
    values = None if camera is None else np.asarray(camera, dtype=np.float64)
    if values is not None:
        _check_camera(values, frames)
    whole = values is not None and values.ndim > 0
    if image_size is None:
        if values is None or not whole:
            raise ConfigError(
                "give image_size=(width, height) in px, or camera=(fx, fy, cx, cy): how wide the "
                "lens sees cannot be known without."
            )
        middle = values.reshape(-1, 4)[0, 2:]
        image_size = (max(round(2 * middle[0]), 1), max(round(2 * middle[1]), 1))
    width, height = (int(side) for side in image_size)
    if width < 1 or height < 1:
        raise ConfigError(f"image_size={image_size!r} must be positive: (width, height) in px.")
    if values is None or not whole:
        focal = None if values is None else float(values)
        values = assumed_intrinsics_px(width, height, focal)
    return (width, height), np.broadcast_to(values, (frames, 4)).astype(np.float32)


def _check_camera(values: Array, frames: int) -> None:
    if values.shape not in ((), (4,), (frames, 4)):
        raise ConfigError(
            f"camera must be a focal length in px, or (fx, fy, cx, cy), got shape {values.shape}."
        )
    focals = values if values.ndim == 0 else values[..., :2]
    if not (np.isfinite(values).all() and np.all(focals > 0)):
        raise ConfigError(f"camera={values.tolist()}: focal lengths must be positive and finite.")
