"""The one loop that trains every network: epochs, averaged weights, validation, checkpoints."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from diffpose.platform.base.errors import RunError
from diffpose.platform.base.storage import exists, is_local, join, read_bytes, write_bytes
from diffpose.platform.training.checkpoints import Best, restore_checkpoint, save_checkpoint
from diffpose.platform.training.optimiser import AveragedWeights, learning_rate
from diffpose.platform.training.settings import OptimiserSettings


class Training(Protocol):
    """A network in training, as the loop sees it."""

    @property
    def name(self) -> dict[str, str]:
        """What the history calls it, one entry such as ``{"stage": "encoder"}``."""
        ...

    @property
    def judged_by(self) -> str:
        """The figure that the best epoch has lowest, by its name in the history."""
        ...

    @property
    def network(self) -> nn.Module:
        """What is trained, on its device."""
        ...

    @property
    def optimiser(self) -> OptimiserSettings:
        """How it is trained."""
        ...

    @property
    def batches_per_epoch(self) -> int:
        """The same on all workers."""
        ...

    @property
    def rows_per_epoch(self) -> int:
        """Examples of an epoch, of all workers together."""
        ...

    def generator(self, epoch: int) -> torch.Generator:
        """Return the noise of an epoch: a resumed run sees the same."""
        ...

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Any]:
        """Yield this worker's batches of an epoch, on the network's device."""
        ...

    def loss(self, network: nn.Module, batch: Any, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch; ``network`` is ours, wrapped for DDP."""
        ...

    def validate(self) -> dict[str, Tensor]:
        """Return sums over this worker's held-out rows (key ``n`` their number)."""
        ...

    def figures(self, means: dict[str, Tensor], n: int) -> dict[str, Any]:
        """Return what the history says of the means over all workers' held-out rows."""
        ...


def train(training: Training, run: str, rank: int, *, board: bool) -> None:
    """Train on this worker until the last epoch; goes on from Ray Train's last checkpoint.

    The last checkpoint holds the weights of the epoch that was best on the held-out rows.

    Args:
        training: what is trained.
        run: run directory, which gets NAME_history.jsonl.
        rank: of this worker; the first one writes.
        board: whether curves for TensorBoard are written as well.

    Raises:
        RunError: the loss is no finite number.
    """
    import ray.train
    import ray.train.torch

    settings = training.optimiser
    optimiser = torch.optim.AdamW(
        training.network.parameters(), lr=1.0, weight_decay=settings.weight_decay
    )
    average = AveragedWeights(training.network, settings.ema_decay)
    best = Best()
    first_epoch = restore_checkpoint(training.network, optimiser, average, best)
    network = ray.train.torch.prepare_model(training.network)
    (name,) = training.name.values()
    history = History(run, name, first_epoch, board=board) if rank == 0 else None
    for epoch in range(first_epoch, settings.epochs):
        start = time.monotonic()
        loss = run_epoch(training, network, optimiser, average, epoch)
        sums = _validated(training, average)
        count = float(sums.pop("n"))
        metrics = {
            **training.name,
            "epoch": epoch + 1,
            "epochs": settings.epochs,
            "loss": loss,
            "seconds": time.monotonic() - start,
            "rows": training.rows_per_epoch,
            **training.figures({key: value / count for key, value in sums.items()}, int(count)),
        }
        if history is None:
            ray.train.report(metrics)
            continue
        history.write(metrics)
        best.take(metrics, average, training.judged_by)
        with tempfile.TemporaryDirectory() as folder:
            save_checkpoint(Path(folder), training.network, optimiser, average, metrics, best)
            checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report(metrics, checkpoint=checkpoint)


def run_epoch(
    training: Training,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: AveragedWeights,
    epoch: int,
) -> float:
    """Train one epoch; returns its mean loss on this worker.

    Raises:
        RunError: the loss is no finite number.
    """
    settings, n_batches = training.optimiser, training.batches_per_epoch
    network.train()
    generator = training.generator(epoch)
    total = torch.zeros((), device=next(training.network.parameters()).device)
    for i, batch in enumerate(training.batches(epoch, generator)):
        step = epoch * n_batches + i
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(settings, step, n_batches)
        loss = training.loss(network, batch, generator)
        if not torch.isfinite(loss):
            (name,) = training.name.values()
            raise RunError(
                f"The loss is {loss.item()} at step {step} (epoch {epoch + 1}); the weights before "
                f"it are kept in the last checkpoint. Lower {name}_training.learning_rate in a new "
                "run."
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
        optimiser.step()
        average.update(training.network)
        total += loss.detach()
    return float(total) / n_batches


@torch.inference_mode()
def _validated(training: Training, average: AveragedWeights) -> dict[str, Tensor]:
    """Measure the averaged weights; sums are over all workers."""
    network = training.network
    own = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(average.values)
    network.eval()
    sums = training.validate()
    network.load_state_dict(own)
    if not dist.is_initialized():
        return sums
    device = next(network.parameters()).device  # nccl reduces on GPUs, gloo on CPUs
    sums = {name: value.to(device) for name, value in sums.items()}
    for value in sums.values():
        dist.all_reduce(value)
    return sums


class History:
    """A network's epochs: a JSON line each (the driver prints it), curves for TensorBoard."""

    def __init__(self, run: str, name: str, first_epoch: int, *, board: bool) -> None:
        self.uri = join(run, f"{name}_history.jsonl")
        kept = read_bytes(self.uri).decode().splitlines() if exists(self.uri) else []
        # Epochs after the checkpoint that training goes on from are done again.
        self.lines = [line for line in kept if json.loads(line)["epoch"] <= first_epoch]
        self.board = None
        if board and is_local(run):
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(join(run, "tensorboard", name))

    def write(self, metrics: dict[str, Any]) -> None:
        """Record one epoch."""
        self.lines.append(json.dumps(metrics))
        write_bytes(self.uri, ("\n".join(self.lines) + "\n").encode())
        scalars = {k: v for k, v in metrics.items() if isinstance(v, float)}
        if self.board is not None:
            for name, value in scalars.items():
                self.board.add_scalar(name, value, metrics["epoch"])
            self.board.flush()
