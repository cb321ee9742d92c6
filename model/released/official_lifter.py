"""DiffPose as its authors released it: the state, schedule and sampler of their code.

The released code departs from the paper (and from lifter.py, which follows it): the state of a
joint is (u, v, x, y, z), the screen coordinates beside the pose in metres; the network predicts the
noise of a plain DDPM process and is told nothing else; the walk starts from the context encoder's
pose itself, with no draw at all, and takes one or two deterministic DDIM steps. So there is one
hypothesis and no spread.

Axis legend: B frames, J = 17 joints, T frames of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator
from torch import Tensor

from diffpose.model.diffusion.parametrisation import PARAMETRISATIONS
from diffpose.model.diffusion.process import reverse_process
from diffpose.model.diffusion.schedule import linear_alphas
from diffpose.model.geometry.lens import Lens
from diffpose.model.geometry.skeleton import MIRROR, ROOT
from diffpose.model.lifting.interface import FRAMES_PER_PASS, Pass, refined_as_asked
from diffpose.model.lifting.prediction import Lifted
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.networks.context import Context
from diffpose.model.networks.mixste import Mixste
from diffpose.model.networks.windows import over_windows
from diffpose.model.observations.detections import Detections, mirrored_poses
from diffpose.model.observations.initial_distribution import Observations
from diffpose.model.released.chebyshev_gcn import ChebyshevGcn
from diffpose.model.uncertainty.familiarity import Regions

_SAME_CAMERA_PX = 0.5


class OfficialCamera(BaseModel, frozen=True, extra="forbid"):
    """A camera whose images the released networks know."""

    name: str
    width: int = Field(gt=0, description="px")
    height: int = Field(gt=0, description="px")
    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    radial: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tangential: tuple[float, float] = (0.0, 0.0)

    @property
    def lens(self) -> Lens:
        """Its lens."""
        return Lens(self.focal_px, self.centre_px, self.radial, self.tangential)


class OfficialProcess(BaseModel, frozen=True, extra="forbid"):
    """Schedule, sampler and inputs; the defaults are those of the released frame model."""

    n_steps: int = Field(51, ge=1, description="T, length of the schedule")
    first_beta: float = Field(1e-4, gt=0, lt=1, description="beta of the first step")
    last_beta: float = Field(1e-3, gt=0, lt=1, description="beta of the last step; linear between")
    visited: tuple[int, ...] = Field(
        (13, 1),
        description="steps k at which the network runs, falling; k counts from 1, the released "
        "code from 0: seq = 0, 12 of the frame model is 13, 1; seq = 0 of the video model is 1",
    )
    mirror_context: bool = Field(
        False, description="mean of the context of a frame and of its mirror image (video model)"
    )
    context_root: bool = Field(
        True, description="move the context pose's root to 0 before the walk (frame model)"
    )
    cameras: tuple[OfficialCamera, ...] = Field(
        min_length=1,
        description="known by their intrinsics; frames of others are shown as the first sees them",
    )

    @model_validator(mode="after")
    def _visits_fall(self) -> OfficialProcess:
        falls = all(a > b for a, b in pairwise(self.visited))
        if not self.visited or not falls or self.visited[0] > self.n_steps or self.visited[-1] < 1:
            raise ValueError(
                f"visited={self.visited} must fall, from n_steps={self.n_steps} at most to 1"
            )
        return self

    def alphas(self) -> Tensor:
        """Return alpha_0 = 1 to alpha_T, cumulative products, (T + 1,), float64."""
        return linear_alphas(self.first_beta, self.last_beta, self.n_steps)


class ContextPoses(Protocol):
    """A context encoder in the released units."""

    def __call__(self, screen: Tensor, lengths: Sequence[int] | None) -> Tensor:
        """Map screen coordinates (B, 17, 2) of sequences to poses in metres, (B, 17, 3)."""
        ...


def frame_context(encoder: ChebyshevGcn) -> ContextPoses:
    """Return GCNpose or GraFormer as a context encoder."""
    folded = encoder.eval().folded()

    def poses(screen: Tensor, lengths: Sequence[int] | None) -> Tensor:
        del lengths  # frames do not see each other
        result: Tensor = folded(screen)
        return result

    return poses


def window_context(encoder: Mixste) -> ContextPoses:
    """Return MixSTE as a context encoder; windows as its config's hop says."""
    encoder = encoder.eval()

    def released(windows: Tensor) -> tuple[Tensor]:
        # without the inputs' scaling and the root's subtraction of our own training
        return (encoder.exit(encoder.exit_norm(encoder.features(windows))),)

    def poses(screen: Tensor, lengths: Sequence[int] | None) -> Tensor:
        (pose,) = over_windows(released, screen, lengths, encoder.frames, encoder.config.hop)
        return pose

    return poses


