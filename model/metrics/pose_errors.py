"""Pose errors in mm. Poses are (n, 17, 3); protocol choices (root, averaging) are the caller's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry import procrustes

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

    A prediction whose joints coincide has no scale or orientation; it is moved to the target's
    centre (model.procrustes).

    Returns:
        (n, J, 3).
    """
    return procrustes.align(*_float64(predicted, target))


def p_mpjpe(predicted: Poses, target: Poses) -> NDArray[np.float64]:
    """Return the MPJPE of each pose after similarity alignment (P-MPJPE, protocol 2), (n,)."""
    return procrustes.aligned_errors(*_float64(predicted, target))


def _float64(predicted: Poses, target: Poses) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both as contiguous float64 arrays of one shape.

    Raises:
        ValueError: the shapes differ, or are not (n, J, 3).
    """
    if predicted.shape != target.shape or predicted.ndim != 3 or predicted.shape[-1] != 3:
        raise ValueError(
            f"Predicted and target poses must agree in shape (n, J, 3), got {predicted.shape} "
            f"and {target.shape}."
        )
    return (
        np.ascontiguousarray(predicted, dtype=np.float64),
        np.ascontiguousarray(target, dtype=np.float64),
    )
