"""What the detector said of stored frames, as the lifter wants it."""

from __future__ import annotations

from diffpose.model.observations.initial_distribution import Observations
from diffpose.platform.store.fields import DETECTED_POSE
from diffpose.platform.store.pose_store import PoseStore


def read_observations(
    store: PoseStore, first: int, stop: int, *, heatmaps: bool = True
) -> Observations:
    """Read the detections of rows first..stop; without heatmaps they are small."""
    return Observations(
        heatmaps=store.read("heatmaps", first, stop) if heatmaps else None,
        crops=store.read("heatmap_crop", first, stop),
        keypoints_px=store.read("keypoints_2d", first, stop),
        modes=store.read("heatmap_modes", first, stop),
        camera=store.read("camera", first, stop),
        time_s=store.read("timestamp_s", first, stop),
        detected_mm=store.read(DETECTED_POSE.name, first, stop)
        if store.attributes.get("detector", {}).get("gives_pose")
        else None,
    )