class OfficialLifter:
    """The released networks, ready to answer with N = 1 (`lifting.interface.Lifter`)."""

    runs_on: tuple[str, ...] = ("cpu",)

    def __init__(
        self, context: ContextPoses, denoiser: ChebyshevGcn, process: OfficialProcess
    ) -> None:
        """Take trained networks.

        Args:
            context: frame_context or window_context.
            denoiser: GCNdiff.
            process: schedule and sampler.

        Raises:
            ValueError: the denoiser knows fewer steps than the schedule has.
        """
        if denoiser.config.n_steps < process.n_steps:
            raise ValueError(
                f"The schedule has {process.n_steps} steps, the denoiser knows "
                f"{denoiser.config.n_steps}."
            )
        self.context = context
        self.network = denoiser.eval().folded()
        self.process = process
        self.alphas = process.alphas()
        self.errors_mm2: NDArray[np.float64] | None = None
        self.regions: Regions | None = None
        self.grid: tuple[int, ...] = (*process.visited, 0)

    def to(self, device: torch.device) -> OfficialLifter:
        """Stay on the CPU.

        Raises:
            ValueError: another device is asked for.
        """
        if device.type != "cpu":
            raise ValueError(f"Imported networks are lifted with on the CPU, not on {device}.")
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
        """Lift B frames; of the observations only keypoints and cameras count.

        Args:
            observations: detections.
            sampling: ``refine`` and ``root`` count: there is nothing to draw.
            seeds: not looked at.
            lengths: frames of the sequences that these are, one after the other; default: one.
            passes: what self.passes returned for these frames, where it was computed before.
            chunk: frames per pass; default: FRAMES_PER_PASS.

        Raises:
            ValueError: there are no frames, or the sequences have another number of them.
        """
        del seeds
        n = len(observations)
        if n == 0 or (lengths is not None and sum(lengths) != n):
            raise ValueError(
                f"Expected at least one frame, and sequences of all of them; got {n} frames and "
                f"lengths {lengths}."
            )
        (one,) = passes or self.passes(observations, sampling, lengths)
        detections, context = one.detections, one.context
        start = torch.cat([context.features, context.pose_mm / 1000.0], dim=-1)
        walks = [self.walk(part) for part in torch.split(start, chunk or FRAMES_PER_PASS)]
        trajectory = torch.cat(walks, dim=1)[..., 2:] * 1000.0  # (steps, B, J, 3)
        if sampling.root == "subtracted":
            trajectory = trajectory - trajectory[..., ROOT : ROOT + 1, :]
        pose = trajectory[-1]
        root = detections.translation_mm(pose)
        context_pose = context.pose_mm
        if sampling.root == "subtracted":
            context_pose = context_pose - context_pose[:, ROOT : ROOT + 1]
        lifted = Lifted(
            pose.numpy(),
            np.zeros(pose.shape[:2], np.float32),
            pose[:, None].numpy(),
            context_pose.numpy(),
            root.numpy(),
            trajectory[:, :, None].numpy(),
            self.grid,
        )
        return self.refined(lifted, detections, sampling, lengths, observations.time_s)

    @torch.inference_mode()
    def passes(
        self,
        observations: Observations,
        sampling: SamplingSettings,
        lengths: Sequence[int] | None = None,
    ) -> list[Pass]:
        """Return what the networks see of B frames: screen coordinates and the context pose.

        Args:
            observations: B frames; of them only keypoints and cameras count.
            sampling: not looked at.
            lengths: see lift.
        """
        del sampling
        detections = observations.detections()
        camera = torch.from_numpy(observations.camera)
        screen = screen_coordinates(detections.rays, camera, self.process.cameras)
        return [Pass(detections, self._context(screen, detections, lengths))]

    def refined(
        self,
        lifted: Lifted,
        detections: Detections,
        sampling: SamplingSettings,
        lengths: Sequence[int] | None = None,
        time_s: NDArray[np.floating] | None = None,
    ) -> Lifted:
        """Move answers as ``sampling.refine`` says: see lifting.interface.refined_as_asked."""
        return refined_as_asked(
            lifted, detections, sampling, self.errors_mm2, lengths,
            regions=self.regions, time_s=time_s,
        )  # fmt: skip

    def walk(self, start: Tensor) -> Tensor:
        """Walk states (B, 17, 5) back; returns the states at every visited step, start first."""
        return walk_back(
            lambda state, k: self.network(state, torch.full((len(state),), k - 1)),
            start, self.alphas, self.grid,
        )  # fmt: skip

    def _context(
        self, screen: Tensor, detections: Detections, lengths: Sequence[int] | None
    ) -> Context:
        """Return screen coordinates (as features) and the context pose of B frames."""
        pose = self.context(screen, lengths)
        if self.process.mirror_context:
            everything = torch.ones(len(screen), dtype=torch.bool)
            flipped = screen[:, list(MIRROR)] * torch.tensor([-1.0, 1.0])
            pose = (pose + mirrored_poses(self.context(flipped, lengths), everything)) / 2
        if self.process.context_root:
            pose = pose - pose[:, ROOT : ROOT + 1]
        pose_mm = pose * 1000.0
        nothing = torch.zeros(*pose.shape[:2], 0)
        return Context(screen, pose_mm, detections.translation_mm(pose_mm), nothing)


