"""Motion of any posture: human, smooth, and readable as any other."""

from __future__ import annotations

import numpy as np
import pytest

from diffpose.model.geometry.skeleton import JOINT_NAMES, bone_lengths
from diffpose.preprocessing.mocap.bvh import forward_kinematics
from diffpose.preprocessing.mocap.joint_maps import choose_joint_map, h36m_positions
from diffpose.preprocessing.mocap.procedural.freestyle import FREE
from diffpose.preprocessing.mocap.procedural.motion import ACTION_NAMES, generate_motion
from diffpose.preprocessing.mocap.source import MocapSource, read_motion

KNEES = [(1, 2, 3), (4, 5, 6)]
ELBOWS = [(11, 12, 13), (14, 15, 16)]


def positions_cm(action: str, seed: int, seconds: float = 10.0) -> np.ndarray:
    motion = generate_motion(action, seed, seconds)
    return h36m_positions(motion, choose_joint_map(motion.names))


def test_demonstrations_do_not_show_it() -> None:
    assert not set(FREE) & set(ACTION_NAMES)


@pytest.mark.parametrize("action", sorted(FREE))
@pytest.mark.parametrize("seed", range(6))
def test_bodies_stay_whole_and_on_the_floor(action: str, seed: int) -> None:
    pose = positions_cm(action, seed)
    lengths = bone_lengths(pose)
    rigid = [0, 1, 2, 3, 4, 5, 11, 12, 14, 15]  # hips, legs, arms; the trunk bends
    assert np.ptp(lengths[:, rigid], axis=0).max() < 0.05
    motion = generate_motion(action, seed, 10.0)
    lowest = forward_kinematics(motion)[0][..., 1].min(axis=1)
    assert lowest.min() > -2.0
    assert lowest.max() < 16.0  # something always stands on it
    speed = np.linalg.norm(np.diff(pose, axis=0), axis=-1) * 30
    assert speed.max() < 1200  # cm/s


@pytest.mark.parametrize("action", sorted(FREE))
def test_knees_and_elbows_bend_as_they_can(action: str) -> None:
    for seed in range(8):
        pose = positions_cm(action, seed)
        for a, b, c in KNEES + ELBOWS:
            upper, lower = pose[:, b] - pose[:, a], pose[:, c] - pose[:, b]
            cosine = (upper * lower).sum(-1) / (
                np.linalg.norm(upper, axis=-1) * np.linalg.norm(lower, axis=-1)
            )
            assert np.degrees(np.arccos(cosine.clip(-1, 1))).max() < 155
        # a knee folds the shin behind the thigh, seen from the pelvis
        across = pose[:, 4] - pose[:, 1]
        for a, b, c in KNEES:
            bend = np.cross(pose[:, b] - pose[:, a], pose[:, c] - pose[:, b])
            folded = np.linalg.norm(bend, axis=-1) > 600
            outward = (bend * across).sum(-1)[folded]
            assert (outward > -0.5 * np.linalg.norm(bend, axis=-1)[folded]
                    * np.linalg.norm(across, axis=-1)[folded]).mean() > 0.97  # fmt: skip


def test_postures_are_many() -> None:
    """Feet at shoulder height, hips near the floor, arms above the head: each now and then."""
    poses = np.concatenate([positions_cm("freestyle", seed) for seed in range(24)])
    height = poses[..., 1] / poses[..., 1].max(axis=1).mean()
    hip, foot, wrist, head = (JOINT_NAMES.index(n) for n in ("Hip", "LFoot", "LWrist", "Head"))
    assert 0.01 < (height[:, hip] < 0.3).mean() < 0.3
    assert 0.02 < (height[:, foot] > 0.2).mean() < 0.4
    assert 0.05 < (height[:, wrist] > height[:, head]).mean() < 0.5


def test_same_seed_same_motion_and_it_reads_back(tmp_path: object) -> None:
    from diffpose.preprocessing.mocap.procedural.motion import write_motion_library

    first, again, other = (positions_cm("balancing", seed, 2.0) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1
    (uri,) = write_motion_library(str(tmp_path), ["balancing"], 1, 2.0, 3)
    source = MocapSource(uri=str(tmp_path), poses_per_second=30)
    read = read_motion(source, uri.rpartition("/")[2])
    assert read.positions_m.shape == (60, 17, 3)
    assert 0.5 < read.positions_m[..., 2].max() < 2.6
