"""Smoothing over time: honest on simulated tracks, exact where a closed form is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from untrained import B, make_lifter, observations, seeds

from diffpose.model.geometry.constant_bones import with_bone_lengths
from diffpose.model.geometry.skeleton import EDGES, bone_lengths
from diffpose.model.lifting.long_sequence import lift_in_parts
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.lifting.smoothing import (
    bones_so_far,
    motion_density,
    predicted_covariance,
    smooth,
)
from diffpose.model.observations.initial_distribution import take_rows
from diffpose.model.refinement.map_refinement import bone_lengths as bone_lengths_of
from diffpose.model.uncertainty.covariances import Ellipsoids
from diffpose.model.uncertainty.familiarity import Regions, familiarity_of
from diffpose.model.uncertainty.transport import matched, shrinking

Array = NDArray[np.float64]
Q, WHITE, TAU = 1e6, 0.35, 0.6
ROOTS = np.array([[20.0, 0, 0], [5, 15, 0], [10, 8, 60]])


def track(times: Array, seed: int) -> tuple[Array, Array]:
    """One joint as the smoother supposes it: places and measurements, (T, 3) each."""
    rng = np.random.default_rng(seed)
    place, speed, slow = np.zeros(3), rng.normal(0, 500, 3), rng.normal(size=3)
    places, seen = [], []
    for dt in np.diff(times, prepend=times[0]):
        if dt > 0:
            q = Q * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
            noise = np.linalg.cholesky(q) @ rng.normal(size=(2, 3))
            place, speed = place + speed * dt + noise[0], speed + noise[1]
            kept = np.exp(-dt / TAU)
            slow = kept * slow + np.sqrt(1 - kept**2) * rng.normal(size=3)
        error = np.sqrt(1 - WHITE) * slow + np.sqrt(WHITE) * rng.normal(size=3)
        places.append(place)
        seen.append(place + ROOTS @ error)
    return np.array(places), np.array(seen)


def of_joint_1(values: Array, covariance: Array) -> tuple[Array, Array]:
    pose = np.zeros((len(values), 17, 3))
    pose[:, 1] = values
    return pose, np.broadcast_to(covariance, (len(values), 17, 3, 3))


def known(**more: object) -> dict[str, object]:
    how = {"density": np.full(17, Q), "white_share": WHITE, "error_time_s": TAU}
    return {**how, **more}


@pytest.mark.parametrize("causal", [False, True])
def test_smoothed_covariances_are_as_wide_as_the_errors(causal: bool) -> None:
    """Irregular times with gaps; the squared Mahalanobis distance of three values has mean 3."""
    rng = np.random.default_rng(5)
    distances, before, after = [], [], []
    for seed in range(12):
        apart = rng.choice([1 / 60, 1 / 30, 1 / 30, 0.4], 300)
        times = np.cumsum(apart)
        places, seen = track(times, seed)
        pose, spread = smooth(*of_joint_1(seen, ROOTS @ ROOTS.T), times, **known(causal=causal))
        error = pose[:, 1] - places
        distances.append(np.einsum("ti,tij,tj->t", error, np.linalg.inv(spread[:, 1]), error))
        before.append(((seen - places) ** 2).sum())
        after.append((error**2).sum())
    assert np.mean(distances) == pytest.approx(3.0, rel=0.15)
    assert np.sum(after) < (0.92 if causal else 0.8) * np.sum(before)


def test_it_is_the_likeliest_track_of_all() -> None:
    """The same from one large linear system: places, speeds and slow errors of all frames."""
    times = np.array([0.0, 0.1, 0.15, 0.4, 0.5])
    _, seen = track(times, 3)
    n, size = len(times), 9
    covariance = ROOTS @ ROOTS.T
    rows, values, weights = [], [], []

    def add(parts: dict[int, Array], value: Array, spread: Array) -> None:
        row = np.zeros((len(value), n * size))
        for at, part in parts.items():
            row[:, at * size : (at + 1) * size] = part
        rows.append(row)
        values.append(value)
        weights.append(np.linalg.inv(spread))

    one, zero = np.eye(3), np.zeros((3, 3))
    start = np.zeros((9, 9))
    start[:3, :3], start[3:6, 3:6] = 1e8 * one, 1e7 * one
    start[6:, 6:] = (1 - WHITE) * (covariance + one)
    add({0: np.eye(9)}, np.zeros(9), start)
    for t in range(n):
        add({t: np.hstack([one, zero, one])}, seen[t], WHITE * (covariance + one))
        if t == 0:
            continue
        dt = times[t] - times[t - 1]
        kept = np.exp(-dt / TAU)
        move = np.block([[one, dt * one, zero], [zero, one, zero], [zero, zero, kept * one]])
        spread = np.zeros((9, 9))
        spread[:3, :3], spread[3:6, 3:6] = Q * dt**3 / 3 * one, Q * dt * one
        spread[:3, 3:6] = spread[3:6, :3] = Q * dt**2 / 2 * one
        spread[6:, 6:] = (1 - kept**2) * (1 - WHITE) * (covariance + one)
        add({t: np.eye(9), t - 1: -move}, np.zeros(9), spread)
    information = sum(r.T @ w @ r for r, w in zip(rows, weights, strict=True))
    wanted = sum(r.T @ w @ v for r, w, v in zip(rows, weights, values, strict=True))
    best = np.linalg.solve(information, wanted).reshape(n, size)[:, :3]
    spread = np.linalg.inv(information)
    pose, sure = smooth(*of_joint_1(seen, covariance), times, **known())
    np.testing.assert_allclose(pose[:, 1], best, atol=1e-3)
    for t in range(n):
        at = slice(t * size, t * size + 3)
        np.testing.assert_allclose(sure[t, 1], spread[at, at], rtol=1e-4, atol=1e-2)


def test_a_stream_does_not_know_what_comes() -> None:
    times = np.arange(40) / 30
    _, seen = track(times, 1)
    pose, covariance = of_joint_1(seen, ROOTS @ ROOTS.T)
    whole = smooth(pose, covariance, times, causal=True)
    part = smooth(pose[:20], covariance[:20], times[:20], causal=True)
    np.testing.assert_allclose(whole[0][:20], part[0])
    np.testing.assert_allclose(whole[1][:20], part[1])
    later = smooth(pose, covariance, times)
    assert np.abs(later[0][:20] - smooth(pose[:20], covariance[:20], times[:20])[0]).max() > 0.1
    np.testing.assert_allclose(later[0][-1], whole[0][-1])


def test_an_unseen_frame_lies_between_its_neighbours_and_is_less_sure() -> None:
    times = np.arange(30) / 30
    seen = 300.0 * times[:, None] * np.ones(3)
    seen[12:18] = np.nan
    pose, spread = smooth(*of_joint_1(seen, np.eye(3) * 25.0), times, **known())
    np.testing.assert_allclose(pose[14, 1], 300.0 * times[14], atol=1.0)
    assert np.trace(spread[15, 1]) > 1.5 * np.trace(spread[5, 1])


def test_sequences_are_smoothed_apart() -> None:
    times = np.concatenate([np.arange(10), np.arange(8)]) / 30
    _, seen = track(np.arange(18) / 30, 2)
    pose, covariance = of_joint_1(seen, ROOTS @ ROOTS.T)
    together = smooth(pose, covariance, times, lengths=[10, 8])[0]
    np.testing.assert_allclose(together[10:], smooth(pose[10:], covariance[10:], times[10:])[0])


@pytest.mark.parametrize("times", [[0.0, 0.1, 0.1], [0.0, np.nan, 0.2]])
def test_times_that_are_unknown_or_do_not_rise_are_refused(times: list[float]) -> None:
    pose, covariance = of_joint_1(np.zeros((3, 3)), np.eye(3))
    with pytest.raises(ValueError, match="time of every frame"):
        smooth(pose, covariance, np.array(times))


def test_every_joint_but_the_root_moves_and_left_moves_as_right() -> None:
    q = motion_density()
    assert q[0] == 0
    assert (q[1:] > 0).all()
    assert q[3] == q[6] == q.max()  # feet


def test_bones_get_their_lengths_and_keep_their_directions() -> None:
    rng = np.random.default_rng(0)
    pose = rng.normal(0, 200, (5, 17, 3))
    lengths = rng.uniform(100, 400, (5, 16))
    found = with_bone_lengths(pose, lengths)
    np.testing.assert_allclose(bone_lengths(found), lengths)
    parents, children = (list(side) for side in zip(*EDGES, strict=True))
    before, after = (p[:, children] - p[:, parents] for p in (pose, found))
    cosine = (before * after).sum(-1) / np.linalg.norm(before, axis=-1) / lengths
    np.testing.assert_allclose(cosine, 1.0)
    np.testing.assert_array_equal(found[:, 0], pose[:, 0])


def test_the_lengths_of_bones_so_far_come_near_those_on_the_whole() -> None:
    rng = np.random.default_rng(1)
    pose = 300.0 * np.arange(17)[:, None] * np.ones(3) + rng.normal(0, 15, (900, 17, 3))
    so_far, whole = bones_so_far(pose, [400, 500]), bone_lengths_of(pose, [400, 500])
    np.testing.assert_allclose(so_far[[399, 899]], whole[[399, 899]], atol=3.0)
    np.testing.assert_allclose(so_far[[0, 400]], bone_lengths_of(pose[[0, 400]], None))


def test_hypotheses_follow_mean_and_covariance() -> None:
    rng = np.random.default_rng(0)
    hypotheses = rng.normal(0, 50, (3, 40, 17, 3))
    mean = hypotheses.mean(axis=1)
    apart = hypotheses - mean[:, None]
    before = np.einsum("tnjx,tnjy->tjxy", apart, apart) / 40
    factors = rng.normal(0, 10, (3, 17, 3, 3))
    after = factors @ factors.swapaxes(-1, -2) + 30 * np.eye(3)
    moved = matched(hypotheses, mean, mean + 7.0, shrinking(before, after)).astype(float)
    np.testing.assert_allclose(moved.mean(axis=1), mean + 7.0, atol=1e-3)
    apart = moved - moved.mean(axis=1, keepdims=True)
    found = np.einsum("tnjx,tnjy->tjxy", apart, apart) / 40
    scale = np.trace(after, axis1=-2, axis2=-1)[:, 1:, None, None]
    np.testing.assert_allclose((found - after)[:, 1:] / scale, 0, atol=5e-3)


def test_the_lifter_smooths_as_asked_and_the_parts_of_a_long_sequence_together() -> None:
    lifter = make_lifter()
    seen = observations()
    timed = type(seen)(
        seen.heatmaps, seen.crops, seen.keypoints_px, seen.modes, seen.camera, np.arange(B) / 30
    )
    plain = lifter.lift(timed, SamplingSettings(), seeds())
    asked = SamplingSettings(smooth="clip")
    found = lifter.lift(timed, asked, seeds())
    spread = predicted_covariance(plain.hypotheses_mm, plain.pose_mm, asked, None, None)
    poses, _ = smooth(plain.pose_mm, spread, np.arange(B) / 30)
    lengths = bone_lengths(found.pose_mm)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=0.01)
    np.testing.assert_allclose(found.pose_mm, with_bone_lengths(poses, lengths), atol=0.01)
    np.testing.assert_allclose(found.hypotheses_mm.mean(axis=1), found.pose_mm, atol=0.02)
    jump = [np.abs(np.diff(p.pose_mm, n=2, axis=0)).mean() for p in (plain, found)]
    assert jump[1] < 0.7 * jump[0]
    parts = (take_rows(timed, slice(i, i + 2)) for i in range(0, B, 2))
    whole = lift_in_parts(lifter, timed, parts, asked, seeds())
    np.testing.assert_allclose(whole.pose_mm, found.pose_mm, atol=0.01)
    causal = SamplingSettings(smooth="causal")
    stream = lifter.lift(timed, causal, seeds())
    so_far = lifter.lift(take_rows(timed, slice(0, 3)), causal, seeds(3))
    np.testing.assert_allclose(stream.pose_mm[:3], so_far.pose_mm, atol=0.01)


def test_smoothing_without_times_says_what_to_give() -> None:
    with pytest.raises(ValueError, match="fps="):
        make_lifter().lift(observations(), SamplingSettings(smooth="clip"), seeds())
    one = np.zeros((2, 1, 17, 3))
    with pytest.raises(ValueError, match="n_hypotheses=2"):
        predicted_covariance(one, one.mean(axis=1), SamplingSettings(n_hypotheses=1), None, None)
    with pytest.raises(ValueError, match="root=subtracted"):
        SamplingSettings(smooth="clip", root="predicted")


def test_what_is_unusual_is_trusted_less_by_smoothing_too() -> None:
    """The covariance that smoothing goes by is the one that the run answers with."""
    rng = np.random.default_rng(0)
    training = rng.normal(0, 300, (17, 3)) + rng.normal(0, 60, (900, 17, 3))
    training -= training[:, :1]
    ones = np.ones(17)
    claim = Ellipsoids(0.3, ones, ones, 8.0)
    grown = Regions(claim, familiarity_of(training).measured_by(training))
    odd = rng.normal(0, 300, (4, 17, 3))
    odd -= odd[:, :1]
    hypotheses = odd[:, None] + rng.normal(0, 30, (4, 5, 17, 3))
    asked = SamplingSettings()
    plain = predicted_covariance(hypotheses, odd, asked, None, Regions(claim))
    found = predicted_covariance(hypotheses, odd, asked, None, grown)
    assert (found[:, 1:] > 1.5 * plain[:, 1:])[..., range(3), range(3)].all()
