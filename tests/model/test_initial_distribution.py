"""H_K: draws of the uncertain 3D pose from heatmaps and a depth prior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from diffpose.model.heatmaps.grid import rasterise
from diffpose.model.observations.initial_distribution import (
    EncoderDepth,
    HistogramDepth,
    Observations,
    mean_pose,
    sample_poses,
    take_rows,
)

CAMERA = np.array([1145.0, 1140.0, 500.0, 490.0])
SIGMA_Z = torch.linspace(20, 180, 17)


def seeds(n: int, first: int = 0) -> NDArray[np.uint64]:
    return np.arange(first, first + n, dtype=np.uint64)


def people(n: int = 3, seed: int = 0) -> tuple[NDArray[np.float64], torch.Tensor]:
    """True pixels (n, 17, 2) and the root-relative poses behind them."""
    rng = np.random.default_rng(seed)
    poses = rng.normal(0, [250, 400, 200], (n, 17, 3))
    poses[:, 0] = 0
    points = poses + rng.uniform([-300, -300, 4500], [300, 300, 5500], (n, 1, 3))
    pixels = points[..., :2] / points[..., 2:] * CAMERA[:2] + CAMERA[2:]
    return pixels, torch.tensor(poses, dtype=torch.float32)


def observe(pixels: NDArray[np.float64], second: float = 0.0) -> Observations:
    """Heatmaps around pixels; a second mode of this weight 60 px to the right and 30 px up."""
    n = len(pixels)
    centres = np.stack([pixels, pixels + np.array([60, -30])], axis=2)
    weights = np.tile([1 - second, second], (n, 17, 1))
    low = pixels.min(axis=1) - 120
    cell = ((pixels.max(axis=1) + 120 - low) / [48, 64]).max(axis=1)
    crops = np.column_stack([low, cell, cell]).astype(np.float32)
    heatmaps = rasterise(centres, np.full((n, 17, 2), 12.0), weights, crops)
    camera = np.tile(CAMERA, (n, 1)).astype(np.float32)
    return Observations.from_heatmaps(heatmaps, crops, camera)


def pixels_of(draws: torch.Tensor, translation: torch.Tensor) -> NDArray[np.float64]:
    points = (draws + translation[:, None, None]).double().numpy()
    return points[..., :2] / points[..., 2:] * CAMERA[:2] + CAMERA[2:]


def test_the_root_is_exactly_zero() -> None:
    pixels, bridge = people()
    draws = sample_poses(observe(pixels), bridge, EncoderDepth(SIGMA_Z), 200, seeds(3))
    assert draws.shape == (3, 200, 17, 3)
    assert draws.dtype == torch.float32
    assert (draws[:, :, 0] == 0).all()
    assert draws[:, :, 1:].std(dim=1).min() > 5
    assert (mean_pose(observe(pixels), bridge, EncoderDepth(SIGMA_Z))[:, 0] == 0).all()


@pytest.mark.parametrize("second", [0.0, 0.3])
def test_the_mean_of_the_draws_is_the_mean_pose(second: float) -> None:
    pixels, bridge = people()
    seen, n = observe(pixels, second), 8000
    for depth in (EncoderDepth(SIGMA_Z), HistogramDepth.from_poses(people(500, 9)[1].numpy())):
        draws = sample_poses(seen, bridge, depth, n, seeds(3))
        error = draws.mean(dim=1) - mean_pose(seen, bridge, depth)
        standard_error = draws.std(dim=1) / n**0.5
        # 0.3 mm: the summary rounds to float32 and keeps weights within 1e-4 .. 1 - 1e-4
        assert (error.abs() <= 4.5 * standard_error + 0.3).all()


def test_draws_project_into_their_heatmaps_cells() -> None:
    pixels, bridge = people()
    seen = observe(pixels, second=0.4)
    assert seen.heatmaps is not None
    draws = sample_poses(seen, bridge, EncoderDepth(SIGMA_Z), 300, seeds(3))
    placed = pixels_of(draws, seen.detections().translation_mm(bridge))
    hits = np.zeros(2)
    for row in range(3):
        cells = (placed[row] - seen.crops[row, :2]) / seen.crops[row, 2:]
        for joint in range(1, 17):
            column, line = np.floor(cells[:, joint]).astype(int).T
            # float32 may put a draw on a cell's border into the next cell
            inside = seen.heatmaps[row, joint, line, column] > 0
            assert inside.mean() > 0.98
            right = placed[row, :, joint, 0] > pixels[row, joint, 0] + 30
            hits += [right.sum(), len(right)]
            assert placed[row, :, joint].std(axis=0).min() > 10  # the spread of the heatmap
    assert hits[0] / hits[1] == pytest.approx(0.4, abs=0.02)  # and the second mode's share


def test_encoder_depth_is_normal_around_the_bridging_pose() -> None:
    pixels, bridge = people()
    n = 4000
    z = sample_poses(observe(pixels), bridge, EncoderDepth(SIGMA_Z), n, seeds(3))[..., 2]
    deviation = (z - bridge[:, None, :, 2])[..., 1:] / SIGMA_Z[1:]
    assert deviation.mean(dim=1).abs().max() < 4.5 / n**0.5
    assert (deviation.std(dim=1) - 1).abs().max() < 4.5 / (2 * n) ** 0.5
    assert stats.kstest(deviation.flatten().numpy(), "norm").pvalue > 1e-3
    # Joints are independent of each other.
    correlation = torch.corrcoef(deviation[0].T) - torch.eye(16)
    assert correlation.abs().max() < 5 / n**0.5


def test_histogram_depth_counts_the_training_poses() -> None:
    poses = people(300, seed=4)[1].numpy()
    depth = HistogramDepth.from_poses(poses, n_bins=20)
    assert depth.edges_mm.shape == (17, 21)
    for joint in (0, 3, 16):
        edges = depth.edges_mm[joint].numpy()
        assert (np.diff(edges) > 0).all()
        for b in range(20):
            count = sum(edges[b] <= z < edges[b + 1] for z in poses[:, joint, 2].astype(float))
            assert depth.counts[joint, b] == count
    assert (depth.counts.sum(dim=1) == 300).all()


def test_histogram_depth_reproduces_the_histogram() -> None:
    pixels, bridge = people()
    depth = HistogramDepth.from_poses(people(300, seed=4)[1].numpy(), n_bins=20)
    n = 6000
    z = sample_poses(observe(pixels), bridge, depth, n, seeds(3))[..., 2].numpy()
    p_values = []
    for row in range(3):
        for joint in range(1, 17):
            edges, counts = depth.edges_mm[joint].numpy(), depth.counts[joint].numpy()
            seen, _ = np.histogram(z[row, :, joint], edges)
            assert seen.sum() == n
            assert seen[counts == 0].sum() <= 1  # float32 on a bin's border
            filled = counts > 0
            expected = seen[filled].sum() * counts[filled] / counts.sum()
            p_values.append(stats.chisquare(seen[filled], expected).pvalue)
            place = (z[row, :, joint] - edges[0]) / (edges[1] - edges[0]) % 1
            assert stats.kstest(place, "uniform").pvalue > 1e-4  # even within a bin
    assert min(p_values) > 1e-4
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.15)
    centres = (depth.edges_mm[:, 1:] + depth.edges_mm[:, :-1]) / 2
    expected_mean = [np.average(c, weights=w) for c, w in zip(centres, depth.counts, strict=True)]
    np.testing.assert_allclose(depth.mean(bridge), [expected_mean] * 3, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("kind", ["encoder", "histogram"])
def test_a_rows_draws_do_not_depend_on_the_batch(kind: str) -> None:
    pixels, bridge = people(4)
    depth = (
        EncoderDepth(SIGMA_Z)
        if kind == "encoder"
        else HistogramDepth.from_poses(people(300, seed=4)[1].numpy())
    )
    seen = observe(pixels, second=0.2)
    together = sample_poses(seen, bridge, depth, 60, seeds(4))
    for row in (0, 3):
        part = slice(row, row + 1)
        alone = sample_poses(take_rows(seen, part), bridge[part], depth, 60, seeds(1, row))
        assert torch.equal(alone[0, ..., 2], together[row, ..., 2])
        # x and y follow from T, a float32 sum over joints at 5 m: within 0.005 mm
        torch.testing.assert_close(alone[0], together[row], atol=5e-3, rtol=0)
    other = sample_poses(take_rows(seen, slice(0, 1)), bridge[:1], depth, 60, seeds(1, 77))
    assert not torch.equal(other[0], together[0])


def test_a_large_seed_is_a_seed() -> None:
    pixels, bridge = people(1)
    last = np.array([2**64 - 1], dtype=np.uint64)
    draws = sample_poses(observe(pixels), bridge, EncoderDepth(SIGMA_Z), 5, last)
    assert draws.isfinite().all()


def test_noise_of_the_detected_root_is_not_added_to_every_joint() -> None:
    # Two observations differ in the root's heatmap alone, moved by 10 px (44 mm at 5 m). Then the
    # other joints' draws differ exactly by what T's change explains, d = u dT_z - dT_xy, which is
    # a 17th of the root's shift across (T is solved from all joints); subtracting the detected
    # root instead would move every joint by the whole 44 mm.
    pixels, bridge = people(3, seed=2)
    moved = pixels.copy()
    moved[:, 0, 0] += 10
    first, second = observe(pixels), observe(moved)
    np.testing.assert_array_equal(first.crops, second.crops)
    depth = EncoderDepth(SIGMA_Z)
    a, b = (sample_poses(seen, bridge, depth, 100, seeds(3)) for seen in (first, second))
    t_a, t_b = (seen.detections().translation_mm(bridge) for seen in (first, second))
    points = a + t_a[:, None, None]
    rays = points[..., :2] / points[..., 2:]
    change = (t_b - t_a)[:, None, None]
    explained = rays * change[..., 2:] - change[..., :2]
    assert torch.equal(a[..., 2], b[..., 2])
    torch.testing.assert_close((b - a)[:, :, 1:, :2], explained[:, :, 1:], atol=0.02, rtol=0)
    depth_mm = float(t_a[:, 2].mean())
    shift_mm = 10 / 1145 * depth_mm
    difference = (b - a)[:, :, 1:, :2]
    assert difference.abs().max() > 0.5  # T did change
    assert difference.norm(dim=-1).mean() < 0.2 * shift_mm


def test_observations_without_heatmaps_are_refused() -> None:
    pixels, bridge = people()
    seen = observe(pixels)
    bare = Observations(None, seen.crops, seen.keypoints_px, seen.modes, seen.camera)
    with pytest.raises(ValueError, match="carry none"):
        sample_poses(bare, bridge, EncoderDepth(SIGMA_Z), 5, seeds(3))
    assert len(take_rows(bare, slice(0, 2))) == 2
    assert mean_pose(bare, bridge, EncoderDepth(SIGMA_Z)).shape == (3, 17, 3)


def test_from_keypoints() -> None:
    pixels, _ = people()
    camera = np.tile(CAMERA, (3, 1))
    sigma = np.random.default_rng(0).uniform(12, 20, (3, 17))
    seen = Observations.from_keypoints(pixels, camera, sigma_px=sigma)
    cell = seen.crops[:, None, 2]
    assert len(seen) == 3
    assert seen.heatmaps is not None
    assert (seen.heatmaps.max(axis=(2, 3)) == 255).all()
    assert (seen.modes[..., 6] == 0).all()
    # the keypoint is the peak's 5 x 5 cells, the mode all of them; joints lie inside the crop
    assert (np.linalg.norm(seen.keypoints_px - pixels, axis=-1) / cell).max() < 0.6
    inner = (pixels - seen.crops[:, None, :2]) / cell[..., None]
    clear = (np.minimum(inner, [48, 64] - inner) > 3.5 * (sigma / cell)[..., None]).all(axis=-1)
    assert clear.mean() > 0.5
    assert (np.linalg.norm(seen.modes[..., :2] - pixels, axis=-1) / cell)[clear].max() < 0.05
    width = seen.modes[..., 2] / np.sqrt(sigma**2 + cell**2 / 12)
    assert np.abs(width - 1)[clear].max() < 0.02
    rays = seen.detections().rays.numpy()
    expected = (seen.keypoints_px - CAMERA[2:]) / CAMERA[:2]
    np.testing.assert_allclose(rays, expected, atol=1e-5)


def test_from_keypoints_takes_widths_in_cells_too() -> None:
    pixels, _ = people()
    camera = np.tile(CAMERA, (3, 1))
    cells = np.linspace(1.0, 1.5, 17)
    seen = Observations.from_keypoints(pixels, camera, sigma_cells=cells)
    same = Observations.from_keypoints(
        pixels, camera, sigma_px=cells * seen.crops[:, 2:3].astype(float)
    )
    assert seen.heatmaps is not None and same.heatmaps is not None
    assert np.array_equal(seen.heatmaps, same.heatmaps)
    for widths in ({}, {"sigma_px": np.ones((3, 17)), "sigma_cells": cells}):
        with pytest.raises(ValueError, match="exactly one of sigma_px and sigma_cells"):
            Observations.from_keypoints(pixels, camera, **widths)


def test_parts_that_are_joined_are_the_whole() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(300, 700, (5, 17, 2))
    camera = np.tile([1145.0, 1145.0, 500.0, 500.0], (5, 1))
    whole = Observations.from_keypoints(points, camera, sigma_px=np.full((5, 17), 9.0))
    parts = [take_rows(whole, slice(0, 2)), take_rows(whole, slice(2, 5))]
    joined = Observations.joined(parts)
    for name in ("heatmaps", "crops", "keypoints_px", "modes", "camera"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert Observations.joined([parts[0], replace(parts[1], heatmaps=None)]).heatmaps is None
