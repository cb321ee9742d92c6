"""The graph networks of DiffPose's released code: GraFormer, GCNpose and GCNdiff, made fast.

n layers of {self-attention over joints, two linear layers over a learnt graph, two Chebyshev
convolutions}, each part with a residual. GCNdiff adds an embedding of the step k between the two
convolutions. What differs from a plain rendering, for the same numbers: joint-major layout, graph
polynomials worked out once, queries, keys and values in one product, the second linear layer
before its graph (half the channels to mix), fused attention, and for inference a folded form in
which everything that depends on weights alone (normalised graphs, the embedding of each step) is a
constant.

Axis legend: J = 17 joints, B rows, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field
from torch import Tensor, nn

from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.model.networks.graph_layers import check_joints
from diffpose.model.released.chebyshev import (
    ChebyshevConvolution,
    chebyshev_basis,
    chebyshev_convolution,
    mix_joints,
)

# Rows per pass on a CPU: their activations stay in the second-level cache.
ROWS_PER_PASS = 64


class ChebyshevGcnConfig(BaseModel, frozen=True, extra="forbid"):
    """Sizes; the defaults are those of the released networks."""

    n_in: int = Field(2, ge=1, description="values per joint in: u, v; GCNdiff: u, v, x, y, z")
    n_out: int = Field(3, ge=1, description="values per joint out: x, y, z; GCNdiff: five")
    width: int = Field(96, ge=4, multiple_of=4, description="channels")
    n_layers: int = Field(5, ge=1, description="layers")
    n_heads: int = Field(4, ge=1, description="attention heads")
    n_steps: int = Field(0, ge=0, description="diffusion steps T; 0: no step embedding")
    dropout: float = Field(0.25, ge=0, lt=1, description="of whole branches, while training")
    inner_dropout: float = Field(0.1, ge=0, lt=1, description="of attention and convolutions")


class LayerWeights(NamedTuple):
    """What one layer multiplies with; graph is the normalised learnt graph, (J, J)."""

    norm_1: Tensor
    shift_1: Tensor
    qkv: Tensor
    qkv_bias: Tensor
    out: Tensor
    out_bias: Tensor
    norm_2: Tensor
    shift_2: Tensor
    graph: Tensor
    wide: Tensor
    wide_bias: Tensor
    narrow: Tensor
    narrow_bias: Tensor
    convolution_1: Tensor
    bias_1: Tensor
    convolution_2: Tensor
    bias_2: Tensor


class ChebyshevGcnLayer(nn.Module):
    """The parameters of one layer."""

    def __init__(self, config: ChebyshevGcnConfig) -> None:
        super().__init__()
        width = config.width
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.graph = nn.Parameter(torch.eye(N_JOINTS))
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.convolution_1 = ChebyshevConvolution(width, width)
        self.convolution_2 = ChebyshevConvolution(width, width)
        self.step = nn.Linear(4 * width, width) if config.n_steps else None

    def weights(self) -> LayerWeights:
        """Return this layer's weights, the graph normalised: D^-1/2 A D^-1/2, D of columns."""
        scale = (self.graph.sum(dim=0) + 1e-5).rsqrt()
        return LayerWeights(
            self.norm_1.weight, self.norm_1.bias, self.qkv.weight, self.qkv.bias,
            self.out.weight, self.out.bias, self.norm_2.weight, self.norm_2.bias,
            scale[:, None] * self.graph * scale, self.wide.weight, self.wide.bias,
            self.narrow.weight, self.narrow.bias,
            self.convolution_1.weight, self.convolution_1.bias,
            self.convolution_2.weight, self.convolution_2.bias,
        )  # fmt: skip


