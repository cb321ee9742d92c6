"""Checkpoint files in the layouts of DiffPose's authors, GraFormer and MixSTE; random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from official_mixste import OfficialMixste
from torch import Tensor, nn

from diffpose.benchmarks.official_layers import OfficialGcn, OfficialSizes

SMALL = OfficialSizes(width=16, n_layers=2, n_heads=4)
FRAMES = 6


def randomised(network: nn.Module, seed: int) -> Any:
    """Give a network weights as a trained one has them: unlike the start, of ordinary size."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("A_hat"):  # learnt graphs stay near their start, columns above 0
            parameter.data = torch.eye(17) + 0.1 * noise.abs()
        elif name.endswith(
            ("a_2", "norm1.weight", "norm2.weight", "_norm.weight", "head.0.weight")
        ):
            parameter.data = 1.0 + 0.2 * noise
        elif name == "gconv_input.weight":  # so that the first norm sees ordinary values
            parameter.data = noise
        elif parameter.ndim > 1 and not name.endswith("embed"):
            chebyshev = parameter.ndim == 4
            fan_in = 6 * parameter.shape[-2] if chebyshev else parameter.shape[-1]
            parameter.data = noise / fan_in**0.5
        else:
            parameter.data = 0.2 * noise
    return network.eval()


def gcn_pose(seed: int = 0, sizes: OfficialSizes = SMALL) -> OfficialGcn:
    return randomised(OfficialGcn(sizes, 2, 3, "unused"), seed)


def graformer(seed: int = 0, sizes: OfficialSizes = SMALL) -> OfficialGcn:
    return randomised(OfficialGcn(sizes, 2, 3, "none"), seed)


def gcn_diff(seed: int = 1, sizes: OfficialSizes = SMALL) -> OfficialGcn:
    return randomised(OfficialGcn(sizes, 5, 5, "used"), seed)


def mixste(seed: int = 2) -> OfficialMixste:
    return randomised(OfficialMixste(FRAMES, 16, 2, 4), seed)


def with_module(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{key}": value for key, value in state.items()}


def save_list(path: Path, network: nn.Module, averaged: nn.Module | None = None) -> str:
    """Write [state dict, optimiser, epoch, step, averaged weights], as GCNpose and GCNdiff."""
    optimiser = torch.optim.Adam(network.parameters())
    averaged_state = {
        name: value.detach().clone() for name, value in (averaged or network).named_parameters()
    }
    content = [with_module(network.state_dict()), optimiser.state_dict(), 7, 42, averaged_state]
    torch.save(content, path)
    return str(path)


def save_mixste(path: Path, network: OfficialMixste) -> str:
    content = {"epoch": 3, "lr": 4e-5, "random_state": None, "optimizer": {},
               "model_pos": with_module(network.state_dict())}  # fmt: skip
    torch.save(content, path)
    return str(path)
