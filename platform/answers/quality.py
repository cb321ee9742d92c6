"""Figures that tell whether an answer should be trusted, without any truth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import bone_lengths
from diffpose.model.observations.plausibility import Plausibility


def quality(
    poses_mm: NDArray[np.floating],
    confidence: NDArray[np.floating],
    seen: NDArray[np.bool_],
    observed: Plausibility | None,
    warning: str,
) -> dict[str, Any]:
    """Return the figures as JSON values.

    Args:
        poses_mm: (T, 17, 3).
        confidence: (T, 17).
        seen: (T, 17).
        observed: of the detections, where they are of pictures.
        warning: why the answer should not be trusted, or "".

    Returns:
        mean_confidence, unseen_share (of joints and frames), bone_length_variation (the standard
        deviation of a bone's length over its mean, mean over the bones), with detections of
        pictures picture_bones_changing and box_speed_heights_per_s (plausibility), and warning.
        What nothing is known of is None.
    """
    bones = bone_lengths(poses_mm)
    means = np.maximum(bones.mean(axis=0), 1e-9)
    figures = {
        "mean_confidence": float(np.mean(confidence)),
        "unseen_share": float(1.0 - np.mean(seen)),
        "bone_length_variation": float((bones.std(axis=0) / means).mean()),
    }
    if observed is not None:
        figures["picture_bones_changing"] = observed.bones
        figures["box_speed_heights_per_s"] = observed.boxes
    rounded = {
        name: round(value, 4) if np.isfinite(value) else None for name, value in figures.items()
    }
    return {**rounded, "warning": warning}