class ChebyshevGcn(nn.Module):
    """GraFormer or GCNpose (``n_steps=0``), or GCNdiff."""

    basis: Tensor
    steps: Tensor

    def __init__(self, config: ChebyshevGcnConfig) -> None:
        super().__init__()
        if config.width % config.n_heads:
            raise ValueError(
                f"The width {config.width} must be a multiple of the {config.n_heads} heads."
            )
        self.config = config
        self.entry = ChebyshevConvolution(config.n_in, config.width)
        self.layers = nn.ModuleList(ChebyshevGcnLayer(config) for _ in range(config.n_layers))
        self.exit = ChebyshevConvolution(config.width, config.n_out)
        self.register_buffer("basis", chebyshev_basis(), persistent=False)
        if config.n_steps:
            self.step_1 = nn.Linear(config.width, 4 * config.width)
            self.step_2 = nn.Linear(4 * config.width, 4 * config.width)
            table = step_embeddings(config.n_steps, config.width)
            self.register_buffer("steps", table, persistent=False)

    def forward(self, x: Tensor, k: Tensor | None = None) -> Tensor:
        """Run the network with its present weights; `folded` is faster for inference.

        Args:
            x: (B, 17, n_in).
            k: steps (B,), int64, 0 .. T - 1; None without step embedding.

        Returns:
            (B, 17, n_out).
        """
        check_joints(x, "x")
        config = self.config
        layers = [layer.weights() for layer in self._layers()]
        embedded = None if k is None else self.embed_steps(self.steps[k])
        hidden = self.entry(x.transpose(0, 1), self.basis)
        for i, weights in enumerate(layers):
            step = None if embedded is None else embedded[:, i]
            hidden = run_layer(hidden, weights, self.basis, step, config, training=self.training)
        out: Tensor = self.exit(hidden, self.basis)
        return out.transpose(0, 1)

    def embed_steps(self, sinusoids: Tensor) -> Tensor:
        """Return what every layer adds, (B, n_layers, C), for rows of `step_embeddings`."""
        step = F.silu(self.step_2(F.silu(self.step_1(sinusoids))))
        projections = [layer.step for layer in self._layers() if layer.step is not None]
        weight = torch.cat([projection.weight for projection in projections])
        bias = torch.cat([projection.bias for projection in projections])
        return F.linear(step, weight, bias).view(len(step), len(projections), -1)

    def folded(self) -> FoldedGcn:
        """Return the network for inference, with a copy of the present weights."""
        return FoldedGcn(self)

    def _layers(self) -> list[ChebyshevGcnLayer]:
        return [layer for layer in self.layers if isinstance(layer, ChebyshevGcnLayer)]


class FoldedGcn(nn.Module):
    """A ChebyshevGcn for inference: its weights, and all that follows from them, as constants."""

    basis: Tensor
    steps: Tensor

    @torch.no_grad()
    def __init__(self, network: ChebyshevGcn) -> None:
        super().__init__()
        self.config = network.config

        def keep(name: str, value: Tensor) -> None:
            self.register_buffer(name, value.detach().clone(), persistent=False)

        keep("basis", network.basis)
        for end, convolution in (("entry", network.entry), ("exit", network.exit)):
            keep(f"{end}_weight", convolution.weight)
            keep(f"{end}_bias", convolution.bias)
        for i, layer in enumerate(network._layers()):
            for name, value in layer.weights()._asdict().items():
                keep(f"layer_{i}_{name}", value)
        if self.config.n_steps:
            keep("steps", network.embed_steps(network.steps))
        self._pass: Callable[[Tensor, Tensor | None], Tensor] = self._run

    def compiled(self) -> FoldedGcn:
        """Compile the pass (torch.compile; the first call takes a while) and return self."""
        self._pass = torch.compile(self._run)
        return self

    def forward(self, x: Tensor, k: Tensor | None = None) -> Tensor:
        """Map (B, 17, n_in) to (B, 17, n_out); k (B,) is the step of each row.

        Weights may be in lower precision (``.to(torch.bfloat16)``); the output is in theirs.
        """
        x = x.to(self.basis.dtype)
        if x.device.type != "cpu" or len(x) <= ROWS_PER_PASS:
            return self._pass(x, k)
        parts = [
            self._pass(x[i : i + ROWS_PER_PASS], None if k is None else k[i : i + ROWS_PER_PASS])
            for i in range(0, len(x), ROWS_PER_PASS)
        ]
        return torch.cat(parts)

    def _run(self, x: Tensor, k: Tensor | None) -> Tensor:
        embedded = None if k is None else self.steps[k]
        part = self.get_buffer
        hidden = chebyshev_convolution(
            x.transpose(0, 1), self.basis, part("entry_weight"), part("entry_bias")
        )
        for i in range(self.config.n_layers):
            weights = LayerWeights(*(part(f"layer_{i}_{name}") for name in LayerWeights._fields))
            step = None if embedded is None else embedded[:, i]
            hidden = run_layer(hidden, weights, self.basis, step, self.config, training=False)
        out = chebyshev_convolution(hidden, self.basis, part("exit_weight"), part("exit_bias"))
        return out.transpose(0, 1)


