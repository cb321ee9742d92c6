"""How far off a triangulated truth may be itself, told by two witnesses.

The residuals and the geometry of the views give a covariance per joint
(model/multiview/triangulation.py); that limbs do not change their lengths gives a second opinion,
which also sees errors that all views share while they change. Neither sees what stays wrong alike
in all views and frames, such as a detector's own idea of where a hip is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import EDGES, bone_lengths
from diffpose.model.metrics.protocols import jitter

Array = NDArray[np.float64]
# Both ends are joints that turn about a fixed place in the body: thighs, shanks, arms. Those of
# trunk and head bend.
LIMBS = tuple(i for i, edge in enumerate(EDGES) if edge in {
    (1, 2), (2, 3), (4, 5), (5, 6), (11, 12), (12, 13), (14, 15), (15, 16)
})  # fmt: skip


@dataclass(frozen=True)
class TruthError:
    """The errors of a truth by its own account, mm.

    Attributes:
        from_residuals_mm: root mean square over joints and frames of the distance that the
            covariances expect, sqrt(trace).
        from_limbs_mm: the same from the limbs' lengths over time. Errors of variance v per
            coordinate, independent at both ends, make a length vary by 2 v, and a joint is off
            by sqrt(3 v): sqrt(3/2) standard deviations of a length. NaN below 3 frames.
        limb_std_mm: (8,), standard deviation of each limb's length over time.
        jitter_mm: mean second difference, mm per frame^2.
        known: share of joints that were triangulated.
    """

    from_residuals_mm: float
    from_limbs_mm: float
    limb_std_mm: Array
    jitter_mm: float
    known: float

    @property
    def own_error_mm(self) -> float:
        """Return the larger witness's word."""
        return float(np.nanmax([self.from_residuals_mm, self.from_limbs_mm]))


def truth_error(points_mm: Array, covariance_mm2: Array) -> TruthError:
    """Judge a triangulated truth of one person.

    Args:
        points_mm: (n, 17, 3), H36M-17 order, frames that follow each other; NaN where unknown.
        covariance_mm2: (n, 17, 3, 3).
    """
    trace = np.trace(covariance_mm2, axis1=-2, axis2=-1)
    lengths = bone_lengths(points_mm)[:, list(LIMBS)]
    spread = np.array([_std(column) for column in lengths.T])
    limbs = spread[np.isfinite(spread)]
    return TruthError(
        float(np.sqrt(np.nanmean(trace))) if np.isfinite(trace).any() else float("nan"),
        float(np.sqrt(1.5 * (limbs**2).mean())) if len(limbs) else float("nan"),
        spread,
        jitter(points_mm),
        float(np.isfinite(points_mm).all(axis=-1).mean()),
    )


def _std(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.std(ddof=1)) if len(known) >= 3 else float("nan")
