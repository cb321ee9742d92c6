"""What each Ray Train worker does for one of the detector's networks."""

from __future__ import annotations

from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from diffpose.platform.base.errors import RunError
from diffpose.platform.base.storage import join, read_bytes
from diffpose.platform.detector_training.heatmap_training import HeatmapTraining
from diffpose.platform.detector_training.person_training import PersonTraining
from diffpose.platform.detector_training.settings import Part, TrainDetectorSettings
from diffpose.platform.store.detector_examples import read_examples
from diffpose.platform.training.loop import train

TRAININGS: dict[Part, type[HeatmapTraining] | type[PersonTraining]] = {
    "heatmap": HeatmapTraining,
    "person": PersonTraining,
}


def train_worker(job: dict[str, Any]) -> None:
    """Train one network on this worker; Ray Train calls it on each.

    Args:
        job: ``settings`` (JSON of TrainDetectorSettings) and ``part``.

    Raises:
        RunError: there are fewer examples than one batch takes, or init= is another detector's.
    """
    import ray.train
    import ray.train.torch

    settings = TrainDetectorSettings.model_validate_json(job["settings"])
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    training = TRAININGS[job["part"]](
        settings,
        read_examples(join(settings.run, "examples", "train"), rank, world_size),
        read_examples(join(settings.run, "examples", "validation"), rank, world_size),
        rank,
        world_size,
    )
    if settings.init:
        start_from(training.network, settings.init, job["part"])
    training.to(ray.train.torch.get_device())
    train(training, settings.run, rank, board=False)


def start_from(network: nn.Module, uri: str, part: Part) -> None:
    """Load one network of a finished detector.

    Raises:
        RunError: the file is missing, or its networks are of other sizes.
    """
    try:
        tensors = safetensors.torch.load(read_bytes(uri))
        own = {
            name.removeprefix(f"{part}."): value.float()
            for name, value in tensors.items()
            if name.startswith(f"{part}.")
        }
        missing, unknown = network.load_state_dict(own, strict=False)
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise RunError(f"init={uri!r} cannot be taken as the start: {error}") from None
    lacking = [name for name in missing if not name.endswith("num_batches_tracked")]
    if lacking or unknown:
        raise RunError(f"init={uri!r} lacks {lacking[:3]} and has {unknown[:3]} besides.")
