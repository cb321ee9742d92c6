"""The frame that answers are shown in, and what a picture shows of points and their spread.

numpy alone. A film's camera stands still, so that one frame serves all of its people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.pinhole import project
from diffpose.model.motion.world import CAMERA_UPRIGHT, Frame
from diffpose.platform.answers.answer import Answer

Array = NDArray[np.float64]
_NEAREST_MM = 50.0


@dataclass(frozen=True)
class Scene:
    """What is shown.

    Attributes:
        frame: z up, y away from the camera.
        has_floor: whether z = 0 is a floor.
        name: of the frame.
    """

    frame: Frame
    has_floor: bool
    name: str


def scene_of(answers: Sequence[Answer]) -> Scene:
    """Return the world that the first answer with one knows, else the camera's frame set upright.

    Args:
        answers: of one film.
    """
    for answer in answers:
        world = answer.world
        if world is not None:
            return Scene(world, world.floor_source != "none", "world")
    return Scene(CAMERA_UPRIGHT, False, "camera")


def projected_px(points_mm: NDArray[np.floating], camera_px: NDArray[np.floating]) -> Array:
    """Return where points of the camera's frame appear, (..., J, 2); NaN behind the camera.

    Args:
        points_mm: (..., J, 3).
        camera_px: (..., 4), fx, fy, cx, cy.
    """
    points = np.asarray(points_mm, dtype=np.float64)
    before = np.where(points[..., 2:] > _NEAREST_MM, points, np.nan)
    return project(before, np.asarray(camera_px, dtype=np.float64)[..., None, :])


def projected_covariances_px2(
    covariances_mm2: NDArray[np.floating],
    points_mm: NDArray[np.floating],
    camera_px: NDArray[np.floating],
) -> Array:
    """Return covariances (J, 2, 2) in the picture, by the projection's derivative: J C J^T.

    Args:
        covariances_mm2: (J, 3, 3), camera frame.
        points_mm: (J, 3), camera frame.
        camera_px: (4,), fx, fy, cx, cy.
    """
    x, y, z = np.asarray(points_mm, dtype=np.float64).T
    z = np.where(z > _NEAREST_MM, z, np.nan)
    slope = np.zeros((len(z), 2, 3))
    slope[:, 0, 0], slope[:, 0, 2] = camera_px[0] / z, -camera_px[0] * x / z**2
    slope[:, 1, 1], slope[:, 1, 2] = camera_px[1] / z, -camera_px[1] * y / z**2
    return np.asarray(slope @ np.asarray(covariances_mm2, float) @ slope.transpose(0, 2, 1))


def cholesky_factors(covariances_mm2: NDArray[np.floating]) -> Array:
    """Return the lower triangles (..., 6) of L with L L^T the covariances; rows one by one.

    NaN where a matrix is not finite; what rounding made negative counts as nothing.
    """
    matrices = np.asarray(covariances_mm2, dtype=np.float64)
    finite = np.isfinite(matrices).all(axis=(-2, -1), keepdims=True)
    values, vectors = np.linalg.eigh(np.where(finite, matrices, np.eye(3)))
    # R of a QR decomposition of the square root is L^T, also where an eigenvalue is nothing
    root = np.sqrt(np.clip(values, 0.0, None))[..., None] * np.swapaxes(vectors, -1, -2)
    upper = np.linalg.qr(root, mode="r")
    signs = np.where(np.diagonal(upper, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    lower = np.swapaxes(upper * signs[..., None], -1, -2)
    lower = np.where(finite, lower, np.nan)
    rows, columns = np.tril_indices(3)
    return np.asarray(lower[..., rows, columns])


def half_axes(covariances_px2: Array, radius: float) -> tuple[Array, Array]:
    """Return the half axes (J, 2), longest first, and the angle (J,) of the longest, radians.

    Args:
        covariances_px2: (J, 2, 2).
        radius: Mahalanobis radius.
    """
    finite = np.asarray(np.isfinite(covariances_px2).all(axis=(-2, -1)))
    values, vectors = np.linalg.eigh(np.where(finite[:, None, None], covariances_px2, 0.0))
    half = radius * np.sqrt(np.clip(values[:, ::-1], 0.0, None))
    half[~finite] = np.nan
    return half, np.arctan2(vectors[:, 1, 1], vectors[:, 0, 1])
