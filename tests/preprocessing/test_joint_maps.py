from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.mocap.builtin_maps import BANDAI, BUILT_IN, MIXAMO
from diffpose.preprocessing.mocap.bvh import BvhMotion, parse_bvh
from diffpose.preprocessing.mocap.joint_maps import (
    choose_joint_map,
    h36m_positions,
    load_joint_map,
)
from diffpose.preprocessing.mocap.tool_maps import TOOLS
from diffpose.preprocessing.mocap.units import metres_per_unit, to_world_m, up_axis

# Inside the checkout or beside it.
MOCAP = next(
    (
        folder / "shared" / "mocap"
        for folder in Path(__file__).resolve().parents[2:4]
        if (folder / "shared" / "mocap").is_dir()
    ),
    Path("absent"),
)
AT = {name: index for index, name in enumerate(JOINT_NAMES)}

Tree = dict[str, tuple[str, tuple[float, float, float]]]


def upright(spine: dict[str, float], toe: str, more: Tree | None = None) -> Tree:
    """Return name -> (parent, offset in cm) of a T-pose, y up, facing z, left on +x."""
    tree: Tree = {"Hips": ("", (0, 95, 0))}
    above = "Hips"
    for name, height in spine.items():
        tree[name] = (above, (0, height, 0))
        above = name
    chest = list(spine)[-3] if "HeadTop_End" in spine else list(spine)[-2]
    chest = tree[chest][0]
    for side, sign in (("Left", 1), ("Right", -1)):
        tree[f"{side}Shoulder"] = (chest, (sign * 5, 5, 0))
        tree[f"{side}Arm"] = (f"{side}Shoulder", (sign * 12, 0, 0))
        tree[f"{side}ForeArm"] = (f"{side}Arm", (sign * 28, 0, 0))
        tree[f"{side}Hand"] = (f"{side}ForeArm", (sign * 25, 0, 0))
        tree[f"{side}UpLeg"] = ("Hips", (sign * 10, -4, 0))
        tree[f"{side}Leg"] = (f"{side}UpLeg", (0, -41, 0))
        tree[f"{side}Foot"] = (f"{side}Leg", (0, -41, 0))
        tree[f"{side}{toe}"] = (f"{side}Foot", (0, -7, 14))
    return tree | (more or {})


MIXAMO_SPINE = {"Spine": 10, "Spine1": 11, "Spine2": 12, "Neck": 14, "Head": 9}
TREES: dict[str, Tree] = {
    "cmu": upright(
        {"LowerBack": 0, "Spine": 12, "Spine1": 12, "Neck": 0, "Neck1": 9, "Head": 9},
        "ToeBase",
        {"LHipJoint": ("Hips", (0, 0, 0)), "RHipJoint": ("Hips", (0, 0, 0))},
    ),
    "lafan1": upright(MIXAMO_SPINE, "Toe"),
    "mixamo": upright(MIXAMO_SPINE | {"HeadTop_End": 18}, "ToeBase"),
    "mixamo-without-head-top": upright(MIXAMO_SPINE, "ToeBase"),
}


def motion_of(
    tree: Tree, prefix: str = "", scale: float = 1.0, z_up: bool = False, root: str = "Hips"
) -> BvhMotion:
    def node(name: str, keyword: str) -> str:
        x, y, z = (scale * value for value in tree[name][1])
        offset = f"{x} {-z} {y}" if z_up else f"{x} {y} {z}"
        below = "".join(node(child, "JOINT") for child, (up, _) in tree.items() if up == name)
        tip = "" if below else "End Site\n{\nOFFSET 0 0 0\n}\n"
        channels = "CHANNELS 3 Zrotation Xrotation Yrotation\n"
        return f"{keyword} {prefix}{name}\n{{\nOFFSET {offset}\n{channels}{below}{tip}}}\n"

    zeros = "0 " * (3 * len(tree))
    tail = f"MOTION\nFrames: 2\nFrame Time: 0.01\n{zeros}\n{zeros}\n"
    return parse_bvh("HIERARCHY\n" + node(root, "ROOT") + tail, "made.bvh")


