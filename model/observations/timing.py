"""How far apart in time the frames of sequences are.

Axis legend: n frames of sequences that lie one after the other, S sequences.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def frame_steps_s(
    time_s: NDArray[np.floating] | None, lengths: Sequence[int] | None
) -> NDArray[np.float64] | None:
    """Return the time from frame to frame of each sequence, (S,) in s; NaN where it is not known.

    The median of the differences: a sequence may have a gap.

    Args:
        time_s: (n,), when each frame was taken; NaN where that is not known. None: of no frame.
        lengths: frames of each sequence; default: one sequence.
    """
    if time_s is None:
        return None
    parts = np.split(time_s, np.cumsum(lengths)[:-1]) if lengths else [time_s]
    steps = np.full(len(parts), np.nan)
    for i, part in enumerate(parts):
        apart = np.diff(part[np.isfinite(part)])
        apart = apart[apart > 0]
        if len(apart):
            steps[i] = np.median(apart)
    return steps
