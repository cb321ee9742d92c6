"""The whole lifter, untrained but with all weights moved, on synthetic observations."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from untrained import CAMERA, B, make_lifter, observations, seeds

from diffpose.model.geometry.skeleton import MIRROR
from diffpose.model.lifting import lifter as lifter_module
from diffpose.model.lifting.lifter import DiffusionLifter, row_seeds
from diffpose.model.lifting.long_sequence import lift_in_parts
from diffpose.model.lifting.prediction import Lifted
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec
from diffpose.model.networks.context import encode_context
from diffpose.model.networks.denoiser import Denoiser, DenoiserConfig
from diffpose.model.networks.mixste import Mixste, MixsteConfig
from diffpose.model.observations.initial_distribution import (
    EncoderDepth,
    Observations,
    mean_pose,
    sample_poses,
    take_rows,
)
from diffpose.model.uncertainty.covariances import N_VALUES

PROCESSES = {
    "mixture, next_on_grid": {},
    "mixture, clean_pose": {"parametrisation": "clean_pose"},
    "gaussian, next_on_grid": {"process": "gaussian"},
    "gaussian, clean_pose": {"process": "gaussian", "parametrisation": "clean_pose"},
    "single_step": {"process": "single_step"},
}


def arrays(lifted: Lifted) -> dict[str, NDArray[np.float32]]:
    values = {f.name: getattr(lifted, f.name) for f in dataclasses.fields(lifted)}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


@pytest.mark.parametrize("start", ["heatmap", "mixture"])
@pytest.mark.parametrize("process", PROCESSES)
def test_shapes_and_definitions(process: str, start: str) -> None:
    lifter = make_lifter(**PROCESSES[process])
    settings = SamplingSettings.model_validate({"n_hypotheses": 4, "start": start})
    lifted = lifter.lift(observations(), settings, seeds())
    n = 1 if process == "single_step" else 4
    steps = (50, 0) if process == "single_step" else (50, 40, 30, 20, 10, 0)
    assert lifted.steps == steps
    assert {name: value.shape for name, value in arrays(lifted).items()} == {
        "pose_mm": (B, 17, 3),
        "std_mm": (B, 17),
        "hypotheses_mm": (B, n, 17, 3),
        "context_pose_mm": (B, 17, 3),
        "root_mm": (B, 3),
        "trajectory_mm": (len(steps), B, n, 17, 3),
    }
    for name, value in arrays(lifted).items():
        assert value.dtype == np.float32, name
        assert np.isfinite(value).all(), name
    hypotheses = lifted.hypotheses_mm.astype(np.float64)
    np.testing.assert_allclose(lifted.pose_mm, hypotheses.sum(axis=1) / n, atol=1e-2)
    for row in range(B):
        for joint in range(17):
            apart = hypotheses[row, :, joint] - hypotheses[row, :, joint].mean(axis=0)
            expected = np.sqrt(sum((d**2).sum() for d in apart) / n)
            assert lifted.std_mm[row, joint] == pytest.approx(expected, abs=1e-2)
    assert np.array_equal(lifted.trajectory_mm[-1], lifted.hypotheses_mm)
    for poses in (lifted.pose_mm, lifted.trajectory_mm, lifted.context_pose_mm):
        assert (poses[..., 0, :] == 0).all()
    moved = np.abs(lifted.trajectory_mm[0] - lifted.trajectory_mm[-1]).mean()
    assert moved > 1  # the denoiser did something


def test_the_context_is_the_encoders_pose_at_its_place() -> None:
    lifter = make_lifter()
    lifted = lifter.lift(observations(), SamplingSettings(), seeds())
    detections = observations().detections()
    with torch.inference_mode():
        _, pose_mm = lifter.encoder.poses_mm(detections.rays)
    np.testing.assert_allclose(lifted.context_pose_mm, pose_mm, atol=1e-3)
    np.testing.assert_allclose(lifted.root_mm, detections.translation_mm(pose_mm), rtol=1e-5)
    assert 2000 < lifted.root_mm[:, 2].min() < lifted.root_mm[:, 2].max() < 10_000


def test_the_trajectory_starts_with_draws_of_h_k() -> None:
    lifter, seen = make_lifter(), observations()
    lifted = lifter.lift(seen, SamplingSettings(n_hypotheses=4), seeds())
    bridge = torch.tensor(lifted.context_pose_mm)
    draws = sample_poses(seen, bridge, lifter.depth, 4, seeds())
    np.testing.assert_allclose(lifted.trajectory_mm[0], draws, atol=0.01)
    # Temperature shrinks them towards the mean of H_K.
    mean = mean_pose(seen, bridge, lifter.depth)[:, None]
    cool = lifter.lift(seen, SamplingSettings(n_hypotheses=4, temperature=0.25), seeds())
    expected = mean + 0.25 * (draws - mean)
    np.testing.assert_allclose(cool.trajectory_mm[0], expected, atol=0.01)


def test_the_mixtures_start_has_the_moments_of_h_k() -> None:
    lifter, seen = make_lifter(n_steps=1, n_visited_steps=1), take_rows(observations(), slice(0, 1))
    settings = SamplingSettings(n_hypotheses=1000, start="mixture")
    start = lifter.lift(seen, settings, seeds(1)).trajectory_mm[0, 0]
    context = encode_context(lifter.encoder, seen.detections())
    draws = sample_poses(seen, context.pose_mm.detach(), lifter.depth, 4000, seeds(1)).numpy()[0]
    spread = draws[:, 1:].std(axis=0)
    # The mixture is fitted to 200 draws: its mean is known to sd / sqrt(200), its sd to 5 %.
    error = (start.mean(axis=0) - draws.mean(axis=0))[1:] / spread
    assert np.abs(error).max() < 4 * (1 / 200 + 1 / 1000 + 1 / 4000) ** 0.5
    np.testing.assert_allclose(start[:, 1:].std(axis=0), spread, rtol=0.25)


def test_the_gaussian_process_starts_from_unit_noise() -> None:
    lifter = make_lifter(process="gaussian", n_steps=1, n_visited_steps=1)
    lifted = lifter.lift(observations(), SamplingSettings(n_hypotheses=500), seeds())
    start = lifted.trajectory_mm[0][..., 1:, :] * 0.0035  # minus the root's noise: variance 2
    assert abs(start.mean()) < 0.05
    assert start.var() == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("process", PROCESSES)
def test_the_seed_decides(process: str) -> None:
    lifter, settings = make_lifter(**PROCESSES[process]), SamplingSettings(n_hypotheses=2)
    first, again = (lifter.lift(observations(), settings, seeds()) for _ in range(2))
    for name, value in arrays(first).items():
        assert np.array_equal(value, arrays(again)[name]), name
    other = lifter.lift(observations(), settings, seeds(first=100))
    difference = np.abs(other.hypotheses_mm - first.hypotheses_mm).max()
    if process == "single_step":
        assert difference == 0
    else:
        assert difference > 1


@pytest.mark.parametrize("start", ["heatmap", "mixture"])
@pytest.mark.parametrize("process", PROCESSES)
def test_a_frames_answer_does_not_depend_on_its_batch(process: str, start: str) -> None:
    lifter = make_lifter(**PROCESSES[process])
    settings = SamplingSettings.model_validate({"n_hypotheses": 3, "start": start})
    together = lifter.lift(observations(), settings, seeds())
    chunked = lifter.lift(observations(), settings, seeds(), chunk=2)
    one = lifter.lift(take_rows(observations(), slice(3, 4)), settings, seeds(1, 3))
    assert chunked.steps == together.steps
    for name in ("pose_mm", "std_mm", "hypotheses_mm", "context_pose_mm"):
        whole = getattr(together, name)
        np.testing.assert_allclose(getattr(one, name)[0], whole[3], atol=1e-3, rtol=0)
        np.testing.assert_allclose(getattr(chunked, name), whole, atol=1e-3, rtol=0)
    # At 5 m a float32 has steps of 0.0005 mm.
    np.testing.assert_allclose(one.root_mm[0], together.root_mm[3], rtol=1e-6, atol=1e-2)
    trajectory = together.trajectory_mm
    np.testing.assert_allclose(one.trajectory_mm[:, 0], trajectory[:, 3], atol=1e-2)
    np.testing.assert_allclose(chunked.trajectory_mm, trajectory, atol=1e-2)


@pytest.mark.parametrize("process", ["mixture, next_on_grid", "gaussian, next_on_grid"])
def test_hypotheses_differ_at_temperature_1_and_coincide_at_0(process: str) -> None:
    lifter = make_lifter(**PROCESSES[process])
    warm = lifter.lift(observations(), SamplingSettings(n_hypotheses=4), seeds())
    for a in range(4):
        for b in range(a):
            apart = np.abs(warm.hypotheses_mm[:, a] - warm.hypotheses_mm[:, b])
            assert apart.reshape(B, -1).max(axis=1).min() > 1
    assert warm.std_mm[:, 1:].min() > 0.1
    cold = lifter.lift(observations(), SamplingSettings(n_hypotheses=4, temperature=0), seeds())
    np.testing.assert_allclose(
        cold.hypotheses_mm, cold.hypotheses_mm[:, :1].repeat(4, axis=1), atol=1e-3
    )
    assert cold.std_mm.max() < 1e-3
    reseeded = lifter.lift(
        observations(), SamplingSettings(n_hypotheses=4, temperature=0), seeds(first=9)
    )
    np.testing.assert_allclose(reseeded.pose_mm, cold.pose_mm, atol=1e-3)


def test_temperature_0_of_a_mixture_start_leaves_the_kernels_means_only() -> None:
    # One kernel: all hypotheses coincide. Two: they may start from either kernel's mean.
    for parametrisation in ("next_on_grid", "clean_pose"):
        lifter = make_lifter(parametrisation=parametrisation)
        settings = SamplingSettings(n_hypotheses=4, temperature=0, start="mixture")
        for m, n_starts in ((1, 1), (2, 2)):
            lifter.mixture_spec = MixtureSpec(n_kernels=m, n_draws=100, max_iterations=5)
            start = lifter.lift(observations(), settings, seeds()).trajectory_mm[0]
            kinds = {len(np.unique(start[row, :, 5], axis=0)) for row in range(B)}
            assert max(kinds) == n_starts


def test_wrong_input_is_refused() -> None:
    lifter, seen = make_lifter(), observations()
    with pytest.raises(ValueError, match="got 0 frames and 0 seeds"):
        lifter.lift(take_rows(seen, slice(0, 0)), SamplingSettings(), seeds(0))
    with pytest.raises(ValueError, match="got 5 frames and 4 seeds"):
        lifter.lift(seen, SamplingSettings(), seeds(4))
    assert seen.heatmaps is not None
    holed = seen.heatmaps.copy()
    holed[2, 7] = 0
    with pytest.raises(ValueError, match="row 2, joint 7 is empty"):
        lifter.lift(dataclasses.replace(seen, heatmaps=holed), SamplingSettings(), seeds())
    with pytest.raises(ValueError, match="carry none"):
        lifter.lift(dataclasses.replace(seen, heatmaps=None), SamplingSettings(), seeds())


def test_networks_are_in_evaluation_mode() -> None:
    lifter = make_lifter(dropout=0.5)
    assert not lifter.encoder.training
    assert not lifter.denoiser.training


def test_row_seeds_are_splitmix64_and_quiet() -> None:
    def expected(seed: int, row: int) -> int:
        mask = 2**64 - 1
        value = ((row + seed * 0xD1342543DE82EF95 + 1) * 0x9E3779B97F4A7C15) & mask
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        return value ^ (value >> 31)

    rows = np.array([0, 1, 2, 10**6])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in (0, 1, 2, 12345, 2**63 + 5):
            assert row_seeds(seed, rows).tolist() == [expected(seed, int(r)) for r in rows]
    many = np.concatenate([row_seeds(seed, np.arange(2000)) for seed in range(5)])
    assert len(np.unique(many)) == len(many)


def test_centred_draws_have_the_mean_of_h_k_and_its_spread() -> None:
    lifter, seen = make_lifter(), observations()
    plain = SamplingSettings(n_hypotheses=4)
    centred = SamplingSettings(n_hypotheses=4, centred=True)
    free = lifter.lift(seen, plain, seeds()).trajectory_mm[0]
    held = lifter.lift(seen, centred, seeds()).trajectory_mm[0]
    context = encode_context(lifter.encoder, seen.detections())
    mean = mean_pose(seen, context.pose_mm.detach(), lifter.depth).numpy()
    np.testing.assert_allclose(held.mean(axis=1), mean - mean[:, :1], atol=0.05)
    assert np.abs(free.mean(axis=1) - (mean - mean[:, :1])).max() > 5
    # an unbiased variance: the same about the draws' own mean
    apart = free - free.mean(axis=1, keepdims=True)
    ratio = (held - held.mean(axis=1, keepdims=True))[:, :, 1:] / apart[:, :, 1:]
    np.testing.assert_allclose(np.median(ratio), (4 / 3) ** 0.5, rtol=1e-3)


def test_one_draw_cannot_be_centred() -> None:
    lifter = make_lifter()
    for_one = [
        lifter.lift(observations(), SamplingSettings(n_hypotheses=1, centred=c), seeds()).pose_mm
        for c in (False, True)
    ]
    np.testing.assert_array_equal(*for_one)


def mirrored_observations(seen: Observations) -> Observations:
    """The same person in a mirror: heatmaps, crops and keypoints of the flipped image."""
    assert seen.heatmaps is not None
    order = list(MIRROR)
    width = seen.heatmaps.shape[-1]
    crops = seen.crops.copy()
    crops[:, 0] = 2 * CAMERA[2] - (seen.crops[:, 0] + width * seen.crops[:, 2])
    modes = seen.modes[:, order].copy()
    modes[..., [0, 3]] = 2 * CAMERA[2] - modes[..., [0, 3]]
    points = seen.keypoints_px[:, order].copy()
    points[..., 0] = 2 * CAMERA[2] - points[..., 0]
    return Observations(
        seen.heatmaps[:, order][..., ::-1].copy(), crops, points, modes, seen.camera
    )


@pytest.mark.parametrize("process", PROCESSES)
def test_with_the_mirror_image_a_mirrored_person_gets_the_mirrored_pose(process: str) -> None:
    lifter = make_lifter(**PROCESSES[process])
    # from the mean of H_K: draws of a mirrored heatmap are other draws
    settings = SamplingSettings(n_hypotheses=1, temperature=0, mirror=True)
    seen = observations()
    pose = lifter.lift(seen, settings, seeds())
    other = lifter.lift(mirrored_observations(seen), settings, seeds())
    back = other.pose_mm[:, list(MIRROR)] * np.array([-1, 1, 1])
    # clean_pose starts from fitted kernels, which differ by their draws
    if not (process.startswith("mixture") and "clean" in process):
        np.testing.assert_allclose(back, pose.pose_mm, atol=0.05)
    context = other.context_pose_mm[:, list(MIRROR)] * np.array([-1, 1, 1])
    np.testing.assert_allclose(context, pose.context_pose_mm, atol=0.05)
    alone = lifter.lift(seen, settings.model_copy(update={"mirror": False}), seeds())
    assert np.abs(alone.pose_mm - pose.pose_mm).max() > 0.5


def test_windows_see_their_own_sequence_alone() -> None:
    torch.manual_seed(0)
    encoder = Mixste(MixsteConfig(frames=4, width=16, depth=1, n_heads=2))
    with torch.no_grad():
        encoder.exit.weight.mul_(0.1)
    denoiser = Denoiser(DenoiserConfig(width=16, n_blocks=1, n_heads=2), 16)
    spec = MixtureSpec(n_kernels=2, n_draws=200, max_iterations=20)
    lifter = DiffusionLifter(encoder, denoiser, EncoderDepth(torch.full((17,), 60.0)), spec)
    seen, settings = observations(), SamplingSettings(n_hypotheses=2)
    together = lifter.lift(seen, settings, seeds(), lengths=[2, 3])
    apart = [
        lifter.lift(take_rows(seen, slice(a, b)), settings, seeds(b - a, a))
        for a, b in ((0, 2), (2, 5))
    ]
    expected = np.concatenate([part.pose_mm for part in apart])
    np.testing.assert_allclose(together.pose_mm, expected, atol=0.05)
    one = lifter.lift(seen, settings, seeds())
    assert np.abs(one.pose_mm - expected).max() > 0.5
    part = [one.rows(slice(2, 5)) for one in lifter.passes(seen, settings, [2, 3])]
    later = lifter.lift(take_rows(seen, slice(2, 5)), settings, seeds(3, 2), passes=part)
    np.testing.assert_allclose(later.pose_mm, expected[2:], atol=0.05)
    with pytest.raises(ValueError, match="4 frames together, the observations 5"):
        lifter.lift(seen, settings, seeds(), lengths=[2, 2])


def test_a_held_mean_stays_that_of_the_first_estimate_and_leaves_the_spread() -> None:
    lifter = make_lifter(parametrisation="clean_pose", reads="blend")
    lifter.mixture_spec = MixtureSpec(n_kernels=1)  # drawn from H_K itself, nothing fitted
    seen, settings = observations(), SamplingSettings(n_hypotheses=4)
    free = lifter.lift(seen, settings, seeds())
    held = lifter.lift(seen, settings.model_copy(update={"held_mean": True}), seeds())
    lifter.grid = (50, 0)
    first = lifter.lift(seen, settings, seeds())
    np.testing.assert_allclose(held.pose_mm, first.pose_mm, atol=0.01)
    assert np.abs(free.pose_mm - first.pose_mm).max() > 1
    assert held.std_mm[:, 1:].min() > 1
    np.testing.assert_allclose(held.trajectory_mm[0], free.trajectory_mm[0])


def test_one_kernel_starts_from_draws_of_h_k() -> None:
    lifter = make_lifter(parametrisation="clean_pose")
    lifter.mixture_spec = MixtureSpec(n_kernels=1)
    seen, settings = observations(), SamplingSettings(n_hypotheses=3)
    start = lifter.lift(seen, settings, seeds()).trajectory_mm[0]
    context = encode_context(lifter.encoder, seen.detections())
    drawn = sample_poses(seen, context.pose_mm.detach(), lifter.depth, 3, seeds()).numpy()
    np.testing.assert_allclose(start, drawn - drawn[:, :, :1], atol=0.05)


@pytest.mark.parametrize(("n_hypotheses", "frames"), [(1, 3), (5, 3), (160, 3), (600, 1)])
def test_many_hypotheses_take_fewer_frames_at_a_time(
    monkeypatch: pytest.MonkeyPatch, n_hypotheses: int, frames: int
) -> None:
    monkeypatch.setattr(lifter_module, "FRAMES_PER_PASS", 3)
    made = make_lifter()
    passes: list[int] = []
    lift = made._lift

    def counted(observations: Observations, *rest: Any) -> Lifted:
        passes.append(len(observations))
        return lift(observations, *rest)

    monkeypatch.setattr(made, "_lift", counted)
    made.lift(observations(), SamplingSettings(n_hypotheses=n_hypotheses), seeds())
    assert max(passes) == frames
    assert sum(passes) == B


def test_parts_of_a_sequence_are_lifted_as_the_whole() -> None:
    made = make_lifter()
    made.errors_mm2 = 400.0 * np.eye(N_VALUES)
    sampling = SamplingSettings(n_hypotheses=3, refine="clip")
    seen = observations()
    whole = made.lift(seen, sampling, seeds())
    cuts = (slice(0, 2), slice(2, B))
    light = replace(seen, heatmaps=None)
    parts = lift_in_parts(made, light, (take_rows(seen, c) for c in cuts), sampling, seeds())
    np.testing.assert_allclose(parts.pose_mm, whole.pose_mm, atol=0.05)
    np.testing.assert_allclose(parts.hypotheses_mm, whole.hypotheses_mm, atol=0.05)
    assert len(parts.trajectory_mm) == 1
    with pytest.raises(ValueError, match=rf"2 frames together, {B} were seen"):
        lift_in_parts(made, light, [take_rows(seen, cuts[0])], sampling, seeds())