def run_layer(
    x: Tensor,
    weights: LayerWeights,
    basis: Tensor,
    step: Tensor | None,
    config: ChebyshevGcnConfig,
    *,
    training: bool,
) -> Tensor:
    """Map (J, B, C) to (J, B, C).

    Args:
        x: joint-major.
        weights: of the layer.
        basis: of chebyshev_basis.
        step: (B, C), added between the convolutions.
        config: heads and dropout.
        training: with dropout.
    """
    branch, inner = config.dropout * training, config.inner_dropout * training
    normed = released_norm(x, weights.norm_1, weights.shift_1)
    attended = attend(normed, weights, config.n_heads, inner)
    x = x + _dropped(attended, branch)
    normed = released_norm(x, weights.norm_2, weights.shift_2)
    hidden = F.relu(F.linear(mix_joints(weights.graph, normed), weights.wide, weights.wide_bias))
    mixed = mix_joints(weights.graph, F.linear(hidden, weights.narrow)) + weights.narrow_bias
    x = x + _dropped(mixed, branch)
    hidden = chebyshev_convolution(x, basis, weights.convolution_1, weights.bias_1)
    hidden = _dropped(F.relu(hidden), inner)
    if step is not None:
        hidden = hidden + step
    hidden = chebyshev_convolution(hidden, basis, weights.convolution_2, weights.bias_2)
    return x + _dropped(F.relu(hidden), inner)


def attend(x: Tensor, weights: LayerWeights, n_heads: int, dropout: float) -> Tensor:
    """Self-attention over the joints, (J, B, C) to (J, B, C)."""
    joints, rows, width = x.shape
    split = F.linear(x, weights.qkv, weights.qkv_bias)
    split = split.view(joints, rows, 3, n_heads, width // n_heads)
    query, key, value = split.permute(2, 1, 3, 0, 4)  # each (B, heads, J, C / heads)
    mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    mixed = mixed.permute(2, 0, 1, 3).reshape(joints, rows, width)
    return F.linear(mixed, weights.out, weights.out_bias)


def released_norm(x: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
    """Normalise the last axis as the released layers do.

    They divide by the unbiased standard deviation plus 1e-6. The factor between the two deviations
    is in ``weight`` (norm_factor, applied on import), so that here

        weight (x - mean) / (biased deviation + 1e-6 factor) + shift.
    """
    dtype = weight.dtype
    if x.dtype in (torch.bfloat16, torch.float16):  # moments in float32, as torch's own layer norm
        x, weight, shift = x.float(), weight.float(), shift.float()
    # the compiled norm, then what the epsilon's place makes of it: rate is 1 / biased deviation
    normed, _, rate = torch.native_layer_norm(x, x.shape[-1:], weight, shift, 1e-30)
    share = 1 / (1 + 1e-6 * norm_factor(x.shape[-1]) * rate)
    return torch.lerp(shift.expand_as(normed), normed, share).to(dtype)


def norm_factor(width: int) -> float:
    """Return the biased over the unbiased standard deviation of ``width`` values."""
    return math.sqrt((width - 1) / width)


def step_embeddings(n_steps: int, width: int) -> Tensor:
    """Return sinusoids of k = 0 .. T - 1, (T, width): all sines, then all cosines.

    Frequencies run from 1 to 1/10000 (Ho et al., NeurIPS 2020), unlike the denoiser's own table.
    """
    half = width // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10000.0) / (half - 1)))
    angles = torch.arange(n_steps, dtype=torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(torch.float32)


def _dropped(x: Tensor, probability: float) -> Tensor:
    return F.dropout(x, probability) if probability > 0 else x
