"""The video context encoder: a window of 2D poses to f_ST and a first 3D pose for every frame.

After MixSTE (Zhang et al., CVPR 2022): transformer blocks over the joints of a frame and over the
frames of a joint take turns; all frames of a window are answered at once (seq2seq).
Axis legend: B windows, T frames of a window, J = 17 joints, C channels, L frames of a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator
from torch import Tensor, nn

from diffpose.model.geometry.person_view import N_INPUTS, PersonView
from diffpose.model.geometry.skeleton import N_JOINTS, ROOT
from diffpose.model.networks.graph_layers import JointAttention, check_joints
from diffpose.model.networks.windows import dilation_of, over_windows
from diffpose.model.observations.detections import POSE_SCALE_PER_MM

# What a time step is told in units of: log2(step / 0.1 s).
_UNIT_S = 0.1
_LAYER_NORM_EPSILON = 1e-6  # MixSTE's, so that imported weights give its outputs


class MixsteConfig(BaseModel, frozen=True, extra="forbid"):
    """Sizes of the video context encoder; frames=243, width=512, depth=8 are the paper's."""

    kind: Literal["mixste"] = "mixste"
    frames: int = Field(27, ge=2, description="frames of a window")
    width: int = Field(64, ge=8, description="channels of f_ST per joint")
    depth: int = Field(4, ge=1, description="pairs of a spatial and a temporal block")
    n_heads: int = Field(8, ge=1, description="attention heads")
    mlp_ratio: float = Field(2.0, gt=0, description="hidden channels of the MLPs over width")
    drop_path: float = Field(0.1, ge=0, lt=1, description="stochastic depth while training")
    inputs: Literal["rays", "rays_and_relative", "person"] = Field(
        "rays_and_relative",
        description="rays: x/z, y/z alone, as MixSTE; rays_and_relative: those about the root too; "
        "person: as a camera has them that looks straight at the person, with the person's size",
    )
    hop: int | None = Field(
        None, ge=1, description="frames from window to window when answering; default: half of one"
    )
    time_step: Literal["fixed", "told"] = Field(
        "fixed",
        description="told: the network is told how far apart in time the frames of a window are",
    )
    step_s: float | None = Field(
        None,
        gt=0,
        description="time from frame to frame of the windows that it answers from, in s: sequences "
        "with more frames per second are taken every d-th frame; default: training sets what its "
        "store and window_strides have (none in runs of before 2026-12: frames as they come)",
    )

    @model_validator(mode="after")
    def _windows_without_gaps(self) -> MixsteConfig:
        if self.hop is not None and self.hop > self.frames:
            raise ValueError(
                f"hop={self.hop} skips frames of windows of {self.frames}; take at most as many"
            )
        if self.width % self.n_heads:
            raise ValueError(f"width={self.width} must be a multiple of n_heads={self.n_heads}")
        return self


class TransformerBlock(nn.Module):
    """Self-attention over the second last axis, then an MLP, each with a residual."""

    def __init__(self, width: int, n_heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=_LAYER_NORM_EPSILON)
        self.attention = JointAttention(width, n_heads)
        self.mlp_norm = nn.LayerNorm(width, eps=_LAYER_NORM_EPSILON)
        hidden = int(width * mlp_ratio)
        self.expand = nn.Linear(width, hidden)
        self.shrink = nn.Linear(hidden, width)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """Map (rows, tokens, C) to the same shape."""
        x = x + self._kept(self.attention(self.attention_norm(x)))
        updated: Tensor = x + self._kept(self.shrink(F.gelu(self.expand(self.mlp_norm(x)))))
        return updated

    def _kept(self, branch: Tensor) -> Tensor:
        """Leave the branch out of some rows while training (Huang et al., ECCV 2016)."""
        if not self.training or self.drop_path == 0:
            return branch
        share = 1.0 - self.drop_path
        kept = torch.rand(len(branch), 1, 1, device=branch.device) < share
        return branch * kept / share


