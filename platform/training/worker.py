"""What each Ray Train worker does for a stage: its task, its share of the store, the loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diffpose.model.lifting.lifter import row_seeds
from diffpose.platform.runs.model_files import depth_from_json, load_encoder
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.training.loop import train
from diffpose.platform.training.settings import OptimiserSettings, TrainSettings
from diffpose.platform.training.shard_loader import Batch, BatchLoader
from diffpose.platform.training.tasks import DenoiserTask, EncoderTask, TrainTask, ValidationRows
from diffpose.platform.training.window_loader import WindowLoader


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
        excluded = set(store.mixture_attributes(job["group"]).failed_clips)
    clips = [clip for clip in store.clips("train") if clip.clip not in excluded]
    loader = make_loader(
        store, task.fields, clips, task.optimiser.batch_size, task.frames,
        rank=rank, world_size=world_size, seed=settings.seed,
        memory_limit_gb=settings.memory_limit_gb, strides=settings.window_strides,
    )  # fmt: skip
    rows = ValidationRows(
        store,
        store.clips("validation"),
        settings.validation_poses,
        rank,
        world_size,
        whole_clips=task.looks_at_neighbours,
    )
    training = StageTraining(job["stage"], task, loader, rows, settings.seed, rank, world_size)
    train(training, settings.run, rank, board=True)


class StageTraining:
    """A stage's task with this worker's share of the store (`loop.Training`)."""

    def __init__(
        self,
        stage: str,
        task: TrainTask,
        loader: BatchLoader | WindowLoader,
        rows: ValidationRows,
        seed: int,
        rank: int,
        world_size: int,
    ) -> None:
        self.name = {"stage": stage}
        self.judged_by = "mpjpe_mm"
        self.network: nn.Module = task.network
        self.optimiser: OptimiserSettings = task.optimiser
        self.batches_per_epoch = loader.batches_per_epoch
        self.rows_per_epoch = loader.batches_per_epoch * loader.local_batch * world_size
        self._task, self._loader, self._rows = task, loader, rows
        self._seed, self._rank = seed, rank

    def generator(self, epoch: int) -> torch.Generator:
        """Return the epoch's noise, and seed its dropout."""
        # Seeds of the epoch, not of the process: a resumed run sees the same noise and dropout.
        epochs = np.array([2 * epoch, 2 * epoch + 1]) + 10**6 * self._rank
        noise_seed, dropout_seed = row_seeds(self._seed, epochs)
        torch.manual_seed(int(dropout_seed) & (2**63 - 1))
        return torch.Generator().manual_seed(int(noise_seed) & (2**63 - 1))

    def batches(
        self,
        epoch: int,
        generator: torch.Generator,  # noqa: ARG002 - the loader shuffles by the epoch
    ) -> Iterator[Batch]:
        """Yield shuffled batches of the store."""
        device = next(self.network.parameters()).device
        for batch in self._loader.epoch(epoch):
            yield {name: value.to(device) for name, value in batch.items()}

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the task's loss."""
        return self._task.loss(network, batch, generator)

    def validate(self) -> dict[str, Tensor]:
        """Return the task's sums over its validation rows."""
        return self._task.validate(self._rows)

    def figures(self, means: dict[str, Tensor], n: int) -> dict[str, Any]:
        """Return the means as they are."""
        return {"validation_poses": n, **{name: mean.tolist() for name, mean in means.items()}}


def make_loader(
    store: PoseStore,
    fields: Sequence[str],
    clips: Sequence[Clip],
    batch_size: int,
    frames: int,
    *,
    strides: Sequence[int] = (1,),
    **share: Any,
) -> BatchLoader | WindowLoader:
    """Return batches of single rows, or of windows where ``frames`` is above 1 (at ``strides``)."""
    if frames == 1:
        return BatchLoader(store, fields, clips, batch_size, **share)
    return WindowLoader(store, fields, clips, batch_size, frames, strides=strides, **share)


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
