"""A camera whose lens and whose place in the world are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.lens import Lens

Array = NDArray[np.float64]
# A rotation in a file has some seven digits.
_ROTATION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class CalibratedCamera:
    """Intrinsics, OpenCV's distortion and placement.

    Camera frame: OpenCV's, x right, y down, z forward. A point X of the world is R (X - C) in it.

    Attributes:
        name: of the camera.
        width, height: of its pictures, px.
        intrinsics_px: fx, fy, cx, cy.
        distortion: k1, k2, p1, p2, k3 of OpenCV's model.
        rotation: (3, 3), world -> camera.
        centre_mm: (3,), the camera's place in the world.
    """

    name: str
    width: int
    height: int
    intrinsics_px: tuple[float, float, float, float]
    distortion: tuple[float, float, float, float, float]
    rotation: Array
    centre_mm: Array

    def __post_init__(self) -> None:
        """Check what a wrong file would have wrong.

        Raises:
            ValueError: sizes or focal lengths that are not above 0, a matrix that is no rotation,
                a place that is none.
        """
        if min(self.width, self.height) <= 0:
            raise ValueError(f"pictures must have a size, got {self.width} x {self.height} px")
        if not np.isfinite(self.intrinsics_px).all() or min(self.intrinsics_px[:2]) <= 0:
            raise ValueError(f"focal lengths must be above 0 px, got {list(self.intrinsics_px)}")
        r = np.asarray(self.rotation, dtype=np.float64)
        if r.shape != (3, 3) or not np.isfinite(r).all():
            raise ValueError(f"a rotation has 3 x 3 finite numbers, got {r.tolist()}")
        off = float(np.abs(r @ r.T - np.eye(3)).max())
        if off > _ROTATION_TOLERANCE or np.linalg.det(r) < 0:
            raise ValueError(
                f"R R^T departs from 1 by {off:.2g}, det R = {np.linalg.det(r):.3g}: no rotation"
            )
        if np.shape(self.centre_mm) != (3,) or not np.isfinite(self.centre_mm).all():
            raise ValueError(f"a place has 3 finite numbers, got {self.centre_mm}")

    @cached_property
    def lens(self) -> Lens:
        """Return its lens."""
        return Lens.opencv(self.intrinsics_px, np.array(self.distortion))

    @property
    def is_straight(self) -> bool:
        """Tell whether its lens does not bend."""
        return not any(self.distortion)

    def camera_from_world(self, points_mm: NDArray[np.floating]) -> Array:
        """Return points (..., 3) of the world in the camera frame, mm."""
        moved: Array = (np.asarray(points_mm, np.float64) - self.centre_mm) @ self.rotation.T
        return moved

    def world_from_camera(self, points_mm: NDArray[np.floating]) -> Array:
        """Return points (..., 3) of the camera frame in the world, mm."""
        moved: Array = np.asarray(points_mm, np.float64) @ self.rotation + self.centre_mm
        return moved

    def project(self, points_mm: NDArray[np.floating]) -> Array:
        """Return where pictures show points (..., 3) of the world: (..., 2), px, as bent.

        NaN for points that are not in front of the camera.
        """
        local = self.camera_from_world(points_mm)
        ahead = local[..., 2:] > 0
        # behind the camera there is no picture; a depth of 1 keeps the division quiet
        safe = np.where(ahead, local, [0.0, 0.0, 1.0])
        return np.where(ahead, self.lens.project(safe), np.nan)

    def straightened(self, pixels: NDArray[np.floating]) -> Array:
        """Return pixels (..., 2) where a camera without distortion would have seen them."""
        seen = np.asarray(pixels, dtype=np.float64)
        return seen if self.is_straight else self.lens.straightened(seen)

    def rays(self, pixels: NDArray[np.floating]) -> Array:
        """Return x/z, y/z in the camera frame of pixels (..., 2), the distortion taken out."""
        fx, fy, cx, cy = self.intrinsics_px
        straight: Array = (self.straightened(pixels) - [cx, cy]) / [fx, fy]
        return straight