@pytest.mark.parametrize("name", TREES)
def test_built_in_map_is_chosen_and_places_all_joints(name: str) -> None:
    motion = motion_of(TREES[name])
    joint_map = choose_joint_map(motion.names)
    assert joint_map.name == name
    pose = h36m_positions(motion, joint_map)[0]
    assert pose.shape == (17, 3)
    np.testing.assert_allclose(pose[AT["Hip"]], [0, 91, 0], atol=1e-9)
    np.testing.assert_allclose(pose[AT["LFoot"]], [10, 9, 0], atol=1e-9)
    np.testing.assert_allclose(pose[AT["RKnee"]], [-10, 50, 0], atol=1e-9)
    assert pose[AT["LWrist"], 0] == pytest.approx(70)
    assert pose[AT["RElbow"], 0] == pytest.approx(-45)
    heights = pose[[AT[joint] for joint in ("Hip", "Spine", "Thorax", "Nose")], 1]
    assert (np.diff(heights) > 5).all()
    if name != "lafan1":  # that library's head is up along local x, unlike this made figure
        assert pose[AT["Head"], 1] - pose[AT["Nose"], 1] > 5
        assert 3 < pose[AT["Nose"], 2] < 12


def renamed(names: dict[str, str], spine: dict[str, float], more: tuple[str, ...] = ()) -> Tree:
    """A figure whose joints have a tool's names; ``more`` are joints without a length, at the hips.

    Args:
        names: of Hips, Shoulder, Arm, ForeArm, Hand, UpLeg, Leg, Foot and Toe, '*' the side as it
            is written there; what is missing has no such joint.
        spine: of the trunk, to the head.
        more: names.
    """
    tree = upright(spine, "Toe")
    sides = {"Left": names.get("left", "Left"), "Right": names.get("right", "Right")}
    new = {"Hips": names.get("Hips", "Hips")}
    for side, written in sides.items():
        for part in ("Shoulder", "Arm", "ForeArm", "Hand", "UpLeg", "Leg", "Foot", "Toe"):
            new[f"{side}{part}"] = names.get(part, "").replace("*", written)
    tree = {
        new.get(name, name): (new.get(up, up), offset)
        for name, (up, offset) in tree.items()
        if new.get(name, name)
    }
    kept = set(tree) | {""}
    # an arm whose shoulder has no joint hangs on the trunk, as far out
    trunk = [*spine][-3]
    for name, (up, (x, y, z)) in list(tree.items()):
        if up not in kept or (not up and name != new["Hips"]):
            tree[name] = (trunk, (x + (5 if x > 0 else -5), y + 5, z))
    return tree | dict.fromkeys(more, (new["Hips"], (0.0, 0.0, 0.0)))


PLAIN = {"Shoulder": "*Collar", "Arm": "*Shoulder", "ForeArm": "*Elbow", "Hand": "*Wrist",
         "UpLeg": "*Hip", "Leg": "*Knee", "Foot": "*Ankle", "Toe": "*Toe"}  # fmt: skip
LIKE_MIXAMO = {part: f"*{part}" for part in
               ("Shoulder", "Arm", "ForeArm", "Hand", "UpLeg", "Leg", "Foot")}  # fmt: skip
