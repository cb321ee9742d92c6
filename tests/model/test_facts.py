"""A known height: the scale comes from the bones, and nothing moves in the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffpose.model.geometry.skeleton import JOINT_NAMES, LEFT, PARENTS
from diffpose.model.lifting.facts import scale_to_height, stature_mm
from diffpose.platform.prediction.assembled import scaled
from diffpose.preprocessing.mocap.source import MocapSource, read_motion

CMU = Path(__file__).parents[3] / "shared" / "mocap" / "cmu"
# Human3.6M's bones of a person of about 1.7 m, mm.
BONES = {
    "RKnee": 443, "RFoot": 454, "Spine": 233, "Thorax": 257, "Nose": 121, "Head": 115,
    "RHip": 133, "RShoulder": 151, "RElbow": 279, "RWrist": 252,
}  # fmt: skip


def standing() -> np.ndarray:
    rng = np.random.default_rng(0)
    pose = np.zeros((6, 17, 3))
    for joint in range(1, 17):
        name = JOINT_NAMES[joint]
        length = BONES["R" + name[1:] if joint in LEFT else name]
        way = rng.normal(size=(6, 3))
        way /= np.linalg.norm(way, axis=-1, keepdims=True)
        pose[:, joint] = pose[:, PARENTS[joint]] + length * way
    return pose


def test_the_height_of_human36m_s_bones_is_a_man_s_whatever_he_does() -> None:
    pose = standing()
    assert stature_mm(pose) == pytest.approx(1640, abs=30)
    assert stature_mm(1.1 * pose) == pytest.approx(1.1 * stature_mm(pose))


def test_scaled_poses_have_the_height_and_stay_where_they_are_in_the_picture() -> None:
    rng = np.random.default_rng(1)
    pose = standing()
    arrays = {
        "poses_mm": pose,
        "root_mm": rng.uniform([-900, -900, 3000], [900, 900, 6000], (6, 3)),
        "spread_mm": rng.uniform(10, 50, (6, 17)),
        "hypotheses_mm": pose[:, None] + rng.normal(0, 30, (6, 4, 17, 3)),
        "covariance_mm2": np.tile(np.eye(3), (6, 17, 1, 1)),
        "confidence": np.ones((6, 17)),
    }
    factor = scale_to_height(pose, 1.82)
    found = scaled(arrays, factor)
    assert found.keys() == arrays.keys() - {"confidence"}
    assert stature_mm(found["poses_mm"]) == pytest.approx(1820, rel=1e-5)
    before, after = (a["poses_mm"] + a["root_mm"][:, None] for a in (arrays, found))
    rays = [p[..., :2] / p[..., 2:] for p in (before, after)]
    np.testing.assert_allclose(rays[1], rays[0], atol=1e-6)
    np.testing.assert_allclose(found["covariance_mm2"], factor**2 * arrays["covariance_mm2"])
    np.testing.assert_allclose(found["spread_mm"], factor * arrays["spread_mm"], rtol=1e-5)


def test_poses_without_a_size_are_refused() -> None:
    with pytest.raises(ValueError, match="no size"):
        scale_to_height(np.zeros((2, 17, 3)), 1.8)
    with pytest.raises(ValueError, match="finite"):
        stature_mm(np.full((2, 17, 3), np.nan))


@pytest.mark.skipif(not CMU.is_dir(), reason="the CMU motions are not here")
def test_the_bones_of_recorded_people_tell_how_high_their_head_is_above_the_ankles() -> None:
    source = MocapSource(uri=str(CMU), poses_per_second=10)
    ratios = []
    for name in ("cmu_train_walking_1.bvh", "cmu_test_walking_1.bvh", "cmu_test_soccer_1.bvh"):
        pose = 1000.0 * read_motion(source, name).positions_m
        ankle = np.minimum(pose[:, 3, 2], pose[:, 6, 2])
        above = np.quantile(pose[:, 10, 2] - ankle, 0.9)
        ratios.append(stature_mm(pose) * (1 - 0.039 - 0.015) / above)
    np.testing.assert_allclose(ratios, 1.0, atol=0.04)
