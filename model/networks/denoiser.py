"""The diffusion network g (Sec. 4.5): h_k, f_ST and the step k to the next pose.

Paper sizes: graph convolution 3 -> 128, concatenated with f_ST (128) to 256, sinusoidal step
embedding (256) added, 3 blocks of two graph convolutions and a self-attention, 256 -> 3.
Axis legend: B rows, J = 17 joints, C channels.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, Field, model_validator
from torch import Tensor, nn

from diffpose.model.diffusion.parametrisation import (
    PARAMETRISATIONS,
    SINGLE_STEP,
    Parametrisation,
    ParametrisationName,
)
from diffpose.model.diffusion.schedule import ScheduleName, Spacing, step_grid
from diffpose.model.networks.graph_layers import GraphAttentionBlock, GraphConvolution, check_joints
from diffpose.model.observations.detections import N_CONDITION_VALUES


class DenoiserConfig(BaseModel, frozen=True, extra="forbid"):
    """Which process is learnt, and the sizes of the network that learns it."""

    process: Literal["mixture", "gaussian", "single_step"] = Field(
        "mixture",
        description="mixture: DiffPose, eq. 7 towards the fitted mixture; gaussian: plain DDPM "
        "noise (the paper's Stand-Diff); single_step: no diffusion (the paper's Baseline A)",
    )
    parametrisation: ParametrisationName = Field(
        "next_on_grid",
        description="next_on_grid: g predicts the next visited h (eq. 8 on the DDIM grid); "
        "clean_pose: g predicts h_0",
    )
    schedule: ScheduleName = Field("cosine", description="alpha_k; 'paper' ends at 0.949")
    n_steps: int = Field(50, ge=1, description="K")
    n_visited_steps: int = Field(5, ge=1, description="how often g runs in a reverse process")
    spacing: Spacing = Field(
        "even", description="of the visited steps: even, or quadratic (dense where noise is high)"
    )
    reads: Literal["pose", "blend"] = Field(
        "pose",
        description="pose: g reads h_k (the paper); blend: alpha_k h_k + (1 - alpha_k) context "
        "pose, so that it need not learn to look past the noise of the first steps",
    )
    first_step_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of training at k = K besides the even one: most is decided there",
    )
    condition: Literal["heatmap", "none"] = Field(
        "heatmap", description="heatmap: g also reads peak, second mode, weight and width per joint"
    )
    context: Literal["features", "none"] = Field(
        "features", description="features: g reads f_ST; none: without it (the paper's Table 6)"
    )
    width: int = Field(128, ge=8, description="channels of the pose part; f_ST gets as many")
    n_blocks: int = Field(3, ge=1, description="graph-attention blocks")
    n_heads: int = Field(4, ge=1, description="attention heads")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout while training")

    @model_validator(mode="after")
    def _visited_within_steps(self) -> DenoiserConfig:
        if self.n_visited_steps > self.n_steps:
            raise ValueError(
                f"n_visited_steps={self.n_visited_steps} exceeds n_steps={self.n_steps}; "
                "visit at most as many steps as there are"
            )
        return self

    @property
    def predicts(self) -> Parametrisation:
        """What g's output is, and what is done with it."""
        if self.process == "single_step":
            return SINGLE_STEP
        return PARAMETRISATIONS[self.parametrisation]

    @property
    def grid(self) -> tuple[int, ...]:
        """Visited steps, K first, 0 last."""
        return step_grid(self.n_steps, self.n_visited_steps, self.spacing)


class Denoiser(nn.Module):
    """g: one step of the reverse process."""

    step_embeddings: Tensor

    def __init__(self, config: DenoiserConfig, context_width: int) -> None:
        """Build the network.

        Args:
            config: sizes.
            context_width: channels of the context encoder's f_ST.
        """
        super().__init__()
        self.config = config
        n_condition = N_CONDITION_VALUES if config.condition == "heatmap" else 0
        inner = 2 * config.width
        self.entry = GraphConvolution(3 + n_condition, config.width)
        self.context: nn.Module | None = None
        if config.context == "features":
            same = context_width == config.width
            self.context = nn.Identity() if same else nn.Linear(context_width, config.width)
        self.blocks = nn.ModuleList(
            GraphAttentionBlock(inner, config.n_heads, config.dropout)
            for _ in range(config.n_blocks)
        )
        self.norm = nn.LayerNorm(inner)
        self.exit = GraphConvolution(inner, 3)
        # Zero output at the start: the first guess of the next pose is the present one.
        nn.init.zeros_(self.exit.transform.weight)
        table = sinusoidal_embeddings(config.n_steps, inner)
        self.register_buffer("step_embeddings", table, persistent=False)

    def forward(self, h_k: Tensor, features: Tensor, conditions: Tensor, k: Tensor) -> Tensor:
        """Return the change that leads from h_k (or its skip, see lifter) to the output pose.

        Args:
            h_k: (B, 17, 3) in the space of h.
            features: f_ST, (B, 17, context_width).
            conditions: (B, 17, 9); ignored unless ``condition`` is ``heatmap``.
            k: (B,) int64.

        Returns:
            (B, 17, 3).
        """
        check_joints(h_k, "h_k")
        if self.config.condition == "heatmap":
            h_k = torch.cat([h_k, conditions], dim=-1)
        entered = self.entry(h_k)
        # without f_ST its channels stay, so that the sizes compare
        known = torch.zeros_like(entered) if self.context is None else self.context(features)
        x = torch.cat([entered, known], dim=-1)
        x = x + self.step_embeddings[k][:, None, :]
        for block in self.blocks:
            x = block(x)
        change: Tensor = self.exit(self.norm(x))
        return change


def sinusoidal_embeddings(n_steps: int, width: int) -> Tensor:
    """Return f_D^k for k = 0 .. K, (K + 1, width): sin and cos of k / 10000^(2j/width).

    Even channels hold the sine, odd ones the cosine (supplement, section 2).
    """
    j = torch.arange(0, width, 2, dtype=torch.float64)
    angle = torch.arange(n_steps + 1, dtype=torch.float64)[:, None] / 10000.0 ** (j / width)
    table = torch.zeros(n_steps + 1, width, dtype=torch.float64)
    table[:, 0::2] = angle.sin()
    table[:, 1::2] = angle.cos()[:, : width // 2]
    return table.to(torch.float32)
