"""From the joints of a BVH library to the 17 joints of Human3.6M.

A rule says where one Human3.6M joint lies: a weighted mean of BVH joints, plus an optional offset
in the local frame of a joint, because most libraries have no joint at the nose or the head top and
often zero-length end sites. `builtin_maps` holds the rules of known libraries; users give their own
as YAML:

    name: mine
    requires: [Tail]                      # optional: joints that identify the library
    joints:
      Hip: {mean: {LeftUpLeg: 1, RightUpLeg: 1}}
      RHip: RightUpLeg                    # short for {mean: {RightUpLeg: 1}}
      Nose: {mean: {Head: 1}, offset: [0.0, 0.1, 0.2], frame: Head, length: [LeftUpLeg, LeftLeg]}
      ...
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError, field_validator, model_validator

from diffpose.model.geometry.skeleton import JOINT_NAMES, N_JOINTS
from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.mocap.bvh import BvhMotion, forward_kinematics

_LIMB_JOINTS = ("Hip", "Knee", "Foot", "Shoulder", "Elbow", "Wrist")
_STANDING = 0.9  # cosine of what still stands along an axis
_OWN_MAP_HINT = "give an own map with source.joint_map=FILE.yaml"


class JointRule(BaseModel, frozen=True, extra="forbid"):
    """Where one Human3.6M joint lies.

    Attributes:
        mean: BVH joint name to weight; weights are divided by their sum. Negative weights
            extrapolate: {Head: 2, Neck: -1} is as far above the head as the neck is below it.
        offset: Added to the mean, in the local axes of `frame`.
        frame: BVH joint whose rotation turns the offset.
        length: Two BVH joints; their distance in each frame is the unit of the offset, which so
            follows the size of the body. File units when absent.
    """

    mean: dict[str, float]
    offset: tuple[float, float, float] | None = None
    frame: str | None = None
    length: tuple[str, str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _expand_name(cls, value: Any) -> Any:
        return {"mean": {value: 1.0}} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> JointRule:
        if not self.mean or abs(sum(self.mean.values())) < 1e-9:
            raise ValueError(f"mean needs joints whose weights do not sum to 0, got {self.mean}")
        if (self.offset is None) != (self.frame is None):
            raise ValueError("offset and frame must be given together")
        if self.length is not None and self.offset is None:
            raise ValueError("length has no use without an offset")
        return self

    def joint_names(self) -> set[str]:
        """Return all BVH joints that the rule needs."""
        return {*self.mean, *([self.frame] if self.frame else []), *(self.length or ())}


class JointMap(BaseModel, frozen=True, extra="forbid"):
    """Rules for all 17 joints of `diffpose.model.geometry.skeleton.JOINT_NAMES`.

    Attributes:
        name: Name for messages and manifests.
        joints: Human3.6M joint name to rule.
        requires: Further BVH joints that a file must have, to tell similar libraries apart.
        rest_up: axis that is up in the rest pose for which the offsets are given: a file whose rest
            pose stands on another one has them turned. None: they are meant as they are.
    """

    name: str
    joints: dict[str, JointRule]
    requires: tuple[str, ...] = ()
    rest_up: Literal["y", "z"] | None = None

    @field_validator("joints")
    @classmethod
    def _check_names(cls, joints: dict[str, JointRule]) -> dict[str, JointRule]:
        missing = [name for name in JOINT_NAMES if name not in joints]
        unknown = [name for name in joints if name not in JOINT_NAMES]
        if missing or unknown:
            raise ValueError(f"needs exactly the 17 joints; missing {missing}, unknown {unknown}")
        return joints

    def joint_names(self) -> set[str]:
        """Return all BVH joints that a file must have for this map."""
        return set(self.requires).union(*(rule.joint_names() for rule in self.joints.values()))


def limb_rules(sources: tuple[str, ...], sides: tuple[str, str]) -> dict[str, JointRule]:
    """Return the rules of the hips and the four limbs.

    Args:
        sources: Names of upper leg, lower leg, foot, upper arm, forearm and hand; '*' stands for
            the side.
        sides: What replaces '*' on the left and on the right.
    """
    rules = {"Hip": JointRule(mean={sources[0].replace("*", side): 1.0 for side in sides})}
    for letter, side in zip("LR", sides, strict=True):
        for joint, source in zip(_LIMB_JOINTS, sources, strict=True):
            rules[letter + joint] = JointRule(mean={source.replace("*", side): 1.0})
    return rules


def load_joint_map(text: str, name: str) -> JointMap:
    """Parse a user's map from YAML; see the head of this module for the form.

    Args:
        text: YAML text.
        name: File name for messages, and the map's name unless the text gives one.

    Raises:
        SourceError: The text is not YAML or not a map; the message says which entry is wrong.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SourceError(f"joint map {name}: not readable as YAML: {error}") from None
    if not isinstance(content, dict):
        raise SourceError(
            f"joint map {name}: expected the keys 'joints' and optionally 'name' and 'requires', "
            f"found {type(content).__name__}"
        )
    try:
        return JointMap.model_validate({"name": name, **content})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
        )
        raise SourceError(f"joint map {name}: {problems}") from None


