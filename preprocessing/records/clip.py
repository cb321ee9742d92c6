"""The records that travel between preprocessing stages.

Axis legend: R rows (frames) of one clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClipTruth:
    """What a source knows of one clip.

    Attributes:
        pose_3d_mm: (R, 17, 3), root-relative camera frame; NaN where unknown.
        root_position_mm: (R, 3), camera frame; NaN where unknown.
        keypoints_px: (R, 17, 2), the true projection.
        camera: (R, 4), fx, fy, cx, cy in px.
        timestamp_s: (R,), time of each frame within its recording.
    """

    pose_3d_mm: NDArray[np.float64]
    root_position_mm: NDArray[np.float64]
    keypoints_px: NDArray[np.float64]
    camera: NDArray[np.float64]
    timestamp_s: NDArray[np.float64]

    def __post_init__(self) -> None:
        rows = len(self.timestamp_s)
        expected = {
            "pose_3d_mm": (rows, 17, 3),
            "root_position_mm": (rows, 3),
            "keypoints_px": (rows, 17, 2),
            "camera": (rows, 4),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be {shape}, got {getattr(self, name).shape}.")


@dataclass(frozen=True)
class ClipDetections:
    """What a detector says of one clip.

    Attributes:
        heatmaps: (R, 17, 64, 48) uint8, peak at 255.
        crops: (R, 4) px, diffpose.model.heatmaps.grid.
    """

    heatmaps: NDArray[np.uint8]
    crops: NDArray[np.float32]
