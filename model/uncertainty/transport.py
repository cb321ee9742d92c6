"""Hypotheses that follow their mean and covariance when these change.

Axis legend: T frames, N hypotheses, J joints. mm, root-relative, camera frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import ROOT

Array = NDArray[np.float64]

# A joint on which all hypotheses agree still has a covariance that can be turned.
_LEAST_MM2 = 1.0


def matched(
    hypotheses_mm: NDArray[np.floating],
    pose_mm: NDArray[np.floating],
    new_mm: NDArray[np.floating],
    ratio: Array,
) -> NDArray[np.float32]:
    """Move hypotheses (T, N, J, 3) from a mean (T, J, 3) to another, turned by (T, J, 3, 3)."""
    apart = hypotheses_mm - pose_mm[:, None]
    moved = new_mm[:, None] + np.einsum("tjxy,tnjy->tnjx", ratio, apart)
    return np.asarray(moved, dtype=np.float32)


def shrinking(before_mm2: Array, after_mm2: Array) -> Array:
    """Return symmetric M with M before M = after, per joint and frame; 1 for the root.

    The optimal map between two centred Gaussians (Olkin & Pukelsheim, Linear Algebra Appl. 48,
    1982): A^(-1/2) (A^(1/2) B A^(1/2))^(1/2) A^(-1/2).
    """
    least = _LEAST_MM2 * np.eye(3)
    root = _power(before_mm2 + least, 0.5)
    back = _power(before_mm2 + least, -0.5)
    ratio: Array = back @ _power(root @ (after_mm2 + least) @ root, 0.5) @ back
    ratio[:, ROOT] = np.eye(3)
    return ratio


def _power(matrices: Array, exponent: float) -> Array:
    values, vectors = np.linalg.eigh(matrices)
    scaled = vectors * values.clip(1e-9)[..., None, :] ** exponent
    found: Array = scaled @ vectors.swapaxes(-1, -2)
    return found
