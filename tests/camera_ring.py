"""A ring of calibrated cameras about the origin, 4 m away, with lenses that bend."""

from __future__ import annotations

import numpy as np

from diffpose.model.geometry.pinhole import look_at
from diffpose.model.multiview.calibrated_camera import CalibratedCamera

LENS = (-0.05, 0.14, 0.0006, 0.0007, 0.0)


def ring(count: int = 4) -> list[CalibratedCamera]:
    cameras = []
    for i in range(count):
        angle = 2 * np.pi * i / count + 0.3
        place = np.array([4 * np.cos(angle), 4 * np.sin(angle), 1.4 + 0.3 * i])
        turned = look_at(place, np.array([0.0, 0.0, 1.0]))
        cameras.append(
            CalibratedCamera(
                f"cam{i}", 1088, 1920, (1681.0, 1680.0, 533.0, 948.0), LENS, turned, 1000 * place
            )
        )
    return cameras
