"""Poses whose bones keep their lengths, moved no further than needed.

Axis legend: T frames, J joints. Everything is in mm, root-relative.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import N_JOINTS, PARENTS, ROOT

Array = NDArray[np.float64]

_MOVING = np.array([j for j in range(N_JOINTS) if j != ROOT])
_STEPS = 4
_LEAST_MM2 = 1.0


def with_constant_bones(
    pose_mm: NDArray[np.floating], covariance_mm2: NDArray[np.floating], lengths_mm: Array
) -> Array:
    """Move poses as little as their covariances find likely, so that bones have given lengths.

    Newton steps of the least squares (p - pose)^T C^-1 (p - pose) under |bone| = length.

    Args:
        pose_mm: (T, J, 3), root at 0.
        covariance_mm2: (T, J, 3, 3).
        lengths_mm: (T, 16), of the moving joints' bones to their parents.

    Returns:
        (T, J, 3); lengths hold within some hundredths of a mm.
    """
    pose = np.asarray(pose_mm, dtype=np.float64).copy()
    spread = np.asarray(covariance_mm2, dtype=np.float64)[:, _MOVING] + _LEAST_MM2 * np.eye(3)
    parents = np.array(PARENTS)[_MOVING]
    n, bones = len(pose), len(_MOVING)
    place = {int(j): i for i, j in enumerate(_MOVING)}
    inner = np.array([p != ROOT for p in parents])
    at = np.arange(bones)
    up = np.array([place.get(int(p), 0) for p in parents])
    for _ in range(_STEPS):
        along = pose[:, _MOVING] - pose[:, parents]
        own = np.linalg.norm(along, axis=-1)
        unit = along / own.clip(1e-6)[..., None]
        slope = np.zeros((n, bones, bones, 3))
        slope[:, at, at] = unit
        slope[:, at[inner], up[inner]] = -unit[:, inner]
        pulled = np.einsum("njxy,nbjy->nbjx", spread, slope).reshape(n, bones, -1)
        system = pulled @ slope.reshape(n, bones, -1).swapaxes(1, 2)
        wanted = np.linalg.solve(system, (lengths_mm - own)[..., None])
        pose[:, _MOVING] += (pulled.swapaxes(1, 2) @ wanted).reshape(n, bones, 3)
    return pose
