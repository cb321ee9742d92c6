"""Joint maps of motion-capture suits and 3D programs, by the names that they write into BVH.

Their heads have no joint but their own, and their rest poses stand upright with the face forward:
the nose and the head top are multiples of the thigh in those axes (builtin_maps says the targets).
"""

from __future__ import annotations

from diffpose.preprocessing.mocap.joint_maps import JointMap, JointRule, limb_rules

_LEFT_RIGHT = ("Left", "Right")


def _map(
    name: str,
    limbs: tuple[str, ...],
    sides: tuple[str, str],
    spine: tuple[str, ...],
    neck: str = "Neck",
    head: str = "Head",
    requires: tuple[str, ...] = (),
) -> JointMap:
    """Return the map of a tool.

    Args:
        name: of the map.
        limbs, sides: as limb_rules has them.
        spine: joints whose mean is about half way between hips and neck.
        neck: the neck's base.
        head: where the head turns.
        requires: joints that tell the tool from others.
    """
    thigh = (limbs[0].replace("*", sides[0]), limbs[1].replace("*", sides[0]))

    def from_head(up: float, forward: float) -> JointRule:
        offset = (0.0, up, forward)
        return JointRule(mean={head: 1.0}, offset=offset, frame=head, length=thigh)

    joints = limb_rules(limbs, sides) | {
        "Spine": JointRule(mean=dict.fromkeys(spine, 1.0)),
        "Thorax": JointRule(mean={neck: 1.0}),
        "Nose": from_head(0.12, 0.15),
        "Head": from_head(0.40, 0.02),
    }
    return JointMap(name=name, joints=joints, requires=requires, rest_up="y")


_MIXAMO_LIMBS = ("*UpLeg", "*Leg", "*Foot", "*Arm", "*ForeArm", "*Hand")
_PLAIN_LIMBS = ("*Hip", "*Knee", "*Ankle", "*Shoulder", "*Elbow", "*Wrist")

# Xsens MVN: four joints of the chest.
XSENS = _map("xsens", _PLAIN_LIMBS, _LEFT_RIGHT, ("Chest", "Chest2"),
             requires=("Chest3", "Chest4", "LeftToe", "RightToe"))  # fmt: skip
# 3ds Max's own BVH and what came after it: hips, one chest, collars.
CLASSIC = _map("hips-chest-collar", _PLAIN_LIMBS, _LEFT_RIGHT, ("Chest",),
               requires=("LeftCollar", "RightCollar"))  # fmt: skip
# Axis Neuron, Axis Studio (Perception Neuron): Mixamo's names without toes.
NEURON = _map("perception-neuron", _MIXAMO_LIMBS, _LEFT_RIGHT, ("Spine1",),
              requires=("Hips", "Spine", "Spine2"))  # fmt: skip
# Simon Fraser University's library: one spine joint fewer.
SFU = _map("sfu", _MIXAMO_LIMBS, _LEFT_RIGHT, ("Spine",),
           requires=("LeftToeBase", "RightToeBase", "Spine1"))  # fmt: skip
# Rokoko Studio.
ROKOKO = _map("rokoko", ("*Thigh", "*Shin", "*Foot", "*Arm", "*ForeArm", "*Hand"), _LEFT_RIGHT,
              ("Spine2",), requires=("Spine1",))  # fmt: skip
# Daz Studio and Poser.
DAZ = _map("daz", ("*Thigh", "*Shin", "*Foot", "*Shldr", "*ForeArm", "*Hand"), ("l", "r"),
           ("chest",), "neck", "head", ("abdomen",))  # fmt: skip
# 3ds Max Biped; Bip01, Bip001 ... before each name.
BIPED = _map("biped", ("* Thigh", "* Calf", "* Foot", "* UpperArm", "* Forearm", "* Hand"),
             ("L", "R"), ("Spine1",), requires=("Pelvis", "Spine"))  # fmt: skip
# Unity's humanoid bones.
UNITY = _map("unity", ("*UpperLeg", "*LowerLeg", "*Foot", "*UpperArm", "*LowerArm", "*Hand"),
             _LEFT_RIGHT, ("Spine", "Chest"))  # fmt: skip

TOOLS: tuple[JointMap, ...] = (XSENS, CLASSIC, NEURON, SFU, ROKOKO, DAZ, BIPED, UNITY)
