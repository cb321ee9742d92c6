"""From detections to 3D poses: the one path that evaluation and serving share (Sec. 4.4, testing).

detections -> context encoder -> H_K -> N hypotheses -> reverse process -> mean and spread.

Axis legend: B frames, N hypotheses, J = 17 joints. Everything public is in mm, root-relative, in
the camera frame (x right, y down, z forward).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from torch import Tensor, nn

from diffpose.model import initial_distribution as hk
from diffpose.model import mixture as mix
from diffpose.model.camera import back_project
from diffpose.model.context_encoders.graformer import Graformer
from diffpose.model.denoiser import Denoiser, DenoiserConfig
from diffpose.model.detections import POSE_SCALE_PER_MM, Detections, condition
from diffpose.model.diffusion import reverse_process
from diffpose.model.initial_distribution import DepthPrior, Observations
from diffpose.model.mixture_fit import fit_mixtures
from diffpose.model.noise_schedule import cumulative_alphas, step_grid
from diffpose.model.skeleton import ROOT


class SamplingSettings(BaseModel, frozen=True, extra="forbid"):
    """How hypotheses are drawn and walked back."""

    n_hypotheses: int = Field(5, ge=1, le=1000, description="N")
    temperature: float = Field(
        1.0,
        ge=0,
        le=4,
        description="1: start from draws of H_K (the paper); 0: from its mean (with start=mixture: "
        "from the drawn kernels' means); between: shrunk",
    )
    start: Literal["heatmap", "mixture"] = Field(
        "heatmap",
        description="heatmap: draw from H_K itself; mixture: from the mixture fitted to it "
        "(always so for clean_pose, which needs the kernel's mean)",
    )


@dataclass(frozen=True)
class Context:
    """What the denoiser knows of B frames besides h_k; computed once per frame.

    Attributes:
        features: f_ST, (B, J, C).
        pose_mm: the context encoder's pose, (B, J, 3).
        translation_mm: root position that projects this pose onto the detections, (B, 3).
        conditions: detections.condition, (B, J, 9).
    """

    features: Tensor
    pose_mm: Tensor
    translation_mm: Tensor
    conditions: Tensor

    def repeated(self, n: int) -> Context:
        """Return the context with each frame n times in a row."""
        return Context(
            *(
                part.repeat_interleave(n, dim=0)
                for part in (self.features, self.pose_mm, self.translation_mm, self.conditions)
            )
        )


@dataclass(frozen=True)
class Lifted:
    """3D poses of B frames.

    Attributes:
        pose_mm: (B, J, 3), mean of the hypotheses.
        std_mm: (B, J), root mean square distance of the hypotheses from their mean.
        hypotheses_mm: (B, N, J, 3).
        context_pose_mm: (B, J, 3), what the context encoder alone says.
        root_mm: (B, 3), estimated root position in the camera frame.
        trajectory_mm: (steps + 1, B, N, J, 3), h_K first; the last entry are the hypotheses.
        steps: the visited k, K first, 0 last.
    """

    pose_mm: NDArray[np.float32]
    std_mm: NDArray[np.float32]
    hypotheses_mm: NDArray[np.float32]
    context_pose_mm: NDArray[np.float32]
    root_mm: NDArray[np.float32]
    trajectory_mm: NDArray[np.float32]
    steps: tuple[int, ...]


def encode_context(encoder: Graformer, detections: Detections) -> Context:
    """Run the frozen context encoder and put the heatmaps' claims beside it."""
    features, pose_mm = encoder.poses_mm(detections.rays)
    translation = detections.translation_mm(pose_mm)
    return Context(features, pose_mm, translation, condition(detections, pose_mm, translation))


