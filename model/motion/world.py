"""A gravity-aligned frame of reference beside the camera's: z up, floor at 0.

World frame: right-handed, z up against gravity, y away from the camera along its horizontal line of
sight, x to the camera's right; the origin lies on the floor under a chosen point. The bridge from a
camera's frame (x right, y down, z forward) is one rotation and one place, the same for a whole
film: the camera stands still.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """A frame of reference that the camera stands still in.

    Attributes:
        rotation: (3, 3), from the camera's axes.
        origin_mm: (3,), this frame's origin in the camera's frame.
    """

    axes: ClassVar[str] = (
        "x to the camera's right, y away from it, z up in the picture; origin: the camera"
    )

    rotation: Array
    origin_mm: Array

    def points_mm(self, camera_points_mm: NDArray[np.floating]) -> Array:
        """Take points (..., 3) of the camera's frame to this one."""
        there = np.asarray(camera_points_mm, dtype=np.float64) - self.origin_mm
        return np.asarray(there @ self.rotation.T)

    def covariances(self, camera_covariances: NDArray[np.floating]) -> Array:
        """Take covariances (..., 3, 3) to this frame's axes."""
        matrices = np.asarray(camera_covariances, dtype=np.float64)
        return np.asarray(self.rotation @ matrices @ self.rotation.T)


@dataclass(frozen=True)
class World(Frame):
    """A gravity-aligned frame.

    Attributes:
        tilt_std_deg: standard deviation of the direction of gravity, about each horizontal axis.
        floor_std_mm: standard deviation of the floor's height under the people.
        source: "given": the camera's tilt was told; "poses": estimated from people who stand.
        floor_source: "given": the camera's height was told; "feet": estimated; "none": nobody was
            seen to stand, and the lowest point that was reached is at 0.
    """

    axes: ClassVar[str] = "x to the camera's right, y away from it, z up; origin on the floor"

    tilt_std_deg: float
    floor_std_mm: float
    source: Literal["given", "poses"]
    floor_source: Literal["given", "feet", "none"]

    @property
    def camera_height_mm(self) -> float:
        """How high above the floor the camera is."""
        return float(self.points_mm(np.zeros(3))[2])

    def to_json(self) -> dict[str, Any]:
        """Describe as JSON values."""
        return {
            "axes": f"world: right-handed, {self.axes}",
            "rotation_from_camera": np.round(self.rotation, 6).tolist(),
            "origin_in_camera_mm": np.round(self.origin_mm, 1).tolist(),
            "camera_height_mm": round(self.camera_height_mm, 1),
            "tilt_std_deg": round(self.tilt_std_deg, 2),
            "floor_std_mm": round(self.floor_std_mm, 1),
            "source": self.source,
            "floor_source": self.floor_source,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> World:
        """Read what to_json wrote.

        Raises:
            ValueError: the rotation is none.
            KeyError: a part is missing.
        """
        rotation = np.array(value["rotation_from_camera"], dtype=np.float64)
        if rotation.shape != (3, 3) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
            raise ValueError(f"rotation_from_camera is no rotation: {rotation.tolist()}")
        return cls(
            rotation,
            np.array(value["origin_in_camera_mm"], dtype=np.float64),
            float(value["tilt_std_deg"]),
            float(value["floor_std_mm"]),
            value["source"],
            value["floor_source"],
        )


def rotation_upright(up_in_camera: NDArray[np.floating]) -> Array:
    """Return the rotation (3, 3) from the camera's frame to a world whose z is ``up_in_camera``.

    Args:
        up_in_camera: (3,), against gravity, in camera coordinates; any length.

    Raises:
        ValueError: it has no length, or the camera looks straight up or down, where no horizontal
            line of sight exists.
    """
    up = np.asarray(up_in_camera, dtype=np.float64)
    length = np.linalg.norm(up)
    if not np.isfinite(length) or length < 1e-9:
        raise ValueError(f"no direction: {up.tolist()}")
    up = up / length
    forward = np.array([0.0, 0.0, 1.0]) - up[2] * up
    if np.linalg.norm(forward) < 1e-3:
        raise ValueError("the camera looks straight up or down: it has no horizontal line of sight")
    forward = forward / np.linalg.norm(forward)
    return np.stack([np.cross(forward, up), forward, up])


# Where gravity is not known: the camera's frame, turned as if it were level.
CAMERA_UPRIGHT = Frame(rotation_upright(np.array([0.0, -1.0, 0.0])), np.zeros(3))
