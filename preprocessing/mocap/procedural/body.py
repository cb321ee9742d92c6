"""The body of the procedural generator: proportions, skeleton, and angles to BVH channels.

Angles are anatomical and in degrees (`REST` lists them), so that an action says "knee 60" and the
left and right side are mirrored here only. The rest pose is a T-pose facing +z, y up, left on +x,
with all local frames parallel to the world's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from diffpose.preprocessing.mocap.bvh import BvhMotion, axis_rotation, forward_kinematics
from diffpose.preprocessing.mocap.bvh_hierarchy import EndSite

Tracks = dict[str, NDArray[np.float64]]
SIDES = ("l", "r")

# Resting value, lowest and highest value in degrees. `thigh_*` are measured from the vertical of
# the turned but not tilted body, so that bending the pelvis leaves the legs where they are.
_TRUNK: dict[str, tuple[float, float, float]] = {
    "pelvis_pitch": (2, -25, 75),  # forward
    "pelvis_side": (0, -20, 20),
    "spine_pitch": (4, -25, 75),
    "spine_side": (0, -30, 30),
    "spine_twist": (0, -45, 45),  # to the left
    "neck_pitch": (4, -35, 45),
    "neck_side": (0, -25, 25),
    "neck_twist": (0, -65, 65),
}
_SIDED: dict[str, tuple[float, float, float]] = {
    "thigh_flex": (3, -35, 105),  # forward
    "thigh_out": (3, -8, 45),
    "thigh_turn": (8, -15, 40),  # outward
    "knee": (6, 1.5, 150),
    "ankle": (0, -25, 25),  # toes up, added to what keeps the sole level
    "shrug": (0, -6, 18),
    "arm_raise": (9, 3, 165),  # from hanging
    "arm_front": (15, -30, 105),  # azimuth of the raised arm: 0 to the side, 90 forward
    "arm_swing": (0, -45, 60),  # extra swing forward about the body's left-right axis
    "arm_twist": (-10, -100, 40),  # positive: the bent forearm points down
    "elbow": (18, 2, 145),
    "wrist": (5, -40, 50),
}
REST: dict[str, tuple[float, float, float]] = _TRUNK | {
    f"{name}_{side}": limits for name, limits in _SIDED.items() for side in SIDES
}

PARENT_OF: dict[str, str] = {"Hips": ""}
PARENT_OF |= {"Spine": "Hips", "Spine1": "Spine", "Spine2": "Spine1", "Neck": "Spine2"}
PARENT_OF |= {"Head": "Neck", "HeadTop_End": "Head"}
for _side in ("Left", "Right"):
    PARENT_OF |= {f"{_side}Shoulder": "Spine2", f"{_side}Arm": f"{_side}Shoulder"}
    PARENT_OF |= {f"{_side}ForeArm": f"{_side}Arm", f"{_side}Hand": f"{_side}ForeArm"}
for _side in ("Left", "Right"):
    PARENT_OF |= {f"{_side}UpLeg": "Hips", f"{_side}Leg": f"{_side}UpLeg"}
    PARENT_OF |= {f"{_side}Foot": f"{_side}Leg", f"{_side}ToeBase": f"{_side}Foot"}
NAMES = tuple(PARENT_OF)
_ROTATION_CHANNELS = ("Zrotation", "Xrotation", "Yrotation")
_ROOT_CHANNELS = ("Xposition", "Yposition", "Zposition", *_ROTATION_CHANNELS)


@dataclass(frozen=True)
class Body:
    """One person: joint offsets and end sites by joint name, in centimetres; heights of joints.

    Attributes:
        floor_heights: Joint name to its least height above the floor, cm.
    """

    offsets: dict[str, tuple[float, float, float]]
    tips: dict[str, tuple[float, float, float]]
    floor_heights: dict[str, float]


def random_body(rng: np.random.Generator) -> Body:
    """Return a body of 1.50 to 1.95 m whose segments vary around Drillis and Contini's ratios."""
    height = rng.uniform(150.0, 195.0)
    legs, arms, trunk, width, head = rng.uniform(0.94, 1.06, 5)
    own = dict(
        zip(("thigh", "shin", "upper_arm", "forearm"), rng.uniform(0.97, 1.03, 4), strict=True)
    )
    trunk, head, width = trunk * height, head * height, width * height
    hip = rng.uniform(0.056, 0.072) * width
    ankle = 0.042 * height
    toe = 0.014 * height
    offsets: dict[str, tuple[float, float, float]] = {
        "Hips": (0.0, 0.0, 0.0),
        "Spine": (0.0, 0.050 * trunk, -0.008 * trunk),
        "Spine1": (0.0, 0.080 * trunk, -0.002 * trunk),
        "Spine2": (0.0, 0.070 * trunk, -0.002 * trunk),
        "Neck": (0.0, 0.075 * trunk, 0.004 * trunk),
        "Head": (0.0, 0.055 * head, 0.010 * head),
        "HeadTop_End": (0.0, 0.115 * head, 0.010 * head),
    }
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        offsets |= {
            f"{side}Shoulder": (sign * 0.030 * width, 0.052 * trunk, 0.0),
            f"{side}Arm": (sign * 0.082 * width, 0.0, -0.004 * width),
            f"{side}ForeArm": (sign * 0.180 * arms * own["upper_arm"] * height, 0.0, 0.0),
            f"{side}Hand": (sign * 0.148 * arms * own["forearm"] * height, 0.0, 0.0),
            f"{side}UpLeg": (sign * hip, -0.030 * height, 0.0),
            f"{side}Leg": (0.0, -0.245 * legs * own["thigh"] * height, 0.0),
            f"{side}Foot": (0.0, -0.246 * legs * own["shin"] * height, 0.0),
            f"{side}ToeBase": (0.0, toe - ankle, 0.092 * height),
        }
    tips = {"HeadTop_End": (0.0, 0.0, 0.0)}
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        tips |= {f"{side}Hand": (sign * 0.10 * height, 0.0, 0.0)}
        tips |= {f"{side}ToeBase": (0.0, 0.0, 0.04 * height)}
    floor = {"Hips": 0.085 * height}
    for side in ("Left", "Right"):
        floor |= {f"{side}Foot": ankle, f"{side}ToeBase": toe, f"{side}Leg": 0.032 * height}
    return Body(offsets, tips, floor)


