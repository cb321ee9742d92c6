"""The Human3.6M 17-joint skeleton: names, tree, sides.

Order and edges follow Ionescu et al., "Human3.6M" (TPAMI 2014), in the 17-joint subset that the
lifting literature uses since Pavllo et al. (CVPR 2019).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

JOINT_NAMES: tuple[str, ...] = (
    "Hip",
    "RHip",
    "RKnee",
    "RFoot",
    "LHip",
    "LKnee",
    "LFoot",
    "Spine",
    "Thorax",
    "Nose",
    "Head",
    "LShoulder",
    "LElbow",
    "LWrist",
    "RShoulder",
    "RElbow",
    "RWrist",
)
N_JOINTS = len(JOINT_NAMES)
JOINT_LAYOUT = "human36m_17"  # of every array with a joint axis, whatever its source had
ROOT = 0
PARENTS: tuple[int, ...] = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
EDGES: tuple[tuple[int, int], ...] = tuple(
    (parent, child) for child, parent in enumerate(PARENTS) if parent >= 0
)
LEFT: tuple[int, ...] = (4, 5, 6, 11, 12, 13)
RIGHT: tuple[int, ...] = (1, 2, 3, 14, 15, 16)
# MIRROR[j] is the joint that takes j's place when left and right are exchanged.
MIRROR: tuple[int, ...] = (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13)


def adjacency() -> NDArray[np.float64]:
    """Return the symmetric 0/1 adjacency matrix of the skeleton, shape (17, 17), zero diagonal."""
    matrix = np.zeros((N_JOINTS, N_JOINTS))
    for a, b in EDGES:
        matrix[a, b] = matrix[b, a] = 1.0
    return matrix


def normalised_adjacency() -> NDArray[np.float64]:
    """Return D^-1/2 (A + I) D^-1/2 (Kipf and Welling, ICLR 2017), shape (17, 17)."""
    with_loops = adjacency() + np.eye(N_JOINTS)
    inverse_root_degree = 1.0 / np.sqrt(with_loops.sum(axis=1))
    scaled: NDArray[np.float64] = (
        inverse_root_degree[:, None] * with_loops * inverse_root_degree[None, :]
    )
    return scaled


def bone_lengths(pose: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the 16 bone lengths of poses (..., 17, 3), in EDGES order and the pose's unit."""
    pose = np.asarray(pose, dtype=np.float64)
    parents = [a for a, _ in EDGES]
    children = [b for _, b in EDGES]
    # take and einsum: several times as fast as indexing and a norm over an axis of three
    bones = np.take(pose, children, axis=-2) - np.take(pose, parents, axis=-2)
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("...i,...i->...", bones, bones))
    return lengths
