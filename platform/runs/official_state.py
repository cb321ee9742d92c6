"""Names and shapes of weights: from the checkpoints of DiffPose's authors to our networks.

Each mapping says, for every tensor of ours, which tensors of theirs it is made of. What a file has
beyond that, lacks, or has in another size is an error that lists it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diffpose.model.networks.mixste import MixsteConfig
from diffpose.model.released.chebyshev_gcn import ChebyshevGcnConfig, norm_factor
from diffpose.platform.base.errors import RunError


@dataclass(frozen=True)
class Source:
    """How a tensor of ours comes about.

    Attributes:
        keys: names in the official file.
        make: from those tensors to ours.
    """

    keys: tuple[str, ...]
    make: Callable[..., Tensor]


def as_it_is(key: str) -> Source:
    """Take a tensor unchanged."""
    return Source((key,), lambda value: value)


def gcn_sources(config: ChebyshevGcnConfig) -> dict[str, Source]:
    """Return the sources of a ChebyshevGcn's weights, by our names."""
    result: dict[str, Source] = {}

    def convolution(ours: str, theirs: str) -> None:
        result[f"{ours}.weight"] = Source((f"{theirs}.weight",), lambda w: w.squeeze(1))
        result[f"{ours}.bias"] = Source((f"{theirs}.bias",), lambda b: b.reshape(-1))

    def linear(ours: str, theirs: str) -> None:
        for part in ("weight", "bias"):
            result[f"{ours}.{part}"] = as_it_is(f"{theirs}.{part}")

    convolution("entry", "gconv_input")
    convolution("exit", "gconv_output")
    factor = norm_factor(config.width)
    for i in range(config.n_layers):
        ours, attention = f"layers.{i}", f"atten_layers.{i}"
        for part in ("weight", "bias"):
            keys = tuple(f"{attention}.self_attn.linears.{j}.{part}" for j in range(3))
            result[f"{ours}.qkv.{part}"] = Source(keys, lambda *parts: torch.cat(parts))
        linear(f"{ours}.out", f"{attention}.self_attn.linears.3")
        for j in (0, 1):
            norm, name = f"{attention}.sublayer.{j}.norm", f"{ours}.norm_{j + 1}"
            result[f"{name}.weight"] = Source((f"{norm}.a_2",), lambda a: a * factor)
            result[f"{name}.bias"] = as_it_is(f"{norm}.b_2")
            convolution(f"{ours}.convolution_{j + 1}", f"gconv_layers.{i}.gconv{j + 1}.gconv")
        result[f"{ours}.graph"] = as_it_is(f"{attention}.feed_forward.A_hat")
        linear(f"{ours}.wide", f"{attention}.feed_forward.gconv1.fc")
        linear(f"{ours}.narrow", f"{attention}.feed_forward.gconv2.fc")
        if config.n_steps:
            linear(f"{ours}.step", f"gconv_layers.{i}.temb_proj")
    if config.n_steps:
        linear("step_1", "temb.dense.0")
        linear("step_2", "temb.dense.1")
    return result


# GCNpose carries a step MLP that its forward pass never calls.
UNUSED_BY_GCNPOSE = tuple(f"temb.dense.{i}.{part}" for i in (0, 1) for part in ("weight", "bias"))


def convert(
    where: str,
    network: str,
    official: Mapping[str, Tensor],
    sources: Mapping[str, Source],
    shapes: Mapping[str, torch.Size],
    unused: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """Make our weights of theirs.

    Args:
        where: the file, for messages.
        network: what it is taken for, with its size, for messages.
        official: their state dict.
        sources: where each tensor of ours comes from.
        shapes: what our tensors must measure.
        unused: keys that a file may hold though the network does not use them.

    Raises:
        RunError: keys are missing or unknown, or shapes differ; all of them are listed.
    """
    wanted = {key for source in sources.values() for key in source.keys}
    missing = sorted(wanted - official.keys())
    unknown = sorted(official.keys() - wanted - set(unused))
    problems = []
    if missing:
        problems.append(f"missing: {_listed(missing)}")
    if unknown:
        problems.append(f"unknown: {_listed(unknown)}")
    if not problems:
        weights: dict[str, Tensor] = {}
        for name, source in sources.items():
            parts = [official[key] for key in source.keys]
            try:
                made = source.make(*parts)
                fits = made.shape == shapes[name]
            except RuntimeError:  # tensors that cannot be put together
                fits = False
            if fits:
                weights[name] = made.to(torch.float32).clone()
            else:
                named = zip(source.keys, parts, strict=True)
                sizes = ", ".join(f"{key} {tuple(part.shape)}" for key, part in named)
                problems.append(f"{sizes} (together they should give {tuple(shapes[name])})")
    if problems:
        raise RunError(
            f"{where} does not hold a {network}, which it was taken for by its tensors:\n  "
            + "\n  ".join(problems)
        )
    return weights


def _listed(keys: list[str], most: int = 40) -> str:
    rest = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + rest


def mixste_sources(config: MixsteConfig) -> dict[str, Source]:
    """Return the sources of a Mixste's weights, by our names."""
    names = {
        "entry": "Spatial_patch_to_embedding",
        "spatial_norm": "Spatial_norm",
        "temporal_norm": "Temporal_norm",
        "exit_norm": "head.0",
        "exit": "head.1",
    }
    parts = {
        "attention_norm": "norm1",
        "attention.project": "attn.qkv",
        "attention.output": "attn.proj",
        "mlp_norm": "norm2",
        "expand": "mlp.fc1",
        "shrink": "mlp.fc2",
    }
    for i in range(config.depth):
        for ours, theirs in (("spatial", "STEblocks"), ("temporal", "TTEblocks")):
            names |= {f"{ours}.{i}.{a}": f"{theirs}.{i}.{b}" for a, b in parts.items()}
    result = {
        f"{ours}.{part}": as_it_is(f"{theirs}.{part}")
        for ours, theirs in names.items()
        for part in ("weight", "bias")
    }
    result["joint_places"] = as_it_is("Spatial_pos_embed")
    result["frame_places"] = as_it_is("Temporal_pos_embed")
    return result
