"""Training the bundled detector with Ray Train: the heatmap network, then the person finder."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor, nn

from diffpose.model.detector.heatmap_network import INPUT_SIZE, HeatmapNetwork, heatmap_loss
from diffpose.model.detector.image_augmentation import random_colours, random_frames, random_views
from diffpose.model.detector.person_network import PersonNetwork, boxes_of, person_loss
from diffpose.model.heatmaps.grid import CROP_PADDING, HEIGHT, WIDTH
from diffpose.platform.base.errors import RunError
from diffpose.platform.base.storage import absolute, exists, join, read_bytes, write_bytes
from diffpose.platform.detector_training.settings import TrainDetectorSettings
from diffpose.platform.store.detector_examples import Examples, read_examples
from diffpose.platform.training.driver import error_of_ours, following
from diffpose.platform.training.loop import (
    AVERAGE,
    STATE,
    restore_checkpoint,
    save_checkpoint,
)
from diffpose.platform.training.optimiser import AveragedWeights, learning_rate
from diffpose.platform.training.settings import OptimiserSettings

Part = Literal["heatmap", "person"]
PCK_THRESHOLD = 0.05  # of the box height


def train_part(
    settings: TrainDetectorSettings, part: Part
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Train one of the two networks on RUN/examples; returns last state and averaged weights.

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
        state = json.loads((Path(name) / STATE).read_text())
        weights = safetensors.torch.load((Path(name) / AVERAGE).read_bytes())
    return state, weights


def train_worker(job: dict[str, Any]) -> None:  # noqa: PLR0915 - one loop, told in order
    """Train one network on this worker; Ray Train calls it on each."""
    import ray.train
    import ray.train.torch

    settings = TrainDetectorSettings.model_validate_json(job["settings"])
    part: Part = job["part"]
    optimisation = settings.heatmap_training if part == "heatmap" else settings.person_training
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    device = ray.train.torch.get_device()
    plain: nn.Module = (
        HeatmapNetwork(settings.heatmap_network)
        if part == "heatmap"
        else PersonNetwork(settings.person_network)
    )
    if settings.init:
        _start_from(plain, settings.init, part)
    plain = plain.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    examples = read_examples(join(settings.run, "examples", "train"), rank, world_size)
    held_out = read_examples(join(settings.run, "examples", "validation"), rank, world_size)
    optimiser = torch.optim.AdamW(
        plain.parameters(), lr=1.0, weight_decay=optimisation.weight_decay
    )
    average = AveragedWeights(plain, optimisation.ema_decay)
    first_epoch = restore_checkpoint(plain, optimiser, average)
    network = ray.train.torch.prepare_model(plain)
    n_batches = _common(_n_examples(examples, part) // _local(optimisation, world_size), device)
    if n_batches == 0:
        raise RunError(
            f"{_n_examples(examples, part)} training examples are fewer than one batch of "
            f"{optimisation.batch_size}. Render more films, or lower {part}_training.batch_size."
        )
    history = join(settings.run, f"{part}_history.jsonl")
    kept = read_bytes(history).decode().splitlines() if exists(history) else []
    # epochs after the checkpoint that training goes on from are done again
    lines = [line for line in kept if json.loads(line)["epoch"] <= first_epoch]
    for epoch in range(first_epoch, optimisation.epochs):
        start = time.monotonic()
        network.train()
        generator = torch.Generator().manual_seed(
            int(np.random.SeedSequence([settings.seed, epoch, rank]).generate_state(1)[0])
        )
        total = torch.zeros((), device=device)
        batches = _batches(examples, part, _local(optimisation, world_size), n_batches, generator)
        for i, (images, truth) in enumerate(batches):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(optimisation, epoch * n_batches + i, n_batches)
            loss = _loss(network, part, images.to(device), [t.to(device) for t in truth], settings)
            if not torch.isfinite(loss):
                raise RunError(
                    f"The loss is {loss.item()} in epoch {epoch + 1}; lower "
                    f"{part}_training.learning_rate in a new run."
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), optimisation.gradient_clip)
            optimiser.step()
            average.update(plain)
            total += loss.detach()
        metrics = {
            "part": part,
            "epoch": epoch + 1,
            "epochs": optimisation.epochs,
            "loss": float(total) / n_batches,
            "seconds": time.monotonic() - start,
            "rows": n_batches * _local(optimisation, world_size) * world_size,
            **_validated(plain, average, part, held_out),
        }
        if rank != 0:
            ray.train.report(metrics)
            continue
        lines.append(json.dumps(metrics))
        write_bytes(history, ("\n".join(lines) + "\n").encode())
        with tempfile.TemporaryDirectory() as folder:
            save_checkpoint(Path(folder), plain, optimiser, average, metrics)
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _start_from(network: nn.Module, uri: str, part: Part) -> None:
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


def _batches(
    examples: Examples, part: Part, size: int, n_batches: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Yield augmented images and their truth."""
    order = torch.randperm(_n_examples(examples, part), generator=generator).numpy()
    for i in range(n_batches):
        chosen = np.sort(order[i * size : (i + 1) * size])
        if part == "heatmap":
            views, joints = random_views(
                torch.from_numpy(examples.crops[chosen]),
                torch.from_numpy(examples.joints_px[chosen]),
                torch.from_numpy(examples.boxes_px[chosen]),
                INPUT_SIZE,
                generator,
            )
            yield random_colours(views, generator), [joints]
        else:
            frames, boxes = random_frames(
                torch.from_numpy(examples.frames[chosen]),
                torch.from_numpy(examples.frame_boxes_px[chosen]),
                generator,
            )
            yield random_colours(frames, generator), [boxes]


