"""Virtual cameras around a recorded person, placed like those of Human3.6M."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from diffpose.model.geometry.camera import look_at, project
from diffpose.platform.base.config import Settings
from diffpose.preprocessing.records.clip import ClipTruth
from diffpose.preprocessing.records.seeds import generator


class CameraSettings(Settings):
    """A ring of fixed cameras that look at the middle of the motion."""

    count: int = Field(4, ge=1, le=64, description="cameras per motion")
    distance_m: tuple[float, float] = Field((4.6, 5.6), description="range of the distance")
    height_m: tuple[float, float] = Field((1.35, 1.7), description="range above the floor")
    target_height_m: float = Field(0.95, description="height of the point they look at")
    azimuth_jitter_rad: float = Field(0.08, ge=0, description="departure from even spacing")
    focal_px: float = Field(1145.0, gt=0, description="focal length")
    width: int = Field(1000, ge=16, description="image width in px")
    height: int = Field(1000, ge=16, description="image height in px")


def view(
    positions_m: NDArray[np.float64],
    timestamp_s: NDArray[np.float64],
    settings: CameraSettings,
    camera: int,
    seed: int,
    clip_name: str,
) -> ClipTruth:
    """See a motion through one virtual camera.

    Args:
        positions_m: (R, 17, 3), world frame, z up; the motion's middle is put at the origin.
        timestamp_s: (R,).
        settings: the ring of cameras.
        camera: number within the ring.
        seed: of the placement.
        clip_name: names the motion; all cameras of a motion share its random heading.
    """
    centred = centre(positions_m)
    rotation, position = place(settings, camera, seed, clip_name)
    in_camera_mm = (centred - position) @ rotation.T * 1000.0
    intrinsics = np.array(
        [settings.focal_px, settings.focal_px, settings.width / 2, settings.height / 2]
    )
    root_mm = in_camera_mm[:, 0]
    return ClipTruth(
        pose_3d_mm=in_camera_mm - root_mm[:, None],
        root_position_mm=root_mm,
        keypoints_px=project(in_camera_mm, intrinsics),
        camera=np.tile(intrinsics, (len(centred), 1)),
        timestamp_s=timestamp_s,
    )


def centre(positions_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a motion (R, 17, 3) whose path's middle stands at the origin of the floor."""
    centred = positions_m.copy()
    root = centred[:, 0, :2]
    centred[..., :2] -= (root.min(axis=0) + root.max(axis=0)) / 2
    return centred


def place(
    settings: CameraSettings, camera: int, seed: int, clip_name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Place one camera of the ring; arguments as for view.

    Returns:
        rotation (3, 3), world -> camera, and position (3,) in metres, world frame.
    """
    heading = generator(seed, "heading", clip_name).uniform(0, 2 * np.pi)
    rng = generator(seed, "camera", clip_name, camera)
    jitter = rng.uniform(-1, 1) * settings.azimuth_jitter_rad
    azimuth = heading + 2 * np.pi * (camera + 0.5) / settings.count + jitter
    distance = rng.uniform(*settings.distance_m)
    position = np.array(
        [distance * np.cos(azimuth), distance * np.sin(azimuth), rng.uniform(*settings.height_m)]
    )
    return look_at(position, np.array([0.0, 0.0, settings.target_height_m])), position
