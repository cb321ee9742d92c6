"""Heatmaps and H_K draws that the benchmarks work on, made by the product itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.observations.initial_distribution import (
    EncoderDepth,
    Observations,
    sample_poses,
    take_rows,
)
from diffpose.platform.base.config import validate
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.synthesis.render import render
from diffpose.platform.workflows.preprocess import preprocess
from diffpose.preprocessing.mocap.procedural.motion import write_motion_library
from diffpose.preprocessing.render.settings import FilmSettings
from diffpose.preprocessing.settings import PreprocessSettings

# What a context encoder's z is wrong by on held-out poses, mm (20 at the hips .. 98 at the wrists).
DEPTH_SIGMA_MM = (20, 20, 50, 70, 20, 50, 70, 30, 45, 55, 60, 50, 75, 98, 50, 75, 98)


def simulated_store(folder: Path, takes: int, fps: float = 10.0) -> str:
    """Make a store of our own motion and the simulated detector's honest heatmaps, or find it."""
    motion, store = folder / f"motion_{takes}", folder / f"simulated_{takes}_{fps:g}"
    if not motion.exists():
        write_motion_library(str(motion), None, takes, 4.0, 3)
    recipe = {
        "source": {"uri": str(motion), "poses_per_second": fps}, "store": str(store),
        "cameras": {"count": 2}, "stages": ["detect"],
    }  # fmt: skip
    assert preprocess(validate(PreprocessSettings, recipe)) == 0
    return str(store)


def film_store(folder: Path) -> str:
    """Make a store of rendered films and the bundled detector's heatmaps, or find it."""
    motion, films, store = folder / "film_motion", folder / "films", folder / "film_store"
    if not motion.exists():
        write_motion_library(str(motion), None, 1, 3.0, 5)
    shot = {"source": {"uri": str(motion)}, "out": str(films), "fps": 10, "cameras": {"count": 1}}
    assert render(validate(FilmSettings, shot)) == 0
    recipe = {
        "source": {"kind": "videos", "uri": str(films)}, "store": str(store), "stages": ["detect"],
    }  # fmt: skip
    assert preprocess(validate(PreprocessSettings, recipe)) == 0
    return str(store)


def frames_of(store_uri: str, n: int) -> tuple[Observations, torch.Tensor, NDArray[np.uint64]]:
    """Return n frames with known truth, spread over the clips: detections, true poses, seeds."""
    store = PoseStore.open(store_uri)
    clips = store.clips()
    each = -(-n // len(clips))
    parts, poses, rows = [], [], []
    for clip in clips:
        count = min(each, clip.n_rows)
        first, stop = clip.first_row, clip.first_row + count
        parts.append(read_observations(store, first, stop))
        poses.append(store.read("pose_3d", first, stop))
        rows.append(np.arange(first, stop))
    pose = np.concatenate(poses).astype(np.float32)
    known = np.isfinite(pose).all(axis=(1, 2))
    known &= np.cumsum(known) <= n
    every = Observations(
        np.concatenate([part.heatmaps for part in parts if part.heatmaps is not None]),
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("crops", "keypoints_px", "modes", "camera")
        ),
    )
    seeds = row_seeds(0, np.concatenate(rows)[known])
    return take_rows(every, known), torch.from_numpy(pose[known]), seeds


def hk_draws(
    seen: Observations, poses: torch.Tensor, seeds: NDArray[np.uint64], n_draws: int
) -> torch.Tensor:
    """Draw from H_K (n, n_draws, 17, 3), with the depth of an encoder that errs as ours does."""
    rng = np.random.default_rng(0)
    sigma = torch.tensor(DEPTH_SIGMA_MM, dtype=torch.float32)
    bridge = poses.clone()
    bridge[..., 2] += torch.from_numpy(rng.normal(size=bridge.shape[:2])).float() * sigma
    bridge[:, 0] = 0.0
    return sample_poses(seen, bridge, EncoderDepth(sigma), n_draws, seeds)
