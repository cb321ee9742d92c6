"""Frames in which a joint was not detected: never more certain than where it was.

A heatmap that says nothing is far from everything that the networks were trained on, and their
hypotheses may agree there by chance. What was not seen is at least as uncertain as where it was
last seen before and first seen after.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spread_mm(hypotheses_mm: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the root mean square distance of hypotheses (T, N, J, 3) from their mean, (T, J)."""
    x = np.asarray(hypotheses_mm, dtype=np.float64)
    deviation = x - x.mean(axis=1, keepdims=True)
    return np.asarray(np.sqrt((deviation**2).sum(axis=-1).mean(axis=1)))


def covering_unseen(
    hypotheses_mm: NDArray[np.float32], seen: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Spread the hypotheses of unseen joints about their mean where they agree too well.

    Args:
        hypotheses_mm: (T, N, J, 3), of frames that follow each other.
        seen: (T, J), whether the joint was detected.

    Returns:
        (T, N, J, 3): the spread of an unseen joint is at least that of the nearest frames, before
        and after, in which it was seen. Their means stay, and so does a joint that was never seen.
    """
    spread = spread_mm(hypotheses_mm)
    result = hypotheses_mm.copy()
    frames = np.arange(len(seen))
    for joint in np.flatnonzero(seen.any(axis=0) & ~seen.all(axis=0)):
        there = np.flatnonzero(seen[:, joint])
        unseen = frames[~seen[:, joint]]
        after = np.searchsorted(there, unseen)
        before = there[np.maximum(after - 1, 0)]
        after = there[np.minimum(after, len(there) - 1)]
        wanted = np.maximum(spread[before, joint], spread[after, joint])
        own = spread[unseen, joint]
        factor = np.maximum(wanted / np.maximum(own, 1e-9), 1.0)
        factor = np.where(own > 0, factor, 1.0)  # one hypothesis, or the root
        part = result[unseen, :, joint]
        mean = part.mean(axis=1, keepdims=True)
        result[unseen, :, joint] = mean + factor[:, None, None] * (part - mean)
    return result