TOOL_TREES: dict[str, Tree] = {
    "xsens": renamed(
        PLAIN, {"Chest": 10, "Chest2": 8, "Chest3": 8, "Chest4": 8, "Neck": 13, "Head": 9}
    ),
    "hips-chest-collar": renamed(PLAIN, {"Chest": 22, "Chest2": 11, "Neck": 14, "Head": 9}),
    "perception-neuron": renamed(LIKE_MIXAMO, MIXAMO_SPINE),
    "sfu": renamed(
        LIKE_MIXAMO | {"Toe": "*ToeBase"}, {"Spine": 20, "Spine1": 13, "Neck": 14, "Head": 9}
    ),
    "rokoko": renamed(
        {**LIKE_MIXAMO, "UpLeg": "*Thigh", "Leg": "*Shin", "Toe": "*Toe"},
        {"Spine1": 10, "Spine2": 11, "Spine3": 8, "Spine4": 6, "Neck": 12, "Head": 9},
    ),
    "daz": renamed(
        {"Hips": "hip", "left": "l", "right": "r", "Shoulder": "*Collar", "Arm": "*Shldr",
         "ForeArm": "*ForeArm", "Hand": "*Hand", "UpLeg": "*Thigh", "Leg": "*Shin",
         "Foot": "*Foot"},
        {"abdomen": 10, "chest": 16, "neck": 21, "head": 9},
    ),
    "biped": renamed(
        {"Hips": "Bip01 Pelvis", "left": "L", "right": "R", "Shoulder": "Bip01 * Clavicle",
         "Arm": "Bip01 * UpperArm", "ForeArm": "Bip01 * Forearm", "Hand": "Bip01 * Hand",
         "UpLeg": "Bip01 * Thigh", "Leg": "Bip01 * Calf", "Foot": "Bip01 * Foot"},
        {"Bip01 Spine": 10, "Bip01 Spine1": 16, "Bip01 Spine2": 8, "Bip01 Neck": 13,
         "Bip01 Head": 9},
    ),
    "unity": renamed(
        {"Shoulder": "*Shoulder", "Arm": "*UpperArm", "ForeArm": "*LowerArm", "Hand": "*Hand",
         "UpLeg": "*UpperLeg", "Leg": "*LowerLeg", "Foot": "*Foot", "Toe": "*Toes"},
        {"Spine": 10, "Chest": 16, "UpperChest": 8, "Neck": 13, "Head": 9},
    ),
}  # fmt: skip


@pytest.mark.parametrize("z_up", [False, True])
@pytest.mark.parametrize("name", TOOL_TREES)
def test_maps_of_tools_are_chosen_by_names_and_place_all_joints(name: str, z_up: bool) -> None:
    root = next(joint for joint, (up, _) in TOOL_TREES[name].items() if not up)
    motion = motion_of(TOOL_TREES[name], z_up=z_up, root=root)
    joint_map = choose_joint_map(motion.names)
    assert joint_map.name == name
    pose = h36m_positions(motion, joint_map)[0]
    if z_up:
        pose = np.stack([pose[:, 0], pose[:, 2], -pose[:, 1]], axis=-1)
    np.testing.assert_allclose(pose[AT["Hip"]], [0, 91, 0], atol=1e-9)
    np.testing.assert_allclose(pose[AT["LFoot"]], [10, 9, 0], atol=1e-9)
    np.testing.assert_allclose(pose[AT["RKnee"]], [-10, 50, 0], atol=1e-9)
    assert pose[AT["LWrist"], 0] == pytest.approx(70)
    assert pose[AT["RElbow"], 0] == pytest.approx(-45)
    heights = pose[[AT[joint] for joint in ("Hip", "Spine", "Thorax", "Nose", "Head")], 1]
    assert (np.diff(heights) > 5).all()
    share = (heights[1] - heights[0]) / (heights[2] - heights[0])
    assert 0.3 < share < 0.6  # the spine is about half way to the neck
    assert 3 < pose[AT["Nose"], 2] < 12


def test_every_tool_has_a_figure() -> None:
    assert {joint_map.name for joint_map in TOOLS} == set(TOOL_TREES)


@pytest.mark.parametrize("prefix", ["mixamorig:", "mixamorig_", "mixamorig1:", "Model_"])
def test_prefixes_are_ignored(prefix: str) -> None:
    motion = motion_of(TREES["mixamo"], prefix)
    assert choose_joint_map(motion.names) is MIXAMO
    np.testing.assert_array_equal(
        h36m_positions(motion, MIXAMO), h36m_positions(motion_of(TREES["mixamo"]), MIXAMO)
    )


