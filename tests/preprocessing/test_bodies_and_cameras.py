"""Pseudo-subjects and the virtual cameras that see them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from diffpose.model.geometry.pinhole import project
from diffpose.model.geometry.skeleton import EDGES, JOINT_NAMES, MIRROR, bone_lengths
from diffpose.model.lifting.facts import stature_mm
from diffpose.preprocessing.mocap.bodies import (
    PARTS,
    BodySettings,
    bone_factors,
    reshape_body,
)
from diffpose.preprocessing.mocap.cameras.ring import RingCameras
from diffpose.preprocessing.mocap.cameras.virtual_camera import VirtualCamera, centre, view
from diffpose.preprocessing.mocap.cameras.wild import WildCameras
from diffpose.preprocessing.records.clip import ClipTruth

PART = {
    "Hip-RHip": "hip", "RHip-RKnee": "thigh", "RKnee-RFoot": "shin",
    "Hip-LHip": "hip", "LHip-LKnee": "thigh", "LKnee-LFoot": "shin",
    "Hip-Spine": "lower_trunk", "Spine-Thorax": "upper_trunk",
    "Thorax-Nose": "neck", "Nose-Head": "head",
    "Thorax-LShoulder": "shoulder", "LShoulder-LElbow": "upper_arm", "LElbow-LWrist": "forearm",
    "Thorax-RShoulder": "shoulder", "RShoulder-RElbow": "upper_arm", "RElbow-RWrist": "forearm",
}  # fmt: skip
LEFT_FOOT, RIGHT_FOOT = JOINT_NAMES.index("LFoot"), JOINT_NAMES.index("RFoot")


def walk(n: int = 20, seed: int = 0) -> NDArray[np.float64]:
    """A straight-legged walk, (n, 17, 3) in m: feet 8 cm above the floor, hips level."""
    rng = np.random.default_rng(seed)
    pose = np.zeros((n, 17, 3))
    pose[:, 0] = np.linspace([-1, 0.3, 0.9], [1, 0.5, 0.9], n)
    for side, (hip, knee, foot) in ((-1, (1, 2, 3)), (1, (4, 5, 6))):
        pose[:, hip] = pose[:, 0] + [0, 0.12 * side, 0]
        pose[:, knee] = pose[:, hip] + [0, 0, -0.41]
        pose[:, foot] = pose[:, knee] + [0, 0, -0.41]
    for parent, child in EDGES[6:]:
        pose[:, child] = pose[:, parent] + rng.normal(0, 0.2, (n, 3)) + [0, 0, 0.1]
    return pose


def factors_by_edge(factors: dict[str, float]) -> NDArray[np.float64]:
    return np.array([factors[PART[f"{JOINT_NAMES[a]}-{JOINT_NAMES[b]}"]] for a, b in EDGES])


def test_reshaping_scales_lengths_and_keeps_directions() -> None:
    recorded, factors = walk(), bone_factors(BodySettings(), "train", 3, seed=5)
    reshaped = reshape_body(recorded, factors)
    np.testing.assert_allclose(
        bone_lengths(reshaped), bone_lengths(recorded) * factors_by_edge(factors)
    )
    for parent, child in EDGES:
        was, now = (p[:, child] - p[:, parent] for p in (recorded, reshaped))
        unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (was, now)]
        np.testing.assert_allclose(unit[0], unit[1], atol=1e-12)


def test_reshaping_by_one_scales_the_world() -> None:
    recorded = walk()
    for factor in (1.0, 1.2):
        np.testing.assert_allclose(
            reshape_body(recorded, dict.fromkeys(PARTS, factor)), factor * recorded, atol=1e-12
        )


def test_feet_stay_at_the_floor() -> None:
    # On straight legs with thighs as long as shins the feet's height scales with the legs,
    # whatever the thigh's and the shin's own factors; the travel likewise.
    recorded = walk()
    for body in range(8):
        factors = bone_factors(BodySettings(limb_variation=0.2), "train", body, seed=1)
        legs = (factors["thigh"] + factors["shin"]) / 2
        reshaped = reshape_body(recorded, factors)
        for foot in (LEFT_FOOT, RIGHT_FOOT):
            np.testing.assert_allclose(reshaped[:, foot, 2], legs * 0.08, atol=1e-12)
        np.testing.assert_allclose(reshaped[:, 0], legs * recorded[:, 0])


def test_bent_legs_leave_the_floor_by_the_mismatch_of_their_parts_only() -> None:
    # Sitting: the thighs are level, so the height of the root hangs on the shins alone.
    recorded = walk()
    recorded[:, [0, 1, 4], 2] = 0.49
    for hip, knee, foot in ((1, 2, 3), (4, 5, 6)):
        recorded[:, knee] = recorded[:, hip] + [0.41, 0, 0]
        recorded[:, foot] = recorded[:, knee] + [0, 0, -0.41]
    factors = bone_factors(BodySettings(), "train", 0, seed=1)
    legs = (factors["thigh"] + factors["shin"]) / 2
    height = reshape_body(recorded, factors)[:, LEFT_FOOT, 2]
    mismatch = (factors["thigh"] - factors["shin"]) / 2
    np.testing.assert_allclose(height, legs * 0.08 + 0.41 * mismatch, atol=1e-12)
    assert np.abs(height - 0.08).max() < 0.05


def test_left_and_right_are_alike() -> None:
    # A mirror-symmetric pose stays one.
    recorded = walk()
    recorded[:, :, 1] -= recorded[:, :1, 1]
    recorded = (recorded + recorded[:, MIRROR] * [1, -1, 1]) / 2
    reshaped = reshape_body(recorded, bone_factors(BodySettings(), "test", 1, seed=0))
    np.testing.assert_allclose(reshaped, reshaped[:, MIRROR] * [1, -1, 1], atol=1e-12)


def test_every_split_has_its_own_bodies() -> None:
    settings = BodySettings()
    bodies = [
        tuple(bone_factors(settings, split, body, seed=3).values())
        for split, count in (("train", 10), ("validation", 2), ("test", 4))
        for body in range(count)
    ]
    for a, b in itertools.combinations(bodies, 2):
        assert max(abs(x - y) for x, y in zip(a, b, strict=True)) > 0.005
    assert bone_factors(settings, "test", 2, 3) == bone_factors(settings, "test", 2, 3)
    assert bone_factors(settings, "test", 2, 3) != bone_factors(settings, "test", 2, 4)


def test_factors_stay_within_their_range() -> None:
    settings = BodySettings(smallest=0.9, tallest=1.1, limb_variation=0.1, hip_width=1.5)
    plain = settings.model_copy(update={"hip_width": 1.0})
    values = []
    for body in range(200):
        factors = bone_factors(settings, "train", body, 0)
        assert sorted(factors) == sorted(set(PART.values()))
        same = bone_factors(plain, "train", body, 0)
        assert factors["hip"] == pytest.approx(1.5 * same["hip"])
        assert all(factors[part] == same[part] for part in PARTS if part != "hip")
        values.append(list(same.values()))
        spread = max(same.values()) / min(same.values())
        assert spread <= 1.1 / 0.9
    assert 0.9 * 0.9 <= np.min(values) < 0.86
    assert 1.14 < np.max(values) <= 1.1 * 1.1
    assert np.mean(values) == pytest.approx(1.0, abs=0.02)
    with pytest.raises(ValidationError, match="limb_variation"):
        BodySettings(limb_variation=0.5)


def seen(camera: int = 0, seed: int = 0, clip: str = "walk", **changes: float) -> ClipTruth:
    positions = walk()
    return seen_by(RingCameras.model_validate(changes), positions, camera, seed, clip)


def seen_by(
    cameras: RingCameras | WildCameras,
    positions: NDArray[np.float64],
    camera: int = 0,
    seed: int = 0,
    clip: str = "walk",
) -> ClipTruth:
    placed = cameras.camera(centre(positions), camera, seed, clip)
    return view(centre(positions), np.arange(len(positions)) / 10, placed)


def camera_positions(truth: ClipTruth) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Solve position and rotation from the 17 joints' world and camera coordinates (Kabsch)."""
    positions = walk()
    root = positions[:, 0, :2]
    positions[..., :2] -= (root.max(axis=0) + root.min(axis=0)) / 2
    world = positions.reshape(-1, 3)
    camera = ((truth.pose_3d_mm + truth.root_position_mm[:, None]) / 1000).reshape(-1, 3)
    world_mean, camera_mean = world.mean(axis=0), camera.mean(axis=0)
    u, _, vt = np.linalg.svd((camera - camera_mean).T @ (world - world_mean))
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    np.testing.assert_allclose((world - world_mean) @ rotation.T, camera - camera_mean, atol=1e-9)
    return world_mean - rotation.T @ camera_mean, rotation


