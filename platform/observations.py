"""What the detector said of stored frames, as the lifter wants it."""

from __future__ import annotations

import torch

from diffpose.model.detections import Detections
from diffpose.model.initial_distribution import Observations
from diffpose.platform.pose_store import PoseStore


def read_observations(store: PoseStore, first: int, stop: int) -> Observations:
    """Read the detections of rows first..stop."""
    return Observations(
        heatmaps=store.read("heatmaps", first, stop),
        crops=store.read("heatmap_crop", first, stop),
        keypoints_px=store.read("keypoints_2d", first, stop),
        modes=store.read("heatmap_modes", first, stop),
        camera=store.read("camera", first, stop),
    )


def read_detections(store: PoseStore, first: int, stop: int) -> Detections:
    """Read rows first..stop without their heatmaps."""
    names = "keypoints_2d", "heatmap_modes", "camera"
    return Detections.from_pixels(
        *(torch.from_numpy(store.read(name, first, stop)) for name in names)
    )
