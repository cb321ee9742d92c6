"""The two things that are trained, as one loop sees them: fields to read, a loss, a validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from diffpose.model.diffusion.schedule import cumulative_alphas
from diffpose.model.lifting.lifter import DiffusionLifter, row_seeds
from diffpose.model.lifting.losses import denoiser_loss, encoder_loss
from diffpose.model.lifting.sampling import unrefined
from diffpose.model.mixtures.gaussian_mixture import GaussianMixture, sample
from diffpose.model.networks.context import context_of
from diffpose.model.networks.denoiser import Denoiser
from diffpose.model.networks.encoders import ContextEncoder, build_encoder
from diffpose.model.observations.detections import POSE_SCALE_PER_MM, Detections, mirrored_poses
from diffpose.model.observations.initial_distribution import DepthPrior, Observations
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.pose_store import PoseStore, contiguous_ranges
from diffpose.platform.training.settings import OptimiserSettings, TrainSettings
from diffpose.platform.training.shard_loader import Batch
from diffpose.platform.training.window_loader import KNOWN, STEP

_DETECTION_FIELDS = ("keypoints_2d", "heatmap_modes", "camera")
# Second modes below this weight are taken for none when detections are drawn anew.
_UNIMODAL = 0.02
_ROWS_PER_READ = 1024


class TrainTask(Protocol):
    """One stage of training."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Arrays of the store that a batch holds."""
        ...

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        ...

    @property
    def optimiser(self) -> OptimiserSettings:
        """How it is trained."""
        ...

    @property
    def frames(self) -> int:
        """Rows that belong together in a batch: 1, or those of a window."""
        ...

    @property
    def looks_at_neighbours(self) -> bool:
        """Whether a frame's answer depends on the frames around it."""
        ...

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch; ``network`` is the task's, wrapped for DDP."""
        ...

    def validate(self, rows: ValidationRows) -> dict[str, Tensor]:
        """Return sums over rows (key ``n`` their number), to be added up over workers."""
        ...