def test_pose_and_root_project_onto_the_keypoints() -> None:
    truth = seen(focal_px=900, width=800, height=640)
    assert (truth.camera == [900, 900, 400, 320]).all()
    for row in range(20):
        for joint in range(17):
            x, y, z = truth.pose_3d_mm[row, joint] + truth.root_position_mm[row]
            expected = [900 * x / z + 400, 900 * y / z + 320]
            np.testing.assert_allclose(truth.keypoints_px[row, joint], expected, atol=1e-9)
    assert (truth.pose_3d_mm[:, 0] == 0).all()
    assert (truth.root_position_mm[:, 2] > 3000).all()
    np.testing.assert_allclose(truth.timestamp_s, np.arange(20) / 10)


def test_a_view_keeps_the_body_and_shows_it_upright() -> None:
    truth = seen()
    np.testing.assert_allclose(bone_lengths(truth.pose_3d_mm), 1000 * bone_lengths(walk()))
    assert (truth.keypoints_px[:, LEFT_FOOT, 1] > truth.keypoints_px[:, 0, 1]).all()  # y is down


def test_left_is_left() -> None:
    # Someone who walks towards the camera has the left side on the image's right.
    for camera in range(4):
        truth = seen(camera)
        nearing = truth.root_position_mm[-1, 2] < truth.root_position_mm[0, 2]
        left, right = truth.keypoints_px[:, 4, 0].mean(), truth.keypoints_px[:, 1, 0].mean()
        walked = np.diff(truth.root_position_mm[[0, -1]], axis=0)[0]
        if abs(walked[2]) > 1.2 * abs(walked[0]):
            assert (left > right) == nearing


