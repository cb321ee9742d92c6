"""The released pipeline: inputs, schedule, sampler and context against a plain rendering."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from official_files import FRAMES, gcn_diff, gcn_pose, mixste, save_list, save_mixste

from diffpose.model.geometry.skeleton import LEFT, RIGHT
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.observations.initial_distribution import Observations
from diffpose.model.released.official_lifter import (
    OfficialCamera,
    OfficialLifter,
    OfficialProcess,
    frame_context,
    screen_coordinates,
    window_context,
)
from diffpose.platform.runs.official_checkpoint import read_context, read_denoiser
from diffpose.preprocessing.datasets.human36m_cameras import CAMERAS

KNOWN = tuple(
    OfficialCamera(
        name=c.name, width=c.width, height=c.height, focal_px=c.lens.focal_px,
        centre_px=c.lens.centre_px, radial=c.lens.radial, tangential=c.lens.tangential,
    )
    for c in CAMERAS
)  # fmt: skip
FRAME = OfficialProcess(cameras=KNOWN)
VIDEO = OfficialProcess(cameras=KNOWN, visited=(1,), mirror_context=True, context_root=False)
SAMPLING = SamplingSettings()


def released_inputs(frames: int) -> tuple[NDArray[np.float64], Observations]:
    """Pixels as Human3.6M's files have them, by the first three cameras in turn, and as we do."""
    rng = np.random.default_rng(frames)
    people = rng.normal([300, 0, 4500], [250, 450, 200], (frames, 17, 3))
    seen_by = [CAMERAS[i % 3] for i in range(frames)]
    pixels = np.stack([c.lens.project(p) for c, p in zip(seen_by, people, strict=True)])
    straight = np.stack([c.lens.straightened(p) for c, p in zip(seen_by, pixels, strict=True)])
    camera = np.stack([c.lens.pinhole for c in seen_by])
    sizes = [(c.width, c.height) for c in seen_by]
    screen = np.stack([p / w * 2 - [1, h / w] for p, (w, h) in zip(pixels, sizes, strict=True)])
    observations = Observations.from_keypoints(
        straight, camera, sigma_px=np.full((frames, 17), 3.0)
    )
    # exact points: those decoded from the heatmaps are off by a fraction of a pixel
    return screen, replace(observations, keypoints_px=straight.astype(np.float32))


def released_walk(network, start: torch.Tensor, seq: list[int]) -> torch.Tensor:
    """Plain DDIM over the released schedule, steps counted as in their code."""
    betas = np.linspace(1e-4, 1e-3, 51)
    x = start.double()
    for position, t in reversed(list(enumerate(seq))):
        before = seq[position - 1] if position else -1
        alpha = math.prod(1 - betas[: t + 1])
        alpha_before = math.prod(1 - betas[: before + 1])
        noise = network(x.float(), torch.full((len(x),), t)).double()
        clean = (x - noise * math.sqrt(1 - alpha)) / math.sqrt(alpha)
        x = math.sqrt(alpha_before) * clean + math.sqrt(1 - alpha_before) * noise
    return x


@torch.no_grad()
def test_frames_are_lifted_as_released(tmp_path) -> None:
    pose, diff = gcn_pose(), gcn_diff()
    lifter = OfficialLifter(
        frame_context(read_context(save_list(tmp_path / "p.pth", pose), "plain", None)),
        read_denoiser(save_list(tmp_path / "d.pth", diff), "plain", None, 51),
        FRAME,
    )
    pixels, observations = released_inputs(5)
    screen = torch.from_numpy(pixels).float()
    xyz = pose(screen)
    xyz = xyz - xyz[:, :1]
    end = released_walk(diff, torch.cat([screen, xyz], dim=-1), [0, 12])[..., 2:]
    expected_mm = 1000 * (end - end[:, :1]).numpy()
    lifted = lifter.lift(observations, SAMPLING, np.zeros(5, np.uint64), chunk=2)
    # keypoints are float32 px, straightened and bent again: some 1e-6 of the screen
    np.testing.assert_allclose(lifted.pose_mm, expected_mm, atol=0.1)
    np.testing.assert_allclose(lifted.context_pose_mm, 1000 * xyz.numpy(), atol=0.1)
    assert np.abs(lifted.pose_mm - lifted.context_pose_mm).mean() > 10
    assert lifted.hypotheses_mm.shape == (5, 1, 17, 3)
    assert lifted.trajectory_mm.shape == (3, 5, 1, 17, 3)
    np.testing.assert_array_equal(lifted.trajectory_mm[-1, :, 0], lifted.pose_mm)
    assert lifted.steps == (13, 1, 0)
    assert not lifted.std_mm.any()
    assert lifted.root_mm.shape == (5, 3)


