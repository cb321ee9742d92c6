"""Layers on the skeleton graph: graph convolution and joint-wise self-attention.

Axis legend: B rows, J = 17 joints, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffpose.model.geometry.skeleton import N_JOINTS, normalised_adjacency


class GraphConvolution(nn.Module):
    """y = x W_self + A x W_neighbours + b with a learnt A.

    A starts as the skeleton's D^-1/2 (A + I) D^-1/2 (Kipf and Welling, ICLR 2017); the own joint
    has weights of its own, as in the decoupled form of Liu et al. (ECCV 2020).
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        # One matrix product for both parts: the wider product runs nearer to peak speed.
        self.transform = nn.Linear(n_in, 2 * n_out, bias=False)
        self.bias = nn.Parameter(torch.zeros(n_out))
        graph = torch.tensor(normalised_adjacency(), dtype=torch.float32)
        self.adjacency = nn.Parameter(graph)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, J, n_in) to (B, J, n_out)."""
        own, neighbours = self.transform(x).chunk(2, dim=-1)
        mixed: Tensor = own + self.adjacency @ neighbours + self.bias
        return mixed


class JointAttention(nn.Module):
    """Multi-head self-attention over the joints (Vaswani et al., NeurIPS 2017)."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        if width % n_heads:
            raise ValueError(f"The width {width} must be a multiple of the {n_heads} heads.")
        self.n_heads = n_heads
        self.project = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, J, C) to (B, J, C)."""
        rows, joints, width = x.shape
        split = self.project(x).view(rows, joints, 3, self.n_heads, width // self.n_heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        attended: Tensor = self.output(mixed.transpose(1, 2).reshape(rows, joints, width))
        return attended


class GraphAttentionBlock(nn.Module):
    """Two graph convolutions and a self-attention, each part with a residual (Sec. 4.5)."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = JointAttention(width, n_heads)
        self.graph_norm = nn.LayerNorm(width)
        self.graph_1 = GraphConvolution(width, width)
        self.graph_2 = GraphConvolution(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, J, C) to (B, J, C)."""
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        hidden = F.relu(self.graph_1(self.graph_norm(x)))
        updated: Tensor = x + self.dropout(self.graph_2(hidden))
        return updated


def check_joints(x: Tensor, what: str) -> None:
    """Raise ValueError unless the second last axis of ``x`` has 17 joints."""
    if x.shape[-2] != N_JOINTS:
        raise ValueError(f"{what} must have {N_JOINTS} joints, got shape {tuple(x.shape)}.")