def test_cameras_stand_where_the_settings_say() -> None:
    for camera, clip in itertools.product(range(4), ("a", "b", "c")):
        position, rotation = camera_positions(seen(camera, clip=clip))
        assert 4.6 <= np.hypot(*position[:2]) <= 5.6
        assert 1.35 <= position[2] <= 1.7
        # It looks at (0, 0, 0.95) and stands upright.
        target = rotation @ (np.array([0, 0, 0.95]) - position)
        np.testing.assert_allclose(target[:2], 0, atol=1e-6)
        assert (rotation @ [0, 0, 1])[0] == pytest.approx(0, abs=1e-9)
        assert (rotation @ [0, 0, 1])[1] < 0


def test_the_cameras_of_a_motion_share_its_heading() -> None:
    def azimuths(clip: str, count: int = 4) -> NDArray[np.float64]:
        places = [camera_positions(seen(c, clip=clip, count=count))[0] for c in range(count)]
        return np.array([np.arctan2(y, x) for x, y, _ in places])

    headings = []
    for clip in ("a", "b", "c", "d"):
        # Without the even spacing what is left is the heading, to the jitter of 0.08 rad.
        rest = azimuths(clip) - 2 * np.pi * (np.arange(4) + 0.5) / 4
        apart = np.angle(np.exp(1j * (rest - rest[0])))
        assert 0.001 < np.abs(apart).max() <= 0.16
        headings.append(np.angle(np.exp(1j * rest).mean()))
    differences = [
        abs(np.angle(np.exp(1j * (a - b)))) for a, b in itertools.combinations(headings, 2)
    ]
    assert max(differences) > 0.5  # motions differ
    three = azimuths("a", count=3)
    steps = np.angle(np.exp(1j * np.diff(three)))
    np.testing.assert_allclose(steps, 2 * np.pi / 3, atol=0.16)


