"""The 3D view beside an overlay film: people on a floor grid, from another side than the camera's.

It stands still for the whole film, so that what moves are the people.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.answers.answer import Answer
from diffpose.platform.viewer.drawing import Patch, colour_of, draw_ellipses, draw_pose
from diffpose.platform.viewer.geometry import (
    Array,
    half_axes,
    projected_covariances_px2,
    projected_px,
    scene_of,
)

_PAPER, _LINE = (24, 27, 32), (62, 69, 78)


class SideView:
    """An eye that sees all places where people are, turned about the vertical from the camera.

    Args:
        answers: of one film.
        size: width and height, px.
        yaw_deg: how far the eye stands to the right of the camera, about the people.
        pitch_deg: how far it looks down.
    """

    def __init__(
        self,
        answers: Sequence[Answer],
        size: tuple[int, int],
        yaw_deg: float = 60.0,
        pitch_deg: float = 12.0,
    ) -> None:
        self.size = size
        self.n_people = len(answers)
        self.scene = scene_of(answers)
        self.frame = self.scene.frame
        places = np.concatenate(
            [self.frame.points_mm(_some(answer.positions_mm)).reshape(-1, 3) for answer in answers]
        )
        # one wild frame would make everybody small
        low, high = np.nanpercentile(places, [1, 99], axis=0)
        target, extent = (low + high) / 2, float(np.linalg.norm(high - low))
        self._low, self._high = low, high
        self._rotation = _looking(yaw_deg, pitch_deg)
        focal = 1.15 * min(size)
        self.camera_px = np.array([focal, focal, size[0] / 2, size[1] / 2])
        distance = max(1.25 * extent, 2200.0)
        self._eye = target - distance * self._rotation[2]
        self._paper = self._background()

    def picture(
        self,
        positions_mm: Sequence[Array | None],
        covariances_mm2: Sequence[Array | None],
        radius: Sequence[float],
    ) -> NDArray[np.uint8]:
        """Return the view (H, W, 3) of the people of one frame.

        Args:
            positions_mm: (J, 3) each, camera frame; None: not there.
            covariances_mm2: (J, 3, 3) each, camera frame; None: not drawn.
            radius: Mahalanobis radius of each one's ellipsoids.
        """
        picture = self._paper.copy()
        for person, (points, spread) in enumerate(zip(positions_mm, covariances_mm2, strict=True)):
            if points is None:
                continue
            seen = self._seen(self.frame.points_mm(points))
            at = projected_px(seen, self.camera_px)
            colours = [colour_of(person, self.n_people, j) for j in range(len(points))]
            if spread is not None:
                turned = self._rotation @ self.frame.covariances(spread) @ self._rotation.T
                flat = projected_covariances_px2(turned, seen, self.camera_px)
                draw_ellipses(picture, at, *half_axes(flat, radius[person]), colours)
            width = max(40.0 * self.camera_px[0] / float(np.nanmedian(seen[:, 2])), 2.0)
            draw_pose(picture, at, colours, width=width, depth_mm=seen[:, 2])
        return picture

    def _seen(self, scene_points_mm: Array) -> Array:
        return np.asarray((scene_points_mm - self._eye) @ self._rotation.T)

    def _background(self) -> NDArray[np.uint8]:
        paper = np.empty((self.size[1], self.size[0], 3), dtype=np.uint8)
        paper[:] = _PAPER
        if not self.scene.has_floor:
            return paper
        first = np.floor(self._low[:2] / 1000 - 0.6).astype(int)
        last = np.ceil(self._high[:2] / 1000 + 0.6).astype(int)
        corners = np.array([[0.0, 0.0], [float(self.size[0]), float(self.size[1])]])
        patch = Patch(corners, 0.0, self.size)
        for axis in (0, 1):
            for at in range(first[axis], last[axis] + 1):
                ends = np.zeros((2, 3))
                ends[:, axis] = at * 1000.0
                ends[:, 1 - axis] = first[1 - axis] * 1000.0, last[1 - axis] * 1000.0
                a, b = projected_px(self._seen(ends), self.camera_px)
                patch.line(a, b, 1.0, (*_LINE, 255))
        patch.lay_over(paper)
        return paper


def _looking(yaw_deg: float, pitch_deg: float) -> Array:
    """Return rows right, down, forward of an eye in a frame with z up."""
    yaw, pitch = np.radians([yaw_deg, pitch_deg])
    forward = np.array([-np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    return np.stack([right, np.cross(forward, right), forward])


def _some(positions_mm: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return at most some thousand frames: a long film need not be looked at whole."""
    return positions_mm[:: max(len(positions_mm) // 4000, 1)]
