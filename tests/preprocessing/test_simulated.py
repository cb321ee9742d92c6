"""The simulated detector is honest: the truth is a plausible draw from each heatmap.

Two things blur this by less than the tolerances here. Stored levels are uint8: mass below 1/510 of
the peak is lost (0.2 % of one round mode, some 10 % of a second mode of weight 0.02). And a mode
that reaches over the crop's rim is cut off there, a centre beyond it is moved to the rim.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from diffpose.model.geometry.pinhole import look_at, project
from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.model.heatmaps.grid import sample, summarise
from diffpose.preprocessing.detectors.simulated import SimulatedDetectorSettings, detect
from diffpose.preprocessing.records.clip import ClipDetections, ClipTruth

# A standing person, arms hanging, metres: x forward, y left, z up.
STANDING = np.array(
    [
        [0, 0, 0.93], [0, -0.13, 0.92], [0.02, -0.13, 0.48], [0, -0.13, 0.06],
        [0, 0.13, 0.92], [0.02, 0.13, 0.48], [0, 0.13, 0.06], [0, 0, 1.16], [0, 0, 1.42],
        [0.06, 0, 1.52], [0.02, 0, 1.63], [0, 0.16, 1.38], [-0.03, 0.2, 1.1], [0.05, 0.2, 0.86],
        [0, -0.16, 1.38], [-0.03, -0.2, 1.1], [0.05, -0.2, 0.86],
    ]
)  # fmt: skip
INTRINSICS = np.array([1145.0, 1145.0, 500.0, 500.0])
QUIET = {
    "occlusion_probability": 0.0,
    "clutter_probability": 0.0,
    "distractor_if_visible": 0.0,
    "swap_leg": 0.0,
    "swap_arm": 0.0,
    "swap_near_extra": 0.0,
}


def see(positions_m: NDArray[np.float64]) -> ClipTruth:
    """Project people (R, 17, 3) through a camera 5 m in front of them, at +x."""
    position = np.array([5.0, 0.0, 1.5])
    points = (positions_m - position) @ look_at(position, np.array([0, 0, 0.95])).T * 1000
    return ClipTruth(
        points - points[:, :1],
        points[:, 0],
        project(points, INTRINSICS),
        np.tile(INTRINSICS, (len(points), 1)),
        np.arange(len(points)) / 10,
    )


@lru_cache
def crowd(n: int = 300) -> ClipTruth:
    """People turned every way, their joints moved by some 12 cm."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, n)
    cosine, sine, zero, one = np.cos(angle), np.sin(angle), np.zeros(n), np.ones(n)
    turn = np.array([[cosine, -sine, zero], [sine, cosine, zero], [zero, zero, one]])
    return see((STANDING + rng.normal(0, 0.12, (n, 17, 3))) @ np.moveaxis(turn, -1, 0))


@lru_cache
def detected(seed: int = 1) -> ClipDetections:
    return detect(crowd(), SimulatedDetectorSettings(), np.random.default_rng(seed))


def cells_of(points_px: NDArray[np.float64], crops: NDArray[np.float32]) -> NDArray[np.int64]:
    """The flat number of the cell that holds each point, (R, 17)."""
    column, line = np.moveaxis(
        np.floor((points_px - crops[:, None, :2]) / crops[:, None, 2:]).astype(int), -1, 0
    )
    assert column.min() >= 0 and line.min() >= 0
    assert column.max() < 48 and line.max() < 64
    return line * 48 + column


