"""The loop that every Ray Train worker runs: epochs, averaged weights, validation, checkpoints."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor, nn

from diffpose.model.lifting.lifter import row_seeds
from diffpose.platform.base.errors import RunError
from diffpose.platform.base.storage import exists, is_local, join, read_bytes, write_bytes
from diffpose.platform.runs.model_files import depth_from_json, load_encoder
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.training.optimiser import AveragedWeights, learning_rate
from diffpose.platform.training.settings import TrainSettings
from diffpose.platform.training.shard_loader import BatchLoader
from diffpose.platform.training.tasks import DenoiserTask, EncoderTask, TrainTask, ValidationRows
from diffpose.platform.training.window_loader import WindowLoader

STATE, WEIGHTS, AVERAGE, OPTIMISER = (
    "state.json",
    "weights.safetensors",
    "average.safetensors",
    "optimiser.pt",
)


def train_worker(job: dict[str, Any]) -> None:
    """Train one stage on this worker; Ray Train calls it on each.

    Args:
        job: ``settings`` (JSON of TrainSettings), ``stage``, and for the denoiser ``encoder`` (the
            model folder), ``depth`` (JSON), ``group`` (of mixtures) and ``contexts`` (their group).
    """
    import ray.train
    import ray.train.torch

    settings = TrainSettings.model_validate_json(job["settings"])
    world = ray.train.get_context()
    rank, world_size = world.get_world_rank(), world.get_world_size()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)  # the same first weights on all workers
    store = PoseStore.open(settings.store)
    device = ray.train.torch.get_device()
    task = _make_task(settings, job, device)
    excluded = set()
    if job.get("group"):
        excluded = set(store.mixture_attributes(job["group"]).get("failed_clips", []))
    clips = [clip for clip in store.clips("train") if clip.clip not in excluded]
    loader = make_loader(
        store, task.fields, clips, task.optimiser.batch_size, task.frames,
        rank=rank, world_size=world_size, seed=settings.seed,
        memory_limit_gb=settings.memory_limit_gb,
    )  # fmt: skip
    rows = ValidationRows(
        store,
        store.clips("validation"),
        settings.validation_poses,
        rank,
        world_size,
        whole_clips=task.looks_at_neighbours,
    )
    optimiser = torch.optim.AdamW(
        task.network.parameters(), lr=1.0, weight_decay=task.optimiser.weight_decay
    )
    average = AveragedWeights(task.network, task.optimiser.ema_decay)
    first_epoch = restore_checkpoint(task.network, optimiser, average)
    network = ray.train.torch.prepare_model(task.network)
    log = _Log(settings, job["stage"], first_epoch) if rank == 0 else None
    for epoch in range(first_epoch, task.optimiser.epochs):
        start = time.monotonic()
        loss = _run_epoch(task, network, loader, optimiser, average, epoch, rank, settings.seed)
        sums = _validate(task, rows, average)
        count = float(sums.pop("n"))
        figures = {name: (value / count).tolist() for name, value in sums.items()}
        metrics = {
            "stage": job["stage"],
            "epoch": epoch + 1,
            "epochs": task.optimiser.epochs,
            "loss": loss,
            "seconds": time.monotonic() - start,
            "rows": loader.batches_per_epoch * loader.local_batch * world_size,
            "validation_poses": int(count),
            **figures,
        }
        if log is None:
            ray.train.report(metrics)
            continue
        log.write(metrics)
        with tempfile.TemporaryDirectory() as folder:
            save_checkpoint(Path(folder), task.network, optimiser, average, metrics)
            checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report(metrics, checkpoint=checkpoint)


def make_loader(
    store: PoseStore,
    fields: Sequence[str],
    clips: Sequence[Clip],
    batch_size: int,
    frames: int,
    **share: Any,
) -> BatchLoader | WindowLoader:
    """Return batches of single rows, or of windows where ``frames`` is above 1."""
    if frames == 1:
        return BatchLoader(store, fields, clips, batch_size, **share)
    return WindowLoader(store, fields, clips, batch_size, frames, **share)


def _make_task(settings: TrainSettings, job: dict[str, Any], device: torch.device) -> TrainTask:
    task: TrainTask
    if job["stage"] == "encoder":
        task = EncoderTask(settings)
    else:
        encoder, _ = load_encoder(job["encoder"])
        depth = depth_from_json(job["depth"])
        task = DenoiserTask(settings, encoder.to(device), depth, job["group"], job["contexts"])
    task.network.to(device)  # before the optimiser and the averaged weights look at it
    return task


def _run_epoch(
    task: TrainTask,
    network: nn.Module,
    loader: BatchLoader | WindowLoader,
    optimiser: torch.optim.Optimizer,
    average: AveragedWeights,
    epoch: int,
    rank: int,
    seed: int,
) -> float:
    """Train one epoch; returns its mean loss on this worker."""
    network.train()
    # Seeds of the epoch, not of the process: a resumed run sees the same noise and dropout.
    noise_seed, dropout_seed = row_seeds(seed, np.array([2 * epoch, 2 * epoch + 1]) + 10**6 * rank)
    generator = torch.Generator().manual_seed(int(noise_seed) & (2**63 - 1))
    torch.manual_seed(int(dropout_seed) & (2**63 - 1))
    device = next(task.network.parameters()).device
    total = torch.zeros((), device=device)
    for i, cpu_batch in enumerate(loader.epoch(epoch)):
        batch = {name: value.to(device) for name, value in cpu_batch.items()}
        step = epoch * loader.batches_per_epoch + i
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(task.optimiser, step, loader.batches_per_epoch)
        loss = task.loss(network, batch, generator)
        if not torch.isfinite(loss):
            raise RunError(
                f"The loss is {loss.item()} at step {step} (epoch {epoch + 1}); the weights before "
                "it are kept in the last checkpoint. Lower *_training.learning_rate in a new run."
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), task.optimiser.gradient_clip)
        optimiser.step()
        average.update(task.network)
        total += loss.detach()
    return float(total) / loader.batches_per_epoch


@torch.inference_mode()
def _validate(task: TrainTask, rows: ValidationRows, average: AveragedWeights) -> dict[str, Tensor]:
    """Measure the averaged weights; sums are over all workers."""
    own = {name: value.clone() for name, value in task.network.state_dict().items()}
    task.network.load_state_dict(average.values)
    task.network.eval()
    sums = task.validate(rows)
    task.network.load_state_dict(own)
    if not dist.is_initialized():
        return sums
    device = next(task.network.parameters()).device  # nccl reduces on GPUs, gloo on CPUs
    sums = {name: value.to(device) for name, value in sums.items()}
    for value in sums.values():
        dist.all_reduce(value)
    return sums


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


class _Log:
    """History of a stage: a JSON line per epoch (the driver prints it), curves for TensorBoard."""

    def __init__(self, settings: TrainSettings, stage: str, first_epoch: int) -> None:
        self.uri = join(settings.run, f"{stage}_history.jsonl")
        kept = read_bytes(self.uri).decode().splitlines() if exists(self.uri) else []
        # Epochs after the checkpoint that training goes on from are done again.
        self.lines = [line for line in kept if json.loads(line)["epoch"] <= first_epoch]
        self.board = None
        if is_local(settings.run):
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(join(settings.run, "tensorboard", stage))

    def write(self, metrics: dict[str, Any]) -> None:
        """Record one epoch."""
        self.lines.append(json.dumps(metrics))
        write_bytes(self.uri, ("\n".join(self.lines) + "\n").encode())
        scalars = {k: v for k, v in metrics.items() if isinstance(v, float)}
        if self.board is not None:
            for name, value in scalars.items():
                self.board.add_scalar(name, value, metrics["epoch"])
            self.board.flush()
