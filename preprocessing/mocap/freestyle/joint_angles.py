"""Joint angles of free motion, their human limits, and what they do to the body.

Unlike the angles of `body.REST` these are relative to the parent segment, so that people can lie
and kneel. Shoulders turn by the rotation vector of the upper arm's swing out of hanging (how far
out, how far forward) and a turn about the upper arm, which has no pole where arms hang. Angles are
in degrees; axes as in body.py: x left, y up, z forward in the rest pose.

Limits: American Academy of Orthopaedic Surgeons, "Joint Motion" (1965), for hip, knee, ankle, neck,
trunk, elbow and shoulder; the shoulder's turn after Boone and Azen (J. Bone Joint Surg. 61-A,
1979): 70 inwards, 100 outwards at 90 degrees of abduction. Knees fold to 150 passively, on heels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from diffpose.preprocessing.mocap.bvh import axis_rotation

Array = NDArray[np.float64]
SIDES = ("l", "r")
SIGN = {"l": 1.0, "r": -1.0}
SIDE_NAMES = {"l": "Left", "r": "Right"}

# (resting, lowest, highest), degrees
_TRUNK: dict[str, tuple[float, float, float]] = {
    "pitch": (2, -110, 120),  # of the pelvis against the vertical, forward
    "roll": (0, -100, 100),  # of the pelvis, to the left
    "spine_flex": (4, -25, 80),
    "spine_side": (0, -35, 35),  # to the left
    "spine_twist": (0, -45, 45),  # to the left
    "neck_flex": (4, -45, 45),
    "neck_side": (0, -40, 40),
    "neck_twist": (0, -60, 60),
}
_SIDED: dict[str, tuple[float, float, float]] = {
    "hip_flex": (2, -30, 120),
    "hip_out": (3, -30, 45),
    "hip_turn": (8, -45, 45),  # outward
    "knee": (5, 0, 150),
    "ankle": (0, -50, 20),  # toes up
    "level": (1, 0, 1),  # no angle: how far the sole is kept level instead
    "arm_out": (8, -180, 180),  # rotation vector of the swing; limits: `arm_clipped`
    "arm_flex": (2, -180, 180),
    "arm_turn": (15, -90, 85),  # inward
    "elbow": (18, 0, 150),
    "wrist": (0, -40, 50),
}
LIMITS: dict[str, tuple[float, float, float]] = _TRUNK | {
    f"{name}_{side}": limits for name, limits in _SIDED.items() for side in SIDES
}
NAMES = tuple(LIMITS)
AT = {name: i for i, name in enumerate(NAMES)}
REST, LOW, HIGH = np.array([LIMITS[name] for name in NAMES], dtype=np.float64).T

# Most elevation of the upper arm by its azimuth: 0 to the side, 90 forward, 180 across the body,
# -90 straight back (extension of 60 degrees), degrees.
_AZIMUTHS = (-180, -150, -120, -90, -60, -30, 0, 90, 110, 130, 150, 180)
_ELEVATIONS = (15, 25, 45, 58, 70, 120, 170, 172, 150, 130, 45, 15)


def most_elevation(azimuth: Array) -> Array:
    """Return the limit of the upper arm's elevation at azimuths, degrees."""
    return np.interp(azimuth, _AZIMUTHS, _ELEVATIONS)


def turn_limits(elevation: Array, azimuth: Array) -> tuple[Array, Array]:
    """Return lowest and highest inward turn of a raised arm, degrees.

    A hanging arm turns some 55 degrees outwards, one raised to the side 90, one raised forward 35.
    """
    raised = np.clip(elevation / 70.0, 0.0, 1.0)
    forward = np.clip(azimuth / 90.0, 0.0, 1.0)
    return -55.0 - 35.0 * raised + 55.0 * forward * raised, np.full_like(elevation, 85.0)


def clipped(angles: Array) -> Array:
    """Return angles (..., D) inside all limits, those of the shoulders included."""
    result = np.clip(angles, LOW, HIGH)
    for side in SIDES:
        out, flex, turn = (AT[f"{name}_{side}"] for name in ("arm_out", "arm_flex", "arm_turn"))
        elevation = np.hypot(result[..., out], result[..., flex])
        azimuth = np.degrees(np.arctan2(result[..., flex], result[..., out]))
        # Continuous where an arm hangs: there all azimuths are one.
        scale = np.minimum(1.0, most_elevation(azimuth) / np.maximum(elevation, 1e-9))
        result[..., out] *= scale
        result[..., flex] *= scale
        low, high = turn_limits(elevation * scale, azimuth)
        result[..., turn] = np.clip(result[..., turn], low, high)
    return result


def _about(axis: str, degrees: Array | float) -> Array:
    return axis_rotation("xyz".index(axis), np.radians(np.asarray(degrees, dtype=np.float64)))


def swing(out: Array, flex: Array, sign: float) -> Array:
    """Return the rotation (..., 3, 3) that raises a hanging arm, in the shoulder's frame."""
    vector = np.stack([-np.asarray(flex), np.zeros_like(flex), sign * np.asarray(out)], axis=-1)
    flat = Rotation.from_rotvec(np.radians(vector.reshape(-1, 3))).as_matrix()
    return np.asarray(flat.reshape(*vector.shape, 3), dtype=np.float64)


