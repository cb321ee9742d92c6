"""Joint layouts of other detectors and data sets, and how each becomes Human3.6M's 17 joints.

A joint of ours is a weighted mean of joints of theirs. Detectors are trained on other definitions
(COCO's hips lie further out, its nose is not H36M's), so the means are the nearest, not the same.
The maps for COCO and Halpe are those that MotionBERT (Zhu et al., ICCV 2023) and MMPose use.
"tuned" is MHFormer's (Li et al., CVPR 2022) for COCO, which moves spine, thorax, nose and head to
where Human3.6M has them; its weights differ between x and y.
BlazePose's is ours: Human3.6M's joints of trunk and head from its face and shoulders, by the mean
proportions of the joint maps of motion capture (mocap/builtin_maps.py).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import JOINT_NAMES, N_JOINTS

Layout = Literal[
    "h36m_17", "coco_17", "halpe_26", "body_25", "openpose_18", "mpii_16", "blazepose_33"
]  # fmt: skip
Conversion = Literal["mean", "tuned"]
_LIMBS = (
    "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle",
)  # fmt: skip


def _pairs(*names: str) -> tuple[str, ...]:
    return tuple(side + name for name in names for side in ("L", "R"))


def _openpose(side: str) -> tuple[str, ...]:
    return tuple(side + name for name in ("Shoulder", "Elbow", "Wrist"))


def _openpose_leg(side: str) -> tuple[str, ...]:
    return tuple(side + name for name in ("Hip", "Knee", "Ankle"))


_COCO = ("Nose", *_pairs("Eye", "Ear", *_LIMBS))
NAMES: dict[Layout, tuple[str, ...]] = {
    "h36m_17": JOINT_NAMES,
    "coco_17": _COCO,
    "halpe_26": (*_COCO, "HeadTop", "Neck", "MidHip", *_pairs("BigToe", "SmallToe", "Heel")),
    "body_25": (
        "Nose", "Neck", *_openpose("R"), *_openpose("L"), "MidHip", *_openpose_leg("R"),
        *_openpose_leg("L"), "REye", "LEye", "REar", "LEar", "LBigToe", "LSmallToe", "LHeel",
        "RBigToe", "RSmallToe", "RHeel",
    ),
    "openpose_18": (
        "Nose", "Neck", *_openpose("R"), *_openpose("L"), *_openpose_leg("R"),
        *_openpose_leg("L"), "REye", "LEye", "REar", "LEar",
    ),
    "mpii_16": (
        "RAnkle", "RKnee", "RHip", "LHip", "LKnee", "LAnkle", "MidHip", "Thorax", "Neck",
        "HeadTop", "RWrist", "RElbow", "RShoulder", "LShoulder", "LElbow", "LWrist",
    ),
    "blazepose_33": (
        "Nose", "LEyeInner", "LEye", "LEyeOuter", "REyeInner", "REye", "REyeOuter", "LEar", "REar",
        "LMouth", "RMouth", *_pairs("Shoulder", "Elbow", "Wrist", "Pinky", "Index", "Thumb", "Hip",
        "Knee", "Ankle", "Heel", "FootIndex"),
    ),
}  # fmt: skip

_SHOULDERS, _HIPS, _EYES = ("LShoulder", "RShoulder"), ("LHip", "RHip"), ("LEye", "REye")
# Of each joint of ours the sources, equally weighted; limbs are the same everywhere.
_LIMB_SOURCES: dict[str, tuple[str, ...]] = {
    f"{side}{ours}": (f"{side}{theirs}",)
    for side in ("L", "R")
    for ours, theirs in zip(
        ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Foot"), _LIMBS, strict=True
    )
}
_FACE: dict[str, tuple[str, ...]] = {"Nose": ("Nose",), "Head": _EYES}
_SOURCES: dict[Layout, dict[str, tuple[str, ...]]] = {
    "coco_17": {
        "Hip": _HIPS,
        "Spine": (*_HIPS, *_SHOULDERS),
        "Thorax": _SHOULDERS,
        **_FACE,
    },
    "halpe_26": {
        "Hip": ("MidHip",),
        "Spine": ("MidHip", "Neck"),
        "Thorax": ("Neck",),
        "Nose": ("Nose",),
        "Head": ("HeadTop",),
    },
    "body_25": {
        "Hip": ("MidHip",),
        "Spine": ("MidHip", "Neck"),
        "Thorax": ("Neck",),
        **_FACE,
    },
    "openpose_18": {"Hip": _HIPS, "Spine": (*_HIPS, "Neck", "Neck"), "Thorax": ("Neck",), **_FACE},
    "mpii_16": {
        "Hip": ("MidHip",),
        "Spine": ("MidHip", "Thorax"),
        "Thorax": ("Thorax",),
        "Nose": ("Neck", "HeadTop"),
        "Head": ("HeadTop",),
    },
}


def _blended(*parts: tuple[float, tuple[str, ...]]) -> dict[str, float]:
    """Return the weight of each joint in a sum of means."""
    weights: dict[str, float] = {}
    for share, names in parts:
        for name in names:
            weights[name] = weights.get(name, 0.0) + share / len(names)
    return weights


_EARS, _MOUTH = ("LEar", "REar"), ("LMouth", "RMouth")
# The neck's base lies an eighth of the way from the shoulders to the ears; Human3.6M's nose inside
# the face; the crown above the ears by 1.4 times the height from mouth to eyes.
_BLAZEPOSE: dict[str, dict[str, float]] = {
    "Hip": _blended((1.0, _HIPS)),
    "Spine": _blended((0.5, _HIPS), (0.44, _SHOULDERS), (0.06, _EARS)),
    "Thorax": _blended((0.88, _SHOULDERS), (0.12, _EARS)),
    "Nose": _blended((0.45, _EARS), (0.55, ("Nose",))),
    "Head": _blended((1.0, _EARS), (1.4, _EYES), (-1.4, _MOUTH)),
}


def to_h36m(layout: Layout) -> NDArray[np.float64]:
    """Return the matrix (17, K) that takes a layout's K joints to ours; rows sum to 1."""
    names = NAMES[layout]
    matrix = np.zeros((N_JOINTS, len(names)))
    if layout == "h36m_17":
        return np.eye(N_JOINTS)
    blended = _BLAZEPOSE if layout == "blazepose_33" else {}
    sources = {**_LIMB_SOURCES, **_SOURCES.get(layout, {})}
    for row, ours in enumerate(JOINT_NAMES):
        weights = blended[ours] if ours in blended else _blended((1.0, sources[ours]))
        for theirs, weight in weights.items():
            matrix[row, names.index(theirs)] += weight
    return matrix


