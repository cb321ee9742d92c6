"""From detections to 3D poses: the one path that evaluation and serving share (Sec. 4.4, testing).

detections -> context encoder -> H_K -> N hypotheses -> reverse process -> mean and spread.

Axis legend: B frames, N hypotheses, J = 17 joints. Everything public is in mm, root-relative, in
the camera frame (x right, y down, z forward).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffpose.model.diffusion.process import reverse_process
from diffpose.model.diffusion.schedule import cumulative_alphas
from diffpose.model.geometry.camera import back_project
from diffpose.model.geometry.skeleton import ROOT
from diffpose.model.lifting.interface import FRAMES_PER_PASS, Pass, refined_as_asked
from diffpose.model.lifting.prediction import Lifted
from diffpose.model.lifting.sampling import SamplingSettings, centred
from diffpose.model.mixture_fitting.fit import fit_mixtures
from diffpose.model.mixtures import gaussian_mixture as mix
from diffpose.model.networks.context import Context, encode_context
from diffpose.model.networks.denoiser import Denoiser, DenoiserConfig
from diffpose.model.networks.encoders import ContextEncoder
from diffpose.model.observations import initial_distribution as hk
from diffpose.model.observations.detections import POSE_SCALE_PER_MM, Detections, mirrored_poses
from diffpose.model.observations.initial_distribution import DepthPrior, Observations
from diffpose.model.uncertainty.familiarity import Regions

HYPOTHESES_PER_PASS = 5 * FRAMES_PER_PASS


def denoise_step(
    denoiser: nn.Module,
    config: DenoiserConfig,
    h_k: Tensor,
    context: Context,
    k: Tensor,
    alpha: Tensor,
) -> Tensor:
    """Apply g once, with the skip that its parametrisation asks for (diffusion/parametrisation).

    Args:
        denoiser: g, possibly wrapped for distributed training.
        config: of g.
        h_k: (B, J, 3), space of h.
        context: B frames.
        k: (B,).
        alpha: alpha_k, (B, 1, 1).
    """
    context_pose = context.pose_mm * POSE_SCALE_PER_MM
    blend = alpha * h_k + (1.0 - alpha) * context_pose
    read = blend if config.reads == "blend" and config.process != "single_step" else h_k
    change: Tensor = denoiser(read, context.features, context.conditions, k)
    return config.predicts.skip(h_k, blend, context_pose) + change


def single_step_input(detections: Detections, context: Context) -> Tensor:
    """Return Baseline A's input: the detected 2D pose at the encoder's depth, (B, J, 3)."""
    z = context.pose_mm[..., 2]
    pose = back_project(detections.rays, z, context.translation_mm)
    return pose * POSE_SCALE_PER_MM


class DiffusionLifter:
    """A context encoder and a denoiser, ready to answer (`lifting.interface.Lifter`)."""

    runs_on: tuple[str, ...] = ("cpu", "cuda")

    def __init__(
        self,
        encoder: ContextEncoder,
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
        # S of map_refinement, where it was measured.
        self.errors_mm2: NDArray[np.float64] | None = None
        self.regions: Regions | None = None
        self.alphas = cumulative_alphas(config.schedule, config.n_steps)
        self.grid = config.grid

    def to(self, device: torch.device) -> DiffusionLifter:
        """Move the networks; H_K is drawn on the CPU and answers are arrays, wherever they are."""
        self.encoder.to(device)
        self.denoiser.to(device)
        return self

    @torch.inference_mode()
    def lift(
        self,
        observations: Observations,
        sampling: SamplingSettings,
        seeds: NDArray[np.uint64],
        lengths: Sequence[int] | None = None,
        passes: Sequence[Pass] | None = None,
        chunk: int | None = None,
    ) -> Lifted:
        """Lift B frames.

        Args:
            observations: detections with heatmaps.
            sampling: N, temperature, start.
            seeds: (B,), one per frame; the answer does not depend on the batch a frame is in.
            lengths: frames of the sequences that these are, one after the other, for encoders of
                windows; default: one sequence.
            passes: what self.passes returned for these frames, where it was computed before.
            chunk: frames per pass; default: FRAMES_PER_PASS, fewer with more than five hypotheses.

        Raises:
            ValueError: no frames, a heatmap is empty, or seeds and frames differ in number.
        """
        if len(observations) == 0 or len(seeds) != len(observations):
            raise ValueError(
                f"Expected at least one frame and one seed per frame, got {len(observations)} "
                f"frames and {len(seeds)} seeds."
            )
        if lengths is not None and sum(lengths) != len(observations):
            raise ValueError(
                f"The sequences have {sum(lengths)} frames together, the observations "
                f"{len(observations)}."
            )
        if passes is None:
            passes = self.passes(observations, sampling, lengths)
        if chunk is None:
            chunk = max(1, min(FRAMES_PER_PASS, HYPOTHESES_PER_PASS // sampling.n_hypotheses))
        parts = [
            self._lift(
                hk.take_rows(observations, slice(i, i + chunk)),
                [one.rows(slice(i, i + chunk)) for one in passes],
                sampling,
                seeds[i : i + chunk],
            )
            for i in range(0, len(observations), chunk)
        ]
        return self.refined(
            Lifted.joined(parts), passes[0].detections, sampling, lengths, observations.time_s
        )

    def refined(
        self,
        lifted: Lifted,
        detections: Detections,
        sampling: SamplingSettings,
        lengths: Sequence[int] | None = None,
        time_s: NDArray[np.floating] | None = None,
    ) -> Lifted:
        """Move answers to where heatmaps and bone lengths want them, if ``sampling.refine`` says.

        A call of its own for what was lifted in parts: a person's bones have one length in all.

        Args:
            lifted: B frames.
            detections: of these.
            sampling: ``refine`` and ``smooth`` count.
            lengths: see lift.
            time_s: (B,), when the frames were taken, for ``smooth``.

        Raises:
            ValueError: the run's errors on known poses were not measured, or times are unknown.
        """
        return refined_as_asked(
            lifted, detections, sampling, self.errors_mm2, lengths,
            regions=self.regions, time_s=time_s,
        )  # fmt: skip

    @torch.inference_mode()
    def passes(
        self,
        observations: Observations,
        sampling: SamplingSettings,
        lengths: Sequence[int] | None = None,
    ) -> list[Pass]:
        """Return what the networks see: the frames and, when asked for, their mirror images.

        Worth a call of its own for a long sequence whose heatmaps are lifted in parts.

        Args:
            observations: B frames; their heatmaps may be left out.
            sampling: ``mirror`` counts.
            lengths: see lift.
        """
        device = next(self.encoder.parameters()).device
        seen = observations.detections().to(device)
        steps = observations.steps_s(lengths)
        found = [Pass(seen, encode_context(self.encoder, seen, lengths, steps))]
        if sampling.mirror:
            everything = torch.ones(len(seen.rays), dtype=torch.bool, device=device)
            image = seen.mirrored(everything)
            context = encode_context(self.encoder, image, lengths, steps)
            found.append(Pass(image, context, mirrored=True))
        return found

    def _lift(
        self,
        observations: Observations,
        passes: Sequence[Pass],
        sampling: SamplingSettings,
        seeds: NDArray[np.uint64],
    ) -> Lifted:
        context = passes[0].context
        device = context.pose_mm.device
        everything = torch.ones(len(observations), dtype=torch.bool, device=device)
        # the mean of what the encoder says of the frame and, if that is looked at, of its image
        context_mm = torch.stack(
            [
                mirrored_poses(one.context.pose_mm, everything)
                if one.mirrored
                else one.context.pose_mm
                for one in passes
            ]
        ).mean(dim=0)
        single_step = self.denoiser.config.process == "single_step"
        steps: tuple[int, ...] = (self.grid[0], 0) if single_step else self.grid
        drawn = None
        if not single_step:  # H_K is sampled on the CPU, on any device alike
            poses, kernel_means = self._start(observations, context_mm.cpu(), sampling, seeds)
            drawn = poses.to(device), kernel_means.to(device)
        walks = []
        for one in passes:
            if drawn is None:  # a determinate input has one answer
                start = single_step_input(one.detections, one.context)[:, None]
                mu = torch.zeros_like(start)
            elif one.mirrored:
                start, mu = (_mirrored_hypotheses(part, everything) for part in drawn)
            else:
                start, mu = drawn
            walk = self._walk(start, mu, one.context, steps, held_mean=sampling.held_mean)
            walks.append(_mirrored_hypotheses(walk, everything) if one.mirrored else walk)
        poses = torch.stack(walks).mean(dim=0).cpu() / POSE_SCALE_PER_MM
        if sampling.root == "subtracted":
            poses = poses - poses[..., ROOT : ROOT + 1, :]
        hypotheses = poses[-1]
        mean = hypotheses.mean(dim=1)
        spread = (hypotheses - mean[:, None]).square().sum(dim=-1).mean(dim=1).sqrt()
        return Lifted(
            mean.numpy(),
            spread.numpy(),
            hypotheses.numpy(),
            context_mm.cpu().numpy(),
            context.translation_mm.cpu().numpy(),
            poses.numpy(),
            steps,
        )

    def _walk(
        self,
        start: Tensor,
        mu: Tensor,
        context: Context,
        steps: tuple[int, ...],
        *,
        held_mean: bool,
    ) -> Tensor:
        """Walk hypotheses (B, N, J, 3) back; returns (steps + 1, B, N, J, 3), h_K first.

        ``held_mean``: what g estimates at step k is E[h_0 | h_k], and the mean of these over all
        h_k is E[h_0] (the tower property), at every k. The estimates of a trained g drift from it
        step by step; their mean over the N hypotheses is put back to that of the first step.
        """
        config = self.denoiser.config
        repeated = context.repeated(start.shape[1])
        held: list[Tensor] = []

        def network(h_k: Tensor, k: int) -> Tensor:
            step = torch.full((len(h_k),), k, device=h_k.device)
            alpha = self.alphas[k].to(h_k.dtype)
            output = denoise_step(self.denoiser, config, h_k, repeated, step, alpha)
            if not held_mean or not config.predicts.estimates_clean_pose:
                return output
            estimates = output.view(start.shape)
            mean = estimates.mean(dim=1, keepdim=True)
            held.append(mean)
            return (estimates - mean + held[0]).flatten(0, 1)

        trajectory = reverse_process(
            network, start.flatten(0, 1), mu.flatten(0, 1), self.alphas, steps,
            config.predicts.step,
        )  # fmt: skip
        return torch.stack(trajectory).view(len(steps), *start.shape)

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
            return tau * centred(noise, sampling), torch.zeros_like(noise)
        needs_mean = self.denoiser.config.predicts.needs_kernel_mean
        # The mean of a single kernel is that of H_K itself: nothing need be fitted.
        if sampling.start == "mixture" or (needs_mean and self.mixture_spec.n_kernels > 1):
            return self._start_from_mixture(observations, bridge_mm, sampling, seeds)
        draws = hk.sample_poses(observations, bridge_mm, self.depth, n, seeds)
        mean = hk.mean_pose(observations, bridge_mm, self.depth)[:, None]
        start = mean + tau * centred(draws - mean, sampling)
        return start * POSE_SCALE_PER_MM, mean.expand_as(draws) * POSE_SCALE_PER_MM

    def _start_from_mixture(
        self,
        observations: Observations,
        bridge_mm: Tensor,
        sampling: SamplingSettings,
        seeds: NDArray[np.uint64],
    ) -> tuple[Tensor, Tensor]:
        n, tau = sampling.n_hypotheses, sampling.temperature
        spec = self.mixture_spec
        draws = hk.sample_poses(
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
        noise = centred(noise, sampling)
        return (mu + tau * noise) * POSE_SCALE_PER_MM, mu * POSE_SCALE_PER_MM


def _mirrored_hypotheses(poses: Tensor, which: Tensor) -> Tensor:
    """Mirror the frames ``which`` (B,) of poses (..., B, N, J, 3)."""
    moved = poses.movedim(-4, 0)
    flat = moved.flatten(1, -3)
    mirrored = mirrored_poses(flat.flatten(0, 1), which.repeat_interleave(flat.shape[1]))
    return mirrored.view(moved.shape).movedim(0, -4)


def row_seeds(seed: int, rows: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return one well-mixed seed per row number (splitmix64), so that rows can be lifted apart."""
    start = np.uint64(seed * 0xD1342543DE82EF95 & (2**64 - 1))
    value = np.asarray(rows).astype(np.uint64) + start
    value = (value + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
