"""Free motion of our own: inside human limits, on the floor, read as any other library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffpose.jobs.make_motion import main
from diffpose.model.geometry.skeleton import JOINT_NAMES, bone_lengths
from diffpose.platform.base.errors import ConfigError
from diffpose.preprocessing.mocap.bvh import BvhMotion, forward_kinematics
from diffpose.preprocessing.mocap.freestyle import joint_angles as ja
from diffpose.preprocessing.mocap.freestyle.arms import with_arms
from diffpose.preprocessing.mocap.freestyle.figure import Figure, J, varied_body
from diffpose.preprocessing.mocap.freestyle.library import FREE_KINDS, make_motion, write_library
from diffpose.preprocessing.mocap.freestyle.postures import BODY, ON_HANDS
from diffpose.preprocessing.mocap.joint_maps import choose_joint_map, h36m_positions
from diffpose.preprocessing.mocap.procedural.motion import ACTION_NAMES
from diffpose.preprocessing.mocap.source import MocapSource, read_motion
from diffpose.preprocessing.mocap.units import to_world_m

AT = {name: index for index, name in enumerate(JOINT_NAMES)}


@pytest.fixture(scope="module", params=[(k, s) for k in FREE_KINDS for s in range(3)], ids=str)
def motion(request: pytest.FixtureRequest) -> BvhMotion:
    kind, seed = request.param
    return make_motion(kind, seed, 12.0)


def local_rotation(motion: BvhMotion, child: str) -> np.ndarray:
    _, rotations = forward_kinematics(motion)
    joint = motion.names.index(child)
    return np.swapaxes(rotations[:, motion.parents[joint]], -1, -2) @ rotations[:, joint]


def test_knees_and_elbows_bend_one_way_and_not_too_far(motion: BvhMotion) -> None:
    for name, sign in (("Left", 1.0), ("Right", -1.0)):
        knee = local_rotation(motion, f"{name}Leg")
        assert (knee[:, 2, 1] > -1e-3).all()
        assert np.degrees(np.arccos(knee[:, 1, 1].clip(-1, 1))).max() < 150.1
        elbow = local_rotation(motion, f"{name}ForeArm")
        assert (sign * elbow[:, 2, 0] > -1e-3).all()
        assert np.degrees(np.arccos(elbow[:, 0, 0].clip(-1, 1))).max() < 150.1


def test_hips_and_head_stay_inside_their_limits(motion: BvhMotion) -> None:
    for name in ("Left", "Right"):
        thigh = -local_rotation(motion, f"{name}UpLeg")[:, :, 1]  # the thigh's direction
        flexion = np.degrees(np.arctan2(thigh[:, 2], -thigh[:, 1]))
        near = np.abs(thigh[:, 0]) < 0.8  # flexion says little of a thigh that points aside
        assert flexion[near].min() > -31
        assert flexion[near].max() < 121
    neck = local_rotation(motion, "Neck") @ local_rotation(motion, "Head")
    facing = np.degrees(np.arctan2(neck[:, 0, 2], neck[:, 2, 2]))
    assert np.abs(facing).max() < 90


def test_upper_arms_stay_inside_the_shoulders_limits(motion: BvhMotion) -> None:
    for side, name in ja.SIDE_NAMES.items():
        along = local_rotation(motion, f"{name}Arm")[:, :, 0] * ja.SIGN[side]
        elevation = np.degrees(np.arccos((-along[:, 1]).clip(-1, 1)))
        azimuth = np.degrees(np.arctan2(along[:, 2], ja.SIGN[side] * along[:, 0]))
        assert (elevation < ja.most_elevation(azimuth) + 0.5).all()


def test_bones_are_constant_and_people_are_adults(motion: BvhMotion) -> None:
    pose = h36m_positions(motion, choose_joint_map(motion.names))
    lengths = bone_lengths(to_world_m(pose, 0.01, "y"))
    rigid = [0, 1, 2, 3, 4, 5, 11, 12, 14, 15]
    assert np.ptp(lengths[:, rigid], axis=0).max() < 1e-4
    assert 0.6 < lengths[0, 1] + lengths[0, 2] < 1.15


def test_nothing_is_below_the_floor_and_somebody_touches_it(motion: BvhMotion) -> None:
    positions, _ = forward_kinematics(motion)
    feet = [i for i, name in enumerate(motion.names) if name.endswith(("Foot", "ToeBase"))]
    assert positions[:, feet, 1].min() > -2.0
    assert positions[..., 1].min() > -2.0
    assert np.median(positions[..., 1].min(axis=1)) < 8.0


def test_motions_are_smooth_and_no_faster_than_people(motion: BvhMotion) -> None:
    pose = h36m_positions(motion, choose_joint_map(motion.names))
    step = np.linalg.norm(np.diff(pose - pose[:, :1], axis=0), axis=-1)
    assert step.max() * motion.fps < 1200  # cm/s, the fastest hands of a throw


def test_the_contact_on_the_floor_does_not_slide(motion: BvhMotion) -> None:
    positions, _ = forward_kinematics(motion)
    feet = [i for i, name in enumerate(motion.names) if name.endswith(("ToeBase", "Foot"))]
    low = positions[:, feet, 1]
    lowest = np.array(feet)[low.argmin(axis=1)]
    frames = np.arange(1, len(positions))
    same = (lowest[1:] == lowest[:-1]) & (low.min(axis=1)[1:] < 6)
    step = (positions[frames, lowest[1:]] - positions[frames - 1, lowest[1:]])[:, [0, 2]]
    speed = np.linalg.norm(step[same], axis=-1) * motion.fps
    assert np.median(speed) < 10  # cm/s


def test_same_seed_same_motion_other_seed_other_person() -> None:
    for kind in FREE_KINDS:
        first, again, other = (make_motion(kind, seed, 3.0) for seed in (5, 5, 6))
        np.testing.assert_array_equal(first.values, again.values)
        np.testing.assert_array_equal(first.offsets, again.offsets)
        assert not np.allclose(first.offsets, other.offsets)
        assert not np.allclose(first.values, other.values)


def test_the_projects_reader_gives_the_written_positions_to_a_millimetre(tmp_path: Path) -> None:
    files = list(write_library(str(tmp_path), list(FREE_KINDS), 4, 5.0, 30.0, 1))
    assert [Path(f).name for f in files] == [
        "freestyle_0000.bvh",
        "balancing_0001.bvh",
        "freestyle_0002.bvh",
        "balancing_0003.bvh",
    ]
    source = MocapSource(uri=str(tmp_path), poses_per_second=30)
    for number, file in enumerate(files):
        kind = Path(file).name.split("_")[0]
        own = int(np.random.SeedSequence([1, number]).generate_state(1)[0])
        made = make_motion(kind, own, 5.0, 30.0)
        read = read_motion(source, Path(file).name)
        expected = to_world_m(h36m_positions(made, choose_joint_map(made.names)), 0.01, "y")
        assert read.fps == pytest.approx(30)
        assert np.abs(read.positions_m - expected).max() < 1e-3


@pytest.mark.parametrize("name", sorted(BODY))
def test_key_postures_keep_arms_out_of_the_body(name: str) -> None:
    rng = np.random.default_rng(3)
    rooms = []
    for _ in range(12):
        figure = Figure(varied_body(rng))
        posture = BODY[name][0](rng, figure)
        np.testing.assert_allclose(posture, ja.clipped(posture), atol=1e-9)
        if name not in ON_HANDS:
            posture = with_arms(name, posture, figure, rng)
        placed = figure.place(posture)
        rooms += [float(figure.arm_room(placed, side)[0]) for side in ja.SIDES]
    assert np.mean(np.array(rooms) > -4.0) > 0.85


def test_an_arm_reaches_where_it_is_told_to() -> None:
    rng = np.random.default_rng(0)
    figure = Figure(varied_body(rng))
    for side, sign in ja.SIGN.items():
        shoulder = figure.place(ja.REST).at(f"{ja.SIDE_NAMES[side]}Arm")[0]
        target = shoulder + np.array([sign * 0.3, -0.4, 0.6]) * figure.upper
        posture, room = figure.reach(ja.REST, side, target, rng)
        wrist = figure.place(posture).at(f"{ja.SIDE_NAMES[side]}Hand")[0]
        assert room > 0
        assert np.linalg.norm(wrist - target) < 8  # the collar bone, which rises with the arm


def test_mirrored_angles_make_the_mirrored_person() -> None:
    rng = np.random.default_rng(2)
    figure = Figure(varied_body(rng))
    angles = ja.clipped(rng.uniform(ja.LOW, ja.HIGH) * 0.7)
    mirrored = angles.copy()
    for name, column in ja.AT.items():
        if name.endswith(("_l", "_r")):
            other = name[:-1] + ("r" if name.endswith("_l") else "l")
            mirrored[column] = angles[ja.AT[other]]
        elif name in ("roll", "spine_side", "spine_twist", "neck_side", "neck_twist"):
            mirrored[column] = -angles[column]
    here = figure.place(angles).positions[0]
    there = figure.place(mirrored).positions[0]
    swapped = [J[n.replace("Left", "*").replace("Right", "Left").replace("*", "Right")] for n in J]
    np.testing.assert_allclose(there, here[swapped] * [-1.0, 1.0, 1.0], atol=1e-9)


def test_shoulder_limits_are_continuous_where_arms_hang() -> None:
    angles = np.tile(ja.REST, (200, 1))
    angles[:, ja.AT["arm_out_l"]] = np.linspace(-30, 30, 200)
    angles[:, ja.AT["arm_flex_l"]] = 5.0
    clipped = ja.clipped(angles)
    assert np.abs(np.diff(clipped, axis=0)).max() < 3.0
    assert (clipped[:, ja.AT["arm_out_l"]] >= -30).all()


def test_the_command_writes_the_files_and_refuses_an_unknown_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "motion"
    assert main([f"out={out}", "files=2", "seconds=1", "kinds=[balancing, walking]"]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["balancing_0000.bvh", "walking_0001.bvh"]
    assert main([f"out={tmp_path / 'no'}", "kinds=[flying]"]) != 0
    assert "unknown kind 'flying'" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    with pytest.raises(ConfigError, match="seconds"):
        make_motion("freestyle", 0, 0.0)


def test_the_demos_actions_are_as_they_were() -> None:
    assert not set(FREE_KINDS) & set(ACTION_NAMES)
