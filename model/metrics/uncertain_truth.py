"""Errors of poses against a truth that is itself uncertain, such as a triangulated one."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import JOINT_NAMES, ROOT
from diffpose.model.metrics.pose_errors import mpjpe, p_mpjpe
from diffpose.model.metrics.protocols import jitter, n_mpjpe
from diffpose.model.uncertainty.covariances import (
    LEVELS,
    Ellipsoids,
    coverage,
    mahalanobis_squared,
)

Array = NDArray[np.float64]
# Pelvis and the twelve joints of the limbs: where spine, neck and head are differs between
# detectors, bodies and data sets by more than what is measured here.
LIMB_JOINTS = tuple(
    i for i, name in enumerate(JOINT_NAMES)
    if name == "Hip" or name[1:] in {"Hip", "Knee", "Foot", "Shoulder", "Elbow", "Wrist"}
)  # fmt: skip


def root_relative_covariance(covariance_mm2: Array) -> Array:
    """Return covariances (n, J, 3, 3) of joints less the root, errors of both being independent.

    The root's own becomes 0.
    """
    relative: Array = covariance_mm2 + covariance_mm2[:, ROOT : ROOT + 1]
    relative[:, ROOT] = 0
    return relative


def error_figures(
    pose_mm: NDArray[np.floating], truth_mm: NDArray[np.floating]
) -> dict[str, float]:
    """Return MPJPE, N-MPJPE, P-MPJPE over pelvis and limbs, P-MPJPE of all, and jitter.

    Args:
        pose_mm: (n, 17, 3), root-relative, camera frame; frames that follow each other.
        truth_mm: (n, 17, 3), the same; poses with an unknown joint among those that an error takes
            are left out of it.

    Returns:
        mpjpe_mm, n_mpjpe_mm, p_mpjpe_mm, p_mpjpe_17_mm, jitter_mm (of the twelve limb joints, per
        frame^2) and n_poses; NaN where nothing is known.
    """
    limbs = list(LIMB_JOINTS)
    pose, truth = np.asarray(pose_mm, np.float64), np.asarray(truth_mm, np.float64)
    some = _whole(truth[:, limbs]) & _whole(pose[:, limbs])
    every = _whole(truth) & _whole(pose)
    p, t = pose[some][:, limbs], truth[some][:, limbs]
    return {
        "mpjpe_mm": _mean(mpjpe(p, t)),
        "n_mpjpe_mm": _mean(n_mpjpe(p, t)),
        "p_mpjpe_mm": _mean(p_mpjpe(p, t)),
        "p_mpjpe_17_mm": _mean(p_mpjpe(pose[every], truth[every])),
        "jitter_mm": limb_jitter(pose),
        "n_poses": float(some.sum()),
    }


def limb_jitter(poses_mm: Array) -> float:
    """Return the jitter of the twelve limb joints of root-relative poses (n, 17, 3)."""
    moving = [joint for joint in LIMB_JOINTS if joint != ROOT]
    relative = poses_mm - poses_mm[:, ROOT : ROOT + 1]
    return jitter(relative[:, moving])


def coverage_figures(
    pose_mm: NDArray[np.floating],
    covariance_mm2: Array,
    dof: float,
    truth_mm: NDArray[np.floating],
    truth_covariance_mm2: Array,
) -> dict[str, float]:
    """Return the share of truths within the predicted regions, the truth's own errors added.

    If the claim is right, truth as measured less prediction has the sum of both covariances.

    Args:
        pose_mm: (n, 17, 3), root-relative.
        covariance_mm2: (n, 17, 3, 3), predicted.
        dof: of the prediction's t distribution; infinite: Gaussian.
        truth_mm: (n, 17, 3), root-relative; NaN where unknown.
        truth_covariance_mm2: (n, 17, 3, 3), of the truth's joints less the root.

    Returns:
        coverage50 and coverage90, shares of the twelve limb joints.
    """
    both = covariance_mm2 + truth_covariance_mm2
    squared = mahalanobis_squared(np.asarray(truth_mm, np.float64) - pose_mm, both)
    ones = np.ones(truth_mm.shape[1])
    levels = Ellipsoids(0.0, 0 * ones, ones, dof).levels(squared)[:, list(LIMB_JOINTS)]
    return {f"coverage{round(100 * level)}": coverage(levels, level) for level in LEVELS}


def _whole(poses: Array) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(poses).all(axis=(1, 2)))


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else math.nan
