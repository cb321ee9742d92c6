"""A ring of fixed cameras around a recorded person, placed like those of Human3.6M."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from diffpose.model.geometry.pinhole import look_at
from diffpose.preprocessing.mocap.cameras.virtual_camera import Array, CameraKind, VirtualCamera
from diffpose.preprocessing.records.seeds import generator


class RingCameras(CameraKind):
    """A ring of fixed cameras that look at the middle of the motion."""

    kind: Literal["ring"] = "ring"
    count: int = Field(4, ge=1, le=64, description="cameras per motion")
    distance_m: tuple[float, float] = Field((4.6, 5.6), description="range of the distance")
    height_m: tuple[float, float] = Field((1.35, 1.7), description="range above the floor")
    target_height_m: float = Field(0.95, description="height of the point they look at")
    azimuth_jitter_rad: float = Field(0.08, ge=0, description="departure from even spacing")
    focal_px: float = Field(1145.0, gt=0, description="focal length")
    width: int = Field(1000, ge=16, description="image width in px")
    height: int = Field(1000, ge=16, description="image height in px")

    def size_px(self, camera: int, seed: int, clip_name: str) -> tuple[int, int]:
        """Return width and height, the same of all."""
        del camera, seed, clip_name
        return self.width, self.height

    def camera(self, positions_m: Array, camera: int, seed: int, clip_name: str) -> VirtualCamera:
        """Place one camera of the ring; all of a motion share its random heading."""
        del positions_m
        heading = generator(seed, "heading", clip_name).uniform(0, 2 * np.pi)
        rng = generator(seed, "camera", clip_name, camera)
        jitter = rng.uniform(-1, 1) * self.azimuth_jitter_rad
        azimuth = heading + 2 * np.pi * (camera + 0.5) / self.count + jitter
        distance = rng.uniform(*self.distance_m)
        position = np.array(
            [distance * np.cos(azimuth), distance * np.sin(azimuth), rng.uniform(*self.height_m)]
        )
        rotation = look_at(position, np.array([0.0, 0.0, self.target_height_m]))
        intrinsics = np.array([self.focal_px, self.focal_px, self.width / 2, self.height / 2])
        return VirtualCamera(rotation, position, intrinsics, self.width, self.height)