class ValidationRows:
    """A fixed, evenly spaced part of the validation split, read once.

    Attributes:
        rows: of the store, (n,), this rank's share.
        lengths: frames of the sequences that they are, one after the other.
    """

    def __init__(
        self,
        store: PoseStore,
        clips: Sequence[Clip],
        n_poses: int,
        rank: int,
        world_size: int,
        *,
        whole_clips: bool,
    ) -> None:
        if whole_clips:  # what looks at neighbouring frames is measured on whole clips
            longest = max(sum(c.n_rows for c in clips) // max(n_poses, 1), 1)
            chosen = clips[rank * longest :: longest * world_size] or clips[:1]
            parts = [np.arange(c.first_row, c.first_row + c.n_rows) for c in chosen]
            self.rows = np.concatenate(parts)
            self.lengths = [c.n_rows for c in chosen]
        else:
            rows = np.concatenate([np.arange(c.first_row, c.first_row + c.n_rows) for c in clips])
            rows = rows[np.unique(np.linspace(0, len(rows) - 1, n_poses).astype(int))]
            self.rows = rows[rank::world_size]
            self.lengths = [1] * len(self.rows)

        blocks = list(contiguous_ranges(clips, _ROWS_PER_READ))

        def read(name: str) -> np.ndarray[Any, Any]:
            # Block by block: zarr gathers single rows of a sharded array one at a time, and keeps
            # gigabytes meanwhile.
            parts = [
                store.read(name, first, stop)[inside - first]
                for first, stop in blocks
                if len(inside := self.rows[(self.rows >= first) & (self.rows < stop)])
            ]
            return np.concatenate(parts)

        self.pose_mm = torch.from_numpy(read("pose_3d"))
        self.observations = Observations(
            heatmaps=read("heatmaps"),
            crops=read("heatmap_crop"),
            keypoints_px=read("keypoints_2d"),
            modes=read("heatmap_modes"),
            camera=read("camera"),
            time_s=read("timestamp_s"),
        )


class EncoderTask:
    """Stage 1: the context encoder predicts (x, y, z) from the detected 2D pose."""

    def __init__(self, settings: TrainSettings) -> None:
        self.optimiser = settings.encoder_training
        self.network = build_encoder(settings.context_encoder)
        self.fields: tuple[str, ...] = (*_DETECTION_FIELDS, "pose_3d", "root_position")

    @property
    def frames(self) -> int:
        """Rows that belong together in a batch."""
        return self.network.frames

    @property
    def looks_at_neighbours(self) -> bool:
        """Whether the encoder sees windows."""
        return self.network.frames > 1

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the mean square error of the predicted pose."""
        n_windows = len(batch["pose_3d"])
        known, steps = batch.pop(KNOWN, None), batch.pop(STEP, None)
        batch = (
            {name: value.flatten(0, 1) for name, value in batch.items()}
            if known is not None
            else batch
        )
        detections, target_mm = _detections(batch), batch["pose_3d"]
        rays = detections.rays
        if self.optimiser.redraw_detections:
            rays = _redrawn(detections, batch, generator)
        if self.optimiser.mirror:  # all frames of a window alike
            which = _coin_flips(rays[:n_windows], generator)
            which = which.repeat_interleave(len(rays) // n_windows)
            both = Detections(
                rays, detections.first_mode, detections.second_mode, detections.second_weight
            )
            rays = both.mirrored(which).rays
            target_mm = mirrored_poses(target_mm, which)
        if known is None:
            return encoder_loss(network(rays)[1], target_mm)
        _, pose = network(rays.view(n_windows, self.frames, *rays.shape[1:]), steps)
        return encoder_loss(pose, target_mm.view(pose.shape), known)

    def validate(self, rows: ValidationRows) -> dict[str, Tensor]:
        """Sum up errors, and squared z errors per joint: the depth prior's held-out spread."""
        device = next(self.network.parameters()).device
        seen = rows.observations
        rays = seen.detections().to(device).rays
        _, pose_mm = self.network.poses_mm(rays, rows.lengths, seen.steps_s(rows.lengths))
        error = pose_mm.cpu() - rows.pose_mm
        return {
            "n": torch.tensor(float(len(error))),
            "mpjpe_mm": error.norm(dim=-1).mean(dim=-1).sum().double(),
            "z_square_mm2": error[..., 2].square().sum(dim=0).double(),
        }


class DenoiserTask:
    """Stage 2: g, with the context encoder frozen."""

    def __init__(
        self,
        settings: TrainSettings,
        encoder: ContextEncoder,
        depth: DepthPrior,
        group: str,
        contexts: str,
    ) -> None:
        self.settings, self.depth = settings, depth
        self.optimiser = settings.denoiser_training
        self.encoder = encoder.eval().requires_grad_(False)
        self.network = Denoiser(settings.denoiser, encoder.width)
        config = settings.denoiser
        self.alphas = cumulative_alphas(config.schedule, config.n_steps)
        self.grid = config.grid
        names = ("features", "pose_mm")
        self.context_fields = tuple(f"contexts/{contexts}/{name}" for name in names)
        self.mirrored_fields = tuple(f"contexts/{contexts}/mirrored_{name}" for name in names)
        self.fields: tuple[str, ...] = (*_DETECTION_FIELDS, "pose_3d", *self.context_fields)
        if self.optimiser.mirror:
            self.fields += self.mirrored_fields
        self.mixture_fields = tuple(
            f"mixtures/{group}/{name}" for name in ("weights", "means_mm", "scale_tril_mm")
        )
        if config.process == "mixture":
            self.fields += self.mixture_fields

    @property
    def frames(self) -> int:
        """Rows that belong together in a batch: contexts are stored, frames stand alone."""
        return 1

    @property
    def looks_at_neighbours(self) -> bool:
        """Whether the encoder sees windows."""
        return self.encoder.frames > 1

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return eq. 9's error at one random visited step per row."""
        detections, target_mm = _detections(batch), batch["pose_3d"]
        mu, epsilon = self._noise(batch, generator)
        features, pose_mm = (batch[name] for name in self.context_fields)
        if self.optimiser.mirror:
            which = _coin_flips(target_mm, generator)
            seen = (batch[name] for name in self.mirrored_fields)
            features, pose_mm = (
                torch.where(which[:, None, None], mirrored, plain)
                for mirrored, plain in zip(seen, (features, pose_mm), strict=True)
            )
            detections = detections.mirrored(which)
            target_mm = mirrored_poses(target_mm, which)
            mu, epsilon = mirrored_poses(mu, which), mirrored_poses(epsilon, which)
        with torch.no_grad():
            context = context_of(features, pose_mm, detections)
        return denoiser_loss(
            network,
            self.settings.denoiser,
            context,
            detections,
            target_mm,
            mu,
            epsilon,
            self.alphas,
            self.grid,
            generator,
        )

    def validate(self, rows: ValidationRows) -> dict[str, Tensor]:
        """Sum up the errors of the lifted poses, and of the encoder's for comparison."""
        lifter = DiffusionLifter(self.encoder, self.network, self.depth, self.settings.mixture)
        seeds = row_seeds(self.settings.seed, rows.rows)
        lifted = lifter.lift(
            rows.observations, unrefined(self.settings.sampling), seeds, rows.lengths
        )

        def error(pose_mm: np.ndarray[Any, Any]) -> Tensor:
            difference = torch.from_numpy(pose_mm) - rows.pose_mm
            total: Tensor = difference.norm(dim=-1).mean(dim=-1).sum().double()
            return total

        return {
            "n": torch.tensor(float(len(rows.rows))),
            "mpjpe_mm": error(lifted.pose_mm),
            "context_mpjpe_mm": error(lifted.context_pose_mm),
        }

    def _noise(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        process = self.settings.denoiser.process
        if process != "mixture":
            shape = batch["pose_3d"].shape
            noise = torch.randn(shape, generator=generator).to(batch["pose_3d"].device)
            return torch.zeros_like(noise), noise
        mixture = GaussianMixture(*(batch[name] for name in self.mixture_fields))
        mu_mm, epsilon_mm = sample(mixture, self.settings.mixture, generator)
        return (
            mu_mm.to(torch.float32) * POSE_SCALE_PER_MM,
            epsilon_mm.to(torch.float32) * POSE_SCALE_PER_MM,
        )


def _detections(batch: Batch) -> Detections:
    return Detections.from_pixels(batch["keypoints_2d"], batch["heatmap_modes"], batch["camera"])


def _coin_flips(rows: Tensor, generator: torch.Generator) -> Tensor:
    # Random numbers come from the CPU, so that every device trains on the same ones.
    return (torch.rand(len(rows), generator=generator) < 0.5).to(rows.device)


def _redrawn(detections: Detections, batch: Batch, generator: torch.Generator) -> Tensor:
    """Draw unimodal detections anew: the truth plus noise of the heatmap's width."""
    absolute = batch["pose_3d"] + batch["root_position"][:, None]
    true_rays = absolute[..., :2] / absolute[..., 2:3]
    unit = torch.randn(true_rays.shape, generator=generator).to(true_rays.device)
    noise = unit * detections.first_mode[..., 2:]
    unimodal = (detections.second_weight < _UNIMODAL)[..., None]
    return torch.where(unimodal, true_rays + noise, detections.rays)
