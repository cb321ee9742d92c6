"""What a worker saves after each epoch, and takes over when it goes on.

A checkpoint also holds the averaged weights of the epoch that was best on the held-out rows: these
are the trained network, however training went on.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from diffpose.platform.training.optimiser import AveragedWeights

STATE, WEIGHTS, AVERAGE, BEST, OPTIMISER = (
    "state.json",
    "weights.safetensors",
    "average.safetensors",
    "best.safetensors",
    "optimiser.pt",
)


@dataclass
class Best:
    """The epoch that was best on the held-out rows so far.

    Attributes:
        metrics: of that epoch; {} before the first one.
        weights: its averaged weights.
    """

    metrics: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)

    def take(self, metrics: dict[str, Any], average: AveragedWeights, judged_by: str) -> None:
        """Keep an epoch if its figure ``judged_by`` is lower; the earlier one of two equal ones.

        An epoch whose figure is no number is kept only while there is no other.
        """
        value = float(metrics[judged_by])
        before = float(self.metrics[judged_by]) if self.metrics else math.nan
        if self.metrics and not (value < before or (math.isnan(before) and not math.isnan(value))):
            return
        self.metrics = dict(metrics)
        self.weights = {name: v.detach().clone() for name, v in average.values.items()}


def read_best(checkpoint: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the metrics and weights of the best epoch that a checkpoint knows.

    Checkpoints of earlier code know their own epoch alone.
    """
    state = json.loads((checkpoint / STATE).read_text())
    if not (checkpoint / BEST).exists():
        return state, safetensors.torch.load((checkpoint / AVERAGE).read_bytes())
    return state["best"], safetensors.torch.load((checkpoint / BEST).read_bytes())


def restore_checkpoint(
    network: nn.Module, optimiser: torch.optim.Optimizer, average: AveragedWeights, best: Best
) -> int:
    """Take over the last checkpoint if there is one; returns the epoch to start with."""
    import ray.train

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as name:
        folder = Path(name)
        network.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
        state = json.loads((folder / STATE).read_text())
        average.restore(safetensors.torch.load_file(folder / AVERAGE), state["average_updates"])
        optimiser.load_state_dict(torch.load(folder / OPTIMISER, weights_only=True))
        best.metrics, best.weights = read_best(folder)
    return int(state["epoch"])


def save_checkpoint(
    folder: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: AveragedWeights,
    metrics: dict[str, Any],
    best: Best,
) -> None:
    """Write weights, their average, the best average, the optimiser and the epoch into a folder."""
    # The unwrapped network: its names do not change with the number of workers.
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    safetensors.torch.save_file(weights, folder / WEIGHTS)
    safetensors.torch.save_file(
        {name: value.contiguous() for name, value in average.values.items()}, folder / AVERAGE
    )
    safetensors.torch.save_file(
        {name: value.contiguous() for name, value in best.weights.items()}, folder / BEST
    )
    torch.save(optimiser.state_dict(), folder / OPTIMISER)
    state = {**metrics, "average_updates": average.n_updates, "best": best.metrics}
    (folder / STATE).write_text(json.dumps(state))
