"""Intervals of a mean of paired differences whose poses come in clips (cluster bootstrap).

Frames of a clip are alike, so a clip and not a pose is what was drawn from the world: resamples
draw whole clips with replacement (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, ch. 8
and 13; Cameron, Gelbach & Miller, Rev. Econ. Stat. 90, 2008: few clusters give intervals that are
too short). Resampling poses instead would understate them by about the root of the number of frames
that say the same. Clips that show one motion from several cameras count as different ones here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEVEL = 0.95
FEW_CLIPS = 20
_AT_ONCE = 4_000_000  # clips x resamples in memory


@dataclass(frozen=True)
class PairedDifference:
    """A mean difference between two methods on the same poses.

    Attributes:
        mean: over all poses.
        low: lower end of the 95 % percentile interval.
        high: its upper end.
        sign_flips: share of resamples whose mean has not the sign of ``mean`` (0 counts half).
        n_clips: how many clips were drawn each time.
    """

    mean: float
    low: float
    high: float
    sign_flips: float
    n_clips: int


def paired_difference(
    difference: NDArray[np.floating], clips: NDArray[np.integer], resamples: int, seed: int
) -> PairedDifference:
    """Return the mean of differences (n,) with its interval over resampled clips.

    Args:
        difference: of each pose, one method's error minus the other's.
        clips: (n,), the clip of each pose as a number from 0.
        resamples: how many.
        seed: of the draws; calls with equal clips and seed draw the same ones.

    Raises:
        ValueError: nothing to compare, values that are not finite, or fewer than two clips.
    """
    if len(difference) == 0 or difference.shape != clips.shape:
        raise ValueError(
            f"Expected one clip per pose, got {difference.shape} differences and {clips.shape}."
        )
    if not np.isfinite(difference).all():
        raise ValueError("Differences must be finite; leave unknown poses out.")
    sums = np.bincount(clips, weights=difference)
    counts = np.bincount(clips).astype(np.float64)
    sums, counts = sums[counts > 0], counts[counts > 0]
    n_clips = len(counts)
    if n_clips < 2:
        raise ValueError("Resampling clips needs at least two clips, the poses are of one.")
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(_AT_ONCE // n_clips, 1)
    for first in range(0, resamples, step):
        part = means[first : first + step]
        drawn = rng.multinomial(n_clips, np.full(n_clips, 1 / n_clips), size=len(part))
        part[:] = (drawn @ sums) / (drawn @ counts)
    mean = float(sums.sum() / counts.sum())
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    agreement = np.sign(means) * np.sign(mean)
    flips = (agreement < 0).mean() + (agreement == 0).mean() / 2
    return PairedDifference(mean, float(low), float(high), float(flips), n_clips)
