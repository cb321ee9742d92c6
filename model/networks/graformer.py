"""The frame-based context encoder: one 2D pose to the context f_ST and a first 3D pose.

After GraFormer (Zhao et al., CVPR 2022): graph convolutions and self-attention over the joints.
The graph convolution here is the decoupled one of graph_layers.py, not GraFormer's Chebyshev form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from torch import Tensor, nn

from diffpose.model.geometry.person_view import N_INPUTS, PersonView
from diffpose.model.geometry.skeleton import ROOT
from diffpose.model.networks.graph_layers import GraphAttentionBlock, GraphConvolution, check_joints
from diffpose.model.observations.detections import POSE_SCALE_PER_MM

# Activations of more frames leave a processor's cache; a GPU still has enough to do.
_AT_ONCE = 1024


class GraformerConfig(BaseModel, frozen=True, extra="forbid"):
    """Sizes of the context encoder; the defaults are the paper's f_ST of 128 channels."""

    kind: Literal["graformer"] = "graformer"
    width: int = Field(128, ge=8, description="channels of f_ST per joint")
    n_blocks: int = Field(5, ge=1, description="graph-attention blocks")
    n_heads: int = Field(4, ge=1, description="attention heads")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout while training")
    inputs: Literal["rays_and_relative", "person"] = Field(
        "rays_and_relative",
        description="rays_and_relative: x/z, y/z as the camera has them and about the root; "
        "person: as a camera has them that looks straight at the person, with the person's size",
    )


class Graformer(nn.Module):
    """Context encoder of a single frame."""

    def __init__(self, config: GraformerConfig) -> None:
        super().__init__()
        self.config = config
        n_inputs = N_INPUTS if config.inputs == "person" else 4
        self.entry = GraphConvolution(n_inputs, config.width)
        self.blocks = nn.ModuleList(
            GraphAttentionBlock(config.width, config.n_heads, config.dropout)
            for _ in range(config.n_blocks)
        )
        self.norm = nn.LayerNorm(config.width)
        self.exit = GraphConvolution(config.width, 3)

    @property
    def frames(self) -> int:
        """Frames that are seen together."""
        return 1

    @property
    def width(self) -> int:
        """Channels of f_ST per joint."""
        return self.config.width

    def forward(self, rays: Tensor) -> tuple[Tensor, Tensor]:
        """Encode detections.

        Args:
            rays: (B, 17, 2), detected keypoints as x/z, y/z.

        Returns:
            f_ST (B, 17, width) and the pose (B, 17, 3) in the space of h, root 0.
        """
        check_joints(rays, "rays")
        view = PersonView.of(rays) if self.config.inputs == "person" else None
        x = self.entry(_inputs(rays) if view is None else view.inputs(ROOT))
        for block in self.blocks:
            x = block(x)
        features = self.norm(x)
        pose = self.exit(features)
        pose = pose - pose[:, ROOT : ROOT + 1]
        return features, pose if view is None else view.back(pose)

    def poses_mm(
        self,
        rays: Tensor,
        lengths: Sequence[int] | None = None,  # noqa: ARG002 - the same call as a window's encoder
        steps_s: NDArray[np.floating] | None = None,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """Return f_ST and the pose in mm (B, 17, 3); frames do not see each other."""
        parts = [self(part) for part in torch.split(rays, _AT_ONCE)]
        features = torch.cat([part[0] for part in parts])
        return features, torch.cat([part[1] for part in parts]) / POSE_SCALE_PER_MM


def _inputs(rays: Tensor) -> Tensor:
    # A person covers some 0.3 of the rays' unit; 8 and 4 bring both parts near unit variance.
    relative = 8.0 * (rays - rays[:, ROOT : ROOT + 1])
    return torch.cat([relative, 4.0 * rays], dim=-1)
