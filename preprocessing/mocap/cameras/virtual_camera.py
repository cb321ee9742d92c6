"""A virtual camera, and what it sees of a recorded person.

World frame: z up, metres, the middle of the motion's path at the origin of the floor.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.lens import Lens
from diffpose.model.geometry.pinhole import assumed_intrinsics_px, project
from diffpose.platform.base.config import Settings
from diffpose.preprocessing.records.clip import ClipTruth

Array = NDArray[np.float64]


@dataclass(frozen=True)
class VirtualCamera:
    """A camera that stands still.

    Attributes:
        rotation: (3, 3), world -> camera frame.
        position_m: (3,), world frame.
        intrinsics_px: (4,), fx, fy, cx, cy.
        width, height: of the image, px.
        radial: (k1, k2, k3) of its lens (model.geometry.lens), of which nobody is told.
        focal_known: whether whoever lifts its pictures is told the focal length; else the usual
            one is assumed (camera.assumed_intrinsics_px), and told.
    """

    rotation: Array
    position_m: Array
    intrinsics_px: Array
    width: int
    height: int
    radial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    focal_known: bool = True

    def in_camera_mm(self, positions_m: Array) -> Array:
        """Return points (..., 3) of the world in the camera frame, mm."""
        seen: Array = (positions_m - self.position_m) @ self.rotation.T * 1000.0
        return seen

    def project_px(self, in_camera_mm: Array) -> Array:
        """Return where points (..., 3) of the camera frame appear, (..., 2)."""
        if not any(self.radial):
            return project(in_camera_mm, self.intrinsics_px)
        fx, fy, cx, cy = self.intrinsics_px.tolist()
        return Lens((fx, fy), (cx, cy), self.radial).project(in_camera_mm)

    def told_px(self) -> Array:
        """Return the intrinsics (4,) that are told of the camera, right or assumed."""
        if self.focal_known:
            return self.intrinsics_px
        return assumed_intrinsics_px(self.width, self.height)


class CameraKind(Settings):
    """Base of the settings of virtual cameras; ``count`` of them see each motion."""

    @abstractmethod
    def size_px(self, camera: int, seed: int, clip_name: str) -> tuple[int, int]:
        """Return width and height of one camera's image."""

    @abstractmethod
    def camera(self, positions_m: Array, camera: int, seed: int, clip_name: str) -> VirtualCamera:
        """Place one camera.

        Args:
            positions_m: (R, 17, 3) or (R, people, 17, 3), centred: what it shall see.
            camera: its number.
            seed: of the placement.
            clip_name: names the motion.
        """


def view(positions_m: Array, timestamp_s: Array, camera: VirtualCamera) -> ClipTruth:
    """See a motion through a camera.

    Where the focal length is not told, the root stands where the assumed one puts it: as much
    nearer or farther as that is shorter or longer.

    Args:
        positions_m: (R, 17, 3), world frame, centred.
        timestamp_s: (R,).
        camera: where it stands.
    """
    in_camera_mm = camera.in_camera_mm(positions_m)
    told = camera.told_px()
    root_mm = in_camera_mm[:, 0].copy()
    pose_mm = in_camera_mm - root_mm[:, None]
    root_mm[:, 2] *= told[0] / camera.intrinsics_px[0]
    return ClipTruth(
        pose_3d_mm=pose_mm,
        root_position_mm=root_mm,
        keypoints_px=camera.project_px(in_camera_mm),
        camera=np.tile(told, (len(positions_m), 1)),
        timestamp_s=timestamp_s,
    )


def centre(positions_m: Array) -> Array:
    """Return a motion (R, 17, 3) whose path's middle stands at the origin of the floor."""
    centred = positions_m.copy()
    root = centred[:, 0, :2]
    centred[..., :2] -= (root.min(axis=0) + root.max(axis=0)) / 2
    return centred
