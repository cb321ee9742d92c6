"""Sequences whose heatmaps are too large for memory: seen whole, lifted in parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from diffpose.model.lifting.interface import Lifter
from diffpose.model.lifting.prediction import Lifted
from diffpose.model.lifting.sampling import SamplingSettings, unrefined
from diffpose.model.observations.initial_distribution import Observations


def lift_in_parts(
    lifter: Lifter,
    seen: Observations,
    parts: Iterable[Observations],
    sampling: SamplingSettings,
    seeds: NDArray[np.uint64],
    lengths: Sequence[int] | None = None,
) -> Lifted:
    """Lift B frames of one person; what is kept of the walks is their end.

    Args:
        lifter: of a run.
        seen: all frames, without heatmaps: encoders of windows look across the parts' borders.
        parts: the same frames with heatmaps, in order; asked for one at a time.
        sampling: the person's bones are refined as one sequence.
        seeds: (B,), one per frame.
        lengths: unbroken sequences among the frames, for encoders of windows; default: one.

    Raises:
        ValueError: as Lifter.lift and Lifter.refined; or the parts are not the frames that were
            seen.
    """
    passes = lifter.passes(seen, sampling, lengths)
    lifted, first = [], 0
    for part in parts:
        own = slice(first, first + len(part))
        first = own.stop
        whole_walk = lifter.lift(
            part,
            unrefined(sampling),
            seeds[own],
            passes=[one.rows(own) for one in passes],
        )
        lifted.append(whole_walk.ended())
    if first != len(seen):
        raise ValueError(f"The parts have {first} frames together, {len(seen)} were seen.")
    found = Lifted.joined(lifted)
    return lifter.refined(found, passes[0].detections, sampling, time_s=seen.time_s)
