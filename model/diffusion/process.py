"""The forward process towards a mixture and the reverse process back to the pose.

Notation (paper -> here):
    h_0, h_k          h0, h_k       poses, any leading axes, last axes (17, 3)
    alpha_k           alpha         cumulative product, noise_schedule.cumulative_alphas
    mu^G, epsilon^G   mu, epsilon   mean of the drawn kernel and a draw of N(0, Sigma_kernel)
    g_theta           network       a function (h_k, k) -> next pose or clean pose

All poses here are in one space and unit; which one is the caller's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def diffuse(h0: Tensor, mu: Tensor, epsilon: Tensor, alpha: Tensor) -> Tensor:
    """Return h_k = mu + sqrt(alpha_k) (h_0 - mu) + sqrt(1 - alpha_k) epsilon (eq. 7).

    Args:
        h0, mu, epsilon: poses of one shape (..., 17, 3).
        alpha: alpha_k, a scalar or shaped to broadcast against the poses.
    """
    return mu + alpha.sqrt() * (h0 - mu) + (1.0 - alpha).sqrt() * epsilon


def diffuse_one_step(
    h_previous: Tensor, mu: Tensor, epsilon: Tensor, alpha_previous: Tensor, alpha: Tensor
) -> Tensor:
    """Return h_k from h_{k-1} with fresh noise: the step-wise form (supplement, eq. 2)."""
    ratio = alpha / alpha_previous
    return mu + ratio.sqrt() * (h_previous - mu) + (1.0 - ratio).sqrt() * epsilon


def towards_clean_pose(
    h_k: Tensor, h0: Tensor, mu: Tensor, alpha: Tensor, alpha_next: Tensor
) -> Tensor:
    """Return h at the next visited step from an estimate of h_0 (DDIM, Song et al., ICLR 2021).

    The noise that h_k carries follows from eq. 7, ``epsilon = (h_k - mu - sqrt(alpha_k)(h_0 - mu))
    / sqrt(1 - alpha_k)``; the next h has the same noise at the next alpha.
    """
    epsilon = (h_k - mu - alpha.sqrt() * (h0 - mu)) / (1.0 - alpha).sqrt()
    return diffuse(h0, mu, epsilon, alpha_next)


def reverse_process(
    network: Callable[[Tensor, int], Tensor],
    start: Tensor,
    mu: Tensor,
    alphas: Tensor,
    grid: Sequence[int],
    step: Step,
) -> list[Tensor]:
    """Walk from h_K to h_0 over the visited steps, deterministically.

    Args:
        network: g; called as ``network(h_k, k)``. Returns the next visited h (eq. 8 on the grid)
            or an estimate of h_0, as ``step`` takes it.
        start: h_K, drawn from H_K.
        mu: the mean of the kernel that each hypothesis was drawn from, for steps that need it.
        alphas: (K + 1,).
        grid: visited steps from K to 0.
        step: (h_k, output, mu, alpha_k, alpha at the next visited step) -> h there, of a
            `diffusion.parametrisation`; the last output is h_0 as it is.

    Returns:
        The poses at every visited step, ``start`` first, h_0 last.
    """
    trajectory = [start]
    for k, k_next in pairwise(grid):
        output = network(trajectory[-1], k)
        if k_next == 0:
            trajectory.append(output)
        else:
            alpha, alpha_next = (alphas[i].to(start.dtype) for i in (k, k_next))
            trajectory.append(step(trajectory[-1], output, mu, alpha, alpha_next))
    return trajectory


def step_alpha(alphas: Tensor, k: Tensor) -> Tensor:
    """Pick alpha_k for a batch of steps (B,), shaped (B, 1, 1) to broadcast against poses."""
    return alphas.to(k.device, torch.float32)[k][:, None, None]