def _turn(tracks: Tracks, *steps: tuple[str, str, float]) -> NDArray[np.float64]:
    """Return the product (T, 3, 3) of rotations (axis, track, factor), leftmost applied last."""
    product = np.eye(3)
    for axis, track, factor in steps:
        angle = np.radians(tracks[track] * factor)
        product = product @ axis_rotation("xyz".index(axis), angle)
    return product


def _local_rotations(tracks: Tracks) -> dict[str, NDArray[np.float64]]:
    """Return joint name to local rotation (T, 3, 3); joints that are missing do not turn."""
    tilt = _turn(tracks, ("x", "pelvis_pitch", 1), ("z", "pelvis_side", -1))
    turns = {"Hips": _turn(tracks, ("y", "yaw", 1)) @ tilt}
    # The lumbar and thoracic parts share the bend; most of the twist is thoracic.
    for joint, bend, twist in (("Spine", 0.4, 0.15), ("Spine1", 0.35, 0.4), ("Spine2", 0.25, 0.45)):
        steps = (("y", "spine_twist", twist), ("x", "spine_pitch", bend), ("z", "spine_side", bend))
        turns[joint] = _turn(tracks, *steps)
    for joint, share in (("Neck", 0.4), ("Head", 0.6)):
        steps = (("y", "neck_twist", share), ("x", "neck_pitch", share), ("z", "neck_side", share))
        turns[joint] = _turn(tracks, *steps)
    untilt = np.swapaxes(tilt, -1, -2)
    for side, name, sign in (("l", "Left", 1.0), ("r", "Right", -1.0)):
        thigh = _turn(
            tracks,
            ("x", f"thigh_flex_{side}", -1),
            ("z", f"thigh_out_{side}", sign),
            ("y", f"thigh_turn_{side}", sign),
        )
        turns[f"{name}UpLeg"] = untilt @ thigh
        turns[f"{name}Leg"] = _turn(tracks, ("x", f"knee_{side}", 1))
        # Soles stay level as far as the ankle's range lets them (30 degrees up, 50 down).
        level = np.clip(tracks[f"thigh_flex_{side}"] - tracks[f"knee_{side}"], -30, 50)
        foot = {"foot": level - tracks[f"ankle_{side}"]}
        turns[f"{name}Foot"] = _turn(foot, ("x", "foot", 1))
        turns[f"{name}Shoulder"] = _turn(tracks, ("z", f"shrug_{side}", sign))
        raised = {"raise": tracks[f"arm_raise_{side}"] - 90.0}
        turns[f"{name}Arm"] = (
            _turn(tracks, ("x", f"arm_swing_{side}", -1), ("y", f"arm_front_{side}", -sign))
            @ _turn(raised, ("z", "raise", sign))
            @ _turn(tracks, ("x", f"arm_twist_{side}", 1))
        )
        turns[f"{name}ForeArm"] = _turn(tracks, ("y", f"elbow_{side}", -sign))
        turns[f"{name}Hand"] = _turn(tracks, ("z", f"wrist_{side}", -sign))
    return turns


