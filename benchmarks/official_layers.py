"""The networks that DiffPose's authors released, layer by layer as they describe them.

Written anew from the structure of the released models and deliberately plain: the graph's Chebyshev
polynomials, the learnt graph's normalisation and the step embedding are worked out in every call,
queries, keys and values are three layers, attention is spelt out. Parameter names are those of the
released checkpoints. The fast networks (model/released/chebyshev_gcn.py, model/networks/mixste.py)
are measured and tested against these.

Axis legend: B rows, J joints, C channels, T frames, H heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffpose.model.geometry.skeleton import adjacency


@dataclass(frozen=True)
class OfficialSizes:
    """Sizes of the released networks; the defaults are the released ones."""

    width: int = 96
    n_layers: int = 5
    n_heads: int = 4
    n_joints: int = 17
    dropout: float = 0.25
    inner_dropout: float = 0.1


def row_normalised_graph() -> Tensor:
    """Return D^-1 (A + I) of the skeleton, (17, 17): the graph that the networks are given."""
    graph = torch.tensor(adjacency(), dtype=torch.float32) + torch.eye(17)
    return graph / graph.sum(dim=1, keepdim=True)


class ChebConv(nn.Module):
    """sum over k of T_k(L) x W_k + b, with the Laplacian L of the given graph, k = 0, 1, 2."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3, 1, n_in, n_out))
        self.bias = nn.Parameter(torch.zeros(1, 1, n_out))
        nn.init.xavier_normal_(self.weight)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """Map (B, J, n_in) to (B, J, n_out)."""
        identity = torch.eye(len(graph), dtype=graph.dtype, device=graph.device)
        scale = torch.diag(graph.sum(dim=1).pow(-0.5))
        laplacian = identity - scale @ graph @ scale
        orders = [identity, laplacian, 2.0 * laplacian @ laplacian - identity]
        polynomials = torch.stack(orders)[:, None]  # (3, 1, J, J)
        return (polynomials @ x @ self.weight).sum(dim=0) + self.bias