def local_turns(angles: Array, yaw: Array) -> dict[str, Array]:
    """Return joint name to local rotation (T, 3, 3).

    Args:
        angles: (T, D), in the order of NAMES.
        yaw: (T,), heading in degrees to the left.
    """
    a = {name: angles[:, i] for name, i in AT.items()}
    turns = {"Hips": _about("y", yaw) @ _about("x", a["pitch"]) @ _about("z", -a["roll"])}
    # The lumbar and thoracic parts share the bend; most of the twist is thoracic.
    for joint, bend, twist in (("Spine", 0.4, 0.15), ("Spine1", 0.35, 0.4), ("Spine2", 0.25, 0.45)):
        turns[joint] = (
            _about("y", twist * a["spine_twist"])
            @ _about("x", bend * a["spine_flex"])
            @ _about("z", -bend * a["spine_side"])
        )
    for joint, share in (("Neck", 0.4), ("Head", 0.6)):
        turns[joint] = (
            _about("y", share * a["neck_twist"])
            @ _about("x", share * a["neck_flex"])
            @ _about("z", -share * a["neck_side"])
        )
    for side, name in SIDE_NAMES.items():
        sign = SIGN[side]
        turns[f"{name}UpLeg"] = (
            _about("x", -a[f"hip_flex_{side}"])
            @ _about("z", sign * a[f"hip_out_{side}"])
            @ _about("y", sign * a[f"hip_turn_{side}"])
        )
        turns[f"{name}Leg"] = _about("x", a[f"knee_{side}"])
        shank = turns["Hips"] @ turns[f"{name}UpLeg"] @ turns[f"{name}Leg"]
        level = np.clip(np.degrees(np.arcsin(np.clip(shank[:, 1, 2], -1, 1))), -20, 50)
        weight = a[f"level_{side}"]
        turns[f"{name}Foot"] = _about("x", weight * level - (1 - weight) * a[f"ankle_{side}"])
        out, flex = a[f"arm_out_{side}"], a[f"arm_flex_{side}"]
        # The collar bone takes part above 30 degrees (Inman et al., JBJS 1944), here a tenth.
        shrug = 0.1 * np.clip(np.hypot(out, flex) - 30.0, 0, None)
        turns[f"{name}Shoulder"] = _about("z", sign * shrug)
        turns[f"{name}Arm"] = (
            swing(out, flex, sign)
            @ _about("y", -sign * a[f"arm_turn_{side}"])
            @ _about("z", np.full(len(angles), -90.0 * sign))
        )
        turns[f"{name}ForeArm"] = _about("y", -sign * a[f"elbow_{side}"])
        turns[f"{name}Hand"] = _about("z", -sign * a[f"wrist_{side}"])
    return turns


def reaching_arms(target: Array, upper: float, fore: float, side: str, n: int) -> Array:
    """Return the arms whose wrist is at a target, one per place of the elbow, inside the limits.

    Two bones, closed form: the elbow's angle from the law of cosines, the elbow anywhere on a
    circle about the line from shoulder to wrist. Targets out of reach are reached for.

    Args:
        target: (3,), wrist from the shoulder, in the chest's frame.
        upper, fore: lengths of the bones, in the target's unit.
        side: "l" or "r".
        n: places on the circle that are tried.

    Returns:
        (K, 4) with K <= n: arm_out, arm_flex, arm_turn, elbow, degrees.
    """
    sign = SIGN[side]
    distance = float(np.linalg.norm(target))
    # an elbow of 145 degrees is the nearest
    nearest = float(np.sqrt(upper**2 + fore**2 + 2 * upper * fore * np.cos(np.radians(145.0))))
    reach = float(np.clip(distance, nearest, 0.999 * (upper + fore)))
    along = target / max(distance, 1e-9)
    cosine = (reach**2 - upper**2 - fore**2) / (2 * upper * fore)
    elbow = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    at_shoulder = (upper**2 + reach**2 - fore**2) / (2 * upper * reach)
    first = np.cross(along, [0.31, 0.87, 0.38])
    first /= np.linalg.norm(first)
    circle = np.linspace(0, 2 * np.pi, n, endpoint=False)[:, None]
    off = np.cos(circle) * first + np.sin(circle) * np.cross(along, first)
    bone = at_shoulder * along + np.sqrt(max(1 - at_shoulder**2, 0.0)) * off
    bend = reach * along - upper * bone
    bend -= (bend * bone).sum(axis=-1, keepdims=True) * bone
    elevation = np.degrees(np.arccos(np.clip(-bone[:, 1], -1, 1)))
    azimuth = np.degrees(np.arctan2(bone[:, 2], sign * bone[:, 0]))
    out = elevation * np.cos(np.radians(azimuth))
    flex = elevation * np.sin(np.radians(azimuth))
    raised = swing(out, flex, sign)
    inward = np.einsum("ni,ni->n", bend, -sign * raised[:, :, 0])
    turn = np.degrees(np.arctan2(inward, np.einsum("ni,ni->n", bend, raised[:, :, 2])))
    low, high = turn_limits(elevation, azimuth)
    fits = (elevation <= most_elevation(azimuth)) & (turn >= low) & (turn <= high)
    found = np.stack([out, flex, turn, np.full(n, elbow)], axis=-1)
    return np.asarray(found[fits], dtype=np.float64)
