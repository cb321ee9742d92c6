"""Lenses that bend: radial and tangential distortion, in two readings of Brown's model (1966).

With u = (x/z, y/z), r2 = |u|^2 and the radial factor R = 1 + k1 r2 + k2 r2^2 + k3 r2^3:

    human36m   u' = u (R + p . u) + p r2              p = (p1, p2), not swapped
    opencv     u' = u R + 2 u (q . u) + q r2          q = (p2, p1)

The first is VideoPose3D's reading of Human3.6M's cameras; rays within the unit square are what it
was fitted to, others are clamped there, as in the published projections. The second is OpenCV's
(documentation of calib3d), which most calibration programs write. A polynomial bends rays back
where it falls; OpenCV's are held at the angle where that begins, since no lens images them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LensModel: TypeAlias = Literal["human36m", "opencv"]
# Where a lens model that never turns back ends: rays at 84 degrees.
_WIDEST = 10.0
_NO_BEND = 1e-9


@dataclass(frozen=True)
class Lens:
    """Intrinsics with distortion.

    Attributes:
        focal_px: (fx, fy).
        centre_px: (cx, cy).
        radial: (k1, k2, k3).
        tangential: (p1, p2).
        model: which formula; the module's docstring states both.
    """

    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    radial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tangential: tuple[float, float] = (0.0, 0.0)
    model: LensModel = "human36m"

    @staticmethod
    def opencv(camera_px: tuple[float, float, float, float], distortion: Array) -> Lens:
        """Return a lens of OpenCV's model.

        Args:
            camera_px: fx, fy, cx, cy.
            distortion: k1, k2, p1, p2 and perhaps k3, OpenCV's order; (0,), (4,) or (5,).

        Raises:
            ValueError: another number of coefficients, or values that are not finite.
        """
        values = np.asarray(distortion, dtype=np.float64).ravel()
        if len(values) not in (0, 4, 5) or not np.isfinite(values).all():
            raise ValueError(
                "OpenCV's distortion is k1, k2, p1, p2 and perhaps k3, finite; got "
                f"{values.tolist()}"
            )
        k1, k2, p1, p2, k3 = (float(v) for v in np.pad(values, (0, 5 - len(values))))
        fx, fy, cx, cy = camera_px
        return Lens((fx, fy), (cx, cy), (k1, k2, k3), (p1, p2), "opencv")

    @property
    def pinhole(self) -> Array:
        """Return (fx, fy, cx, cy), the camera without its distortion."""
        return np.array([*self.focal_px, *self.centre_px])

    def normalised(self, width_px: int, height_px: int) -> Array:
        """Return the nine numbers (f, c, k, p) in VideoPose3D's image units.

        x runs from -1 to 1 over the width, y over the height by the same scale.
        """
        focal = np.array(self.focal_px) / width_px * 2
        centre = np.array(self.centre_px) / width_px * 2 - [1, height_px / width_px]
        return np.concatenate([focal, centre, self.radial, self.tangential])

    def bend(self, rays: Array) -> Array:
        """Return where straight rays (..., 2) appear, as rays."""
        if self.model == "opencv":
            return self._bend_opencv(np.asarray(rays, dtype=np.float64))
        u = np.clip(np.asarray(rays, dtype=np.float64), -1.0, 1.0)
        tangential = np.array(self.tangential)
        r2 = (u**2).sum(axis=-1, keepdims=True)
        powers = np.concatenate([r2, r2**2, r2**3], axis=-1)
        radial = 1 + (powers * np.array(self.radial)).sum(axis=-1, keepdims=True)
        bent: Array = u * (radial + (u * tangential).sum(axis=-1, keepdims=True)) + tangential * r2
        return bent

    def _bend_opencv(self, rays: Array) -> Array:
        length = np.linalg.norm(rays, axis=-1, keepdims=True)
        with np.errstate(invalid="ignore"):
            u = rays * np.minimum(1.0, self._turning_point / np.maximum(length, 1e-12))
        k1, k2, k3 = self.radial
        q = np.array(self.tangential[::-1])
        r2 = (u**2).sum(axis=-1, keepdims=True)
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        bent: Array = u * (radial + 2 * (u * q).sum(axis=-1, keepdims=True)) + q * r2
        return bent

    @cached_property
    def _turning_point(self) -> float:
        """Return the length of straight rays at which the bent ones no longer grow.

        The first zero of d(r R)/dr = 1 + 3 k1 r2 + 5 k2 r2^2 + 7 k3 r2^3.
        """
        # below this a coefficient bends nothing within the widest view, and overflows the quotients
        k1, k2, k3 = (k if abs(k) > _NO_BEND else 0.0 for k in self.radial)
        roots = np.roots([7 * k3, 5 * k2, 3 * k1, 1.0])
        real = roots[np.abs(roots.imag) < 1e-9].real
        ahead = real[real > 0]
        return float(min(np.sqrt(ahead.min()), _WIDEST)) if len(ahead) else _WIDEST

    def project(self, points_mm: Array) -> Array:
        """Project points of the camera frame (..., 3) to pixels (..., 2), distortion included."""
        return self.bend(points_mm[..., :2] / points_mm[..., 2:]) * self.focal_px + self.centre_px

    def straightened(self, pixels: Array) -> Array:
        """Return pixels (..., 2) where a camera without distortion would have seen them.

        Newton's iteration on `bend`, whose Jacobian is close to its diagonal; 1e-6 px after ten
        steps within any image that the model fits.
        """
        seen = (np.asarray(pixels, dtype=np.float64) - self.centre_px) / self.focal_px
        rays = seen.copy()
        step = 1e-6
        for _ in range(10):
            error = self.bend(rays) - seen
            columns = [
                (self.bend(rays + np.eye(2)[i] * step) - self.bend(rays - np.eye(2)[i] * step))
                / (2 * step)
                for i in range(2)
            ]
            a, c = columns[0][..., 0], columns[0][..., 1]
            b, d = columns[1][..., 0], columns[1][..., 1]
            determinant = a * d - b * c
            safe = np.where(np.abs(determinant) < 1e-3, 1.0, determinant)
            moved = np.stack(
                [d * error[..., 0] - b * error[..., 1], a * error[..., 1] - c * error[..., 0]], -1
            )
            rays = rays - moved / safe[..., None]
        result: Array = rays * self.focal_px + self.centre_px
        return result

    def straightened_crops(self, crops: Array, cells: tuple[int, int]) -> Array:
        """Return crops (n, 4) of a grid where a camera without distortion would have them.

        A crop (x0, y0, w, h) of rows x columns cells is moved and scaled so that its middle and its
        width and height through the middle are right; within a person's crop what is left is the
        bend of the lens over it, a pixel or two.

        Args:
            crops: corner and cell size, px.
            cells: rows and columns.
        """
        rows, columns = cells
        corner, size = np.asarray(crops[:, :2], float), crops[:, 2:] * np.array([columns, rows])
        middle = corner + size / 2
        across = size * np.array([0.5, 0.0])
        down = size * np.array([0.0, 0.5])
        left, right = self.straightened(middle - across), self.straightened(middle + across)
        top, bottom = self.straightened(middle - down), self.straightened(middle + down)
        width, height = (right - left)[:, 0], (bottom - top)[:, 1]
        centre = self.straightened(middle)
        straight = np.stack([width, height], axis=1)
        result: Array = np.concatenate(
            [centre - straight / 2, straight / np.array([columns, rows])], axis=1
        )
        return result
