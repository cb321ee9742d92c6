"""What the training of the detector's two networks shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from diffpose.platform.base.errors import RunError
from diffpose.platform.detector_training.settings import Part, TrainDetectorSettings
from diffpose.platform.training.settings import OptimiserSettings

HELD_OUT_AT_ONCE = 64


class ExamplesTraining(ABC):
    """Shuffled, augmented batches of one worker's examples; a half of `loop.Training`.

    Args:
        part: which network.
        network: not yet on its device.
        optimiser: how it is trained.
        settings: of the job.
        n_examples: of this worker, to train on.
        rank: of this worker.
        world_size: workers.
    """

    def __init__(
        self,
        part: Part,
        network: nn.Module,
        optimiser: OptimiserSettings,
        settings: TrainDetectorSettings,
        n_examples: int,
        rank: int,
        world_size: int,
    ) -> None:
        self.name: dict[str, str] = {"part": part}
        self.judged_by = "validation_loss"
        self.network = network
        self.optimiser = optimiser
        self.batches_per_epoch = 0
        self._settings, self._n_examples = settings, n_examples
        self._rank, self._world_size = rank, world_size
        self._batch = max(optimiser.batch_size // world_size, 1)

    @property
    def rows_per_epoch(self) -> int:
        """Examples of an epoch, of all workers together."""
        return self.batches_per_epoch * self._batch * self._world_size

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def to(self, device: torch.device) -> None:
        """Move the network, and agree with the other workers on the batches of an epoch.

        Raises:
            RunError: the examples do not fill a batch.
        """
        self.network = self.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.batches_per_epoch = _least(self._n_examples // self._batch, device)
        if self.batches_per_epoch == 0:
            raise RunError(
                f"{self._n_examples} training examples are fewer than one batch of "
                f"{self.optimiser.batch_size}. Render more films, or lower "
                f"{self.name['part']}_training.batch_size."
            )

    def generator(self, epoch: int) -> torch.Generator:
        """Return the epoch's order and augmentation."""
        seeds = np.random.SeedSequence([self._settings.seed, epoch, self._rank])
        return torch.Generator().manual_seed(int(seeds.generate_state(1)[0]))

    def batches(
        self,
        epoch: int,  # noqa: ARG002 - the generator is the epoch's
        generator: torch.Generator,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield augmented images and their truth."""
        order = torch.randperm(self._n_examples, generator=generator).numpy()
        for i in range(self.batches_per_epoch):
            chosen = np.sort(order[i * self._batch : (i + 1) * self._batch])
            images, truth = self.augmented(chosen, generator)
            yield images.to(self.device), truth.to(self.device)

    @abstractmethod
    def augmented(
        self, chosen: NDArray[np.integer], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return augmented images of some examples, (B, 3, h, w) in 0..1, and their truth."""

    def found(self, network: nn.Module, images: Tensor) -> Tensor:
        """Return what the network makes of a batch, in float32."""
        images = images.contiguous(memory_format=torch.channels_last)
        low = self._settings.precision == "bfloat16"
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=low):
            answer: Tensor = network(images).float()
        return answer


def held_out_ranges(n_examples: int) -> Iterator[slice]:
    """Yield the ranges that are validated together."""
    for first in range(0, n_examples, HELD_OUT_AT_ONCE):
        yield slice(first, first + HELD_OUT_AT_ONCE)


def _least(value: int, device: torch.device) -> int:
    """Return the smallest of all workers' values."""
    if not dist.is_initialized():
        return value
    least = torch.tensor([value], device=device)
    dist.all_reduce(least, op=dist.ReduceOp.MIN)
    return int(least)
