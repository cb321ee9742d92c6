"""Which joints a person's own body hides from the camera, from 3D joints alone.

The body is taken as capsules about lines between joints. A joint is hidden if its line of sight
passes through a capsule that it is no end of, nearer to the camera than the joint by more than the
capsule's radius and half a limb's thickness: a capsule at the joint's own place does not count.
Radii are typical of adults; a rough measure, made to tell what a detector could have seen from what
it can only have guessed.

Axis legend: n frames, J = 17 joints. mm, camera frame (x right, y down, z forward).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from diffpose.model.compiled import compiled
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
_ENDS = np.array([[JOINT_NAMES.index(a), JOINT_NAMES.index(b)] for a, b, _ in CAPSULES])
_RADII_MM = np.array([radius for _, _, radius in CAPSULES])


def hidden_by_own_body(joints_mm: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell which joints the body hides, (n, J).

    Args:
        joints_mm: (n, J, 3), camera frame, the camera at 0.
    """
    hidden = np.zeros((len(joints_mm), N_JOINTS), dtype=np.bool_)
    _hide(np.ascontiguousarray(joints_mm, dtype=np.float64), _ENDS, _RADII_MM, hidden)
    return hidden


@compiled
def _hide(joints, ends, radii, hidden):  # type: ignore[no-untyped-def]
    """Mark the hidden joints (n, J) of joints (n, J, 3), capsule by capsule."""
    n_joints = joints.shape[1]
    far = np.empty(n_joints)
    sight = np.empty((n_joints, 3))
    for i in range(joints.shape[0]):
        for j in range(n_joints):
            u, v, w = joints[i, j, 0], joints[i, j, 1], joints[i, j, 2]
            far[j] = math.sqrt(u * u + v * v + w * w)
            sight[j, 0], sight[j, 1], sight[j, 2] = u / far[j], v / far[j], w / far[j]
        for c in range(len(radii)):
            a, b = ends[c, 0], ends[c, 1]
            radius = radii[c]
            for s in range(_POINTS_PER_CAPSULE):
                share = s / (_POINTS_PER_CAPSULE - 1)
                x = joints[i, a, 0] * (1 - share) + joints[i, b, 0] * share
                y = joints[i, a, 1] * (1 - share) + joints[i, b, 1] * share
                z = joints[i, a, 2] * (1 - share) + joints[i, b, 2] * share
                size = x * x + y * y + z * z
                for j in range(n_joints):
                    if j in (a, b) or hidden[i, j]:
                        continue
                    along = x * sight[j, 0] + y * sight[j, 1] + z * sight[j, 2]
                    nearer = along < far[j] - radius - HALF_LIMB_MM
                    if nearer and size - along * along < radius * radius:
                        hidden[i, j] = True
