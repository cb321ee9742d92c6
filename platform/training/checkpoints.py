"""What a worker saves after each epoch, and takes over when it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from diffpose.platform.training.optimiser import AveragedWeights

STATE, WEIGHTS, AVERAGE, OPTIMISER = (
    "state.json",
    "weights.safetensors",
    "average.safetensors",
    "optimiser.pt",
)


def restore_checkpoint(
    network: nn.Module, optimiser: torch.optim.Optimizer, average: AveragedWeights
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
    return int(state["epoch"])


def save_checkpoint(
    folder: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: AveragedWeights,
    metrics: dict[str, Any],
) -> None:
    """Write weights, their average, the optimiser and the epoch into a folder."""
    # The unwrapped network: its names do not change with the number of workers.
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    safetensors.torch.save_file(weights, folder / WEIGHTS)
    safetensors.torch.save_file(
        {name: value.contiguous() for name, value in average.values.items()}, folder / AVERAGE
    )
    torch.save(optimiser.state_dict(), folder / OPTIMISER)
    state = {**metrics, "average_updates": average.n_updates}
    (folder / STATE).write_text(json.dumps(state))
