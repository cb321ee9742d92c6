"""Lenses that bend: radial and tangential distortion as Human3.6M's cameras have it.

``r2 = |u|^2; u' = u (1 + k1 r2 + k2 r2^2 + k3 r2^3 + p . u) + p r2`` with u = (x/z, y/z), the
tangential coefficients p not swapped (VideoPose3D's reading of Human3.6M's camera model, after
Brown, 1966). Rays within the unit square are what the model was fitted to; others are clamped
there, as in the published projections.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Lens:
    """Intrinsics with distortion.

    Attributes:
        focal_px: (fx, fy).
        centre_px: (cx, cy).
        radial: (k1, k2, k3).
        tangential: (p1, p2).
    """

    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    radial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tangential: tuple[float, float] = (0.0, 0.0)

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
        u = np.clip(np.asarray(rays, dtype=np.float64), -1.0, 1.0)
        tangential = np.array(self.tangential)
        r2 = (u**2).sum(axis=-1, keepdims=True)
        powers = np.concatenate([r2, r2**2, r2**3], axis=-1)
        radial = 1 + (powers * np.array(self.radial)).sum(axis=-1, keepdims=True)
        bent: Array = u * (radial + (u * tangential).sum(axis=-1, keepdims=True)) + tangential * r2
        return bent

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