def motion_of(
    body: Body, turns: dict[str, NDArray[np.float64]], n_frames: int, fps: float
) -> BvhMotion:
    """Return the motion of a body whose hips stay at the origin.

    Args:
        body: The person.
        turns: Joint name to local rotation (T, 3, 3); joints that are missing do not turn.
        n_frames: T.
        fps: Frames per second.
    """
    values = np.zeros((n_frames, 6 + 3 * (len(NAMES) - 1)))
    for joint, name in enumerate(NAMES):
        if name in turns:
            euler = Rotation.from_matrix(turns[name]).as_euler("ZXY", degrees=True)
            values[:, 3 + 3 * joint : 6 + 3 * joint] = euler
    return BvhMotion(
        names=NAMES,
        parents=tuple(NAMES.index(p) if p else -1 for p in PARENT_OF.values()),
        offsets=np.round([body.offsets[name] for name in NAMES], 4),
        channels=(_ROOT_CHANNELS, *[_ROTATION_CHANNELS] * (len(NAMES) - 1)),
        frame_time_s=1.0 / fps,
        # Rounded so that files are short and still read back exactly.
        values=np.round(values, 4),
        end_sites=tuple(EndSite(NAMES.index(name), tip) for name, tip in body.tips.items()),
    )


def assemble(body: Body, tracks: Tracks, plant: dict[str, float] | None, fps: float) -> BvhMotion:
    """Return the motion of a body whose angles follow `tracks`.

    Args:
        body: The person.
        tracks: The angles of `REST` (degrees, clipped to their ranges here), "yaw" (degrees to the
            left) and the path "x", "z" on the floor (cm), each (T,).
        plant: Joint name to weight: the point that follows the path. Feet stay where they are
            while the hips move back in a squat. None lets the hips follow the path.
        fps: Frames per second.

    Returns:
        The motion, in cm, y up; each frame is so high that its lowest joint touches the floor.
    """
    angles = {
        name: np.clip(track, *REST[name][1:]) if name in REST else track
        for name, track in tracks.items()
    }
    motion = motion_of(body, _local_rotations(angles), len(angles["yaw"]), fps)
    n_frames = motion.n_frames
    positions, _ = forward_kinematics(motion)
    clearances = [
        positions[:, NAMES.index(name), 1] - least for name, least in body.floor_heights.items()
    ]
    anchor = sum(
        (weight * positions[:, NAMES.index(name)] for name, weight in (plant or {}).items()),
        np.zeros((n_frames, 3)),
    )
    root = np.stack([angles["x"], -np.min(clearances, axis=0), angles["z"]], axis=1)
    root[:, [0, 2]] -= anchor[:, [0, 2]]
    return replace(motion, values=np.round(np.hstack([root, motion.values[:, 3:]]), 4))
