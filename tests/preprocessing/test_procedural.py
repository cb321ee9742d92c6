from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffpose.model.geometry.skeleton import JOINT_NAMES, bone_lengths
from diffpose.platform.base.errors import ConfigError
from diffpose.preprocessing.mocap.bvh import BvhMotion, forward_kinematics, parse_bvh, write_bvh
from diffpose.preprocessing.mocap.joint_maps import choose_joint_map, h36m_positions
from diffpose.preprocessing.mocap.procedural.motion import (
    ACTION_NAMES,
    generate_motion,
    write_motion_library,
)
from diffpose.preprocessing.mocap.units import metres_per_unit, to_world_m, up_axis

AT = {name: index for index, name in enumerate(JOINT_NAMES)}
SEEDS = (0, 1, 2, 3)


def world_of(motion: BvhMotion) -> np.ndarray:
    pose = h36m_positions(motion, choose_joint_map(motion.names))
    return to_world_m(pose, metres_per_unit(pose), up_axis(pose))


def local_rotation(motion: BvhMotion, child: str) -> np.ndarray:
    _, rotations = forward_kinematics(motion)
    joint = motion.names.index(child)
    upper = rotations[:, motion.parents[joint]]
    return np.swapaxes(upper, -1, -2) @ rotations[:, joint]


@pytest.fixture(scope="module", params=[(a, s) for a in ACTION_NAMES for s in SEEDS], ids=str)
def motion(request: pytest.FixtureRequest) -> BvhMotion:
    return generate_motion(*request.param)


def test_shape_and_unit(motion: BvhMotion) -> None:
    assert motion.n_frames == 240
    assert motion.fps == pytest.approx(30)
    pose = h36m_positions(motion, choose_joint_map(motion.names))
    assert choose_joint_map(motion.names).name == "mixamo"
    assert up_axis(pose) == "y"
    assert metres_per_unit(pose) == 0.01


def test_bones_are_rigid_and_human(motion: BvhMotion) -> None:
    world = world_of(motion)
    lengths = bone_lengths(world)
    rigid = [0, 1, 2, 3, 4, 5, 11, 12, 14, 15]  # limbs; trunk, neck and collars have joints inside
    assert np.ptp(lengths[:, rigid], axis=0).max() < 1e-3
    thigh, shin = lengths[0, 1], lengths[0, 2]
    assert 0.30 < thigh < 0.56
    assert 0.30 < shin < 0.56
    assert (world[:, AT["Head"], 2] < 2.05).all()


def test_joints_bend_one_way(motion: BvhMotion) -> None:
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        knee = local_rotation(motion, f"{side}Leg")
        # A bent knee takes the shin (-y) backwards (-z); never forwards, never past 150 degrees.
        assert (knee[:, 2, 1] > 0).all()
        assert np.degrees(np.arccos(knee[:, 1, 1])).max() < 151
        elbow = local_rotation(motion, f"{side}ForeArm")
        assert (sign * elbow[:, 2, 0] > 0).all()


def test_feet_stand_on_the_floor(motion: BvhMotion) -> None:
    positions, _ = forward_kinematics(motion)
    heights = positions[:, :, 1]
    at = motion.names.index
    feet = heights[:, [at("LeftToeBase"), at("RightToeBase")]]
    ankles = heights[:, [at("LeftFoot"), at("RightFoot")]]
    assert feet.min() > -3
    assert heights[:, at("Hips")].min() > 5
    low = np.minimum(feet.min(axis=1), ankles.min(axis=1))
    assert np.median(low) < 6  # somebody stands, sits or kneels; nobody floats


def test_left_is_left(motion: BvhMotion) -> None:
    positions, rotations = forward_kinematics(motion)
    at = motion.names.index
    forward = rotations[:, at("Hips"), :, 2]
    left = np.cross([0.0, 1.0, 0.0], forward)
    across = positions[:, at("LeftUpLeg")] - positions[:, at("RightUpLeg")]
    assert (np.einsum("ti,ti->t", across, left) > 0).all()
    world = world_of(motion)
    shoulders = world[:, AT["LShoulder"]] - world[:, AT["RShoulder"]]
    hips = world[:, AT["LHip"]] - world[:, AT["RHip"]]
    assert (np.einsum("ti,ti->t", shoulders, hips) > 0).all()
    # Toes point where the body looks: mirrored legs would fail here.
    toes = positions[:, at("LeftToeBase")] - positions[:, at("LeftFoot")]
    assert (np.einsum("ti,ti->t", toes, forward) > 0).mean() > 0.9