def credible_level(
    heatmaps: NDArray[np.uint8], cells: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Mass of the smallest highest-density region that holds the cell; ties broken by lot."""
    mass = heatmaps.reshape(*heatmaps.shape[:2], -1).astype(np.float64)
    mass /= mass.sum(axis=-1, keepdims=True)
    own = np.take_along_axis(mass, cells[..., None], axis=-1)
    above, level = np.where(mass > own, mass, 0).sum(-1), np.where(mass == own, mass, 0).sum(-1)
    result: NDArray[np.float64] = above + rng.random(cells.shape) * level
    return result


def test_the_truth_is_a_plausible_draw_from_each_heatmap() -> None:
    found, truth = detected(), crowd()
    cells = cells_of(truth.keypoints_px, found.crops)
    level = credible_level(found.heatmaps, cells, np.random.default_rng(2))
    assert level.size == 5100
    assert (level < 0.5).mean() == pytest.approx(0.5, abs=0.04)
    assert (level < 0.9).mean() == pytest.approx(0.9, abs=0.03)
    # uint8 and the rim: the truth lies on a cell of level 0 in less than 1 % of the heatmaps
    picked = np.take_along_axis(found.heatmaps.reshape(300, 17, -1), cells[..., None], axis=-1)
    assert (picked == 0).mean() < 0.01


def test_so_it_is_for_each_kind_of_heatmap() -> None:
    # Broad ones (hidden joints), narrow ones, and those with two modes, each on its own.
    found, truth = detected(), crowd()
    level = credible_level(
        found.heatmaps, cells_of(truth.keypoints_px, found.crops), np.random.default_rng(2)
    )
    _, _, modes = summarise(found.heatmaps, found.crops)
    two, wide = modes[..., 6] > 0, modes[..., 2] > 10
    for kind in (two, wide & ~two, ~wide & ~two):
        n = kind.sum()
        assert n > 250
        slack = 4 / n**0.5 * 0.5 + 0.03
        assert (level[kind] < 0.5).mean() == pytest.approx(0.5, abs=slack)
        assert (level[kind] < 0.9).mean() == pytest.approx(0.9, abs=slack)


def test_a_draw_of_the_heatmap_passes_where_a_shifted_truth_fails() -> None:
    # The test of honesty itself: draws of a heatmap are plausible, points one sigma off are not.
    found, truth = detected(), crowd()
    seeds = np.arange(300, dtype=np.uint64)
    draws = sample(found.heatmaps, found.crops, 1, seeds)[:, 0].astype(np.float64)
    rng = np.random.default_rng(3)
    level = credible_level(found.heatmaps, cells_of(draws, found.crops), rng)
    assert (level < 0.5).mean() == pytest.approx(0.5, abs=0.03)
    shifted = cells_of(truth.keypoints_px + 7.0, found.crops)
    assert (credible_level(found.heatmaps, shifted, rng) < 0.5).mean() < 0.4


def test_the_truth_is_in_the_first_mode_as_often_as_claimed() -> None:
    # Two well separated modes: the claimed weight is the share of mass nearer to one of them.
    truth = see(np.tile(STANDING * [1, 2.5, 1], (500, 1, 1)))
    settings = SimulatedDetectorSettings.model_validate(QUIET | {"swap_leg": 1.0})
    found = detect(truth, settings, np.random.default_rng(4))
    for name, partner in (("RKnee", "LKnee"), ("LFoot", "RFoot")):
        own, other = JOINT_NAMES.index(name), JOINT_NAMES.index(partner)
        heat = found.heatmaps[:, own].astype(np.float64)
        x = found.crops[:, :1] + found.crops[:, 2:3] * (np.arange(48) + 0.5)
        places = truth.keypoints_px[:, [own, other], 0]
        nearer_own = np.abs(x - places[:, :1]) < np.abs(x - places[:, 1:])
        share = (heat.sum(axis=1) * nearer_own).sum(axis=1) / heat.sum(axis=(1, 2))
        # The claim of the first mode is max(share, 1 - share), between 0.5 and 0.98.
        claimed = np.maximum(share, 1 - share)
        assert claimed.mean() == pytest.approx(0.74, abs=0.03)
        assert claimed.min() >= 0.495
        assert claimed.max() < 0.995
        right = share > 0.5
        assert right.mean() == pytest.approx(claimed.mean(), abs=0.07)
        for low, high in ((0.5, 0.66), (0.66, 0.82), (0.82, 0.99)):
            part = (claimed >= low) & (claimed < high)
            expected = claimed[part].mean()
            error = 3.5 * (expected * (1 - expected) / part.sum()) ** 0.5
            assert right[part].mean() == pytest.approx(expected, abs=error)


def test_a_swapped_limb_is_swapped_as_a_whole_and_on_both_sides() -> None:
    # Modes of 1.5 cells: the peak of narrower ones depends on where in its cell a mode lies.
    truth = see(np.tile(STANDING * [1, 2.5, 1], (60, 1, 1)))
    settings = SimulatedDetectorSettings.model_validate(
        QUIET | {"swap_leg": 1.0, "sigma_limb_px": 11.0}
    )
    found = detect(truth, settings, np.random.default_rng(5))
    keypoints, _, modes = summarise(found.heatmaps, found.crops)
    legs = [JOINT_NAMES.index(name) for name in ("RKnee", "RFoot", "LKnee", "LFoot")]
    wrong = np.linalg.norm(keypoints - truth.keypoints_px, axis=-1) > 60
    # Weights near 0.5 may put either mode first.
    clear = (np.abs(modes[:, legs, 6] - 0.5) > 0.05).all(axis=1)
    assert 0 < wrong[clear][:, legs].mean() < 1
    for row in np.flatnonzero(clear):
        assert len(set(wrong[row, legs])) == 1
    others = [j for j in range(17) if j not in legs]
    assert not wrong[:, others].any()
    assert (modes[:, others, 6] == 0).all()


def test_the_generator_decides() -> None:
    truth = see(np.tile(STANDING, (5, 1, 1)))
    settings = SimulatedDetectorSettings()
    before = truth.keypoints_px.copy()
    first, again, other = (detect(truth, settings, np.random.default_rng(s)) for s in (7, 7, 8))
    assert np.array_equal(first.heatmaps, again.heatmaps)
    assert np.array_equal(first.crops, again.crops)
    assert not np.array_equal(first.heatmaps, other.heatmaps)
    assert np.array_equal(truth.keypoints_px, before)
    assert first.heatmaps.shape == (5, 17, 64, 48)
    assert first.heatmaps.dtype == np.uint8
    assert first.crops.dtype == np.float32
    assert (first.heatmaps.max(axis=(2, 3)) == 255).all()


def errors(positions_m: NDArray[np.float64], settings: SimulatedDetectorSettings) -> NDArray:
    truth = see(positions_m)
    found = detect(truth, settings, np.random.default_rng(6))
    keypoints, _, _ = summarise(found.heatmaps, found.crops)
    result: NDArray[np.float64] = np.linalg.norm(keypoints - truth.keypoints_px, axis=-1)
    return result


def test_limbs_in_front_of_joints_cause_errors() -> None:
    # The right forearm is held 35 cm before the spine, or out to the side.
    wrist, elbow, spine = (JOINT_NAMES.index(n) for n in ("RWrist", "RElbow", "Spine"))
    aside = np.tile(STANDING, (120, 1, 1))
    before = aside.copy()
    aside[:, wrist], aside[:, elbow] = [0, -0.7, 1.2], [0, -0.45, 1.3]
    before[:, wrist], before[:, elbow] = [0.35, 0.0, 1.18], [0.2, -0.2, 1.15]
    settings = SimulatedDetectorSettings()
    covered, free = errors(before, settings)[:, spine], errors(aside, settings)[:, spine]
    assert covered.mean() > 2 * free.mean()
    # As often as the settings say: 65 % against 3 % have a wide heatmap.
    for positions, chance in ((before, 0.65), (aside, 0.03)):
        found = detect(see(positions), settings, np.random.default_rng(6))
        wide = summarise(found.heatmaps, found.crops)[2][:, spine, 2] > 11
        assert wide.mean() == pytest.approx(chance, abs=0.11)
    # Nearer the camera, but nothing in front of anything: a limb behind hides nothing.
    behind = before.copy()
    behind[:, [wrist, elbow], 0] *= -1
    assert errors(behind, settings)[:, spine].mean() < 1.5 * free.mean()


def test_the_error_is_that_of_a_usual_detector() -> None:
    found, truth = detected(), crowd()
    keypoints, _, _ = summarise(found.heatmaps, found.crops)
    distance = np.linalg.norm(keypoints - truth.keypoints_px, axis=-1)
    assert 5 < distance.mean() < 20
    assert np.median(distance) < 10


def test_without_trouble_the_error_is_the_width_alone() -> None:
    # |noise| of a round Gaussian has the mean sigma sqrt(pi / 2); cells of 7 px blur it a little.
    settings = SimulatedDetectorSettings.model_validate(
        QUIET | {"sigma_px": 10, "sigma_limb_px": 14, "sigma_wrist_px": 18, "sigma_variation": 0}
    )
    distance = errors(np.tile(STANDING, (300, 1, 1)), settings)
    sigma = {"Foot": 14, "Knee": 14, "lbow": 14, "rist": 18}
    for joint, name in enumerate(JOINT_NAMES):
        expected = sigma.get(name[-4:], 10) * np.sqrt(np.pi / 2)
        assert distance[:, joint].mean() == pytest.approx(expected, rel=0.15)


def test_widths_scale_with_the_focal_length() -> None:
    near = see(np.tile(STANDING, (100, 1, 1)))
    far = ClipTruth(
        near.pose_3d_mm,
        near.root_position_mm,
        (near.keypoints_px - 500) / 2 + 500,
        near.camera * [0.5, 0.5, 1, 1],
        near.timestamp_s,
    )
    whole, half = (
        detect(t, SimulatedDetectorSettings(), np.random.default_rng(3)) for t in (near, far)
    )
    # The same picture at half the size: the same heatmaps but for rounding.
    np.testing.assert_allclose(half.crops[:, 2:] * 2, whole.crops[:, 2:], rtol=1e-5)
    assert np.abs(half.heatmaps.astype(int) - whole.heatmaps.astype(int)).max() <= 1


def test_widths_follow_the_person_where_asked() -> None:
    truth = crowd()
    follow = SimulatedDetectorSettings.model_validate({**QUIET, "widths_follow": "person"})
    fixed = SimulatedDetectorSettings.model_validate(QUIET)
    camera = truth.camera[:, None]
    near = ClipTruth(
        truth.pose_3d_mm,
        truth.root_position_mm / 2,
        project(truth.pose_3d_mm + truth.root_position_mm[:, None] / 2, camera),
        truth.camera,
        truth.timestamp_s,
    )

    def error_px(seen: ClipTruth, settings: SimulatedDetectorSettings) -> float:
        found = detect(seen, settings, np.random.default_rng(1))
        keypoints, _, _ = summarise(found.heatmaps, found.crops)
        return float(np.median(np.linalg.norm(keypoints - seen.keypoints_px, axis=-1)))

    assert error_px(near, follow) / error_px(truth, follow) == pytest.approx(2.0, abs=0.1)
    assert error_px(near, fixed) / error_px(truth, fixed) == pytest.approx(1.0, abs=0.1)


def test_errors_last_for_a_while_and_are_as_large_as_ever() -> None:
    still = np.repeat(STANDING[None], 4000, axis=0)
    truth = see(still)
    lasting = SimulatedDetectorSettings.model_validate(
        {**QUIET, "sigma_variation": 0.0, "lasting": [[0.5, 0.5], [0.3, 2.0]]}
    )
    plain = SimulatedDetectorSettings.model_validate({**QUIET, "sigma_variation": 0.0})

    def errors(settings: SimulatedDetectorSettings) -> NDArray[np.float64]:
        found = detect(truth, settings, np.random.default_rng(2))
        keypoints, _, _ = summarise(found.heatmaps, found.crops)
        error: NDArray[np.float64] = (keypoints - truth.keypoints_px).reshape(len(still), -1)
        return error

    def kept(error: NDArray[np.float64], frames: int) -> float:
        return float((error[frames:] * error[:-frames]).mean() / (error**2).mean())

    held, free = errors(lasting), errors(plain)
    assert held.std() == pytest.approx(free.std(), rel=0.05)
    # frames are 0.1 s apart
    for frames in (1, 5, 10):
        expected = 0.5 * np.exp(-frames / 5) + 0.3 * np.exp(-frames / 20)
        assert kept(held, frames) == pytest.approx(expected, abs=0.06)
        assert abs(kept(free, frames)) < 0.03


def test_more_than_all_cannot_last() -> None:
    with pytest.raises(ValidationError, match="add up to 1 at most"):
        SimulatedDetectorSettings.model_validate({"lasting": [[0.7, 1.0], [0.4, 1.0]]})


def test_a_preset_is_a_beginning() -> None:
    named = SimulatedDetectorSettings.model_validate({"preset": "blazepose", "sigma_px": 9.0})
    assert named.sigma_px == 9.0
    assert named.widths_follow == "person"
    assert sum(share for share, _ in named.lasting) == pytest.approx(0.9)
    plain = SimulatedDetectorSettings()
    assert (plain.widths_follow, plain.lasting) == ("focal", ())
    saved = named.model_dump(mode="json")
    assert SimulatedDetectorSettings.model_validate(saved) == named
    with pytest.raises(ValidationError, match="preset"):
        SimulatedDetectorSettings.model_validate({"preset": "yolo"})
