"""Learning-rate schedules and averaged weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffpose.platform.training.settings import OptimiserSettings


def learning_rate(settings: OptimiserSettings, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step: a function of the step alone, so that resuming is exact.

    ``one_cycle`` (Smith and Topin, 2019): a linear rise over the first tenth, then a cosine fall to
    a thousandth. ``paper``: times 0.9 after every ten epochs (supplement, section 3).
    """
    peak = settings.learning_rate
    if settings.schedule == "paper":
        return float(peak * 0.9 ** (step // steps_per_epoch // 10))
    total = settings.epochs * steps_per_epoch
    rise = max(total // 10, 1)
    if step < rise:
        return peak * (step + 1) / rise
    progress = (step - rise) / max(total - rise, 1)
    return peak * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


class AveragedWeights:
    """Exponential moving average of a module's state (floating-point entries)."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.n_updates = 0
        self.values = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: torch.nn.Module) -> None:
        """Move towards the module's present weights; the average follows faster at the start."""
        self.n_updates += 1
        decay = min(self.decay, (1 + self.n_updates) / (10 + self.n_updates))
        for name, value in module.state_dict().items():
            if value.dtype.is_floating_point:
                self.values[name].lerp_(value, 1 - decay)
            else:
                self.values[name].copy_(value)

    def restore(self, values: dict[str, Tensor], n_updates: int) -> None:
        """Take over a saved average."""
        self.values = {k: v.to(self.values[k].device).clone() for k, v in values.items()}
        self.n_updates = n_updates