def test_lafan1_head_offsets_follow_its_local_axes() -> None:
    motion = motion_of(TREES["lafan1"])
    joint_map = choose_joint_map(motion.names)
    head = motion.values.copy()
    column = 3 * motion.names.index("Head")
    head[:, column] = 90.0  # Zrotation: local x becomes up
    turned = BvhMotion(
        motion.names, motion.parents, motion.offsets, motion.channels, motion.frame_time_s, head
    )
    pose = h36m_positions(turned, joint_map)[0]
    assert pose[AT["Head"], 1] - (95 + 56) == pytest.approx(0.28 * 41)


def test_bandai_map_on_made_hierarchy() -> None:
    tree: Tree = {"Hips": ("", (0, 90, 0)), "Spine": ("Hips", (0, 15, 0))}
    tree |= {"Chest": ("Spine", (0, 9, 0)), "Neck": ("Chest", (0, 16, 0))}
    tree |= {"Head": ("Neck", (0, 6, 0))}
    for side, sign in (("L", 1), ("R", -1)):
        tree[f"UpperArm_{side}"] = ("Chest", (sign * 15, 14, 0))
        tree[f"LowerArm_{side}"] = (f"UpperArm_{side}", (sign * 24, 0, 0))
        tree[f"Hand_{side}"] = (f"LowerArm_{side}", (sign * 22, 0, 0))
        tree[f"UpperLeg_{side}"] = ("Hips", (sign * 7, 0, 0))
        tree[f"LowerLeg_{side}"] = (f"UpperLeg_{side}", (0, -39, 0))
        tree[f"Foot_{side}"] = (f"LowerLeg_{side}", (0, -41, 0))
    motion = motion_of(tree)
    assert choose_joint_map(motion.names) is BANDAI
    pose = h36m_positions(motion, BANDAI)[0]
    np.testing.assert_allclose(pose[AT["Spine"]], [0, 109.5, 0])
    # Local +x is up in that library; in this made figure it points left.
    np.testing.assert_allclose(pose[AT["Head"]], [0.461 * 39, 136 + 0.026 * 39, 0])


def test_no_fitting_map_lists_what_was_found_tried_and_missing() -> None:
    with pytest.raises(SourceError) as caught:
        choose_joint_map(["Hips", "tail_1"])
    message = str(caught.value)
    assert "tail_1" in message
    assert all(joint_map.name in message for joint_map in BUILT_IN)
    assert "HeadTop_End" in message
    assert "source.joint_map=FILE.yaml" in message


def own_yaml() -> str:
    lines = "".join(f"  {name}: Hips\n" for name in JOINT_NAMES if name not in ("Hip", "Head"))
    return (
        "joints:\n"
        "  Hip: {mean: {LeftUpLeg: 1, RightUpLeg: 3}}\n"
        "  Head: {mean: {Head: 2, Neck: -1}, offset: [0, 1, 2], frame: Head}\n" + lines
    )


def test_own_map_from_yaml() -> None:
    joint_map = load_joint_map(own_yaml(), "own.yaml")
    assert joint_map.name == "own.yaml"
    pose = h36m_positions(motion_of(TREES["mixamo"]), joint_map, slice(0, 1))[0]
    np.testing.assert_allclose(pose[AT["Hip"]], [-5, 91, 0])
    np.testing.assert_allclose(pose[AT["Head"]], [0, 95 + 56 + 9 + 1, 2])
    with pytest.raises(SourceError, match="needs the joints Head, LeftUpLeg"):
        lacking = motion_of({"Hips": ("", (0, 0, 0)), "Neck": ("Hips", (0, 1, 0))})
        h36m_positions(lacking, joint_map)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("joints: [", "not readable as YAML"),
        ("just words", "found str"),
        (own_yaml().replace("  Nose: Hips\n", ""), r"missing \['Nose'\]"),
        (own_yaml() + "  Tail: Hips\n", r"unknown \['Tail'\]"),
        (own_yaml().replace("frame: Head", "fram: Head"), r"joints\.Head\.fram"),
        (own_yaml().replace(", frame: Head", ""), "offset and frame"),
        (own_yaml().replace("RightUpLeg: 3", "RightUpLeg: -1"), "sum to 0"),
    ],
)
def test_wrong_yaml_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(SourceError, match=f"own.yaml.*{said}"):
        load_joint_map(text, "own.yaml")


