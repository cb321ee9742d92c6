"""Pinhole cameras without torch: projection, placement, and the one that explains keypoints best.

Camera frame: x right, y down, z forward. Intrinsics are one vector ``(fx, fy, cx, cy)`` in pixels.
World frame: right-handed, z up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Human3.6M's cameras: the focal length is 1.145 times the image width.
DEFAULT_FOCAL_RATIO = 1.145


def assumed_intrinsics_px(
    width: int, height: int, focal_px: float | None = None
) -> NDArray[np.float64]:
    """Return fx, fy, cx, cy of a camera of which nothing else is known: the centre is the image's.

    Args:
        width, height: of the image, px.
        focal_px: its focal length; None: DEFAULT_FOCAL_RATIO of the longer side.
    """
    focal = focal_px or DEFAULT_FOCAL_RATIO * max(width, height)
    return np.array([focal, focal, width / 2, height / 2])


def project(points_mm: NDArray[np.floating], camera: NDArray[np.floating]) -> NDArray[np.float64]:
    """Project points of the camera frame, (..., 3), to pixels, (..., 2); camera (..., 4)."""
    rays = points_mm[..., :2] / points_mm[..., 2:3]
    pixels: NDArray[np.float64] = rays * camera[..., 0:2] + camera[..., 2:4]
    return pixels


def look_at(
    position_m: NDArray[np.floating], target_m: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the rotation world -> camera, (3, 3), of an upright camera that looks at a target."""
    forward = np.asarray(target_m, dtype=np.float64) - position_m
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    return np.stack([right, down, forward])


def fit_pinhole(points_mm: Array, pixels: Array) -> tuple[Array, float]:
    """Fit u = fx x / z + cx and v = fy y / z + cy by least squares.

    Args:
        points_mm: (n, 3), camera frame, z > 0.
        pixels: (n, 2), where they are seen.

    Returns:
        (fx, fy, cx, cy) in px, and the root mean square of the distances that are left, px.

    Raises:
        ValueError: the points do not determine a camera (all on one line of sight, or behind it).
    """
    points, seen = np.asarray(points_mm, np.float64), np.asarray(pixels, np.float64)
    if len(points) < 3 or not (points[:, 2] > 0).all():
        raise ValueError("A camera needs at least three points, all in front of it.")
    slopes = points[:, :2] / points[:, 2:]
    off, off_px = slopes - slopes.mean(axis=0), seen - seen.mean(axis=0)
    spread = (off**2).sum(axis=0)
    if (spread < 1e-9 * len(points)).any():
        raise ValueError("The points lie on one line of sight, which says nothing of the camera.")
    focal = (off * off_px).sum(axis=0) / spread
    centre = seen.mean(axis=0) - focal * slopes.mean(axis=0)
    left = slopes * focal + centre - seen
    return np.concatenate([focal, centre]), float(np.sqrt((left**2).sum(axis=-1).mean()))
