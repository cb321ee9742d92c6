"""Someone who stands before the camera."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def standing() -> NDArray[np.float64]:
    """Left as right, arms hanging, facing the camera; (17, 3), mm, the root at 0."""
    side = [(130, 0, 0), (140, 420, 20), (150, 860, 40)]
    arm = [(150, -460, 0), (200, -200, 30), (220, 40, -40)]
    spine = [(0, -230, 0), (0, -460, 10), (0, -560, -40), (0, -680, 0)]
    right = [[(-x, y, z) for x, y, z in part] for part in (side, arm)]
    return np.array([(0, 0, 0), *right[0], *side, *spine, *arm, *right[1]], dtype=float)
