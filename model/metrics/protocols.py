"""Measures of Human3.6M and MPI-INF-3DHP beside MPJPE and P-MPJPE (model.metrics), in mm.

Poses are (n, J, 3); frames of a clip follow each other. Which joints count, what is the root and
how clips are averaged belongs to a protocol and is the caller's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffpose.model.metrics.pose_errors import joint_errors, mpjpe

Poses = NDArray[np.floating]
Array = NDArray[np.float64]

# MPI-INF-3DHP's 17 joints: 0 head top, 1 neck, 2-4 right arm, 5-7 left arm, 8-10 right leg, 11-13
# left leg, 14 pelvis (the root), 15 spine, 16 head. Its PCK and AUC count the first fourteen, in
# the groups of mpii_get_pck_auc_joint_groups.m.
MPI_ROOT = 14
MPI_GROUPS: dict[str, tuple[int, ...]] = {
    "head": (0,), "neck": (1,), "shoulder": (2, 5), "elbow": (3, 6), "wrist": (4, 7),
    "hip": (8, 11), "knee": (9, 12), "ankle": (10, 13),
}  # fmt: skip
MPI_COUNTED = tuple(sorted(joint for group in MPI_GROUPS.values() for joint in group))
# MPI_OF_H36M[j] is the joint of MPI-INF-3DHP that stands at our joint j: the same places of the
# body by name, but its "head" is no nose and its "head top" lies higher than Human3.6M's head.
MPI_OF_H36M = (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4)
H36M_OF_MPI = tuple(MPI_OF_H36M.index(joint) for joint in range(len(MPI_OF_H36M)))
PCK_THRESHOLD_MM = 150.0
AUC_THRESHOLDS_MM = tuple(float(t) for t in range(0, 151, 5))  # 31 of them


def n_mpjpe(predicted: Poses, target: Poses) -> Array:
    """Return the MPJPE of each pose (n,) after the best scale (N-MPJPE, Rhodin et al., CVPR 2018).

    ``s = sum(t . p) / sum(p . p)`` over joints and coordinates; poses are root-relative.
    """
    p, t = np.asarray(predicted, dtype=np.float64), np.asarray(target, dtype=np.float64)
    joint_errors(p, t)  # shape check
    size = (p**2).sum(axis=(1, 2))
    product = (p * t).sum(axis=(1, 2))
    scale = np.divide(product, size, out=np.zeros_like(size), where=size > 0)
    return mpjpe(scale[:, None, None] * p, t)


def mpjve(
    predicted: Poses, target: Poses, clip_lengths: NDArray[np.integer] | None = None
) -> float:
    """Return the mean per-joint velocity error, mm per frame (Pavllo et al., CVPR 2019).

    Args:
        predicted: (n, J, 3), frames of all clips one after the other.
        target: the same.
        clip_lengths: frames of each clip, 0 for empty ones. Differences across their borders are
            left out; None takes all frames as one clip, as MixSTE's evaluation does with its
            windows.

    Raises:
        ValueError: the lengths do not add up to n, one is negative, or no clip has two frames.
    """
    p, t = np.asarray(predicted, dtype=np.float64), np.asarray(target, dtype=np.float64)
    joint_errors(p, t)  # shape check
    error = np.linalg.norm(np.diff(p, axis=0) - np.diff(t, axis=0), axis=-1)  # (n - 1, J)
    if clip_lengths is not None:
        ends = np.cumsum(clip_lengths)
        if (np.asarray(clip_lengths) < 0).any():
            raise ValueError(f"clip_lengths hold {np.min(clip_lengths)}; no clip has that length.")
        if len(ends) == 0 or ends[-1] != len(p):
            raise ValueError(f"clip_lengths add up to {ends[-1:].sum()}, there are {len(p)} poses.")
        inside = np.ones(len(error), dtype=bool)
        inside[ends[(ends > 0) & (ends < len(p))] - 1] = False
        error = error[inside]
    if len(error) == 0:
        raise ValueError("A velocity needs a clip of at least two frames.")
    return float(error.mean())


def pck(predicted: Poses, target: Poses, threshold_mm: float = PCK_THRESHOLD_MM) -> float:
    """Return the percentage of joints whose error is strictly below a threshold (3D PCK).

    Give the joints that count: poses[:, MPI_COUNTED] for MPI-INF-3DHP.
    """
    return float(100.0 * (joint_errors(predicted, target) < threshold_mm).mean())


def auc(predicted: Poses, target: Poses) -> float:
    """Return the mean of `pck` over the thresholds 0, 5 .. 150 mm (31 of them; the first gives 0).

    As mpii_compute_3d_pck.m: the mean over thresholds, not an integral.
    """
    errors = joint_errors(predicted, target)
    return float(100.0 * np.mean([(errors < t).mean() for t in AUC_THRESHOLDS_MM]))


def mpi_figures(
    sequences: dict[str, tuple[Poses, Poses]],
) -> dict[str, dict[str, float]]:
    """Return PCK, AUC and MPJPE of MPI-INF-3DHP's test set: each sequence, and both ways of adding.

    Args:
        sequences: name -> predicted, target (n, 17, 3) of its valid frames, root-relative.

    Returns:
        per sequence, "pooled" (every frame counts the same) and "mean of sequences" (every sequence
        does): pck and auc over 14 joints, mpjpe_mm over all 17, n_frames.
    """

    def figures(predicted: Poses, target: Poses) -> dict[str, float]:
        counted = list(MPI_COUNTED)
        return {
            "pck": pck(predicted[:, counted], target[:, counted]),
            "auc": auc(predicted[:, counted], target[:, counted]),
            "mpjpe_mm": float(mpjpe(predicted, target).mean()),
            "n_frames": float(len(predicted)),
        }

    found = {name: figures(*poses) for name, poses in sequences.items()}
    pooled = figures(*(np.concatenate(part) for part in zip(*sequences.values(), strict=True)))
    mean = {
        key: float(np.mean([part[key] for part in found.values()]))
        for key in ("pck", "auc", "mpjpe_mm")
    }
    total = {"n_frames": sum(part["n_frames"] for part in found.values())}
    return {**found, "pooled": pooled, "mean of sequences": {**mean, **total}}


def jitter(poses: Poses, clip_lengths: NDArray[np.integer] | None = None) -> float:
    """Return the mean length of joints' second differences, mm per frame^2; NaN below 3 frames.

    ``|p_(t+1) - 2 p_t + p_(t-1)|``, the acceleration in frames. Of root-relative poses give the
    moving joints alone.

    Args:
        poses: (n, J, 3), frames of all clips one after the other; NaN where unknown is left out.
        clip_lengths: frames of each clip; None: all are one clip.

    Raises:
        ValueError: the lengths do not add up to n.
    """
    p = np.asarray(poses, dtype=np.float64)
    lengths = np.array([len(p)]) if clip_lengths is None else np.asarray(clip_lengths)
    if lengths.sum() != len(p):
        raise ValueError(f"clip_lengths add up to {lengths.sum()}, there are {len(p)} poses.")
    parts = np.split(p, np.cumsum(lengths)[:-1])
    second = [np.linalg.norm(np.diff(part, n=2, axis=0), axis=-1).ravel() for part in parts]
    known = np.concatenate(second)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else float("nan")