def walk_back(
    network: Callable[[Tensor, int], Tensor], start: Tensor, alphas: Tensor, grid: Sequence[int]
) -> Tensor:
    """Take deterministic DDIM steps with a network that predicts the noise (Song et al., 2021).

    ``x_0 = (x_k - sqrt(1 - alpha_k) e) / sqrt(alpha_k)``; from there on it is the reverse process
    of a network that predicts x_0, towards a mean of 0.

    Args:
        network: called as network(x_k, k).
        start: x at the first k of the grid.
        alphas: (T + 1,), alpha_0 = 1.
        grid: visited k, falling, 0 last.

    Returns:
        The states, start first, (len(grid), *start.shape).
    """

    def clean(state: Tensor, k: int) -> Tensor:
        alpha = float(alphas[k])
        found: Tensor = (state - network(state, k) * (1.0 - alpha) ** 0.5) / alpha**0.5
        return found

    mean = torch.zeros_like(start)
    step = PARAMETRISATIONS["clean_pose"].step
    return torch.stack(reverse_process(clean, start, mean, alphas, grid, step))


def screen_coordinates(rays: Tensor, camera: Tensor, cameras: Sequence[OfficialCamera]) -> Tensor:
    """Return u, v as the released networks want them: x / width * 2 - 1, y / width * 2 - h / w.

    The networks know four cameras, with their lenses' distortion (which our stores have taken out
    of Human3.6M's keypoints). Frames of these get it back; frames of any other camera are shown as
    the first of them would have seen the same rays.

    Args:
        rays: (B, 17, 2), x / z, y / z.
        camera: (B, 4), intrinsics in px of the camera that saw them.
        cameras: those that the networks know.
    """
    straight, intrinsics = rays.double().numpy(), camera.double().numpy()
    known = np.array([c.lens.pinhole for c in cameras])
    distance = np.abs(intrinsics[:, None] - known).max(axis=-1)  # (B, cameras)
    chosen = np.where(distance.min(axis=1) < _SAME_CAMERA_PX, distance.argmin(axis=1), 0)
    screen = np.empty_like(straight)
    for i in np.unique(chosen):
        seen_by, rows = cameras[i], chosen == i
        pixels = seen_by.lens.bend(straight[rows]) * seen_by.focal_px + seen_by.centre_px
        ends = np.array([1.0, seen_by.height / seen_by.width])
        screen[rows] = pixels / seen_by.width * 2.0 - ends
    return torch.from_numpy(screen).to(torch.float32)
