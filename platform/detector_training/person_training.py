"""Training the person finder: whole frames in, boxes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffpose.model.detector.image_augmentation import random_colours, random_frames
from diffpose.model.detector.person_network import PersonNetwork, boxes_of, person_loss
from diffpose.platform.detector_training.examples_training import ExamplesTraining, held_out_ranges
from diffpose.platform.detector_training.settings import TrainDetectorSettings
from diffpose.platform.store.detector_examples import Examples


class PersonTraining(ExamplesTraining):
    """The person finder in training (`loop.Training`)."""

    def __init__(
        self,
        settings: TrainDetectorSettings,
        examples: Examples,
        held_out: Examples,
        rank: int,
        world_size: int,
    ) -> None:
        super().__init__(
            "person",
            PersonNetwork(settings.person_network),
            settings.person_training,
            settings,
            len(examples.frames),
            rank,
            world_size,
        )
        self._examples, self._held_out = examples, held_out

    def augmented(
        self, chosen: NDArray[np.integer], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return some frames, and the boxes of their people."""
        frames, boxes = random_frames(
            torch.from_numpy(self._examples.frames[chosen]),
            torch.from_numpy(self._examples.frame_boxes_px[chosen]),
            generator,
        )
        return random_colours(frames, generator), boxes

    def loss(
        self,
        network: nn.Module,
        batch: tuple[Tensor, Tensor],
        generator: torch.Generator,  # noqa: ARG002 - no noise
    ) -> Tensor:
        """Return the boxes' loss."""
        images, boxes = batch
        return person_loss(self.found(network, images), boxes)

    def validate(self) -> dict[str, Tensor]:
        """Return sums of the loss and of the overlap with the first person's box."""
        n, loss, iou = (torch.zeros((), dtype=torch.float64) for _ in range(3))
        for part in held_out_ranges(len(self._held_out.frames)):
            frames = torch.from_numpy(self._held_out.frames[part])
            boxes = torch.from_numpy(self._held_out.frame_boxes_px[part])
            found = self.network(frames.permute(0, 3, 1, 2).to(self.device).float() / 255).cpu()
            n += len(frames)
            loss += float(person_loss(found, boxes)) * len(frames)
            iou += _best_iou(found, boxes).sum()
        return {"n": n, "validation_loss": loss, "iou": iou}

    def figures(self, means: dict[str, Tensor], n: int) -> dict[str, Any]:  # noqa: ARG002
        """Return the loss and the overlap."""
        return {name: float(mean) for name, mean in means.items()}


def _best_iou(found: Tensor, boxes: Tensor) -> Tensor:
    """Return the overlap of the best cell's box with the first person's, (B,)."""
    best = found[:, 0].flatten(1).argmax(dim=1)
    own = boxes_of(found).flatten(1, 2)[torch.arange(len(found)), best]
    low = torch.maximum(own[:, None, :2], boxes[..., :2])
    high = torch.minimum(own[:, None, 2:], boxes[..., 2:])
    common = (high - low).clamp_min(0).prod(-1)
    area = (own[:, 2:] - own[:, :2]).prod(-1)[:, None] + (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    return (common / (area - common)).nan_to_num(0).amax(dim=1)
