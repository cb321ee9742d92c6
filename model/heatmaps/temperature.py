"""Is a heatmap a probability? Coverage of highest-density regions, and the temperature that mends.

A heatmap q becomes q^(1/T) / sum: T > 1 widens it, T < 1 narrows it (temperature scaling, Guo et
al., ICML 2017, with one T per joint). Everything here looks at the heatmap as it is stored: 8 bits
with the peak at 255.

Axis legend: R rows, J joints, K temperatures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

LEVELS = (0.5, 0.9)
# A truth in a cell that was rounded to 0 costs as much as one in a cell of this share of the peak.
_FLOOR = 0.25 / 255.0


def quantised(
    heatmaps: NDArray[np.floating], temperature: NDArray[np.floating]
) -> NDArray[np.uint8]:
    """Apply the temperatures and store with the peak at 255.

    Args:
        heatmaps: (R, J, H, W), at least 0, each with some cell above 0.
        temperature: (J,).
    """
    peak = heatmaps.max(axis=(2, 3), keepdims=True)
    relative = np.asarray(heatmaps / np.maximum(peak, 1e-37), dtype=np.float32)
    exponent = (1.0 / np.asarray(temperature, dtype=np.float32))[None, :, None, None]
    if not np.all(exponent == 1.0):
        relative = relative**exponent
    stored: NDArray[np.uint8] = np.rint(relative * 255.0).astype(np.uint8)
    return stored


@dataclass(frozen=True)
class TruthInHeatmaps:
    """Where known truths fall in heatmaps, for every temperature.

    Attributes:
        denser: (R, J, K), probability of all cells denser than the truth's; NaN where unknown.
        own: (R, J, K), probability of the cells as dense as the truth's, itself included.
        nll: (R, J, K), negative log-probability of the truth's cell, nats.
    """

    denser: NDArray[np.float64]
    own: NDArray[np.float64]
    nll: NDArray[np.float64]

    def within(self, level: float) -> NDArray[np.float64]:
        """Return how far each truth counts as within the highest-density region, (R, J, K).

        A region ends within a set of equally dense cells; a truth there counts by the share of the
        set that the region needs (in expectation over which of them it takes).
        """
        share = (level - self.denser) / np.maximum(self.own, 1e-12)
        return np.asarray(np.clip(share, 0.0, 1.0))

    def counted(self) -> TruthCounts:
        """Add the rows up."""
        return TruthCounts(
            n=np.isfinite(self.nll[..., 0]).sum(axis=0).astype(np.float64),
            covered=np.stack([np.nansum(self.within(level), axis=0) for level in LEVELS]),
            nll=np.nansum(self.nll, axis=0),
        )


@dataclass(frozen=True)
class TruthCounts:
    """Sums over known truths: what temperatures are fitted to, a few kB for any number of frames.

    Attributes:
        n: (J,), truths.
        covered: (len(LEVELS), J, K), those within the highest-density region of each level.
        nll: (J, K), sum of the negative log-probabilities, nats.
    """

    n: NDArray[np.float64]
    covered: NDArray[np.float64]
    nll: NDArray[np.float64]

    @staticmethod
    def total(parts: Sequence[TruthCounts]) -> TruthCounts:
        """Add parts of the data up."""
        return TruthCounts(
            *(sum(getattr(part, name) for part in parts) for name in ("n", "covered", "nll"))
        )

    def coverage(self, level: float) -> NDArray[np.float64]:
        """Return (J, K): the share of truths within the region of one of LEVELS, NaN of none."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.covered[LEVELS.index(level)] / self.n[:, None])


def locate_truth(
    heatmaps: NDArray[np.floating],
    crops: NDArray[np.floating],
    truth_px: NDArray[np.floating],
    temperatures: NDArray[np.floating],
) -> TruthInHeatmaps:
    """Find where known truths fall.

    Args:
        heatmaps: (R, J, H, W), at least 0.
        crops: (R, 4), px.
        truth_px: (R, J, 2); NaN where unknown. A truth outside the crop is in no region.
        temperatures: (K,).
    """
    rows, joints = heatmaps.shape[:2]
    results = np.full((3, rows, joints, len(temperatures)), np.nan)
    cells = (truth_px - crops[:, None, :2]) / crops[:, None, 2:]
    _locate(
        heatmaps.astype(np.float32), cells.astype(np.float64),
        np.asarray(temperatures, dtype=np.float64), results,
    )  # fmt: skip
    return TruthInHeatmaps(*results)


def fit_temperature(found: TruthCounts, temperatures: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return for each joint, (J,), the temperature whose regions cover what they claim.

    The sum of the squared departures of the 50 % and 90 % coverages is made least; a small part of
    the mean negative log-likelihood decides between near-equals.
    """
    departure = sum((found.coverage(level) - level) ** 2 for level in LEVELS)
    nll = found.nll / found.n[:, None]
    score = np.asarray(departure) + 1e-3 * (nll - nll.min(axis=1, keepdims=True))
    best: NDArray[np.float64] = np.asarray(temperatures, dtype=np.float64)[score.argmin(axis=1)]
    return best


@njit(cache=True)
def _locate(heatmaps, cells, temperatures, results):  # type: ignore[no-untyped-def]
    n_rows, n_joints, height, width = heatmaps.shape
    for r in range(n_rows):
        for j in range(n_joints):
            x, y = cells[r, j, 0], cells[r, j, 1]
            if math.isnan(x) or math.isnan(y):
                continue
            column, row = math.floor(x), math.floor(y)
            inside = 0 <= column < width and 0 <= row < height
            peak = 0.0
            for i in range(height):
                for k in range(width):
                    peak = max(peak, heatmaps[r, j, i, k])
            for t in range(len(temperatures)):
                power = 1.0 / temperatures[t]
                rounds_to_0 = peak * (0.49 / 255.0) ** temperatures[t]
                mine = -1.0
                if inside:
                    mine = np.rint((heatmaps[r, j, row, column] / peak) ** power * 255.0)
                total, denser, own = 0.0, 0.0, 0.0
                for i in range(height):
                    for k in range(width):
                        value = heatmaps[r, j, i, k]
                        if value <= rounds_to_0:
                            continue
                        level = np.rint((value / peak) ** power * 255.0)
                        total += level
                        if level > mine:
                            denser += level
                        elif level == mine:
                            own += level
                results[0, r, j, t] = denser / total
                results[1, r, j, t] = own / total
                results[2, r, j, t] = -math.log(max(mine, _FLOOR * 255.0) / total)