def _loss(
    network: nn.Module,
    part: Part,
    images: Tensor,
    truth: list[Tensor],
    settings: TrainDetectorSettings,
) -> Tensor:
    images = images.contiguous(memory_format=torch.channels_last)
    low = settings.precision == "bfloat16"
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=low):
        found = network(images).float()
    if part == "heatmap":
        return heatmap_loss(found, truth[0], truth[0].isfinite().all(dim=-1))
    return person_loss(found, truth[0])


@torch.inference_mode()
def _validated(
    plain: nn.Module, average: AveragedWeights, part: Part, held_out: Examples
) -> dict[str, float]:
    """Measure the averaged weights on held-out films, without augmentation."""
    own = {name: value.clone() for name, value in plain.state_dict().items()}
    plain.load_state_dict(average.values)
    plain.eval()
    device = next(plain.parameters()).device
    sums = torch.zeros(19, dtype=torch.float64)
    for i in range(0, _n_examples(held_out, part), 64):
        if part == "heatmap":
            boxes = torch.from_numpy(held_out.boxes_px[i : i + 64])
            images, joints = _plain_views(held_out, i)
            found = plain(images.to(device)).float().cpu()
            peak = found.flatten(2).argmax(dim=-1)
            place = torch.stack([peak % WIDTH, peak // WIDTH], dim=-1) + 0.5
            extent = boxes[:, 2:] - boxes[:, :2]
            cell = CROP_PADDING * torch.maximum(extent[:, 0] / WIDTH, extent[:, 1] / HEIGHT)
            error = (place - joints).norm(dim=-1) * cell[:, None] / extent[:, 1:]
            sums[0] += len(boxes)
            sums[1] += float(heatmap_loss(found, joints, torch.ones(joints.shape[:2]) > 0)) * len(
                boxes
            )
            sums[2:] += (error <= PCK_THRESHOLD).sum(dim=0)
        else:
            frames = torch.from_numpy(held_out.frames[i : i + 64])
            boxes = torch.from_numpy(held_out.frame_boxes_px[i : i + 64])
            found = plain(frames.permute(0, 3, 1, 2).to(device).float() / 255).cpu()
            sums[0] += len(frames)
            sums[1] += float(person_loss(found, boxes)) * len(frames)
            sums[2] += _best_iou(found, boxes).sum()
    plain.load_state_dict(own)
    if dist.is_initialized():
        sums = sums.to(device)
        dist.all_reduce(sums)
        sums = sums.cpu()
    figures = (sums[1:] / sums[0]).tolist()
    if part == "person":
        return {"validation_loss": figures[0], "iou": figures[1]}
    return {"validation_loss": figures[0], "pck": float(np.mean(figures[1:])),
            "pck_lowest": min(figures[1:])}  # fmt: skip


def _plain_views(examples: Examples, first: int) -> tuple[Tensor, Tensor]:
    """Return the network's view of each person, centred on the box, and the joints in cells."""
    crops = torch.from_numpy(examples.crops[first : first + 64])
    boxes = torch.from_numpy(examples.boxes_px[first : first + 64])
    joints = torch.from_numpy(examples.joints_px[first : first + 64])
    still = torch.Generator()
    return random_views(crops, joints, boxes, INPUT_SIZE, still, amount=0.0)


def _best_iou(found: Tensor, boxes: Tensor) -> Tensor:
    """Return the overlap of the best cell's box with the first person's, (B,)."""
    best = found[:, 0].flatten(1).argmax(dim=1)
    own = boxes_of(found).flatten(1, 2)[torch.arange(len(found)), best]
    low = torch.maximum(own[:, None, :2], boxes[..., :2])
    high = torch.minimum(own[:, None, 2:], boxes[..., 2:])
    common = (high - low).clamp_min(0).prod(-1)
    area = (own[:, 2:] - own[:, :2]).prod(-1)[:, None] + (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    return (common / (area - common)).nan_to_num(0).amax(dim=1)


def _n_examples(examples: Examples, part: Part) -> int:
    return len(examples.crops if part == "heatmap" else examples.frames)


def _local(optimisation: OptimiserSettings, world_size: int) -> int:
    return max(optimisation.batch_size // world_size, 1)


def _common(value: int, device: torch.device) -> int:
    """Return the smallest of all workers' values."""
    if not dist.is_initialized():
        return value
    least = torch.tensor([value], device=device)
    dist.all_reduce(least, op=dist.ReduceOp.MIN)
    return int(least)


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
