"""Length units and up axes of BVH files, which the format leaves open, and our world frame."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.platform.base.errors import SourceError

Unit = Literal["auto", "m", "cm", "mm", "inch", "cmu"]
UpAxis = Literal["auto", "y", "z"]

# cgspeed's CMU files count in 1/0.45 inch, the scale of the library's ASF skeletons.
METRES: dict[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "cmu": 0.0254 / 0.45}
_LEG_RANGE_M = (0.5, 1.25)
_HEAD = JOINT_NAMES.index("Head")
_FEET = [JOINT_NAMES.index("LFoot"), JOINT_NAMES.index("RFoot")]


def _leg_length(positions: NDArray[np.float64]) -> float:
    """Return thigh plus shin, mean of both legs, median over frames, in the unit of the input."""
    lengths = np.zeros(len(positions))
    for side in "LR":
        hip, knee, foot = (
            positions[:, JOINT_NAMES.index(side + joint)] for joint in ("Hip", "Knee", "Foot")
        )
        lengths += np.linalg.norm(knee - hip, axis=-1) + np.linalg.norm(foot - knee, axis=-1)
    return float(np.median(lengths) / 2)


def metres_per_unit(positions: NDArray[np.float64], unit: Unit = "auto") -> float:
    """Return the length of one file unit in metres.

    Args:
        positions: (T, 17, 3) Human3.6M joints in file units.
        unit: A unit's name, or "auto" to take the one that makes the legs those of a person.

    Raises:
        SourceError: The unit is unknown, or not exactly one gives a leg of 0.5 to 1.25 m.
    """
    if unit != "auto":
        if unit not in METRES:
            raise SourceError(f"source.unit: expected auto or {', '.join(METRES)}, got {unit!r}")
        return METRES[unit]
    leg = _leg_length(positions)
    if leg > 0:
        low, high = _LEG_RANGE_M
        possible = {name: metres for name, metres in METRES.items() if low <= leg * metres <= high}
        if len(possible) > 1:
            legs = ", ".join(f"{name}: {leg * m:.2f} m" for name, m in possible.items())
            raise SourceError(
                f"cannot tell the length unit: a leg (thigh + shin) is {leg:.6g} file units, which "
                f"is a person's in several units ({legs}); set source.unit"
            )
        if possible:
            return next(iter(possible.values()))
    raise SourceError(
        f"cannot tell the length unit: a leg (thigh + shin) is {leg:.6g} file units, and none of "
        f"{', '.join(METRES)} makes that {_LEG_RANGE_M[0]} to {_LEG_RANGE_M[1]} m; set source.unit"
    )


def up_axis(
    positions: NDArray[np.float64], up: UpAxis = "auto", rest: Literal["y", "z"] | None = None
) -> Literal["y", "z"]:
    """Return the up axis of a file.

    Args:
        positions: (T, 17, 3) Human3.6M joints in file axes.
        up: The axis, or "auto" to take the mean direction from between the feet to the head.
        rest: The axis that is up in the rest pose, if that tells: who lies has his head elsewhere.

    Raises:
        SourceError: The choice is unknown, heads are not above feet along y or z, or they are along
            another axis than in the rest pose.
    """
    if up in ("y", "z"):
        return up
    if up != "auto":
        raise SourceError(f"source.up: expected auto, y or z, got {up!r}")
    direction = np.mean(positions[:, _HEAD] - positions[:, _FEET].mean(axis=1), axis=0)
    axis = int(np.argmax(np.abs(direction)))
    if rest is not None and rest != "xyz"[axis]:
        raise SourceError(
            f"cannot tell the up axis: {rest} is up in the rest pose, but heads lie at "
            f"{np.round(direction, 3).tolist()} file units from the feet on average. Somebody "
            "lies, or the motion stands on another axis; set source.up to y or z"
        )
    if axis == 1 and direction[axis] > 0:
        return "y"
    if axis == 2 and direction[axis] > 0:
        return "z"
    raise SourceError(
        f"cannot tell the up axis: heads lie at {np.round(direction, 3).tolist()} file units from "
        "the feet on average; set source.up to y or z"
    )


def to_world_m(
    positions: NDArray[np.float64], metres_per_unit: float, up: Literal["y", "z"]
) -> NDArray[np.float64]:
    """Return positions (..., 3) in metres in our world frame: right-handed, z up.

    Files with y up are turned by 90 degrees about x, (x, y, z) -> (x, -z, y).
    """
    scaled = np.asarray(positions, dtype=np.float64) * metres_per_unit
    if up == "z":
        return scaled
    return np.stack([scaled[..., 0], -scaled[..., 2], scaled[..., 1]], axis=-1)