def test_stays_near_the_origin_and_moves_smoothly(motion: BvhMotion) -> None:
    world = world_of(motion)
    assert np.linalg.norm(world[:, 0, :2], axis=-1).max() < 2.6
    assert np.linalg.norm(np.diff(world, axis=0), axis=-1).max() * 30 < 12  # m/s of any joint


def test_no_pose_comes_twice(motion: BvhMotion) -> None:
    angles = motion.values[:, 6:]
    assert len(np.unique(angles, axis=0)) == motion.n_frames


@pytest.mark.parametrize("action", ACTION_NAMES)
def test_same_seed_same_take_other_seed_other_take(action: str) -> None:
    first, again, other = (generate_motion(action, seed, 2.0) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.values, again.values)
    np.testing.assert_array_equal(first.offsets, again.offsets)
    assert not np.allclose(first.offsets, other.offsets)
    a, b = world_of(first), world_of(other)
    assert np.linalg.norm((a - a[:, :1]) - (b - b[:, :1]), axis=-1).mean() > 0.05


def test_arms_reach_everywhere_over_many_takes() -> None:
    above, front, aside = 0, 0, 0
    for seed in range(10):
        motion = generate_motion("turning", seed, 4.0)
        positions, rotations = forward_kinematics(motion)
        at = motion.names.index
        hand = positions[:, at("LeftHand")] - positions[:, at("LeftArm")]
        local = np.einsum("tji,tj->ti", rotations[:, at("Spine2")], hand)
        above += int((local[:, 1] > 15).sum())
        front += int((local[:, 2] > 30).sum())
        aside += int((local[:, 0] > 30).sum())
    assert min(above, front, aside) > 20


def test_sitting_lowers_the_hips() -> None:
    ratios = []
    for seed in range(6):
        world = world_of(generate_motion("sitting", seed, 4.0))
        legs = bone_lengths(world[0])[1:3].sum()
        ratios.append(np.min(world[:, 0, 2]) / legs)
    assert max(ratios) < 0.85


def test_round_trip_is_exact() -> None:
    motion = generate_motion("kicking", 2, 1.0)
    back = parse_bvh(write_bvh(motion), "k.bvh")
    np.testing.assert_array_equal(back.values, motion.values)
    np.testing.assert_array_equal(back.offsets, motion.offsets)
    assert back.frame_time_s == motion.frame_time_s


def test_library_is_written_and_deterministic(tmp_path: Path) -> None:
    for folder in ("a", "b/c"):
        uris = write_motion_library(str(tmp_path / folder), ["waving", "sitting"], 2, 1.0, 7)
    assert uris == [
        f"{tmp_path}/b/c/{name}.bvh"
        for name in ("waving_000", "waving_001", "sitting_000", "sitting_001")
    ]
    for uri in uris:
        text = Path(uri).read_text()
        assert text == (tmp_path / "a" / Path(uri).name).read_text()
        assert parse_bvh(text, uri).n_frames == 30
    assert Path(uris[0]).read_text() != Path(uris[1]).read_text()


def test_library_on_another_file_system() -> None:
    uris = write_motion_library("memory://motions", None, 1, 0.2, 0)
    assert uris[0] == f"memory://motions/{ACTION_NAMES[0]}_000.bvh"
    assert len(uris) == len(ACTION_NAMES)


def test_unknown_action_is_refused_before_writing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'flying'; expected one of walking"):
        write_motion_library(str(tmp_path / "x"), ["waving", "flying"], 1, 1.0, 0)
    assert not (tmp_path / "x").exists()
    with pytest.raises(ConfigError, match="duration_s"):
        generate_motion("waving", 0, 0.0)
