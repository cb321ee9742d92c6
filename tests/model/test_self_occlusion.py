"""What hides what: a person seen from the front, from behind and from the side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from standing import standing

from diffpose.model.geometry.body import hidden_by_own_body
from diffpose.model.geometry.skeleton import JOINT_NAMES

AT = np.array([0.0, 0.0, 4500.0])


def hidden(pose: NDArray[np.float64]) -> set[str]:
    return {JOINT_NAMES[j] for j in np.flatnonzero(hidden_by_own_body((pose + AT)[None])[0])}


def test_someone_who_stands_before_the_camera_hides_nothing() -> None:
    assert hidden(standing()) == set()


def test_a_wrist_behind_the_back_is_hidden_and_one_before_the_chest_is_not() -> None:
    pose = standing()
    wrist = JOINT_NAMES.index("RWrist")
    pose[wrist] = (-20, -150, 220)
    assert "RWrist" in hidden(pose)
    pose[wrist] = (-20, -150, -220)
    assert "RWrist" not in hidden(pose)
    turned = pose * np.array([-1, 1, -1])  # seen from behind, the hand is before the chest
    assert "RWrist" in hidden(turned)


def test_from_the_side_the_near_leg_hides_the_far_one() -> None:
    pose = standing()
    turned = np.stack([pose[:, 2], pose[:, 1], -pose[:, 0]], axis=1)  # left side nearer
    assert {"RKnee", "RElbow"} & hidden(turned)
    assert not {"LKnee", "LFoot", "LElbow", "LWrist"} & hidden(turned)


def test_frames_are_apart() -> None:
    poses = np.stack([standing(), standing() * 0.9]) + AT
    both = hidden_by_own_body(poses)
    assert both.shape == (2, 17)
    for i in range(2):
        np.testing.assert_array_equal(both[i], hidden_by_own_body(poses[i : i + 1])[0])
