"""What the detector said of stored frames, as the lifter wants it."""

from __future__ import annotations

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
