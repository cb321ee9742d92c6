"""The driver's side of training: one Ray Train run per stage, then the model folder."""

from __future__ import annotations

import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from diffpose.model.heatmaps import grid as hm
from diffpose.platform.base.config import differences, to_yaml
from diffpose.platform.base.errors import DiffPoseError, RunError, StoreError
from diffpose.platform.base.storage import absolute, exists, join, read_bytes, write_bytes
from diffpose.platform.execution.ray_session import cluster_cpus, cluster_gpus, ray_session
from diffpose.platform.runs.model_files import encoder_digest, load_config, save_model
from diffpose.platform.store.pose_store import PoseStore, contiguous_ranges
from diffpose.platform.training.checkpoints import read_best
from diffpose.platform.training.settings import OptimiserSettings, TrainSettings
from diffpose.platform.training.window_loader import window_steps_s
from diffpose.platform.training.worker import train_worker

# What a stage's result depends on; the rest may change between runs of the command.
_STAGE_FIELDS = {
    "encoder": ("store", "context_encoder", "encoder_training", "window_strides", "seed"),
    "denoiser": (
        "store",
        "encoder",
        "depth",
        "mixtures",
        "mixture",
        "denoiser",
        "denoiser_training",
        "sampling",
        "seed",
    ),
}


def train_encoder(settings: TrainSettings) -> None:
    """Train the context encoder into RUN/encoder.

    Raises:
        RunError, StoreError: see train_worker and check_settings.
    """
    check_settings(settings, "encoder")
    told = with_time_step(settings)
    state, weights = _fit(told, {"stage": "encoder"})
    config = {
        "architecture": told.context_encoder.model_dump(mode="json"),
        "trained_epochs": settings.encoder_training.epochs,
        "best_epoch": state["epoch"],
        "validation_mpjpe_mm": state["mpjpe_mm"],
        # The root is 0 by definition, in every draw.
        "depth_sigma_mm": np.sqrt(np.array(state["z_square_mm2"])).tolist(),
        "detector": PoseStore.open(settings.store).attributes.get("detector", {}),
    }
    save_model(join(settings.run, "encoder"), "context_encoder", weights, config)


def with_time_step(settings: TrainSettings) -> TrainSettings:
    """Return the same with the time step of its encoder's windows, where it has windows.

    The median over the training clips' rows and the strides, as the loader draws them.
    """
    encoder = settings.context_encoder
    if encoder.kind != "mixste" or encoder.step_s is not None:
        return settings
    clips = PoseStore.open(settings.store).clips("train")
    steps = window_steps_s(clips, encoder.frames, settings.window_strides)
    if not len(steps):
        return settings
    step_s = round(float(np.median(steps)), 6)
    told = encoder.model_copy(update={"step_s": step_s})
    return settings.model_copy(update={"context_encoder": told})


def train_denoiser(settings: TrainSettings, group: str, contexts: str) -> None:
    """Train g into RUN/denoiser; the encoder must be in RUN/encoder.

    Args:
        settings: of the run.
        group: the mixtures to diffuse towards.
        contexts: group of what the encoder says of the stored frames.
    """
    check_settings(settings, "denoiser")
    encoder = join(settings.run, "encoder")
    store = PoseStore.open(settings.store)
    attributes = store.mixture_attributes(group)
    digest = encoder_digest(encoder)
    if attributes.encoder_digest not in (None, digest):
        raise RunError(
            f"The mixtures {group!r} were fitted with the depth of encoder "
            f"{attributes.encoder_digest}, this run's encoder is {digest}. Leave mixtures= out "
            "to have a group fitted for this encoder."
        )
    if not attributes.holds("train"):
        raise StoreError(
            f"The mixtures {group!r} of {settings.store!r} are not complete. Run stage=mixtures "
            "(the same command) again."
        )
    encoded = store.context_attributes(contexts)
    if not encoded.holds(mirrored=settings.denoiser_training.mirror):
        raise StoreError(
            f"The contexts {contexts!r} of {settings.store!r} are not complete. Run stage=contexts "
            "(the same command) again."
        )
    job = {
        "stage": "denoiser",
        "encoder": encoder,
        "depth": attributes.depth,
        "group": group,
        "contexts": contexts,
    }
    state, weights = _fit(settings, job)
    config = {
        "architecture": settings.denoiser.model_dump(mode="json"),
        "context_width": load_config(encoder, "context_encoder")["architecture"]["width"],
        "encoder_digest": digest,
        "depth": attributes.depth,
        "mixture_group": group,
        "mixture_spec": settings.mixture.model_dump(mode="json"),
        "sampling": settings.sampling.model_dump(mode="json"),
        "trained_epochs": settings.denoiser_training.epochs,
        "best_epoch": state["epoch"],
        "validation_mpjpe_mm": state["mpjpe_mm"],
        "validation_context_mpjpe_mm": state["context_mpjpe_mm"],
        "typical_sigma_cells": typical_widths(store).tolist(),
        "seed": settings.seed,
    }
    save_model(join(settings.run, "denoiser"), "denoiser", weights, config)


def check_settings(settings: TrainSettings, stage: str) -> None:
    """Save the stage's settings, or make sure that they are those it was begun with.

    Raises:
        RunError: the run directory was begun with other settings.
    """
    uri = join(settings.run, f"{stage}.yaml")
    if exists(uri):
        saved = yaml.safe_load(read_bytes(uri))
        changed = differences(settings, saved, _STAGE_FIELDS[stage])
        if changed:
            raise RunError(
                f"The {stage} of {settings.run!r} was begun with other settings:\n  "
                + "\n  ".join(changed)
                + "\nGive another run=, or the settings that it was begun with."
            )
        return
    write_bytes(uri, to_yaml(settings).encode())


