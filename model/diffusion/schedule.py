"""Noise schedules alpha_k and the grid of visited steps.

alpha_k is the cumulative product of (1 - beta_i), as in the paper; alpha_0 = 1.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

ScheduleName = Literal["paper", "linear_to_zero", "cosine"]
Spacing = Literal["even", "quadratic"]


def cumulative_alphas(name: ScheduleName, n_steps: int) -> Tensor:
    """Return alpha_0 .. alpha_K, float64, shape (K + 1,).

    ``paper``: beta linear from 1e-4 to 2e-3 (supplement, section 3). With K = 50 this ends at
    alpha_K = 0.949, against the paper's own text (alpha_K ~ 0): kept for comparison, the reverse
    process then returns its start. ``linear_to_zero``: beta linear from 1e-4 to 0.18 at K = 50
    (alpha_K = 0.008), scaled for other K. ``cosine``: Nichol and Dhariwal (ICML 2021), ends at
    1e-4.

    Raises:
        ValueError: K is not positive or the name is unknown.
    """
    if n_steps < 1:
        raise ValueError(f"The number of diffusion steps must be at least 1, got {n_steps}.")
    if name in ("paper", "linear_to_zero"):
        last = 2e-3 if name == "paper" else min(0.18 * 50 / n_steps, 0.999)
        return linear_alphas(1e-4, last, n_steps)
    if name == "cosine":
        offset = 0.008
        k = torch.arange(n_steps + 1, dtype=torch.float64)
        curve = torch.cos((k / n_steps + offset) / (1 + offset) * math.pi / 2) ** 2
        alphas = (curve[1:] / curve[0]).clamp_min(1e-4)
    else:
        raise ValueError(
            f"Unknown schedule {name!r}; there are 'paper', 'linear_to_zero', 'cosine'."
        )
    return torch.cat([torch.ones(1, dtype=torch.float64), alphas])


def linear_alphas(first_beta: float, last_beta: float, n_steps: int) -> Tensor:
    """Return alpha_0 .. alpha_K, float64, (K + 1,), of betas that rise linearly over K steps."""
    # from the end, so that a single step is the last one
    betas = torch.linspace(last_beta, first_beta, n_steps, dtype=torch.float64).flip(0)
    one = torch.ones(1, dtype=torch.float64)
    return torch.cat([one, torch.cumprod(1.0 - betas, dim=0)])


def step_grid(n_steps: int, n_visited: int, spacing: Spacing = "even") -> tuple[int, ...]:
    """Return the visited steps, from K down to 0.

    ``even``: 50, 40, 30, 20, 10, 0. ``quadratic``: 50, 48, 42, 32, 18, 0: short steps where h_k is
    mostly noise and much is decided, a long one at the end. Fewer late steps keep less of the
    posterior's spread, so that the mean of few hypotheses is a better estimate.

    Args:
        n_steps: K.
        n_visited: how many times the network runs (5 in the paper with DDIM, K without).
        spacing: how the visits lie.

    Raises:
        ValueError: more visits than steps, or none.
    """
    if not 1 <= n_visited <= n_steps:
        raise ValueError(
            f"Between 1 and K={n_steps} steps can be visited, got {n_visited} visited steps."
        )
    power = {"even": 1, "quadratic": 2}[spacing]
    steps = [n_steps]
    for i in range(1, n_visited + 1):
        wanted = round(n_steps * (1 - (i / n_visited) ** power))
        # strictly downwards, with room for the visits that are left
        steps.append(max(min(wanted, steps[-1] - 1), n_visited - i))
    return tuple(steps)