class GraphConv(nn.Module):
    """A Chebyshev convolution with its activation."""

    def __init__(self, n_in: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.gconv = ChebConv(n_in, n_out)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """Map (B, J, n_in) to (B, J, n_out)."""
        return torch.relu(self.dropout(torch.relu(self.gconv(x, graph))))


class ResidualGraphConv(nn.Module):
    """Two graph convolutions with a residual, and the step in between where there is one."""

    def __init__(self, width: int, dropout: float, n_step: int) -> None:
        super().__init__()
        self.gconv1 = GraphConv(width, width, dropout)
        self.gconv2 = GraphConv(width, width, dropout)
        if n_step:
            self.temb_proj = nn.Linear(n_step, width)

    def forward(self, x: Tensor, graph: Tensor, step: Tensor | None) -> Tensor:
        """Map (B, J, C) to (B, J, C); step (B, 4 C)."""
        hidden = self.gconv1(x, graph)
        if step is not None:
            hidden = hidden + self.temb_proj(step * torch.sigmoid(step))[:, None]
        out: Tensor = x + self.gconv2(hidden, graph)
        return out


class LayerNorm(nn.Module):
    """Normalisation by the unbiased standard deviation, epsilon added to the deviation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(width))
        self.b_2 = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        centred = x - x.mean(dim=-1, keepdim=True)
        normed: Tensor = self.a_2 * centred / (x.std(dim=-1, keepdim=True) + 1e-6) + self.b_2
        return normed


class Attention(nn.Module):
    """Multi-head attention over the joints."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.linears = nn.ModuleList(nn.Linear(width, width) for _ in range(4))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, J, C) to (B, J, C); mask (1, 1, J) of the joints that may be read."""
        rows, _, width = x.shape
        parts = [
            linear(x).view(rows, -1, self.n_heads, width // self.n_heads).transpose(1, 2)
            for linear in list(self.linears)[:3]
        ]
        query, key, value = parts
        scores = query @ key.transpose(-2, -1) / math.sqrt(width // self.n_heads)
        scores = scores.masked_fill(mask[:, None] == 0, -1e9)
        mixed = self.dropout(scores.softmax(dim=-1)) @ value
        attended: Tensor = self.linears[3](mixed.transpose(1, 2).contiguous().view(rows, -1, width))
        return attended


class LearntGraphConv(nn.Module):
    """A linear layer over the normalised learnt graph."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.fc = nn.Linear(n_in, n_out)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """Map (B, J, n_in) to (B, J, n_out)."""
        graphs = graph[None].repeat(len(x), 1, 1)
        scale = (graphs.sum(dim=1) + 1e-5).pow(-0.5)
        out: Tensor = self.fc(torch.bmm(scale[:, :, None] * graphs * scale[:, None, :], x))
        return out


class GraphNet(nn.Module):
    """Two layers over one learnt graph."""

    def __init__(self, width: int, n_joints: int) -> None:
        super().__init__()
        self.A_hat = nn.Parameter(torch.eye(n_joints))
        self.gconv1 = LearntGraphConv(width, 2 * width)
        self.gconv2 = LearntGraphConv(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, J, C) to (B, J, C)."""
        out: Tensor = self.gconv2(torch.relu(self.gconv1(x, self.A_hat)), self.A_hat)
        return out


class Sublayer(nn.Module):
    """A residual branch: its input normed, its output dropped now and then."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        """Map (B, J, C) to (B, J, C)."""
        dropped: Tensor = self.dropout(branch(self.norm(x)))
        return x + dropped


class AttentionLayer(nn.Module):
    """Attention, then the learnt graph; each normed first, each with a residual."""

    def __init__(self, sizes: OfficialSizes) -> None:
        super().__init__()
        self.self_attn = Attention(sizes.width, sizes.n_heads, sizes.inner_dropout)
        self.feed_forward = GraphNet(sizes.width, sizes.n_joints)
        self.sublayer = nn.ModuleList(Sublayer(sizes.width, sizes.dropout) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, J, C) to (B, J, C)."""
        x = self.sublayer[0](x, lambda normed: self.self_attn(normed, mask))
        out: Tensor = self.sublayer[1](x, self.feed_forward)
        return out


class OfficialGcn(nn.Module):
    """GraFormer (no step MLP), GCNpose (an unused one) and GCNdiff (one that is used)."""

    def __init__(self, sizes: OfficialSizes, n_in: int, n_out: int, steps: str) -> None:
        """Build a network.

        Args:
            sizes: width and so on.
            n_in: 2, or 5 for GCNdiff.
            n_out: 3, or 5 for GCNdiff.
            steps: "none" (GraFormer), "unused" (GCNpose) or "used" (GCNdiff).
        """
        super().__init__()
        self.steps, self.width = steps, sizes.width
        n_step = 4 * sizes.width
        self.gconv_input = ChebConv(n_in, sizes.width)
        self.gconv_layers = nn.ModuleList(
            ResidualGraphConv(sizes.width, sizes.inner_dropout, n_step if steps == "used" else 0)
            for _ in range(sizes.n_layers)
        )
        self.atten_layers = nn.ModuleList(AttentionLayer(sizes) for _ in range(sizes.n_layers))
        self.gconv_output = ChebConv(sizes.width, n_out)
        if steps != "none":
            dense = [nn.Linear(sizes.width, n_step), nn.Linear(n_step, n_step)]
            self.temb = nn.ModuleDict({"dense": nn.ModuleList(dense)})
        self.graph = row_normalised_graph()
        self.mask = torch.ones(1, 1, sizes.n_joints, dtype=torch.bool)

    def forward(self, x: Tensor, k: Tensor | None = None) -> Tensor:
        """Map (B, J, n_in) to (B, J, n_out); k (B,) is the step of GCNdiff."""
        graph, mask = self.graph.to(x), self.mask.to(x.device)
        step = None
        if self.steps == "used":
            assert k is not None
            half = self.width // 2
            rates = torch.arange(half, dtype=x.dtype, device=x.device)
            angles = k.to(x.dtype)[:, None] * torch.exp(rates * (-math.log(10000.0) / (half - 1)))
            first, second = self.temb["dense"].children()
            step = first(torch.cat([angles.sin(), angles.cos()], dim=1))
            step = second(step * torch.sigmoid(step))
        x = self.gconv_input(x, graph)
        for attention, convolution in zip(self.atten_layers, self.gconv_layers, strict=True):
            x = convolution(attention(x, mask), graph, step)
        out: Tensor = self.gconv_output(x, graph)
        return out
