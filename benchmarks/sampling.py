"""Draws from heatmaps: 17 joints x 1000 draws from 64 x 48 cells, with the place within a cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.benchmarks import workload
from diffpose.benchmarks.measure import Figure, interleaved, table
from diffpose.model.heatmaps import grid as hm
from diffpose.model.observations.initial_distribution import EncoderDepth

S = 1000


def benchmark(folder: Path, frames: int, rounds: int) -> tuple[list[Figure], list[str]]:
    """Measure; returns figures and Markdown."""
    seen, poses, seeds = workload.frames_of(workload.simulated_store(folder, 2), frames)
    assert seen.heatmaps is not None
    torch.set_num_threads(1)
    heatmaps, crops = seen.heatmaps, seen.crops
    few = max(len(heatmaps) // 8, 1)
    depth = EncoderDepth(torch.tensor(workload.DEPTH_SIGMA_MM, dtype=torch.float32))
    work = {
        "ours, iid": lambda: hm.sample(heatmaps, crops, S, seeds),
        "ours, stratified": lambda: hm.sample(heatmaps, crops, S, seeds, stratified=True),
        "numpy cumsum + searchsorted": lambda: _numpy(heatmaps[:few], crops[:few]),
        "torch.multinomial": lambda: _torch(heatmaps[:few], crops[:few]),
        "ours, depths (normal)": lambda: depth.sample(poses, S, seeds),
    }
    counts = {name: few if "ours" not in name else len(heatmaps) for name in work}
    seconds = interleaved(work, rounds)
    rates = {name: 17 * S * counts[name] / s for name, s in seconds.items()}
    peer = rates["torch.multinomial"]
    rows = [
        [name, f"{rate / 1e6:.1f}", f"{17e3 * S / rate:.3f}", f"{rate / peer:.1f}"]
        for name, rate in rates.items()
    ]
    cells = float((heatmaps > 0).sum(axis=(2, 3)).mean())
    figure = Figure("sampling.iid", rates["ours, iid"], "draws/s", "torch.multinomial", peer)
    text = [
        f"{len(heatmaps)} frames of the simulated detector ({cells:.0f} cells above 0 in the mean "
        "heatmap), CPU time of one thread, in turns, medians. All rows place the draw within its "
        "cell, but the depths, which are no draws from heatmaps.",
        "",
        *table(["draws", "million / s", "ms / frame", "/ torch.multinomial"], rows),
    ]
    return [figure], text


def _numpy(heatmaps: NDArray[np.uint8], crops: NDArray[np.float32]) -> NDArray[np.float64]:
    """Invert cumulative sums in numpy, heatmap by heatmap."""
    rng = np.random.default_rng(0)
    draws = np.empty((len(heatmaps), S, 17, 2))
    for row, maps in enumerate(heatmaps):
        for joint, cells in enumerate(maps.reshape(17, -1)):
            cumulative = np.cumsum(cells, dtype=np.float64)
            chosen = np.searchsorted(cumulative, rng.random(S) * cumulative[-1], side="right")
            place = np.stack([chosen % hm.WIDTH, chosen // hm.WIDTH], -1) + rng.random((S, 2))
            draws[row, :, joint] = crops[row, :2] + crops[row, 2:] * place
    return draws


def _torch(heatmaps: NDArray[np.uint8], crops: NDArray[np.float32]) -> torch.Tensor:
    """Draw with torch.multinomial, all heatmaps at once."""
    cells = torch.from_numpy(heatmaps.reshape(-1, hm.HEIGHT * hm.WIDTH)).float()
    chosen = torch.multinomial(cells, S, replacement=True)
    place = torch.stack([chosen % hm.WIDTH, chosen // hm.WIDTH], -1) + torch.rand(*chosen.shape, 2)
    crop = torch.from_numpy(crops).repeat_interleave(17, 0)[:, None]
    return crop[..., :2] + crop[..., 2:] * place
