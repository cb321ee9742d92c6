"""Random views and colours of training crops, as a function of a generator.

The random numbers are torch's, the loops over pixels compiled: in training they run beside the
network on the same cores, and a pass of torch operations over each image would cost as much as it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional as F

from diffpose.model.geometry.skeleton import MIRROR
from diffpose.model.heatmaps.grid import CROP_PADDING, HEIGHT, WIDTH

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
    views = torch.empty((n, 3, rows, columns))
    _resample(crops.numpy(), theta.numpy(), views.numpy())

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
    n, _, height, width = images.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    gain = torch.exp(uniform(-0.35, 0.35, 1) + uniform(-0.12, 0.12, 3))
    gamma = torch.exp(uniform(-0.35, 0.35, 1))
    offset = uniform(-0.08, 0.08, 1)
    value = torch.linspace(0, 1, _TONES)[None, None]
    tones = (value * gain[..., None]).clamp(1e-4, 1.0) ** gamma[..., None] + offset[..., None]
    saturation, blur = uniform(0.0, 1.5), uniform(-1.0, 1.0).clamp_min(0)
    values = torch.empty((n, 3, height, width))
    _tone_and_blur(
        images.numpy(), tones.clamp(0, 1).numpy(), saturation.numpy(), blur.numpy(), values.numpy()
    )
    chosen = torch.rand(n, generator=generator) < 0.4
    # a rectangle of two images in five is covered with a piece of the next image of the batch
    size = torch.rand(n, 2, generator=generator) * 0.35 + 0.08
    corner = torch.rand(n, 2, generator=generator) * (1 - size)
    patch = torch.cat([corner, corner + size], 1) * torch.tensor([height, width, height, width])
    patch = torch.where(chosen[:, None], patch, 0).long()
    noise = uniform(0.0, 0.05)
    seeds = torch.randint(2**62, (n,), generator=generator)
    result = torch.empty_like(values)
    _cover_and_add_noise(
        values.numpy(), patch.numpy(), noise.numpy(), seeds.numpy(), result.numpy()
    )
    return result


_TONES = 1024


@njit(cache=True)
def _resample(crops, theta, views):  # type: ignore[no-untyped-def]
    """Bilinear samples of crops (B, h, w, 3) where theta (B, 2, 3) says; outside is black.

    As grid_sample with align_corners=False: coordinates run from -1 to 1, edges to edges.
    """
    n, height, width, _ = crops.shape
    rows, columns = views.shape[2:]
    scale = np.float32(1.0 / 255.0)
    for b in range(n):
        t = theta[b]
        for i in range(rows):
            v = (2.0 * i + 1.0) / rows - 1.0
            for j in range(columns):
                u = (2.0 * j + 1.0) / columns - 1.0
                x = np.float32((t[0, 0] * u + t[0, 1] * v + t[0, 2] + 1.0) * 0.5 * width - 0.5)
                y = np.float32((t[1, 0] * u + t[1, 1] * v + t[1, 2] + 1.0) * 0.5 * height - 0.5)
                x0, y0 = math.floor(x), math.floor(y)
                fx, fy = np.float32(x - x0), np.float32(y - y0)
                if 0 <= x0 < width - 1 and 0 <= y0 < height - 1:
                    for c in range(3):
                        upper = crops[b, y0, x0, c] * (1 - fx) + crops[b, y0, x0 + 1, c] * fx
                        lower = (
                            crops[b, y0 + 1, x0, c] * (1 - fx) + crops[b, y0 + 1, x0 + 1, c] * fx
                        )
                        views[b, c, i, j] = (upper * (1 - fy) + lower * fy) * scale
                    continue
                for c in range(3):
                    total = np.float32(0.0)
                    for dy in range(2):
                        for dx in range(2):
                            if 0 <= x0 + dx < width and 0 <= y0 + dy < height:
                                share = (fx if dx else 1 - fx) * (fy if dy else 1 - fy)
                                total += share * crops[b, y0 + dy, x0 + dx, c]
                    views[b, c, i, j] = total * scale


@njit(cache=True, fastmath=True)
def _tone_and_blur(images, tones, saturation, blur, values):  # type: ignore[no-untyped-def]
    """Apply tone curves (B, 3, T), saturation (B,) and a share (B,) of a 3 x 3 mean."""
    n, _, height, width = images.shape
    last = tones.shape[2] - 1
    toned = np.empty((3, height, width), dtype=np.float32)
    sums = np.empty((height, width), dtype=np.float32)
    for b in range(n):
        s = saturation[b]
        for i in range(height):
            for j in range(width):
                red = tones[b, 0, int(images[b, 0, i, j] * last + 0.5)]
                green = tones[b, 1, int(images[b, 1, i, j] * last + 0.5)]
                blue = tones[b, 2, int(images[b, 2, i, j] * last + 0.5)]
                grey = (red + green + blue) * np.float32(1.0 / 3.0)
                toned[0, i, j] = grey + (red - grey) * s
                toned[1, i, j] = grey + (green - grey) * s
                toned[2, i, j] = grey + (blue - grey) * s
        if blur[b] == 0.0:
            values[b] = toned
            continue
        share = blur[b] * np.float32(1.0 / 9.0)
        for c in range(3):
            for i in range(height):
                up, down = max(i - 1, 0), min(i + 1, height - 1)
                for j in range(width):
                    sums[i, j] = toned[c, up, j] + toned[c, i, j] + toned[c, down, j]
            for i in range(height):
                for j in range(width):
                    left, right = max(j - 1, 0), min(j + 1, width - 1)
                    mean = sums[i, left] + sums[i, j] + sums[i, right]
                    values[b, c, i, j] = (1 - blur[b]) * toned[c, i, j] + share * mean


@njit(cache=True)
def _cover_and_add_noise(values, patch, noise, seeds, result):  # type: ignore[no-untyped-def]
    """Cover rows y0 .. y1, columns x0 .. x1 (patch) with the next image's mirror; add noise."""
    n, channels, height, width = values.shape
    for b in range(n):
        other = values[b - 1]
        state = np.uint64(seeds[b])
        # the sum of four bytes is nearly normal: mean 510, standard deviation 147.8
        scale = np.float32(noise[b] / 147.8)
        for c in range(channels):
            for i in range(height):
                hidden_row = patch[b, 0] <= i < patch[b, 2]
                for j in range(width):
                    value = values[b, c, i, j]
                    if hidden_row and patch[b, 1] <= j < patch[b, 3]:
                        value = other[c, height - 1 - i, j]
                    # Marsaglia's xorshift (J. Stat. Soft. 2003)
                    state ^= state << np.uint64(13)
                    state ^= state >> np.uint64(7)
                    state ^= state << np.uint64(17)
                    bits = np.int64(state >> np.uint64(32))
                    total = (bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24)
                    value += scale * np.float32(total - 510)
                    result[b, c, i, j] = min(max(value, np.float32(0.0)), np.float32(1.0))


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