def denoise_step(
    denoiser: nn.Module,
    config: DenoiserConfig,
    h_k: Tensor,
    context: Context,
    k: Tensor,
    alpha: Tensor,
) -> Tensor:
    """Apply g once, with the skip that its parametrisation asks for.

    ``next_on_grid``: h_k + change. ``clean_pose``: alpha_k h_k + (1 - alpha_k) context pose +
    change, which is the context pose at alpha ~ 0 and the identity at alpha ~ 1. ``single_step``:
    context pose + change.

    Args:
        denoiser: g, possibly wrapped for distributed training.
        config: of g.
        h_k: (B, J, 3), space of h.
        context: B frames.
        k: (B,).
        alpha: alpha_k, (B, 1, 1).
    """
    change: Tensor = denoiser(h_k, context.features, context.conditions, k)
    if config.process == "single_step":
        return context.pose_mm * POSE_SCALE_PER_MM + change
    if config.parametrisation == "next_on_grid":
        return h_k + change
    return alpha * h_k + (1.0 - alpha) * context.pose_mm * POSE_SCALE_PER_MM + change


def single_step_input(detections: Detections, context: Context) -> Tensor:
    """Return Baseline A's input: the detected 2D pose at the encoder's depth, (B, J, 3)."""
    z = context.pose_mm[..., 2]
    pose = back_project(detections.rays, z, context.translation_mm)
    return pose * POSE_SCALE_PER_MM


