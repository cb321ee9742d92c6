#!/usr/bin/env python
"""What a run gains by smoothing over time, and by knowing how tall the person is.

python benchmarks/time_and_height.py run=RUN_DIR store=STORE_URI [most_clips=60] [every=1]

Every clip of the store's test split is lifted as a sequence; with every=3 as if the camera had a
third of its frames. Prints MPJPE, mean second difference ("jitter") beside the truth's, how much
bones change, and how often the 50 % and 90 % regions hold the truth.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from diffpose.benchmarks.measure import table
from diffpose.model.geometry.skeleton import bone_lengths
from diffpose.model.lifting.facts import scale_to_height, stature_mm
from diffpose.model.lifting.interface import Lifter
from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.observations.initial_distribution import Observations, take_rows
from diffpose.model.uncertainty.covariances import MOVING, mahalanobis_squared
from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings
from diffpose.platform.runs.load import load_to_sample
from diffpose.platform.runs.uncertainty_file import load_recalibration, predict_uncertainty
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore

Array = NDArray[np.float64]


class TimeSettings(Settings):
    """Smoothing and a known height, measured."""

    run: str = Field(description="run directory")
    store: str = Field(description="pose store with known poses")
    most_clips: int = Field(60, ge=1, description="of the test split, evenly picked")
    every: int = Field(1, ge=1, description="take every n-th frame")


@dataclass(frozen=True)
class _Track:
    seen: Observations
    truth_mm: Array
    seeds: NDArray[np.uint64]


def tracks(settings: TimeSettings) -> list[_Track]:
    """Read the clips."""
    store = PoseStore.open(settings.store)
    clips = [c for c in store.clips("test") if c.n_rows // settings.every >= 3]
    found = []
    for clip in clips[:: -(-len(clips) // settings.most_clips)]:
        rows = clip.first_row, clip.first_row + clip.n_rows
        truth = store.read("pose_3d", *rows).astype(np.float64)[:: settings.every]
        if not np.isfinite(truth).all():
            continue
        chosen = np.arange(clip.n_rows) % settings.every == 0
        seeds = row_seeds(0, np.arange(*rows))[:: settings.every]
        found.append(_Track(take_rows(read_observations(store, *rows), chosen), truth, seeds))
    return found


def jitter(pose_mm: Array) -> float:
    """Return the mean second difference of the joints but the root, mm per frame^2."""
    return float(np.linalg.norm(np.diff(pose_mm, n=2, axis=0)[:, MOVING], axis=-1).mean())


def measure_way(
    settings: TimeSettings, lifter: Lifter, sampling: SamplingSettings, known: Sequence[_Track],
    *, height: bool,
) -> list[str]:  # fmt: skip
    """Return a row of the table: the figures of one way to answer."""
    recalibration = load_recalibration(settings.run)
    errors, jitters, bones, levels = [], [], [], []
    for track in known:
        lifted = lifter.lift(track.seen, sampling, track.seeds, [len(track.seen)])
        uncertainty = predict_uncertainty(lifted.hypotheses_mm, sampling, recalibration)
        factor = 1.0
        if height:
            factor = scale_to_height(lifted.pose_mm, stature_mm(track.truth_mm) / 1000.0)
        pose = factor * lifted.pose_mm.astype(np.float64)
        errors.append(np.linalg.norm(pose - track.truth_mm, axis=-1).mean(axis=1))
        jitters.append((jitter(pose), jitter(track.truth_mm)))
        bones.append(bone_lengths(pose).std(axis=0).mean())
        if uncertainty.covariance_mm2 is not None and recalibration is not None:
            claim = recalibration.ellipsoids
            if claim is not None:
                spread = factor**2 * uncertainty.covariance_mm2
                d2 = mahalanobis_squared(track.truth_mm - pose, spread)
                levels.append(claim.levels(d2)[:, MOVING].ravel())
    own, true = np.mean(jitters, axis=0)
    held = np.concatenate(levels) if levels else np.full(1, np.nan)
    return [
        f"{np.concatenate(errors).mean():.1f}",
        f"{own:.1f} ({true:.1f})",
        f"{np.mean(bones):.1f}",
        f"{np.mean(held <= 0.5):.0%} / {np.mean(held <= 0.9):.0%}" if levels else "-",
    ]


def measure(settings: TimeSettings) -> int:
    """Print the table."""
    known = tracks(settings)
    lifter, plain = load_to_sample(settings.run, {})
    plain = plain.model_copy(update={"smooth": "none"})
    ways = {
        "one frame at a time": (plain, False),
        "smooth=causal": (plain.model_copy(update={"smooth": "causal"}), False),
        "smooth=clip": (plain.model_copy(update={"smooth": "clip"}), False),
        "height known": (plain, True),
        "smooth=clip, height known": (plain.model_copy(update={"smooth": "clip"}), True),
    }
    rows = [
        [name, *measure_way(settings, lifter, how, known, height=height)]
        for name, (how, height) in ways.items()
    ]
    head = ("", "MPJPE mm", "jitter mm/frame^2 (truth)", "bones vary mm", "regions 50 / 90 %")
    frames = sum(len(track.seen) for track in known)
    print(f"{settings.run} on {len(known)} clips, {frames} frames, every {settings.every}. frame\n")
    print("\n".join(table(head, rows)))
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(TimeSettings, measure, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