@torch.no_grad()
def test_windows_are_lifted_as_released(tmp_path) -> None:
    encoder, diff = mixste(), gcn_diff()
    lifter = OfficialLifter(
        window_context(read_context(save_mixste(tmp_path / "m.bin", encoder), "plain", 4)),
        read_denoiser(save_list(tmp_path / "d.pth", diff), "plain", None, 51),
        VIDEO,
    )
    pixels, observations = released_inputs(2 * FRAMES)
    windows = torch.from_numpy(pixels).float().view(2, FRAMES, 17, 2)
    exchanged = [*LEFT, *RIGHT], [*RIGHT, *LEFT]
    flipped = windows * torch.tensor([-1.0, 1.0])
    flipped[:, :, exchanged[0]] = flipped[:, :, exchanged[1]]
    back = encoder(flipped) * torch.tensor([-1.0, 1.0, 1.0])
    back[:, :, exchanged[0]] = back[:, :, exchanged[1]]
    xyz = ((encoder(windows) + back) / 2).flatten(0, 1)
    start = torch.cat([windows.flatten(0, 1), xyz], dim=-1)
    end = released_walk(diff, start, [0])[..., 2:]
    lifted = lifter.lift(observations, SAMPLING, np.zeros(2 * FRAMES, np.uint64), [2 * FRAMES])
    expected_mm = 1000 * (end - end[:, :1]).numpy()
    np.testing.assert_allclose(lifted.pose_mm, expected_mm, atol=0.1)
    two = lifter.lift(observations, SAMPLING, np.zeros(2 * FRAMES, np.uint64), [FRAMES, FRAMES])
    np.testing.assert_allclose(two.pose_mm, expected_mm, atol=0.1)


def test_known_cameras_get_their_own_screen() -> None:
    pixels, observations = released_inputs(6)
    rays = observations.detections().rays
    screen = screen_coordinates(rays, torch.from_numpy(observations.camera), KNOWN)
    np.testing.assert_allclose(screen.numpy(), pixels, atol=3e-6)


def test_unknown_cameras_are_shown_as_the_first_sees_them() -> None:
    _, observations = released_inputs(1)  # seen by the first
    rays = observations.detections().rays
    own, other = (
        screen_coordinates(rays, torch.tensor([camera]), KNOWN)
        for camera in ([1145.05, 1143.78, 512.54, 515.45], [2000.0, 2000.0, 960.0, 540.0])
    )
    torch.testing.assert_close(own, other)


@torch.no_grad()
def test_passes_before_and_within_lift_agree(tmp_path) -> None:
    lifter = OfficialLifter(
        frame_context(read_context(save_list(tmp_path / "p.pth", gcn_pose()), "plain", None)),
        read_denoiser(save_list(tmp_path / "d.pth", gcn_diff()), "plain", None, 51),
        FRAME,
    )
    _, observations = released_inputs(3)  # of three cameras
    seeds = np.zeros(3, np.uint64)
    passes = lifter.passes(replace(observations, heatmaps=None), SAMPLING)
    first = lifter.lift(observations, SAMPLING, seeds, passes=passes)
    second = lifter.lift(observations, SAMPLING, seeds)
    np.testing.assert_allclose(first.pose_mm, second.pose_mm, atol=1e-3)


def test_schedule_is_the_released_one() -> None:
    alphas = FRAME.alphas()
    assert alphas.shape == (52,)
    assert alphas[0] == 1
    assert float(alphas[-1]) == pytest.approx(0.9723, abs=1e-4)  # nothing like 0


@pytest.mark.parametrize("visited", [(), (1, 13), (13, 0), (52,)])
def test_impossible_steps_are_refused(visited: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must fall"):
        OfficialProcess(cameras=KNOWN, visited=visited)