def tuned_coco() -> NDArray[np.float64]:
    """Return MHFormer's map of COCO's joints, (2, 17, 17): one matrix for x, one for y.

    Rows sum to 1, so that a shift of the picture shifts the joints; single weights may be negative.
    """
    both = np.stack([to_h36m("coco_17")] * 2)
    c = np.eye(len(_COCO))
    nose, eyes, face = c[0], (c[1] + c[2]) / 2, c[1:5].mean(axis=0)
    shoulders, hips = (c[5] + c[6]) / 2, (c[11] + c[12]) / 2
    thorax, spine = shoulders + (nose - shoulders) / 3, (shoulders + hips) / 2
    places = {
        "Thorax": (thorax, thorax - (eyes - nose) * 2 / 3),
        "Spine": (spine + 2 * (spine - (hips + thorax) / 2), spine),
        "Nose": (nose - (nose - shoulders) / 4,) * 2,
        "Head": (face, 2 * eyes - nose),
    }
    for name, rows in places.items():
        both[:, JOINT_NAMES.index(name)] = rows
    return both


def to_h36m_points(
    points: NDArray[np.floating],
    confidence: NDArray[np.floating],
    layout: Layout,
    conversion: Conversion = "mean",
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn points of a layout into ours.

    Args:
        points: (..., K, 2); of missing joints anything.
        confidence: (..., K), 0 where missing.
        layout: of the points.
        conversion: "tuned" for coco_17 alone.

    Returns:
        points (..., 17, 2) and confidence (..., 17): the least of the sources', so that a joint
        is missing where one of its sources is.
    """
    both = tuned_coco() if conversion == "tuned" else np.stack([to_h36m(layout)] * 2)
    known = np.where(np.isfinite(points) & (confidence > 0)[..., None], points, 0.0)
    mixed = np.einsum("cjk,...kc->...jc", both, known)
    least = np.where(
        (np.abs(both) > 1e-12).any(axis=0), np.nan_to_num(confidence)[..., None, :], np.inf
    ).min(axis=-1)
    return mixed, np.maximum(least, 0.0)


def layout_of(n_joints: int) -> Layout | None:
    """Return the layout that usually has so many joints, None where none does."""
    usual: dict[int, Layout] = {
        17: "coco_17", 26: "halpe_26", 25: "body_25", 18: "openpose_18", 16: "mpii_16",
        33: "blazepose_33",
    }  # fmt: skip
    return usual.get(n_joints)