class Mixste(nn.Module):
    """Context encoder of windows of frames."""

    def __init__(self, config: MixsteConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        n_inputs = {"rays": 2, "rays_and_relative": 4, "person": N_INPUTS}[config.inputs]
        self.entry = nn.Linear(n_inputs, width)
        told = config.time_step == "told"
        self.step_entry = nn.Linear(1, width, bias=False) if told else None
        self.joint_places = nn.Parameter(torch.zeros(1, N_JOINTS, width))
        self.frame_places = nn.Parameter(torch.zeros(1, config.frames, width))
        # the share left out grows with depth, as in MixSTE
        rates = [config.drop_path * i / max(config.depth - 1, 1) for i in range(config.depth)]
        sizes = width, config.n_heads, config.mlp_ratio
        self.spatial = nn.ModuleList(TransformerBlock(*sizes, rate) for rate in rates)
        self.temporal = nn.ModuleList(TransformerBlock(*sizes, rate) for rate in rates)
        self.spatial_norm = nn.LayerNorm(width, eps=_LAYER_NORM_EPSILON)
        self.temporal_norm = nn.LayerNorm(width, eps=_LAYER_NORM_EPSILON)
        self.exit_norm = nn.LayerNorm(width)
        self.exit = nn.Linear(width, 3)

    @property
    def frames(self) -> int:
        """Frames of a window."""
        return self.config.frames

    @property
    def width(self) -> int:
        """Channels of f_ST per joint."""
        return self.config.width

    def forward(self, rays: Tensor, step_s: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode windows.

        Args:
            rays: (B, T, 17, 2), detected keypoints as x/z, y/z.
            step_s: (B,), time from frame to frame of each window in s, for time_step=told;
                default: the config's.

        Returns:
            f_ST (B, T, 17, width) and the poses (B, T, 17, 3) in the space of h, root 0.

        Raises:
            ValueError: another number of joints, or of frames than the window's.
        """
        check_joints(rays, "rays")
        view = PersonView.of(rays) if self.config.inputs == "person" else None
        inputs = self._inputs(rays) if view is None else view.inputs(ROOT)
        features = self.features(inputs, step_s)
        pose = self.exit(self.exit_norm(features))
        pose = pose - pose[:, :, ROOT : ROOT + 1]
        return features, pose if view is None else view.back(pose)

    def features(self, inputs: Tensor, step_s: Tensor | None = None) -> Tensor:
        """Run all blocks on inputs (B, T, 17, channels), steps (B,); f_ST (B, T, 17, width)."""
        windows, frames = inputs.shape[:2]
        if frames != self.frames:
            raise ValueError(f"Expected windows of {self.frames} frames, got {frames}.")
        x = self.entry(inputs)
        if self.step_entry is not None:
            x = x + self._told(step_s, x)
        x = x.flatten(0, 1) + self.joint_places
        for i, (spatial, temporal) in enumerate(zip(self.spatial, self.temporal, strict=True)):
            x = self.spatial_norm(spatial(x))
            x = x.view(windows, frames, N_JOINTS, -1).transpose(1, 2).flatten(0, 1)
            if i == 0:
                x = x + self.frame_places
            x = self.temporal_norm(temporal(x))
            x = x.view(windows, N_JOINTS, frames, -1).transpose(1, 2).flatten(0, 1)
        encoded: Tensor = x.view(windows, frames, N_JOINTS, -1)
        return encoded

    def poses_mm(
        self,
        rays: Tensor,
        lengths: Sequence[int] | None = None,
        steps_s: NDArray[np.floating] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode sequences of any length, each frame from the window that it is most central in.

        Args:
            rays: (B, 17, 2), frames of one sequence after the other.
            lengths: frames of each sequence, adding up to B; default: one sequence.
            steps_s: (sequences,), time from frame to frame of each in s, NaN where it is not
                known; default: of none. Windows are dilated so that they are as long in time as
                those of the training, where the config has that.

        Returns:
            f_ST (B, 17, width) and the poses (B, 17, 3) in mm.
        """
        n, target = len(lengths or [0]), self.config.step_s
        steps = np.full(n, np.nan) if steps_s is None else np.asarray(steps_s, dtype=np.float64)
        dilations = [dilation_of(step, target) for step in steps]
        told = None
        if self.step_entry is not None:
            apart = steps * dilations
            usual = _UNIT_S if target is None else target
            told = torch.from_numpy(np.where(np.isfinite(apart), apart, usual)).to(rays.dtype)
        features, pose = over_windows(
            self, rays, lengths, self.frames, self.config.hop, dilations, told
        )
        return features, pose / POSE_SCALE_PER_MM

    def _told(self, step_s: Tensor | None, like: Tensor) -> Tensor:
        """Return what is added to the tokens of windows (B, T, 17, C): the same in all of one."""
        assert self.step_entry is not None  # asked for with time_step=told alone
        if step_s is None:
            step_s = like.new_full((len(like),), self.config.step_s or _UNIT_S)
        octaves = torch.log2(step_s.to(like.dtype) / _UNIT_S).view(-1, 1)
        added: Tensor = self.step_entry(octaves)[:, None, None]
        return added

    def _inputs(self, rays: Tensor) -> Tensor:
        # 8 and 4 bring both parts near unit variance, as in graformer.py
        if self.config.inputs == "rays":
            return 4.0 * rays
        relative = 8.0 * (rays - rays[:, :, ROOT : ROOT + 1])
        return torch.cat([relative, 4.0 * rays], dim=-1)