@pytest.mark.parametrize(
    ("scale", "metres"), [(0.01, 1.0), (1, 0.01), (10, 0.001), (1 / 2.54, 0.0254)]
)
def test_unit_is_told_from_the_legs(scale: float, metres: float) -> None:
    pose = h36m_positions(motion_of(TREES["mixamo"], scale=scale), MIXAMO)
    assert metres_per_unit(pose) == pytest.approx(metres)
    assert metres_per_unit(pose, "mm") == 0.001


def test_cmu_unit_and_hopeless_unit() -> None:
    pose = h36m_positions(motion_of(TREES["mixamo"], scale=0.45 / 2.54), MIXAMO)
    assert metres_per_unit(pose) == pytest.approx(0.056444, abs=1e-6)
    with pytest.raises(SourceError, match=r"is 3e\+06 file units.*set source.unit"):
        metres_per_unit(pose * 3e6 / (82 * 0.45 / 2.54))
    with pytest.raises(SourceError, match=r"set source\.unit"):
        metres_per_unit(pose * 0)
    with pytest.raises(SourceError, match=r"source\.unit"):
        metres_per_unit(pose, "foot")  # type: ignore[arg-type]


def test_up_axis_and_world_frame() -> None:
    y_up = h36m_positions(motion_of(TREES["mixamo"]), MIXAMO)
    assert up_axis(y_up) == "y"
    assert up_axis(y_up, "z") == "z"
    world = to_world_m(y_up, 0.01, "y")
    np.testing.assert_allclose(world[0, AT["LFoot"]], [0.1, 0, 0.09], atol=1e-12)
    assert world[0, AT["Nose"], 1] < -0.03  # facing +z in the file is facing -y here
    assert up_axis(world) == "z"
    np.testing.assert_array_equal(to_world_m(world, 1.0, "z"), world)
    with pytest.raises(SourceError, match=r"set source\.up"):
        up_axis(y_up[..., [1, 0, 2]])
    with pytest.raises(SourceError, match=r"set source\.up"):
        up_axis(-y_up)


def test_real_bandai_bodies() -> None:
    files = sorted((MOCAP / "bandai-1").glob("*.bvh"))[::60]
    if not files:
        pytest.skip("shared/mocap is not here")
    for file in files:
        motion = parse_bvh(file.read_text(), file.name)
        joint_map = choose_joint_map(motion.names)
        assert joint_map is BANDAI
        pose = h36m_positions(motion, joint_map)
        world = to_world_m(pose, metres_per_unit(pose), up_axis(pose))
        thigh = np.linalg.norm(world[:, AT["LKnee"]] - world[:, AT["LHip"]], axis=-1)
        forearm = np.linalg.norm(world[:, AT["RWrist"]] - world[:, AT["RElbow"]], axis=-1)
        assert ((thigh > 0.39) & (thigh < 0.43)).all()
        assert ((forearm > 0.222) & (forearm < 0.24)).all()
        assert (world[:, AT["Head"], 2] > world[:, AT["Hip"], 2]).mean() > 0.95
        nose, top = (world[:, AT[j]] - world[:, AT["Thorax"]] for j in ("Nose", "Head"))
        assert (np.linalg.norm(top, axis=-1) > np.linalg.norm(nose, axis=-1)).all()
