"""How wide a recorded keypoint's heatmap is: how far detectors are off, by joint and size.

Three rules for the standard deviation per coordinate, before the confidence counts:

    coco       k sqrt(A), A the area of the box, px^2: the spread of human annotators, k COCO's
               constants (COCO keypoint evaluation, cocodataset.org)
    measured   s L, L the box's longer side: s measured with BlazePose (heavy) on films of four
               calibrated cameras, each against the other three, their own uncertainty taken out
    FILE       the same with s of a file of `diffpose calibrate`, for the detector at hand
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import read_json

Array = NDArray[np.float64]
# COCO's sigmas: nose .026, eyes .025, ears .035, shoulders .079, elbows .072, wrists .062, hips
# .107, knees .087, ankles .089.
_SIGMA_OF: dict[str, float] = {
    "Hip": 0.107, "Spine": 0.093, "Thorax": 0.079, "Nose": 0.026, "Head": 0.025,
    "Shoulder": 0.079, "Elbow": 0.072, "Wrist": 0.062, "Knee": 0.087, "Foot": 0.089,
}  # fmt: skip
SIGMAS = np.array([_SIGMA_OF[n if n in _SIGMA_OF else n[1:]] for n in JOINT_NAMES])
# Left and right together.
_MEASURED_OF: dict[str, float] = {
    "Hip": 0.027, "Spine": 0.022, "Thorax": 0.017, "Nose": 0.025, "Head": 0.021,
    "Shoulder": 0.020, "Elbow": 0.021, "Wrist": 0.018, "Knee": 0.024, "Foot": 0.021,
}  # fmt: skip
MEASURED = np.array([_MEASURED_OF[n if n in _MEASURED_OF else n[1:]] for n in JOINT_NAMES])
KEY = "width_of_longer_side"  # in a file of diffpose calibrate


@dataclass(frozen=True)
class JointWidths:
    """A rule.

    Attributes:
        share: (17,), of the person's size.
        of: what the size is, the square root of the box's area or its longer side.
    """

    share: Array
    of: Literal["area", "longer side"]

    def sigma_px(self, boxes_px: NDArray[np.floating]) -> Array:
        """Return the standard deviations (R, 17) of people in boxes (R, 4: x0, y0, x1, y1)."""
        return self.share * sizes_px(boxes_px, self.of)[:, None]


def sizes_px(boxes_px: NDArray[np.floating], of: Literal["area", "longer side"]) -> Array:
    """Return the size (R,) of people in boxes (R, 4), px."""
    boxes = np.asarray(boxes_px, dtype=np.float64)
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    return np.asarray(np.sqrt(size.prod(axis=1)) if of == "area" else size.max(axis=1))


def joint_widths(rule: str) -> JointWidths:
    """Return a rule: coco, measured, or that of a file.

    Raises:
        SourceError: there is no such file, or it holds no widths.
    """
    if rule == "coco":
        return JointWidths(SIGMAS, "area")
    if rule == "measured":
        return JointWidths(MEASURED, "longer side")
    try:
        held = read_json(rule)[KEY]
        share = np.array([held[name] for name in JOINT_NAMES], dtype=np.float64)
    except FileNotFoundError:
        raise SourceError(
            f"detector.widths={rule!r} is neither coco nor measured, and there is no such file. "
            "diffpose calibrate source.kind=keypoints views=CALIBRATION makes one."
        ) from None
    except (KeyError, TypeError, ValueError, json.JSONDecodeError) as error:
        raise SourceError(
            f"{rule!r} holds no widths of keypoints ({error!r}). diffpose calibrate "
            "source.kind=keypoints views=CALIBRATION makes such a file."
        ) from None
    if not (np.isfinite(share) & (share > 0)).all():
        raise SourceError(f"{rule!r}: {KEY} must hold a number above 0 for each joint.")
    return JointWidths(share, "longer side")


def rule_name(rule: str) -> str:
    """Return a name that differs where the widths do; a file's is a digest of its content."""
    if rule in {"coco", "measured"}:
        return rule
    return hashlib.sha256(joint_widths(rule).share.tobytes()).hexdigest()[:8]