def typical_widths(store: PoseStore) -> np.ndarray[Any, Any]:
    """Return the median width of the training heatmaps per joint, (17,), in heatmap cells.

    Serving takes it for keypoints that come without a width of their own.
    """
    widths = []
    for first, stop in contiguous_ranges(store.clips("train"), 8192):
        modes = store.read("heatmap_modes", first, stop)
        cell = store.read("heatmap_crop", first, stop)[:, 2]
        widths.append(modes[..., 2] / cell[:, None])
        if sum(map(len, widths)) > 50_000:
            break
    median = np.nanmedian(np.concatenate(widths), axis=0)
    clipped: np.ndarray[Any, Any] = np.clip(median, 0.3, hm.WIDTH)
    return clipped


def _fit(settings: TrainSettings, job: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run Ray Train; returns metrics and averaged weights of the epoch that was best."""
    for split in ("train", "validation"):
        if not PoseStore.open(settings.store).clips(split):
            raise StoreError(
                f"The store at {settings.store!r} has no {split} split; training needs both train "
                "and validation (the held-out depth error is measured there). Set split.* in "
                "preprocessing; diffpose inspect shows the splits."
            )
    with (
        ray_session(),
        following(join(settings.run, f"{job['stage']}_history.jsonl"), describe_epoch),
    ):
        import ray.train
        from ray.train.torch import TorchTrainer

        needed = settings.workers * settings.threads
        if needed > cluster_cpus():
            raise RunError(
                f"workers={settings.workers} with threads={settings.threads} need {needed} CPUs, "
                f"the cluster has {cluster_cpus()}. Lower workers= or threads=."
            )
        if settings.gpu and settings.workers > cluster_gpus():
            raise RunError(
                f"gpu=true with workers={settings.workers} needs as many GPUs, the cluster has "
                f"{cluster_gpus():g}. Lower workers=, or train on CPUs: gpu=false."
            )
        trainer = TorchTrainer(
            train_worker,
            train_loop_config={**job, "settings": settings.model_dump_json()},
            scaling_config=ray.train.ScalingConfig(
                num_workers=settings.workers,
                use_gpu=settings.gpu,
                resources_per_worker={"CPU": settings.threads},
            ),
            run_config=ray.train.RunConfig(
                # same name and place: Ray Train goes on from the last checkpoint
                name=job["stage"],
                storage_path=absolute(join(settings.run, "ray")),
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
                failure_config=ray.train.FailureConfig(max_failures=2),
            ),
        )
        try:
            result = trainer.fit()
        except Exception as error:
            raise error_of_ours(error) from error
        assert result.checkpoint is not None  # every epoch reports one
        with result.checkpoint.as_directory() as name:
            best, weights = read_best(Path(name))
    print(
        f"{job['stage']}: of {settings_of(settings, job['stage']).epochs} epochs the "
        f"{best['epoch']}. is the best on validation, MPJPE {best['mpjpe_mm']:.2f} mm",
        flush=True,
    )
    return best, weights


def settings_of(settings: TrainSettings, stage: str) -> OptimiserSettings:
    """Return how a stage's network is trained."""
    return settings.encoder_training if stage == "encoder" else settings.denoiser_training


@contextlib.contextmanager
def following(history_uri: str, describe: Callable[[dict[str, Any]], str]) -> Iterator[None]:
    """Print each epoch as it is recorded; the workers' own output stays in Ray's logs.

    Args:
        history_uri: file with a JSON record per line and epoch.
        describe: turns a record into what is printed.
    """
    printed = len(_history(history_uri, describe))
    over = threading.Event()

    def follow() -> None:
        nonlocal printed
        last = False
        while not last:
            last = over.wait(1.0)  # once more after the end: the last epoch
            lines = _history(history_uri, describe)
            for line in lines[printed:]:
                print(line, flush=True)
            printed = max(printed, len(lines))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _history(uri: str, describe: Callable[[dict[str, Any]], str]) -> list[str]:
    try:
        records = [json.loads(line) for line in read_bytes(uri).decode().splitlines()]
    except FileNotFoundError:
        return []
    return [describe(record) for record in records]


def describe_epoch(record: dict[str, Any]) -> str:
    """Return one line about an epoch."""
    context = record.get("context_mpjpe_mm")
    beside = f" (context encoder {context:.2f} mm)" if context is not None else ""
    return (
        f"{record['stage']}: epoch {record['epoch']}/{record['epochs']}, "
        f"loss {record['loss']:.5f}, validation MPJPE {record['mpjpe_mm']:.2f} mm{beside}, "
        f"{record['rows'] / max(record['seconds'], 1e-9):.0f} rows/s"
    )


def error_of_ours(error: BaseException) -> BaseException:
    """Find the error of ours that a worker died of; Ray wraps it several times."""
    seen: list[BaseException] = [error]
    text = io.StringIO()
    while seen:
        current = seen.pop()
        if isinstance(current, DiffPoseError):
            return type(current)(*current.args)
        failures = getattr(current, "worker_failures", {})
        seen.extend(failures.values() if isinstance(failures, dict) else [])
        cause = getattr(current, "cause", None) or current.__cause__
        if isinstance(cause, BaseException):
            seen.append(cause)
        text.write(f"{type(current).__name__}: {current}\n")
    return RunError(f"Training failed:\n{text.getvalue()}")
