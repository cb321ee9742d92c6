"""From where the report looks at poses: projection, common scale, floor.

Poses are projected here (orthographic, from a given azimuth and elevation) and drawn in flat axes,
so a panel is a few kilobytes of vector graphics that stays sharp on every screen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GRID_MM = 250.0
PANEL_ASPECT = 1.3  # height over width of a 3D panel
MINIMUM_HALF_HEIGHT_MM = 300.0


@dataclass(frozen=True)
class ViewDirection:
    """A direction to look from, in degrees; (0, 0) is the camera's own view.

    At azimuth 90 the viewer stands at the image's right-hand side and the camera is on the left.
    """

    azimuth: float
    elevation: float


FRONT = ViewDirection(azimuth=20.0, elevation=10.0)
SIDE = ViewDirection(azimuth=100.0, elevation=10.0)
OBLIQUE = ViewDirection(azimuth=40.0, elevation=10.0)


@dataclass(frozen=True)
class Frame:
    """The part of the projected plane that a panel shows, shared by panels that are compared."""

    centre: tuple[float, float]
    half_height: float


def project(poses: Array, view: ViewDirection) -> Array:
    """Return camera-frame points (..., 3) as seen from a view, (..., 2) with the head up."""
    azimuth, elevation = math.radians(view.azimuth), math.radians(view.elevation)
    x, height, depth = poses[..., 0], -poses[..., 1], poses[..., 2]
    across = x * math.cos(azimuth) + depth * math.sin(azimuth)
    away = depth * math.cos(azimuth) - x * math.sin(azimuth)
    up = height * math.cos(elevation) + away * math.sin(elevation)
    return np.stack([across, up], axis=-1)


def frame_around(
    points: Iterable[Array], views: Sequence[ViewDirection]
) -> dict[ViewDirection, Frame]:
    """Return one frame per view, all of one scale, that hold all the points (..., 3)."""
    flat = np.concatenate([p.reshape(-1, 3) for p in points])
    flat = flat[np.isfinite(flat).all(axis=-1)]
    if not len(flat):
        flat = np.zeros((1, 3))
    centres: dict[ViewDirection, tuple[float, float]] = {}
    half_height = MINIMUM_HALF_HEIGHT_MM
    for view in views:
        seen = project(flat, view)
        low, high = seen.min(axis=0), seen.max(axis=0)
        centres[view] = (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2)
        needed = max((high[0] - low[0]) / 2 * PANEL_ASPECT, (high[1] - low[1]) / 2)
        half_height = max(half_height, 1.06 * float(needed))
    return {view: Frame(centre, half_height) for view, centre in centres.items()}


def floor_below(poses: Sequence[Array]) -> Array:
    """Return lines (n, 2, 3) of a horizontal grid under the lowest joint of the poses."""
    flat = np.concatenate([p.reshape(-1, 3) for p in poses])
    flat = flat[np.isfinite(flat).all(axis=-1)]
    if not len(flat):
        return np.zeros((0, 2, 3))
    low = np.floor(flat.min(axis=0) / GRID_MM) * GRID_MM
    high = np.ceil(flat.max(axis=0) / GRID_MM) * GRID_MM
    y = flat[:, 1].max()
    lines = [[(x, y, low[2]), (x, y, high[2])] for x in np.arange(low[0], high[0] + 1.0, GRID_MM)]
    lines += [[(low[0], y, z), (high[0], y, z)] for z in np.arange(low[2], high[2] + 1.0, GRID_MM)]
    return np.array(lines, dtype=np.float64)


def central(trajectory: Array) -> Array:
    """Return the corners of a box that holds all but the outermost percent of the joints."""
    flat = trajectory.reshape(-1, 3)
    flat = flat[np.isfinite(flat).all(axis=-1)]
    if not len(flat):
        return np.zeros((0, 3))
    low, high = np.percentile(flat, [1, 99], axis=0)
    inside = flat[((flat >= low) & (flat <= high)).all(axis=-1)]
    return inside if len(inside) else flat
