"""Cameras as people hold them: any focal length, roll, height, distance, upright or on the side."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from diffpose.model.geometry.pinhole import look_at
from diffpose.preprocessing.mocap.cameras.virtual_camera import Array, CameraKind, VirtualCamera
from diffpose.preprocessing.records.seeds import generator

Range = tuple[float, float]
# A camera is placed anew until this share of the person is in the picture; the best of so many.
_MOSTLY_SEEN = 0.97
_PLACEMENTS = 30
_NEAREST_MM = 600.0


class WildCameras(CameraKind):
    """Cameras of the world: telephones, sports halls, films. Each motion has its own."""

    kind: Literal["wild"] = "wild"
    count: int = Field(4, ge=1, le=64, description="cameras per motion")
    longer_px: int = Field(1920, ge=16, description="longer side of the image")
    shorter_px: int = Field(1080, ge=16, description="shorter side of the image")
    portrait: float = Field(0.5, ge=0, le=1, description="share of cameras held upright")
    focal: Range = Field((0.7, 1.8), description="focal length, in longer sides")
    focal_unknown: float = Field(
        0.0, ge=0, le=1, description="share of cameras whose focal length nobody is told"
    )
    distance_m: Range = Field((2.0, 9.0), description="from the middle of the motion")
    height_m: Range = Field((0.3, 3.0), description="above the floor")
    target_height_m: Range = Field((0.4, 1.4), description="height of the point aimed at")
    off_middle: float = Field(
        0.3, ge=0, lt=1, description="how far from the image's middle the aim may lie, in halves"
    )
    roll_deg: float = Field(30.0, ge=0, le=180, description="roll about the view, up to +- this")
    distortion: Range = Field(
        (-0.05, 0.05), description="k1 of the lens, which whoever lifts is not told"
    )
    least_height: float = Field(
        0.15, ge=0, le=1, description="the person covers at least this share of the shorter side"
    )

    @model_validator(mode="after")
    def _ranges_rise(self) -> WildCameras:
        for name in ("focal", "distance_m", "height_m", "target_height_m", "distortion"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}=[{low:g}, {high:g}] must rise")
        for name in ("focal", "distance_m"):
            if getattr(self, name)[0] <= 0:
                raise ValueError(f"{name} must lie above 0, got {getattr(self, name)[0]:g}")
        return self

    def size_px(self, camera: int, seed: int, clip_name: str) -> tuple[int, int]:
        """Return width and height: upright or on the side, by chance."""
        upright = generator(seed, "portrait", clip_name, camera).random() < self.portrait
        size = self.longer_px, self.shorter_px
        return size[::-1] if upright else size

    def camera(self, positions_m: Array, camera: int, seed: int, clip_name: str) -> VirtualCamera:
        """Place one camera so that it sees the person; the best of some tries if none sees all."""
        rng = generator(seed, "camera", clip_name, camera)
        points = positions_m.reshape(-1, 3)
        points = points[:: max(1, len(points) // 2000)]
        best, most = None, -1.0
        for _ in range(_PLACEMENTS):
            tried = self._placed(rng, self.size_px(camera, seed, clip_name))
            share = self._share_seen(tried, points)
            if share > most:
                best, most = tried, share
            if share >= _MOSTLY_SEEN:
                break
        assert best is not None
        return best

    def _placed(self, rng: np.random.Generator, size: tuple[int, int]) -> VirtualCamera:
        width, height = size
        azimuth = rng.uniform(0, 2 * np.pi)
        # as many near as far: pictures change with the ratio of distances, not their difference
        distance = np.exp(rng.uniform(*np.log(self.distance_m)))
        position = np.array(
            [distance * np.cos(azimuth), distance * np.sin(azimuth), rng.uniform(*self.height_m)]
        )
        focal = max(width, height) * np.exp(rng.uniform(*np.log(self.focal)))
        upright = look_at(position, np.array([0.0, 0.0, rng.uniform(*self.target_height_m)]))
        aside = rng.uniform(-1, 1, 2) * self.off_middle * np.array([width, height]) / (2 * focal)
        rotation = _rolled(rng.uniform(-1, 1) * np.deg2rad(self.roll_deg)) @ _aimed(aside) @ upright
        intrinsics = np.array([focal, focal, width / 2, height / 2])
        radial = (float(rng.uniform(*self.distortion)), 0.0, 0.0)
        known = bool(rng.random() >= self.focal_unknown)
        return VirtualCamera(rotation, position, intrinsics, width, height, radial, known)

    def _share_seen(self, camera: VirtualCamera, points_m: Array) -> float:
        """Return how much of points (n, 3) is in the picture, less where that is tiny."""
        in_camera = camera.in_camera_mm(points_m)
        before = in_camera[:, 2] > _NEAREST_MM
        pixels = camera.project_px(np.where(before[:, None], in_camera, [0.0, 0.0, 1e6]))
        inside = before & (pixels > 0).all(axis=1)
        inside &= (pixels < [camera.width, camera.height]).all(axis=1)
        if not before.all():  # whoever stands beside the camera is no picture of a person
            return 0.0
        covered = np.ptp(pixels, axis=0).max() / min(camera.width, camera.height)
        large = min(covered / self.least_height, 1.0) if self.least_height else 1.0
        return float(inside.mean() * large)


def _rolled(angle_rad: float) -> Array:
    """Return the rotation about the view."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _aimed(aside: Array) -> Array:
    """Return the rotation that moves the image's middle to the ray (2,)."""
    yaw, pitch = np.arctan(aside)
    c, s = np.cos(yaw), np.sin(yaw)
    turned = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    c, s = np.cos(pitch), np.sin(pitch)
    tilted = np.array([[1.0, 0.0, 0.0], [0.0, c, s], [0.0, -s, c]])
    return np.asarray(tilted @ turned)
