"""Random views and colours of training crops, as a function of a generator (pure torch)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from diffpose.model.heatmaps import CROP_PADDING, HEIGHT, WIDTH
from diffpose.model.skeleton import MIRROR

# Share of the half-size: how far off the person finder's boxes may be in training.
_SHIFT, _SCALE, _TURN_RAD = 0.10, 0.25, math.radians(25.0)


def random_views(
    crops: Tensor,
    joints_px: Tensor,
    boxes_px: Tensor,
    size: tuple[int, int],
    generator: torch.Generator,
    amount: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Cut a random view of each person: shifted, scaled, turned, mirrored.

    Args:
        crops: (B, h, w, 3) uint8, with room around the person.
        joints_px: (B, 17, 2) in px of the crop.
        boxes_px: (B, 4), the person's box in px of the crop.
        size: rows, columns of the views.
        generator: of the random numbers.
        amount: 1: all of it; 0: the plain view, centred on the box.

    Returns:
        views (B, 3, rows, columns) float32 0 .. 1 and the joints in heatmap cells (B, 17, 2).
    """
    n = len(crops)

    def uniform(low: float, high: float) -> Tensor:
        return amount * (low + (high - low) * torch.rand(n, generator=generator))

    rows, columns = size
    extent = (boxes_px[:, 2:] - boxes_px[:, :2]).clamp_min(1.0)
    pixel = CROP_PADDING * torch.maximum(extent[:, 0] / columns, extent[:, 1] / rows)
    pixel = pixel * torch.exp(uniform(-_SCALE, _SCALE))
    shift = torch.stack([uniform(-_SHIFT, _SHIFT), uniform(-_SHIFT, _SHIFT)], dim=1) * extent
    centre = (boxes_px[:, :2] + boxes_px[:, 2:]) / 2 + shift
    turn = uniform(-_TURN_RAD, _TURN_RAD) * (torch.rand(n, generator=generator) < 0.5)
    mirrored = torch.rand(n, generator=generator) < 0.5 * amount
    flip = torch.where(mirrored, -1.0, 1.0)
    cos, sin = turn.cos(), turn.sin()
    # view px, from the view's middle -> crop px: flip across, turn, scale
    matrix = (
        torch.stack(
            [torch.stack([flip * cos, -sin], -1), torch.stack([flip * sin, cos], -1)], dim=1
        )
        * pixel[:, None, None]
    )

    crop_size = torch.tensor([crops.shape[2], crops.shape[1]], dtype=torch.float32)
    view_size = torch.tensor([columns, rows], dtype=torch.float32)
    # grid_sample's coordinates run from -1 to 1 over each image, edges to edges
    theta = torch.cat(
        [
            matrix * view_size[None, None, :] / crop_size[None, :, None],
            (2 * centre / crop_size - 1)[..., None],
        ],
        dim=2,
    )
    grid = F.affine_grid(theta, [n, 3, rows, columns], align_corners=False)
    images = crops.permute(0, 3, 1, 2).to(torch.float32).mul_(1 / 255)
    views = F.grid_sample(images, grid, align_corners=False)

    inverse = torch.linalg.inv(matrix)
    in_view = torch.einsum("bij,bkj->bki", inverse, joints_px - centre[:, None]) + view_size / 2
    in_view = torch.where(mirrored[:, None, None], in_view[:, list(MIRROR)], in_view)
    return views, in_view * torch.tensor([WIDTH / columns, HEIGHT / rows])


def random_colours(images: Tensor, generator: torch.Generator) -> Tensor:
    """Vary exposure, white balance, gamma, saturation, sharpness; hide a patch; add noise.

    Args:
        images: (B, 3, h, w), 0 .. 1.
        generator: of the random numbers.
    """
    n = len(images)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, 1, 1, generator=generator)

    gain = torch.exp(uniform(-0.35, 0.35, 1) + uniform(-0.12, 0.12, 3))
    values = (images * gain).clamp(1e-4, 1.0) ** torch.exp(uniform(-0.35, 0.35, 1))
    values = (values + uniform(-0.08, 0.08, 1)).clamp(0, 1)
    grey = values.mean(dim=1, keepdim=True)
    values = grey + (values - grey) * uniform(0.0, 1.5, 1)
    soft = F.avg_pool2d(values, 3, stride=1, padding=1, count_include_pad=False)
    blur = (uniform(-1.0, 1.0, 1)).clamp_min(0)
    values = values + (soft - values) * blur
    values = _hidden_patch(values, generator)
    noise = torch.randn(values.shape, generator=generator) * uniform(0.0, 0.05, 1)
    return (values + noise).clamp(0, 1)


def _hidden_patch(images: Tensor, generator: torch.Generator) -> Tensor:
    """Cover a rectangle of two images in five with a piece of the next image of the batch."""
    n, _, height, width = images.shape
    chosen = torch.rand(n, generator=generator) < 0.4
    size = torch.rand(n, 2, generator=generator) * 0.35 + 0.08
    corner = torch.rand(n, 2, generator=generator) * (1 - size)
    y = torch.arange(height) / height
    x = torch.arange(width) / width
    down = (y >= corner[:, :1]) & (y < corner[:, :1] + size[:, :1])
    across = (x >= corner[:, 1:]) & (x < corner[:, 1:] + size[:, 1:])
    covered = (down[:, :, None] & across[:, None, :] & chosen[:, None, None])[:, None]
    return torch.where(covered, images.roll(1, 0).flip(2), images)


def random_frames(
    frames: Tensor, boxes_px: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Shift, scale and mirror whole frames for the person finder.

    Args:
        frames: (B, S, S, 3) uint8.
        boxes_px: (B, P, 4), NaN where there is no person.
        generator: of the random numbers.

    Returns:
        images (B, 3, S, S) float32 0 .. 1 and their boxes; people whose centre has left the frame
        are NaN.
    """
    n, side = len(frames), frames.shape[1]
    scale = torch.exp(torch.rand(n, generator=generator) * 1.3 - 0.7)  # frame px per image px
    shift = (torch.rand(n, 2, generator=generator) - 0.5) * 0.3
    flip = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    across = torch.stack([flip * scale, torch.zeros(n), shift[:, 0]], -1)
    down = torch.stack([torch.zeros(n), scale, shift[:, 1]], -1)
    grid = F.affine_grid(torch.stack([across, down], 1), [n, 3, side, side], align_corners=False)
    images = frames.permute(0, 3, 1, 2).to(torch.float32).mul_(1 / 255)
    images = F.grid_sample(images, grid, align_corners=False)
    corners = 2 * boxes_px / side - 1  # -1 .. 1
    xs = (corners[..., 0::2] - shift[:, None, :1]) / (flip * scale)[:, None, None]
    ys = (corners[..., 1::2] - shift[:, None, 1:]) / scale[:, None, None]
    low = torch.stack([xs.amin(-1), ys.amin(-1)], -1)
    high = torch.stack([xs.amax(-1), ys.amax(-1)], -1)
    seen = (((low + high) / 2).abs() < 1).all(-1, keepdim=True)
    moved = torch.cat([low.clamp(-1, 1), high.clamp(-1, 1)], dim=-1)
    return images, torch.where(seen, (moved + 1) / 2 * side, torch.nan)
