"""A small convolutional network from a person crop to 17 heatmaps.

A strided stem reduces the crop to the heatmaps' 64 x 48, an encoder of residual blocks (He et al.,
CVPR 2016) halves that grid three times, a decoder brings it back with additive skips (the shape of
Newell et al.'s hourglass, ECCV 2016). The output is one logit per cell: softmax over a joint's
cells is its probability, and the training loss is the cross-entropy of the cell that holds the
joint. That is a proper score, so the network is paid for saying how sure it is, unlike a regression
to Gaussians of fixed width.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.model.heatmaps.grid import HEIGHT, WIDTH

INPUT_SIZE = (4 * HEIGHT, 4 * WIDTH)  # rows, columns


class HeatmapNetworkConfig(BaseModel, frozen=True, extra="forbid"):
    """Channels of the grids of 1/4, 1/8, 1/16 and 1/32 of the input."""

    stem: int = Field(16, ge=1, description="channels of half the input")
    channels: tuple[int, int, int, int] = Field((32, 40, 80, 144), description="per grid")
    blocks: tuple[int, int, int] = Field((2, 3, 2), description="residual blocks per lower grid")


class HeatmapNetwork(nn.Module):
    """Person crops to heatmap logits."""

    def __init__(self, config: HeatmapNetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config or HeatmapNetworkConfig()
        c0, c1, c2, c3 = self.config.channels
        b1, b2, b3 = self.config.blocks
        stem = self.config.stem
        self.stem = nn.Sequential(conv_unit(3, stem, stride=2), conv_unit(stem, c0, stride=2))
        self.down1 = nn.Sequential(conv_unit(c0, c1, stride=2), *(Residual(c1) for _ in range(b1)))
        self.down2 = nn.Sequential(conv_unit(c1, c2, stride=2), *(Residual(c2) for _ in range(b2)))
        self.down3 = nn.Sequential(conv_unit(c2, c3, stride=2), *(Residual(c3) for _ in range(b3)))
        self.lateral2, self.up2 = conv_unit(c3, c2, size=1), Residual(c2)
        self.lateral1, self.up1 = conv_unit(c2, c1, size=1), Residual(c1)
        self.lateral0 = nn.Conv2d(c1, c0, 1)
        self.skip0 = nn.Conv2d(c0, c0, 1)
        self.head = nn.Sequential(nn.ReLU(), conv_unit(c0, c0), nn.Conv2d(c0, N_JOINTS, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits.

        Args:
            pixels: (B, 3, 256, 192), RGB, 0 .. 1.

        Returns:
            (B, 17, 64, 48).
        """
        full = self.stem(pixels - 0.45)  # the heatmaps' grid
        half = self.down1(full)
        quarter = self.down2(half)
        eighth = self.down3(quarter)
        quarter = self.up2(quarter + doubled(self.lateral2(eighth)))
        half = self.up1(half + doubled(self.lateral1(quarter)))
        logits: Tensor = self.head(self.skip0(full) + doubled(self.lateral0(half)))
        return logits


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_unit(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, values: Tensor) -> Tensor:
        """Return values of the same shape."""
        return F.relu(values + self.second(self.first(values)))


def conv_unit(inputs: int, outputs: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    """Return convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def doubled(values: Tensor) -> Tensor:
    """Return a grid of twice the resolution (each cell four times)."""
    return F.interpolate(values, scale_factor=2.0, mode="nearest")


def heatmap_loss(logits: Tensor, places_cells: Tensor, known: Tensor) -> Tensor:
    """Return the mean cross-entropy of the cells that hold the joints, in nats.

    The truth is spread over the four nearest cell centres (bilinear weights), so that the target
    moves smoothly with the joint.

    Args:
        logits: (B, J, 64, 48).
        places_cells: (B, J, 2), x, y in cells (cell (i, j) covers j .. j+1, i .. i+1).
        known: (B, J) bool; joints outside the grid count as unknown.
    """
    rows, columns = logits.shape[-2:]
    log_p = logits.flatten(2).log_softmax(dim=-1)
    inside = (
        (places_cells >= 0).all(-1)
        & (places_cells[..., 0] < columns)
        & (places_cells[..., 1] < rows)
    )
    counted = known & inside
    place = torch.where(counted[..., None], places_cells, 0.5) - 0.5
    limit = place.new_tensor([columns - 1, rows - 1])
    place = torch.minimum(place.clamp_min(0), limit)
    low = torch.minimum(place.floor(), limit - 1)
    part = place - low
    low = low.long()
    nll = torch.zeros_like(place[..., 0])
    for down in (0, 1):
        for across in (0, 1):
            share = (part[..., 0] if across else 1 - part[..., 0]) * (
                part[..., 1] if down else 1 - part[..., 1]
            )
            cell = (low[..., 1] + down) * columns + low[..., 0] + across
            nll = nll - share * log_p.gather(-1, cell[..., None])[..., 0]
    return (nll * counted).sum() / counted.sum().clamp_min(1)
