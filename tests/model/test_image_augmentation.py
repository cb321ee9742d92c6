"""Augmented pixels and augmented truth move together."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from diffpose.model.detector.heatmap_network import INPUT_SIZE
from diffpose.model.detector.image_augmentation import (
    _resample,
    random_colours,
    random_frames,
    random_views,
)
from diffpose.model.geometry.skeleton import MIRROR
from diffpose.model.heatmaps.grid import CROP_PADDING


def crops_with_discs(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Crops with a red disc at joint 3 (right foot) and a green one at joint 6 (left foot)."""
    rng = np.random.default_rng(0)
    joints = rng.uniform([45, 60], [90, 120], (n, 17, 2)).astype(np.float32)
    y, x = np.mgrid[:176, :132] + 0.5
    crops = np.zeros((n, 176, 132, 3), np.uint8)
    for i in range(n):
        joints[i, 3], joints[i, 6] = [50, 110], [85, 75]
        for joint, channel in ((3, 0), (6, 1)):
            far = (x - joints[i, joint, 0]) ** 2 + (y - joints[i, joint, 1]) ** 2
            crops[i, far < 12.0, channel] = 255
    boxes = np.tile(np.array([38.0, 45, 95, 135], np.float32), (n, 1))
    return torch.from_numpy(crops), torch.from_numpy(joints), torch.from_numpy(boxes)


def centroid(mask: torch.Tensor) -> torch.Tensor:
    y, x = torch.nonzero(mask, as_tuple=True)
    return torch.stack([x.float().mean() + 0.5, y.float().mean() + 0.5])


def test_joints_stay_on_their_pixels_and_left_stays_left() -> None:
    crops, joints, boxes = crops_with_discs(40)
    generator = torch.Generator().manual_seed(1)
    views, cells = random_views(crops, joints, boxes, INPUT_SIZE, generator)
    assert views.shape == (40, 3, *INPUT_SIZE)
    mirrored = 0
    for i in range(40):
        red = centroid(views[i, 0] > 0.5)
        green = centroid(views[i, 1] > 0.5)
        in_view = cells[i] * 4  # 256 x 192 px over 64 x 48 cells
        own, other = in_view[3] - red, in_view[6] - green
        if own.norm() > 3:  # mirrored: what was the right foot is now the left one
            mirrored += 1
            own, other = in_view[MIRROR[3]] - red, in_view[MIRROR[6]] - green
        assert own.norm() < 1.0
        assert other.norm() < 1.0
    assert 8 < mirrored < 32


def test_the_plain_view_is_the_padded_box() -> None:
    crops, joints, boxes = crops_with_discs(2)
    views, cells = random_views(crops, joints, boxes, INPUT_SIZE, torch.Generator(), amount=0.0)
    pixel = CROP_PADDING * max(57 / 192, 90 / 256)
    expected = (joints - torch.tensor([66.5, 90.0])) / pixel + torch.tensor([96.0, 128.0])
    torch.testing.assert_close(cells * 4, expected, atol=1e-3, rtol=0)
    assert (centroid(views[0, 0] > 0.5) - cells[0, 3] * 4).norm() < 1.0


def test_views_are_those_of_grid_sample() -> None:
    """The compiled resampling against torch's, turned, off centre and partly outside."""
    rng = np.random.default_rng(2)
    crops = torch.from_numpy(rng.integers(0, 256, (3, 50, 40, 3), dtype=np.uint8))
    theta = torch.from_numpy(rng.normal(0, 0.6, (3, 2, 3)).astype(np.float32))
    views = torch.empty((3, 3, 32, 24))
    _resample(crops.numpy(), theta.numpy(), views.numpy())
    grid = F.affine_grid(theta, [3, 3, 32, 24], align_corners=False)
    expected = F.grid_sample(crops.permute(0, 3, 1, 2).float() / 255, grid, align_corners=False)
    torch.testing.assert_close(views, expected, atol=1e-3, rtol=0)


def test_same_generator_same_views() -> None:
    crops, joints, boxes = crops_with_discs(4)
    one, two = (
        random_views(crops, joints, boxes, INPUT_SIZE, torch.Generator().manual_seed(5))
        for _ in range(2)
    )
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def test_boxes_stay_around_their_people() -> None:
    frames = torch.zeros((60, 192, 192, 3), dtype=torch.uint8)
    boxes = torch.full((60, 2, 4), torch.nan)
    frames[:, 60:120, 50:90] = 255
    boxes[:, 0] = torch.tensor([50.0, 60, 90, 120])
    images, moved = random_frames(frames, boxes, torch.Generator().manual_seed(0))
    assert moved[:, 1].isnan().all()
    seen = 0
    for image, box in zip(images, moved[:, 0], strict=True):
        y, x = torch.nonzero(image[0] > 0.5, as_tuple=True)
        if box.isnan().any():
            continue
        seen += 1
        shown = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()
        assert (shown - box).abs().max() <= 1.5
    assert seen > 40


def test_colours_stay_in_range_and_places_stay() -> None:
    images = torch.full((8, 3, 64, 48), 0.2)
    images[:, :, 30:34, 20:24] = 0.9
    changed = random_colours(images.clone(), torch.Generator().manual_seed(0))
    assert changed.shape == images.shape
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    assert not torch.equal(changed, images)
    # the bright spot is still the brighter place in nearly all images (a patch may cover it)
    spot = changed[:, :, 30:34, 20:24].mean(dim=(1, 2, 3))
    rest = changed[:, :, 50:60, 5:15].mean(dim=(1, 2, 3))
    assert int((spot > rest).sum()) >= 6
