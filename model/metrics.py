"""Pose errors in mm. Poses are (n, 17, 3); protocol choices (root, averaging) are the caller's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Poses = NDArray[np.floating]


def joint_errors(predicted: Poses, target: Poses) -> NDArray[np.float64]:
    """Return the distance of each joint, (n, J), in the poses' unit.

    Raises:
        ValueError: the shapes differ.
    """
    if predicted.shape != target.shape or predicted.shape[-1] != 3:
        raise ValueError(
            f"Predicted and target poses must agree in shape (n, J, 3), got {predicted.shape} "
            f"and {target.shape}."
        )
    difference = np.asarray(predicted, dtype=np.float64) - np.asarray(target, dtype=np.float64)
    errors: NDArray[np.float64] = np.linalg.norm(difference, axis=-1)
    return errors


def mpjpe(predicted: Poses, target: Poses) -> NDArray[np.float64]:
    """Return the mean per-joint position error of each pose, (n,)."""
    errors: NDArray[np.float64] = joint_errors(predicted, target).mean(axis=-1)
    return errors


def align(predicted: Poses, target: Poses) -> NDArray[np.float64]:
    """Move, turn and scale each predicted pose onto its target (no reflection).

    Orthogonal Procrustes by SVD (Umeyama, TPAMI 1991). A prediction whose joints coincide has no
    scale or orientation; it is moved to the target's centre.

    Returns:
        (n, J, 3).
    """
    p = np.asarray(predicted, dtype=np.float64)
    t = np.asarray(target, dtype=np.float64)
    p_mean, t_mean = p.mean(axis=1, keepdims=True), t.mean(axis=1, keepdims=True)
    p0, t0 = p - p_mean, t - t_mean
    u, s, vt = np.linalg.svd(np.einsum("nji,njk->nik", p0, t0))
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    s[:, -1] *= sign
    u[:, :, -1] *= sign[:, None]
    size = (p0**2).sum(axis=(1, 2))
    scale = np.divide(s.sum(axis=1), size, out=np.zeros_like(size), where=size > 1e-12)
    aligned: NDArray[np.float64] = scale[:, None, None] * (p0 @ (u @ vt)) + t_mean
    return aligned


def p_mpjpe(predicted: Poses, target: Poses) -> NDArray[np.float64]:
    """Return the MPJPE of each pose after similarity alignment (P-MPJPE, protocol 2), (n,)."""
    joint_errors(predicted, target)  # shape check before the alignment
    return mpjpe(align(predicted, target), target)
