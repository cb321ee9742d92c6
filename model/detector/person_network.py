"""A small network that finds people in a whole frame: centres and boxes on a coarse grid.

Each person is one peak of a centre map; the cell under the peak tells how far the box reaches to
its four sides (Zhou et al., "Objects as Points", 2019; distances as in FCOS, Tian et al., ICCV
2019). The frame is scaled, aspect kept, into a square with its top-left corner at the square's.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from diffpose.model.detector.heatmap_network import Residual, conv_unit, doubled

INPUT_SIDE = 192
STRIDE = 8  # px of the input per cell of the grid
# Distances are learnt as logarithms of units of this many input px.
_UNIT_PX = 24.0


class PersonNetworkConfig(BaseModel, frozen=True, extra="forbid"):
    """Channels of the grids of 1/2, 1/4, 1/8 and 1/16 of the input."""

    channels: tuple[int, int, int, int] = Field((12, 24, 48, 72), description="per grid")
    blocks: int = Field(2, ge=1, description="residual blocks of each of the two coarse grids")


class PersonNetwork(nn.Module):
    """Square frames to centre logits and side distances."""

    def __init__(self, config: PersonNetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config or PersonNetworkConfig()
        c0, c1, c2, c3 = self.config.channels
        n = self.config.blocks
        self.fine = nn.Sequential(conv_unit(3, c0, stride=2), conv_unit(c0, c1, stride=2))
        self.middle = nn.Sequential(conv_unit(c1, c2, stride=2), *(Residual(c2) for _ in range(n)))
        self.coarse = nn.Sequential(conv_unit(c2, c3, stride=2), *(Residual(c3) for _ in range(n)))
        self.lateral, self.join = conv_unit(c3, c2, size=1), Residual(c2)
        self.head = nn.Conv2d(c2, 5, 1)
        nn.init.constant_(self.head.bias[:1], -4.0)  # type: ignore[index]  # few cells are centres

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (B, 5, S/8, S/8): centre logit, log distances to left, top, right, bottom.

        Args:
            pixels: (B, 3, S, S), RGB, 0 .. 1.
        """
        middle = self.middle(self.fine(pixels - 0.45))
        middle = self.join(middle + doubled(self.lateral(self.coarse(middle))))
        found: Tensor = self.head(middle)
        return found


def person_loss(found: Tensor, boxes: Tensor) -> Tensor:
    """Return the focal loss of the centres plus 1 - IoU of the boxes.

    Args:
        found: (B, 5, G, G), of PersonNetwork.
        boxes: (B, P, 4), x0, y0, x1, y1 in px of the input; NaN where there is no person.
    """
    grid = found.shape[-1]
    known = boxes.isfinite().all(dim=-1)
    safe = torch.where(known[..., None], boxes, boxes.new_tensor([0.0, 0.0, 8.0, 8.0]))
    centres = (safe[..., :2] + safe[..., 2:]) / 2 / STRIDE  # in cells
    extent = (safe[..., 2:] - safe[..., :2]).clamp_min(1.0) / STRIDE
    cell = centres.floor().clamp(0, grid - 1)
    # Gaussian bumps around the centres, as wide as a sixth of the box, peak 1 at the centre's cell
    axis = torch.arange(grid, device=found.device, dtype=found.dtype)
    sigma = (extent / 6).clamp_min(0.6)
    across = torch.exp(-0.5 * ((axis - cell[..., :1]) / sigma[..., :1]) ** 2)
    down = torch.exp(-0.5 * ((axis - cell[..., 1:]) / sigma[..., 1:]) ** 2)
    bumps = down[..., :, None] * across[..., None, :] * known[..., None, None]
    target = bumps.amax(dim=1)
    logits = found[:, 0]
    p = logits.sigmoid()
    at_centre = -F.logsigmoid(logits) * (1 - p) ** 2 * (target >= 1.0 - 1e-6)
    elsewhere = -F.logsigmoid(-logits) * p**2 * (1 - target) ** 4
    n_people = known.sum().clamp_min(1)
    centre_loss = (at_centre + elsewhere).sum() / n_people
    # every cell of the inner bump learns the box of its person: centres may be off by one
    person = bumps.argmax(dim=1)
    inner = target > 0.5
    own = torch.gather(safe, 1, person.flatten(1)[..., None].expand(-1, -1, 4))
    own = own.reshape(-1, grid, grid, 4)
    predicted = boxes_of(found)
    return centre_loss + (1 - _iou(predicted, own))[inner].mean() if inner.any() else centre_loss


def boxes_of(found: Tensor) -> Tensor:
    """Return each cell's box, (B, G, G, 4), x0, y0, x1, y1 in px of the input."""
    grid = found.shape[-1]
    axis = (torch.arange(grid, device=found.device, dtype=found.dtype) + 0.5) * STRIDE
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    left, top, right, bottom = (found[:, 1:].clamp(-4, 4).exp() * _UNIT_PX).unbind(dim=1)
    return torch.stack([x - left, y - top, x + right, y + bottom], dim=-1)


def decode_people(
    found: Tensor, threshold: float, overlap: float = 0.6, most: int = 20
) -> list[NDArray[np.float32]]:
    """Return per frame (n, 5): boxes in px of the input and scores, best first.

    Args:
        found: (B, 5, G, G).
        threshold: least score, 0 .. 1.
        overlap: of two boxes that overlap more (IoU), the better one stays.
        most: people per frame.
    """
    score = found[:, 0].sigmoid()
    peak = F.max_pool2d(score[:, None], 3, stride=1, padding=1)[:, 0]
    boxes = boxes_of(found)
    people = []
    for s, is_peak, b in zip(score, (score == peak) & (score >= threshold), boxes, strict=True):
        order = s[is_peak].argsort(descending=True)[: 4 * most]
        candidates, scores = b[is_peak][order], s[is_peak][order]
        kept: list[int] = []
        for i in range(len(candidates)):
            rivals = candidates[kept]
            if not kept or float(_iou(candidates[i].expand_as(rivals), rivals).max()) <= overlap:
                kept.append(i)
        rows = torch.cat([candidates[kept], scores[kept, None]], dim=1)[:most]
        people.append(rows.float().cpu().numpy())
    return people


def _iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of boxes (..., 4)."""
    low = torch.maximum(a[..., :2], b[..., :2])
    high = torch.minimum(a[..., 2:], b[..., 2:])
    common = (high - low).clamp_min(0).prod(dim=-1)
    size_a = (a[..., 2:] - a[..., :2]).clamp_min(0).prod(dim=-1)
    size_b = (b[..., 2:] - b[..., :2]).clamp_min(0).prod(dim=-1)
    iou: Tensor = common / (size_a + size_b - common).clamp_min(1e-6)
    return iou