class Lifter:
    """A context encoder and a denoiser, ready to answer."""

    def __init__(
        self,
        encoder: Graformer,
        denoiser: Denoiser,
        depth: DepthPrior,
        mixture_spec: mix.MixtureSpec,
    ) -> None:
        """Take trained networks (they are put into evaluation mode).

        Args:
            encoder: frozen context encoder.
            denoiser: g.
            depth: the prior of z that g was trained with.
            mixture_spec: how mixtures were fitted; only ``start: mixture`` fits any here.
        """
        self.encoder = encoder.eval()
        self.denoiser = denoiser.eval()
        self.depth = depth
        self.mixture_spec = mixture_spec
        config = denoiser.config
        self.alphas = cumulative_alphas(config.schedule, config.n_steps)
        self.grid = step_grid(config.n_steps, config.n_visited_steps)

    @torch.inference_mode()
    def lift(
        self,
        observations: Observations,
        sampling: SamplingSettings,
        seeds: NDArray[np.uint64],
        chunk: int = 128,
    ) -> Lifted:
        """Lift B frames.

        Args:
            observations: detections with heatmaps.
            sampling: N, temperature, start.
            seeds: (B,), one per frame; the answer does not depend on the batch a frame is in.
            chunk: frames per pass (activations of more leave the processor's cache).

        Raises:
            ValueError: no frames, a heatmap is empty, or seeds and frames differ in number.
        """
        if len(observations) == 0 or len(seeds) != len(observations):
            raise ValueError(
                f"Expected at least one frame and one seed per frame, got {len(observations)} "
                f"frames and {len(seeds)} seeds."
            )
        parts = [
            self._lift(
                hk.take_rows(observations, slice(i, i + chunk)), sampling, seeds[i : i + chunk]
            )
            for i in range(0, len(observations), chunk)
        ]
        if len(parts) == 1:
            return parts[0]
        return Lifted(
            pose_mm=np.concatenate([p.pose_mm for p in parts]),
            std_mm=np.concatenate([p.std_mm for p in parts]),
            hypotheses_mm=np.concatenate([p.hypotheses_mm for p in parts]),
            context_pose_mm=np.concatenate([p.context_pose_mm for p in parts]),
            root_mm=np.concatenate([p.root_mm for p in parts]),
            trajectory_mm=np.concatenate([p.trajectory_mm for p in parts], axis=1),
            steps=parts[0].steps,
        )

    def _lift(
        self, observations: Observations, sampling: SamplingSettings, seeds: NDArray[np.uint64]
    ) -> Lifted:
        device = next(self.encoder.parameters()).device
        detections = observations.detections().to(device)
        context = encode_context(self.encoder, detections)
        n_frames, n = len(observations), sampling.n_hypotheses
        config = self.denoiser.config
        if config.process == "single_step":
            n = 1  # one step from a determinate input has one answer
            start, mu = (
                single_step_input(detections, context)[:, None],
                torch.zeros((), device=device),
            )
            steps: tuple[int, ...] = (config.n_steps, 0)
        else:
            bridge_mm = context.pose_mm.cpu()  # H_K is drawn on the CPU, on any device alike
            start, mu = self._start(observations, bridge_mm, sampling, seeds)
            start, mu = start.to(device), mu.to(device)
            steps = self.grid
        repeated = context.repeated(n)

        def network(h_k: Tensor, k: int) -> Tensor:
            step = torch.full((len(h_k),), k, device=device)
            alpha = self.alphas[k].to(h_k.dtype)
            return denoise_step(self.denoiser, config, h_k, repeated, step, alpha)

        flat_mu = mu.flatten(0, 1) if mu.ndim == 4 else mu
        trajectory = reverse_process(
            network, start.flatten(0, 1), flat_mu, self.alphas, steps, config.parametrisation
        )
        poses = torch.stack(trajectory).cpu() / POSE_SCALE_PER_MM
        poses = poses.view(len(steps), n_frames, n, *poses.shape[2:])
        poses = poses - poses[..., ROOT : ROOT + 1, :]
        hypotheses = poses[-1]
        mean = hypotheses.mean(dim=1)
        spread = (hypotheses - mean[:, None]).square().sum(dim=-1).mean(dim=1).sqrt()
        return Lifted(
            mean.numpy(),
            spread.numpy(),
            hypotheses.numpy(),
            context.pose_mm.cpu().numpy(),
            context.translation_mm.cpu().numpy(),
            poses.numpy(),
            steps,
        )

    def _start(
        self,
        observations: Observations,
        bridge_mm: Tensor,
        sampling: SamplingSettings,
        seeds: NDArray[np.uint64],
    ) -> tuple[Tensor, Tensor]:
        """Return h_K and each hypothesis's kernel mean, (B, N, J, 3) in the space of h."""
        n, tau = sampling.n_hypotheses, sampling.temperature
        if self.denoiser.config.process == "gaussian":
            noise = torch.stack(
                [
                    torch.randn(
                        (n, *bridge_mm.shape[1:]),
                        generator=torch.Generator().manual_seed(int(s) & (2**63 - 1)),
                    )
                    for s in seeds
                ]
            )
            return tau * noise, torch.zeros_like(noise)
        if sampling.start == "mixture" or self.denoiser.config.parametrisation == "clean_pose":
            return self._start_from_mixture(observations, bridge_mm, n, tau, seeds)
        draws = hk.draw_poses(observations, bridge_mm, self.depth, n, seeds)
        mean = hk.mean_pose(observations, bridge_mm, self.depth)[:, None]
        start = mean + tau * (draws - mean)
        return start * POSE_SCALE_PER_MM, mean.expand_as(draws) * POSE_SCALE_PER_MM

    def _start_from_mixture(
        self,
        observations: Observations,
        bridge_mm: Tensor,
        n: int,
        tau: float,
        seeds: NDArray[np.uint64],
    ) -> tuple[Tensor, Tensor]:
        spec = self.mixture_spec
        draws = hk.draw_poses(
            observations, bridge_mm, self.depth, spec.n_draws, seeds,
            stratified=spec.sampling == "stratified",
        )  # fmt: skip
        fitted = fit_mixtures(draws, spec, seeds)
        mus, noises = [], []
        for i, seed in enumerate(seeds):
            generator = torch.Generator().manual_seed(int(seed) & (2**63 - 1))
            row = mix.GaussianMixture(
                fitted.weights[i : i + 1],
                fitted.means_mm[i : i + 1],
                fitted.scale_tril_mm[i : i + 1],
            )
            mu, noise = mix.sample(row, spec, generator, n)
            mus.append(mu)
            noises.append(noise)
        mu, noise = torch.cat(mus).to(torch.float32), torch.cat(noises).to(torch.float32)
        return (mu + tau * noise) * POSE_SCALE_PER_MM, mu * POSE_SCALE_PER_MM


def row_seeds(seed: int, rows: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return one well-mixed seed per row number (splitmix64), so that rows can be lifted apart."""
    start = np.uint64(seed * 0xD1342543DE82EF95 & (2**64 - 1))
    value = np.asarray(rows).astype(np.uint64) + start
    value = (value + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
