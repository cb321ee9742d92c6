"""A lifter whose networks are not trained but whose weights are all moved, and what it sees."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffpose.model.lifting.lifter import DiffusionLifter
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec
from diffpose.model.networks.denoiser import Denoiser, DenoiserConfig
from diffpose.model.networks.graformer import Graformer, GraformerConfig
from diffpose.model.observations.initial_distribution import EncoderDepth, Observations

CAMERA = np.array([1145.0, 1145.0, 500.0, 500.0])
B = 5


class NearPerson(Graformer):
    """An untrained encoder whose poses stay near one person, so that depths are about 5 m."""

    def forward(self, rays: Tensor) -> tuple[Tensor, Tensor]:
        features, pose = super().forward(rays)
        return features, 0.1 * pose + person() * 0.0035


def person() -> Tensor:
    pose = torch.randn(17, 3, generator=torch.Generator().manual_seed(4))
    pose = pose * torch.tensor([250.0, 400.0, 150.0])
    return pose - pose[:1]


def make_lifter(**changes: Any) -> DiffusionLifter:
    torch.manual_seed(0)
    encoder = NearPerson(GraformerConfig(width=16, n_blocks=1, n_heads=2))
    denoiser = Denoiser(DenoiserConfig(width=16, n_blocks=1, n_heads=2, **changes), 16)
    with torch.no_grad():
        for parameter in (*encoder.parameters(), *denoiser.parameters()):
            parameter.add_(0.05 * torch.randn(parameter.shape))
    spec = MixtureSpec(n_kernels=2, n_draws=200, max_iterations=20)
    return DiffusionLifter(encoder, denoiser, EncoderDepth(torch.full((17,), 60.0)), spec)


@lru_cache
def observations() -> Observations:
    rng = np.random.default_rng(1)
    poses = person().double().numpy() + rng.normal(0, 60, (B, 17, 3))
    points = poses + rng.uniform([-300, -300, 4500], [300, 300, 5500], (B, 1, 3))
    pixels = points[..., :2] / points[..., 2:] * CAMERA[:2] + CAMERA[2:]
    return Observations.from_keypoints(
        pixels, np.tile(CAMERA, (B, 1)), sigma_px=rng.uniform(8, 20, (B, 17))
    )


def seeds(n: int = B, first: int = 0) -> NDArray[np.uint64]:
    return np.arange(first, first + n, dtype=np.uint64)