def _indices_by_name(joint_names: Sequence[str]) -> dict[str, int]:
    """Return joint indices under their names with and without the file's common prefix.

    "mixamorig:Hips", "mixamorig_Hips", "mixamorig1:Hips" and "Model_Hips" are all common; what
    precedes "Hips" is the prefix of every joint. 3ds Max's Biped has Bip01, Bip001 ... and blanks
    or underscores: "Bip01 L Thigh". Exact names win.
    """
    hips = next((name for name in joint_names if name.lower().endswith("hips")), "Hips")
    prefix = hips[: -len("hips")]
    plain = {name.removeprefix(prefix): index for index, name in enumerate(joint_names)}
    for index, name in enumerate(joint_names):
        biped = re.fullmatch(r"Bip\d+[ _](.+)", name)
        if biped is not None:
            plain[biped[1].replace("_", " ")] = index
    return plain | {name: index for index, name in enumerate(joint_names)}


def choose_joint_map(
    joint_names: Sequence[str], maps: Iterable[JointMap] | None = None
) -> JointMap:
    """Return the map that fits a file: of those whose joints all exist, the one that needs most.

    Args:
        joint_names: Joints of the file.
        maps: Candidates; the built-in maps when None.

    Raises:
        SourceError: No map fits; the message lists the joints, and per map those it lacks.
    """
    if maps is None:
        from diffpose.preprocessing.mocap.builtin_maps import BUILT_IN

        maps = BUILT_IN
    maps = tuple(maps)
    known = set(_indices_by_name(joint_names))
    fitting = [joint_map for joint_map in maps if joint_map.joint_names() <= known]
    if fitting:
        return max(fitting, key=lambda joint_map: len(joint_map.joint_names()))
    tried = "; ".join(
        f"{joint_map.name} lacks {', '.join(sorted(joint_map.joint_names() - known))}"
        for joint_map in maps
    )
    raise SourceError(
        f"no joint map fits the joints {', '.join(joint_names)}. Tried: {tried}. {_OWN_MAP_HINT}"
    )


def h36m_positions(
    motion: BvhMotion, joint_map: JointMap, frames: slice | NDArray[np.integer] | None = None
) -> NDArray[np.float64]:
    """Return the 17 Human3.6M joints of a motion, (T, 17, 3) in file units and file axes.

    Args:
        motion: The file.
        joint_map: A map that fits it.
        frames: Which frames, as for `forward_kinematics`.

    Raises:
        SourceError: The file lacks joints of the map.
    """
    index = _indices_by_name(motion.names)
    missing = sorted(joint_map.joint_names() - set(index))
    if missing:
        raise SourceError(
            f"joint map {joint_map.name} needs the joints {', '.join(missing)}, which are not "
            f"among {', '.join(motion.names)}; {_OWN_MAP_HINT}"
        )
    positions, rotations = forward_kinematics(motion, frames)
    turn = _turn(joint_map.rest_up, rest_up(motion, joint_map))
    result = np.empty((len(positions), N_JOINTS, 3))
    for joint, name in enumerate(JOINT_NAMES):
        rule = joint_map.joints[name]
        weights = np.array(list(rule.mean.values()))
        sources = [index[source] for source in rule.mean]
        result[:, joint] = np.einsum("s,tsi->ti", weights / weights.sum(), positions[:, sources])
        if rule.offset is not None and rule.frame is not None:
            offset = rotations[:, index[rule.frame]] @ turn @ np.array(rule.offset)
            if rule.length is not None:
                a, b = (index[end] for end in rule.length)
                offset *= np.linalg.norm(positions[:, a] - positions[:, b], axis=-1)[:, None]
            result[:, joint] += offset
    return result


def rest_up(motion: BvhMotion, joint_map: JointMap) -> Literal["y", "z"] | None:
    """Return which axis is up in the rest pose (all rotations 0) of a file.

    None where heads are above feet along neither, as in libraries whose bones all lie along one
    axis: their rest pose tells nothing.
    """
    index = _indices_by_name(motion.names)
    places = np.zeros((len(motion.names), 3))
    for joint, parent in enumerate(motion.parents):
        places[joint] = motion.offsets[joint] + (places[parent] if parent >= 0 else 0.0)

    def mean(*names: str) -> NDArray[np.float64]:
        sources = [source for name in names for source in joint_map.joints[name].mean]
        return np.asarray(np.mean([places[index[source]] for source in sources], axis=0))

    direction = mean("Head", "Thorax") - mean("LFoot", "RFoot")
    length = float(np.linalg.norm(direction))
    for axis, name in ((1, "y"), (2, "z")):
        if direction[axis] > _STANDING * length > 0:
            return "y" if name == "y" else "z"
    return None


def _turn(meant: Literal["y", "z"] | None, found: Literal["y", "z"] | None) -> NDArray[np.float64]:
    """Return the rotation about x from the axes that offsets are meant in to a file's own."""
    if meant is None or found is None or meant == found:
        return np.eye(3)
    sign = 1.0 if (meant, found) == ("y", "z") else -1.0
    return np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -sign], [0.0, sign, 0.0]])
