"""What the two networks are trained on, from one batch (Sec. 4.4, training).

All poses are in the space of h (detections.POSE_SCALE_PER_MM) unless a name says mm.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from diffpose.model.diffusion.process import diffuse, step_alpha
from diffpose.model.lifting.lifter import denoise_step, single_step_input
from diffpose.model.networks.context import Context
from diffpose.model.networks.denoiser import DenoiserConfig
from diffpose.model.observations.detections import POSE_SCALE_PER_MM, Detections


def encoder_loss(predicted: Tensor, target_mm: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the mean square error of the context encoder's poses.

    Args:
        predicted: (..., 17, 3).
        target_mm: the same shape, mm.
        known: (...), weight of each pose; default: all alike.
    """
    if known is None:
        return F.mse_loss(predicted, target_mm * POSE_SCALE_PER_MM)
    error = (predicted - target_mm * POSE_SCALE_PER_MM).square().mean(dim=(-1, -2))
    return (error * known).sum() / known.sum().clamp_min(1.0)


def denoiser_loss(
    denoiser: torch.nn.Module,
    config: DenoiserConfig,
    context: Context,
    detections: Detections,
    target_mm: Tensor,
    mu: Tensor,
    epsilon: Tensor,
    alphas: Tensor,
    grid: Sequence[int],
    generator: torch.Generator,
) -> Tensor:
    """Return the loss of g for one random visited step per frame (eq. 9 on the grid).

    Args:
        denoiser: g, possibly wrapped for distributed training.
        config: of g.
        context: B frames, from the frozen encoder.
        detections: the same frames.
        target_mm: h_0, (B, 17, 3) in mm.
        mu, epsilon: one draw of the frame's mixture, (B, 17, 3); for ``gaussian`` 0 and N(0, I).
        alphas: (K + 1,).
        grid: visited steps, K first, 0 last.
        generator: of the random steps.
    """
    h0 = target_mm * POSE_SCALE_PER_MM
    rows = len(h0)
    if config.process == "single_step":
        k = torch.full((rows,), config.n_steps, device=h0.device)
        h_k, target = single_step_input(detections, context), h0
    else:
        place = torch.randint(len(grid) - 1, (rows,), generator=generator)
        if config.first_step_share:
            first = torch.rand(rows, generator=generator) < config.first_step_share
            place = torch.where(first, torch.zeros_like(place), place)
        steps = torch.tensor(grid)
        k, k_next = steps[place].to(h0.device), steps[place + 1].to(h0.device)
        h_k = diffuse(h0, mu, epsilon, step_alpha(alphas, k))
        target = config.predicts.target(h0, mu, epsilon, step_alpha(alphas, k_next))
    output = denoise_step(denoiser, config, h_k, context, k, step_alpha(alphas, k))
    return F.mse_loss(output, target)
