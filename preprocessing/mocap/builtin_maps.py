"""Joint maps of known BVH libraries.

Targets are the mean proportions of Human3.6M's subjects: Spine about half way between the hips and
the neck, Thorax at the neck's base, Nose inside the face, Head near the head top. Offsets of the
head are multiples of the thigh, which every library has as one rigid bone.
"""

from __future__ import annotations

from diffpose.preprocessing.mocap.joint_maps import JointMap, JointRule, limb_rules
from diffpose.preprocessing.mocap.tool_maps import TOOLS

_Vector = tuple[float, float, float]


def _mean(**weights: float) -> JointRule:
    return JointRule(mean=weights)


def _from_head(offset: _Vector, thigh: tuple[str, str]) -> JointRule:
    return JointRule(mean={"Head": 1.0}, offset=offset, frame="Head", length=thigh)


_BANDAI_THIGH = ("UpperLeg_L", "LowerLeg_L")
_THIGH = ("LeftUpLeg", "LeftLeg")
_COMMON_LIMBS = limb_rules(
    ("*UpLeg", "*Leg", "*Foot", "*Arm", "*ForeArm", "*Hand"), sides=("Left", "Right")
)

# Local +X of the head is up and +Y forward, on both datasets of Bandai-Namco Research.
BANDAI = JointMap(
    name="bandai-namco",
    joints=limb_rules(
        ("UpperLeg_*", "LowerLeg_*", "Foot_*", "UpperArm_*", "LowerArm_*", "Hand_*"), ("L", "R")
    )
    | {
        "Spine": _mean(Spine=1, Chest=1),
        "Thorax": _mean(Neck=1),
        "Nose": _from_head((0.128, 0.205, 0.0), _BANDAI_THIGH),
        "Head": _from_head((0.461, 0.026, 0.0), _BANDAI_THIGH),
    },
)

# cgspeed's conversion of the CMU library: +Y up, +Z forward. Neck lies on Spine1 (zero offset), and
# the shoulders lie above it, so Neck1 is the base of the neck that Human3.6M means.
CMU = JointMap(
    name="cmu",
    joints=_COMMON_LIMBS
    | {
        "Spine": _mean(Spine=1),
        "Thorax": _mean(Neck1=1),
        "Nose": _from_head((0.0, 0.08, 0.15), _THIGH),
        "Head": _from_head((0.0, 0.30, 0.02), _THIGH),
    },
    requires=("LHipJoint", "RHipJoint", "LowerBack", "Spine1", "Neck"),
    rest_up="y",
)

# Bones along local +X, face towards +Y; Neck is high, above the line of the shoulders.
LAFAN1 = JointMap(
    name="lafan1",
    joints=_COMMON_LIMBS
    | {
        "Spine": _mean(Spine1=1, Spine2=1),
        "Thorax": _mean(Neck=3, Spine2=1),
        "Nose": _from_head((0.09, 0.17, 0.0), _THIGH),
        "Head": _from_head((0.28, 0.05, 0.0), _THIGH),
    },
    requires=("LeftToe", "RightToe", "Spine"),
)

# Mixamo rigs and their kin (also this project's generator): +Y up, +Z forward in the head's frame.
_MIXAMO_TRUNK = {"Spine": _mean(Spine1=1), "Thorax": _mean(Neck=1)}
_MIXAMO_REQUIRES = ("LeftToeBase", "RightToeBase", "Spine", "Spine2")
MIXAMO = JointMap(
    name="mixamo",
    joints=_COMMON_LIMBS
    | _MIXAMO_TRUNK
    | {
        "Nose": JointRule(
            mean={"Head": 0.65, "HeadTop_End": 0.35},
            offset=(0.0, 0.0, 0.15),
            frame="Head",
            length=_THIGH,
        ),
        # HeadTop_End is the crown; Human3.6M's Head is a little below it.
        "Head": _mean(Head=0.1, HeadTop_End=0.9),
    },
    requires=_MIXAMO_REQUIRES,
    rest_up="y",
)

# Exporters often turn Mixamo's leaf joint HeadTop_End into an End Site.
MIXAMO_WITHOUT_HEAD_TOP = JointMap(
    name="mixamo-without-head-top",
    joints=_COMMON_LIMBS
    | _MIXAMO_TRUNK
    | {
        "Nose": _from_head((0.0, 0.12, 0.15), _THIGH),
        "Head": _from_head((0.0, 0.40, 0.02), _THIGH),
    },
    requires=_MIXAMO_REQUIRES,
    rest_up="y",
)

BUILT_IN: tuple[JointMap, ...] = (
    BANDAI,
    CMU,
    LAFAN1,
    MIXAMO,
    MIXAMO_WITHOUT_HEAD_TOP,
    *TOOLS,
)
