"""The pinhole camera that explains poses and their keypoints best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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
