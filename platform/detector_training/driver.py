"""Training the bundled detector with Ray Train: the heatmap network, then the person finder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from diffpose.platform.base.storage import absolute, join
from diffpose.platform.detector_training.settings import Part, TrainDetectorSettings
from diffpose.platform.detector_training.worker import train_worker
from diffpose.platform.training.checkpoints import read_best
from diffpose.platform.training.driver import error_of_ours, following


def train_part(
    settings: TrainDetectorSettings, part: Part
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Train one of the two networks on RUN/examples; returns the best epoch's metrics and weights.

    Must be called within a Ray session.

    Raises:
        RunError: training failed, or there are too few examples.
    """
    import ray.train
    from ray.train.torch import TorchTrainer

    history = join(settings.run, f"{part}_history.jsonl")
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"settings": settings.model_dump_json(), "part": part},
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.workers,
            use_gpu=settings.gpu,
            resources_per_worker={"CPU": settings.threads},
        ),
        run_config=ray.train.RunConfig(
            name=part,
            storage_path=absolute(join(settings.run, "ray")),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            failure_config=ray.train.FailureConfig(max_failures=2),
        ),
    )
    with following(history, _describe):
        try:
            result = trainer.fit()
        except Exception as error:
            raise error_of_ours(error) from error
    assert result.checkpoint is not None
    with result.checkpoint.as_directory() as name:
        return read_best(Path(name))


def _describe(record: dict[str, Any]) -> str:
    rest = (
        f"PCK@5% {record['pck']:.3f} (lowest joint {record['pck_lowest']:.3f})"
        if record["part"] == "heatmap"
        else f"IoU {record['iou']:.3f}"
    )
    return (
        f"{record['part']}: epoch {record['epoch']}/{record['epochs']}, loss {record['loss']:.4f}, "
        f"validation loss {record['validation_loss']:.4f}, {rest}, "
        f"{record['rows'] / max(record['seconds'], 1e-9):.0f} examples/s"
    )
