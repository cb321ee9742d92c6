"""Where truths fall in heatmaps when their own places are uncertain.

A truth that was measured, by other cameras say, is off by e ~ N(0, S) from the real one. If the
heatmap q_T is the distribution of the real place, that of the measured place is q_T convolved with
N(0, S): that is what the measured truth is looked for in, for every temperature T. S is taken along
the axes of the picture, its correlation left out.

Axis legend: R rows, J joints, K temperatures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffpose.model.heatmaps.temperature import TruthInHeatmaps, locate_truth, quantised


def locate_uncertain_truth(
    heatmaps: NDArray[np.floating],
    crops: NDArray[np.floating],
    truth_px: NDArray[np.floating],
    covariance_px2: NDArray[np.floating],
    temperatures: NDArray[np.floating],
) -> TruthInHeatmaps:
    """Find where uncertain truths fall; see locate_truth.

    Args:
        heatmaps: (R, J, H, W), at least 0.
        crops: (R, 4), px.
        truth_px: (R, J, 2), as measured; NaN where unknown.
        covariance_px2: (R, J, 2, 2), of its errors.
        temperatures: (K,).
    """
    joints, rows, columns = heatmaps.shape[1:]
    variance = np.diagonal(covariance_px2, axis1=-2, axis2=-1) / crops[:, None, 2:] ** 2
    across = _blur(np.sqrt(np.nan_to_num(variance[..., 0])), columns)
    down = _blur(np.sqrt(np.nan_to_num(variance[..., 1])), rows)
    parts = []
    for temperature in temperatures:
        sharp = quantised(heatmaps, np.full(joints, temperature)).astype(np.float32)
        blurred = down @ sharp @ across.swapaxes(-1, -2)
        parts.append(locate_truth(blurred, crops, truth_px, np.ones(1)))
    return TruthInHeatmaps(
        *(
            np.concatenate([getattr(p, name) for p in parts], -1)
            for name in ("denser", "own", "nll")
        )
    )


def _blur(sigma_cells: NDArray[np.floating], n: int) -> NDArray[np.float32]:
    """Return the matrices (..., n, n) that spread cells by Gaussians of some widths (...)."""
    off = np.arange(n)[:, None] - np.arange(n)
    # below a third of a cell neighbours get less than 2 %: no narrower one is needed
    width = np.maximum(np.asarray(sigma_cells, np.float64), 0.2)[..., None, None]
    kernel = np.exp(-0.5 * (off / width) ** 2)
    return np.asarray(kernel / kernel.sum(axis=-2, keepdims=True), dtype=np.float32)
