"""A camera whose lens and whose place in the world are known."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
        width, height: of its pictures, px; None where its calibration does not say.
        intrinsics_px: fx, fy, cx, cy.
        distortion: k1, k2, p1, p2, k3 of OpenCV's model.
        rotation: (3, 3), world -> camera.
        centre_mm: (3,), the camera's place in the world.
    """

    name: str
    width: int | None
    height: int | None
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
        if any(side is not None and side <= 0 for side in (self.width, self.height)):
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

    @staticmethod
    def seeing(
        name: str,
        size: tuple[int, int] | None,
        matrix: Array,
        distortion: Array,
        rotation: Array,
        translation_mm: Array,
    ) -> CalibratedCamera:
        """Return the camera of OpenCV's quantities: x = R X + T, then the matrix K.

        Args:
            name: of the camera.
            size: width and height, px, where known.
            matrix: (3, 3), K, without skew.
            distortion: none, 4 or 5 coefficients.
            rotation: (3, 3), or (3,) as a vector (axis times angle, radians).
            translation_mm: (3,), T.

        Raises:
            ValueError: a quantity is not that.
        """
        k = np.asarray(matrix, dtype=np.float64)
        if (
            k.shape != (3, 3)
            or not np.allclose(k[2], [0, 0, 1])
            or abs(k[0, 1]) > 1e-6 * abs(k[0, 0])
        ):
            raise ValueError(f"a camera matrix is [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], got {k}")
        bend = np.asarray(distortion, dtype=np.float64).ravel()
        if len(bend) not in (0, 4, 5):
            raise ValueError(f"OpenCV's distortion has 4 or 5 numbers here, got {len(bend)}")
        r = np.asarray(rotation, dtype=np.float64).squeeze()
        r = rotation_of_vector(r) if r.shape == (3,) else r
        t = np.asarray(translation_mm, dtype=np.float64).ravel()
        k1, k2, p1, p2, k3 = (float(v) for v in np.pad(bend, (0, 5 - len(bend))))
        wide, high = size if size is not None else (None, None)
        return CalibratedCamera(
            name, wide, high,
            (float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])),
            (k1, k2, p1, p2, k3), r, -r.T @ t,
        )  # fmt: skip

    @property
    def straight(self) -> CalibratedCamera:
        """Return the camera with a lens that does not bend."""
        return replace(self, distortion=(0.0, 0.0, 0.0, 0.0, 0.0))

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


def rotation_of_vector(vector: Array) -> Array:
    """Return the rotation (3, 3) about an axis by the vector's length, radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = np.asarray(vector, dtype=np.float64) / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turned: Array = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turned
