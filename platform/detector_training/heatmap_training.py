"""Training the heatmap network: windows on people in, heatmaps of 17 joints out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffpose.model.detector.heatmap_network import INPUT_SIZE, HeatmapNetwork, heatmap_loss
from diffpose.model.detector.image_augmentation import random_colours, random_views
from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.model.heatmaps.grid import CROP_PADDING, HEIGHT, WIDTH
from diffpose.platform.detector_training.examples_training import ExamplesTraining, held_out_ranges
from diffpose.platform.detector_training.settings import TrainDetectorSettings
from diffpose.platform.store.detector_examples import Examples

PCK_THRESHOLD = 0.05  # of the box height


class HeatmapTraining(ExamplesTraining):
    """The heatmap network in training (`loop.Training`)."""

    def __init__(
        self,
        settings: TrainDetectorSettings,
        examples: Examples,
        held_out: Examples,
        rank: int,
        world_size: int,
    ) -> None:
        super().__init__(
            "heatmap",
            HeatmapNetwork(settings.heatmap_network),
            settings.heatmap_training,
            settings,
            len(examples.crops),
            rank,
            world_size,
        )
        self._examples, self._held_out = examples, held_out

    def augmented(
        self, chosen: NDArray[np.integer], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return views of some people, and their joints in cells, (B, 17, 2)."""
        views, joints = random_views(
            torch.from_numpy(self._examples.crops[chosen]),
            torch.from_numpy(self._examples.joints_px[chosen]),
            torch.from_numpy(self._examples.boxes_px[chosen]),
            INPUT_SIZE,
            generator,
        )
        return random_colours(views, generator), joints

    def loss(
        self,
        network: nn.Module,
        batch: tuple[Tensor, Tensor],
        generator: torch.Generator,  # noqa: ARG002 - no noise
    ) -> Tensor:
        """Return the heatmaps' loss; joints outside the view do not count."""
        images, joints = batch
        return heatmap_loss(self.found(network, images), joints, joints.isfinite().all(dim=-1))

    def validate(self) -> dict[str, Tensor]:
        """Return sums of the loss and of the joints within 5 % of the box height, (17,)."""
        n, loss = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        near = torch.zeros(N_JOINTS, dtype=torch.float64)
        for part in held_out_ranges(len(self._held_out.crops)):
            boxes = torch.from_numpy(self._held_out.boxes_px[part])
            images, joints = self._plain_views(part)
            found = self.network(images.to(self.device)).float().cpu()
            peak = found.flatten(2).argmax(dim=-1)
            place = torch.stack([peak % WIDTH, peak // WIDTH], dim=-1) + 0.5
            extent = boxes[:, 2:] - boxes[:, :2]
            cell = CROP_PADDING * torch.maximum(extent[:, 0] / WIDTH, extent[:, 1] / HEIGHT)
            error = (place - joints).norm(dim=-1) * cell[:, None] / extent[:, 1:]
            everywhere = torch.ones(joints.shape[:2]) > 0
            n += len(boxes)
            loss += float(heatmap_loss(found, joints, everywhere)) * len(boxes)
            near += (error <= PCK_THRESHOLD).sum(dim=0)
        return {"n": n, "validation_loss": loss, "pck": near}

    def figures(self, means: dict[str, Tensor], n: int) -> dict[str, Any]:  # noqa: ARG002
        """Return the loss, PCK over all joints and of the worst one."""
        pck = means["pck"].tolist()
        return {
            "validation_loss": float(means["validation_loss"]),
            "pck": float(np.mean(pck)),
            "pck_lowest": min(pck),
        }

    def _plain_views(self, part: slice) -> tuple[Tensor, Tensor]:
        """Return the network's view of each person, centred on the box, and the joints in cells."""
        crops = torch.from_numpy(self._held_out.crops[part])
        boxes = torch.from_numpy(self._held_out.boxes_px[part])
        joints = torch.from_numpy(self._held_out.joints_px[part])
        return random_views(crops, joints, boxes, INPUT_SIZE, torch.Generator(), amount=0.0)
