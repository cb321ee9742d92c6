"""Which joints a person's own body hides from the camera, from 3D joints alone.

The body is taken as capsules about lines between joints. A joint is hidden if its line of sight
passes through a capsule that it is no end of, nearer to the camera than the joint by more than the
capsule's radius and half a limb's thickness: a capsule at the joint's own place does not count.
Radii are typical of adults; a rough measure, made to tell what a detector could have seen from what
it can only have guessed.

Axis legend: n frames, J = 17 joints. mm, camera frame (x right, y down, z forward).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import JOINT_NAMES, N_JOINTS

# Ends and radius of each capsule, mm.
CAPSULES: tuple[tuple[str, str, float], ...] = (
    ("Hip", "Spine", 120.0), ("Spine", "Thorax", 130.0),
    ("RHip", "RShoulder", 80.0), ("LHip", "LShoulder", 80.0), ("RHip", "LHip", 90.0),
    ("LShoulder", "RShoulder", 70.0), ("Nose", "Head", 90.0),
    ("RHip", "RKnee", 75.0), ("LHip", "LKnee", 75.0),
    ("RKnee", "RFoot", 50.0), ("LKnee", "LFoot", 50.0),
    ("RShoulder", "RElbow", 45.0), ("LShoulder", "LElbow", 45.0),
    ("RElbow", "RWrist", 35.0), ("LElbow", "LWrist", 35.0),
)  # fmt: skip
HALF_LIMB_MM = 40.0
_POINTS_PER_CAPSULE = 9


def hidden_by_own_body(joints_mm: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell which joints the body hides, (n, J).

    Args:
        joints_mm: (n, J, 3), camera frame, the camera at 0.
    """
    joints = np.asarray(joints_mm, dtype=np.float64)
    far = np.linalg.norm(joints, axis=-1)
    sight = joints / far[..., None]
    hidden = np.zeros((len(joints), N_JOINTS), dtype=bool)
    share = np.linspace(0.0, 1.0, _POINTS_PER_CAPSULE)[:, None]
    for first, last, radius_mm in CAPSULES:
        a, b = JOINT_NAMES.index(first), JOINT_NAMES.index(last)
        points = joints[:, None, a] * (1 - share) + joints[:, None, b] * share  # (n, points, 3)
        along = np.einsum("njx,npx->njp", sight, points)
        aside = np.sqrt(((points**2).sum(axis=-1)[:, None] - along**2).clip(0.0))
        nearer = along < (far - radius_mm - HALF_LIMB_MM)[..., None]
        covered = ((aside < radius_mm) & nearer).any(axis=-1)
        covered[:, [a, b]] = False
        hidden |= covered
    return hidden