def test_a_view_depends_on_seed_clip_and_camera_alone() -> None:
    first = seen(1)
    again = seen(1)
    for name in ("pose_3d_mm", "root_position_mm", "keypoints_px", "camera"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    for other in (seen(1, seed=1), seen(1, clip="run"), seen(2)):
        assert np.abs(other.root_position_mm - first.root_position_mm).max() > 1


def test_the_motions_place_in_the_world_plays_no_part() -> None:
    positions = walk()
    kept = positions.copy()
    here = seen_by(RingCameras(), positions)
    there = seen_by(RingCameras(), positions + np.array([40.0, -7.0, 0.0]))
    np.testing.assert_allclose(here.keypoints_px, there.keypoints_px, atol=1e-6)
    assert np.array_equal(positions, kept)


def test_bodies_have_the_heights_that_are_asked_for() -> None:
    settings = BodySettings(height_m=(1.4, 2.05), limb_variation=0.08, width_variation=0.15)
    for recorded in (walk(), 1.3 * walk()):
        heights = [
            stature_mm(
                1000 * reshape_body(recorded, bone_factors(settings, "train", body, 0, recorded))
            )
            / 1000
            for body in range(300)
        ]
        assert 1.4 <= min(heights) < 1.5
        assert 1.95 < max(heights) <= 2.05
        assert np.mean(heights) == pytest.approx(1.725, abs=0.02)
        assert np.mean(np.abs(np.array(heights) - 1.725) < 0.1) > 0.4  # the middle is common
    with pytest.raises(ValueError, match="recorded one's poses"):
        bone_factors(settings, "train", 0, 0)


def test_widths_vary_besides_the_rest() -> None:
    wide = BodySettings(width_variation=0.2)
    ratios = []
    for body in range(100):
        narrow = bone_factors(BodySettings(), "train", body, 3)
        factors = bone_factors(wide, "train", body, 3)
        assert {part for part in PARTS if factors[part] != narrow[part]} <= {"hip", "shoulder"}
        ratios.append([factors[part] / narrow[part] for part in ("hip", "shoulder")])
    spread = np.array(ratios)
    assert spread.min() >= 0.8
    assert spread.max() <= 1.2
    assert abs(np.corrcoef(spread.T)[0, 1]) < 0.3  # each for itself


WILD = WildCameras(distortion=(0.0, 0.0))


def wild(n: int, cameras: WildCameras = WILD) -> list[VirtualCamera]:
    return [cameras.camera(centre(walk()), camera, 0, "walk") for camera in range(n)]


def test_wild_cameras_stand_within_their_ranges() -> None:
    placed = wild(200)
    focal = np.array([c.intrinsics_px[0] / 1920 for c in placed])
    assert 0.7 <= focal.min() < 0.8
    assert 1.6 < focal.max() <= 1.8
    away = np.array([np.hypot(*c.position_m[:2]) for c in placed])
    assert 2.0 <= away.min() < 3.0
    assert 7.5 < away.max() <= 9.0
    height = np.array([c.position_m[2] for c in placed])
    assert 0.3 <= height.min() < 0.5
    assert 2.7 < height.max() <= 3.0
    # where the world's up appears in the image, against the image's own
    tilt = np.rad2deg([np.arctan2(c.rotation[0, 2], -c.rotation[1, 2]) for c in placed])
    assert 25 < np.abs(tilt).max() < 40
    assert 0.4 < np.mean([c.height > c.width for c in placed]) < 0.6
    assert {(c.width, c.height) for c in placed} == {(1920, 1080), (1080, 1920)}


def test_wild_cameras_see_the_person_off_the_middle() -> None:
    inside, middles = [], []
    for placed in wild(200):
        truth = view(centre(walk()), np.arange(20) / 10, placed)
        size = np.array([placed.width, placed.height])
        inside.append(((truth.keypoints_px > 0) & (truth.keypoints_px < size)).all(-1).mean())
        middles.append(truth.keypoints_px.mean(axis=(0, 1)) / size - 0.5)
        np.testing.assert_array_equal(truth.camera[0], placed.intrinsics_px)
    assert np.mean(np.array(inside) > 0.9) > 0.97
    assert np.abs(middles).max(axis=0).min() > 0.18
    assert np.abs(np.mean(middles, axis=0)).max() < 0.05


def test_a_wild_camera_depends_on_its_seed_number_and_motion_alone() -> None:
    first, again = wild(2)[1], wild(2)[1]
    assert (first.rotation == again.rotation).all()
    for other in (
        WILD.camera(centre(walk()), 1, 1, "walk"),
        WILD.camera(centre(walk()), 1, 0, "run"),
    ):
        assert np.abs(other.position_m - first.position_m).max() > 0.01


def test_a_lens_that_bends_is_seen_and_not_told() -> None:
    straight, bent = (
        WildCameras(distortion=(k, k)).camera(centre(walk()), 0, 0, "walk") for k in (0.0, 0.05)
    )
    times = np.arange(20) / 10
    here, there = (view(centre(walk()), times, camera) for camera in (straight, bent))
    assert (here.camera == there.camera).all()
    assert (here.pose_3d_mm == there.pose_3d_mm).all()
    rays = (here.keypoints_px - here.camera[0, 2:]) / here.camera[0, :2]
    r2 = (rays**2).sum(axis=-1, keepdims=True)
    expected = rays * (1 + 0.05 * r2) * here.camera[0, :2] + here.camera[0, 2:]
    np.testing.assert_allclose(there.keypoints_px, expected, atol=1e-9)


def test_an_untold_focal_length_is_the_usual_one_and_moves_the_root() -> None:
    told = WildCameras(distortion=(0.0, 0.0)).camera(centre(walk()), 0, 0, "walk")
    untold = WildCameras(distortion=(0.0, 0.0), focal_unknown=1.0).camera(
        centre(walk()), 0, 0, "walk"
    )
    times = np.arange(20) / 10
    here, there = (view(centre(walk()), times, camera) for camera in (told, untold))
    assert (there.keypoints_px == here.keypoints_px).all()
    assert (there.pose_3d_mm == here.pose_3d_mm).all()
    assert there.camera[0, 0] == pytest.approx(1.145 * 1920)
    stretch = there.camera[0, 0] / here.camera[0, 0]
    np.testing.assert_allclose(
        there.root_position_mm, here.root_position_mm * [1, 1, stretch], rtol=1e-12
    )
    np.testing.assert_allclose(
        project(there.root_position_mm, there.camera), there.keypoints_px[:, 0], atol=1e-9
    )


def test_ranges_that_fall_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"distance_m=\[9, 2\] must rise"):
        WildCameras(distance_m=(9.0, 2.0))
    with pytest.raises(ValidationError, match="focal must lie above 0, got 0"):
        WildCameras(focal=(0.0, 1.0))


def test_records_of_the_wrong_shape_are_refused() -> None:
    truth = seen()
    with pytest.raises(ValueError, match=r"root_position_mm must be \(20, 3\), got \(19, 3\)"):
        ClipTruth(
            truth.pose_3d_mm,
            truth.root_position_mm[1:],
            truth.keypoints_px,
            truth.camera,
            truth.timestamp_s,
        )
