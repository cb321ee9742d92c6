"""A detector's own pose as an observation: its covariance, and the two put together."""

from __future__ import annotations

import numpy as np
import torch

from diffpose.model.geometry.pinhole import project
from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.model.observations.detections import Detections
from diffpose.model.refinement.detected_pose import (
    BLAZEPOSE,
    N_VALUES,
    DetectedPoseErrors,
    combined_prior,
    surer_by,
)
from diffpose.model.refinement.map_refinement import refine
from diffpose.model.uncertainty.covariances import MOVING


def poses(n: int, seed: int = 0) -> np.ndarray:
    pose = np.random.default_rng(seed).normal(0, 300, (n, N_JOINTS, 3))
    pose[:, 0] = 0
    return pose


def test_the_precision_is_the_inverse_of_the_covariance_of_the_errors() -> None:
    errors = DetectedPoseErrors((8.0, 5.0, 3.0), 0.07, 40.0)
    pose = poses(1)
    rng = np.random.default_rng(1)
    n = 200_000
    turn = rng.normal(0, np.deg2rad(errors.turn_deg), (n, 3))
    moving = pose[0, MOVING]
    drawn = np.cross(turn[:, None], moving) + rng.normal(0, 0.07, (n, 1, 1)) * moving
    drawn += rng.normal(0, 40.0, drawn.shape)
    flat = drawn.reshape(n, N_VALUES)
    covariance = np.linalg.inv(errors.precision(pose)[0])
    sampled = flat.T @ flat / n
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert np.abs((sampled - covariance) / scale).max() < 0.02


def test_frames_without_a_pose_keep_the_answer() -> None:
    answer, detected = poses(4), poses(4, 1)
    detected[1:3] = np.nan
    spread = np.eye(N_VALUES) / 60.0**2
    mean, precision = combined_prior(answer, spread, detected)
    np.testing.assert_array_equal(mean[1:3], answer[1:3])
    np.testing.assert_array_equal(precision[1], spread)
    assert np.abs(mean[[0, 3]] - answer[[0, 3]]).max() > 10
    assert (mean[:, 0] == 0).all()


def test_together_they_are_better_than_either_alone() -> None:
    truth, rng = poses(500), np.random.default_rng(2)
    errors = BLAZEPOSE
    answer = truth + rng.normal(0, 120.0, truth.shape)
    turn = rng.normal(0, np.deg2rad(errors.turn_deg), (500, 3))
    detected = truth - np.cross(turn[:, None], truth)
    detected -= rng.normal(0, errors.size, (500, 1, 1)) * truth
    detected += rng.normal(0, errors.white_mm, truth.shape)
    mean, precision = combined_prior(answer, np.eye(N_VALUES) / 120.0**2, detected)

    def error(pose: np.ndarray) -> float:
        return float(np.sqrt(((pose - truth)[:, MOVING] ** 2).mean()))

    assert error(mean) < 0.8 * min(error(answer), error(detected))
    # what is claimed of the mean holds
    away = (mean - truth)[:, MOVING].reshape(500, N_VALUES)
    squared = np.einsum("ni,nij,nj->n", away, precision, away)
    assert abs(squared.mean() / N_VALUES - 1) < 0.1


def test_refinement_takes_the_detected_pose_in() -> None:
    n, rng = 40, np.random.default_rng(3)
    truth, root = poses(n), np.tile([0.0, 0.0, 4000.0], (n, 1))
    camera = np.array([1.0, 1.0, 0.0, 0.0])
    rays = torch.from_numpy(project(truth + root[:, None], camera))
    mode = torch.cat([rays, torch.full((n, N_JOINTS, 1), 0.004)], dim=-1)
    seen = Detections(rays, mode, mode, torch.zeros(n, N_JOINTS))
    answer = truth + rng.normal(0, 150.0, truth.shape) * (np.arange(N_JOINTS) > 0)[:, None]
    moment = 150.0**2 * np.eye(N_VALUES)
    alone, _ = refine(answer, root, seen, moment, None)
    told = Detections(
        rays, mode, mode, torch.zeros(n, N_JOINTS), torch.from_numpy(truth.astype(np.float32))
    )
    both, _ = refine(answer, root, told, moment, None)

    def error(pose: np.ndarray) -> float:
        return float(np.linalg.norm(pose - truth, axis=-1).mean())

    assert error(both) < 0.8 * error(alone)
    nothing = Detections(
        rays, mode, mode, torch.zeros(n, N_JOINTS), torch.full((n, N_JOINTS, 3), torch.nan)
    )
    same, _ = refine(answer, root, nothing, moment, None)
    np.testing.assert_allclose(same, alone, atol=0.05)


def test_mirroring_mirrors_the_detected_pose() -> None:
    pose = torch.from_numpy(poses(2).astype(np.float32))
    blank = torch.zeros(2, N_JOINTS, 2)
    mode = torch.zeros(2, N_JOINTS, 3)
    seen = Detections(blank, mode, mode, torch.zeros(2, N_JOINTS), pose)
    image = seen.mirrored(torch.tensor([True, False])).detected_mm
    assert image is not None
    assert torch.equal(image[1], pose[1])
    assert image[0, 3, 0] == -pose[0, 6, 0]  # the right foot is the left one's image
    assert torch.equal(image[0, 3, 1:], pose[0, 6, 1:])


def test_hypotheses_come_as_near_as_is_known_then() -> None:
    detected = poses(3)
    detected[2] = np.nan
    root = np.random.default_rng(5).normal(0, 30, (N_VALUES, N_VALUES))
    moment = root @ root.T / N_VALUES + 150.0**2 * np.eye(N_VALUES)
    ratio = surer_by(moment, detected)
    np.testing.assert_array_equal(ratio[2], np.tile(np.eye(3), (N_JOINTS, 1, 1)))
    np.testing.assert_array_equal(ratio[:, 0], np.tile(np.eye(3), (3, 1, 1)))
    after = np.linalg.inv(np.linalg.inv(moment) + BLAZEPOSE.precision(detected[:1]))[0]
    for k, joint in enumerate(MOVING):
        block = slice(3 * k, 3 * k + 3)
        turned = ratio[0, joint] @ (moment[block, block] + np.eye(3)) @ ratio[0, joint].T
        np.testing.assert_allclose(turned, after[block, block] + np.eye(3), rtol=1e-6)
        assert np.linalg.det(ratio[0, joint]) < 0.9
