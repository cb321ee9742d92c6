#!/usr/bin/env python
"""How people move and how a run's errors last: the constants of model/lifting/smoothing.py.

python benchmarks/motion_density.py motion=FOLDER_OF_BVH
python benchmarks/motion_density.py motion=FOLDER_OF_BVH run=RUN_DIR store=STORE_URI

Prints q per joint (mm^2/s^3, left as right) from second differences of root-relative positions, for
MOTION_DENSITY (the upper quartile over motions); with run= and store= (known poses at many frames
per second) also WHITE_SHARE and ERROR_TIME_S, from how alike the run's errors are in neighbouring
frames.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.optimize import least_squares

from diffpose.benchmarks.measure import table
from diffpose.model.geometry.skeleton import JOINT_NAMES, ROOT
from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.lifting.sampling import unrefined
from diffpose.model.lifting.smoothing import left_as_right
from diffpose.model.uncertainty.covariances import MOVING
from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings
from diffpose.platform.base.storage import find_files
from diffpose.platform.runs.load import load_to_sample
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.mocap.source import SUFFIX, MocapSource, read_motion

Array = NDArray[np.float64]
_LAGS = 30
# Of motions: the lively ones should not be cut, and some files jump.
QUANTILE = 0.75


class DensitySettings(Settings):
    """Fit the smoother's constants to real motion, and to a run's errors."""

    motion: str = Field(description="folder of BVH files")
    rate: float = Field(30.0, gt=0, description="poses per second that are looked at")
    run: str | None = Field(None, description="run directory whose errors are looked at")
    store: str | None = Field(None, description="its known poses: every clip is lifted")

    @model_validator(mode="after")
    def _both_or_none(self) -> DensitySettings:
        if (self.run is None) != (self.store is None):
            raise ValueError("give run= and store= together: errors are those of a run on a store")
        return self


def density_of(positions_mm: Array, step_s: float) -> Array:
    """Return q of each joint, (J,), mm^2/s^3, of root-relative positions (T, J, 3).

    Under white acceleration of density q a second difference has the variance 2/3 q step^3.
    """
    second = np.diff(positions_mm, n=2, axis=0)
    found: Array = 1.5 * (second**2).mean(axis=(0, 2)) / step_s**3
    return found


def likeness(errors_mm: Array, lags: int) -> tuple[Array, Array]:
    """Return sums of products of errors (T, J, 3) with those frames later, and their counts."""
    n = len(errors_mm)
    sums, counts = np.zeros(lags + 1), np.zeros(lags + 1)
    for lag in range(min(lags, n - 1) + 1):
        sums[lag] = (errors_mm[lag:] * errors_mm[: n - lag]).sum()
        counts[lag] = (n - lag) * errors_mm.shape[1] * 3
    return sums, counts


def fitted_likeness(correlation: Array, step_s: float) -> tuple[float, float]:
    """Return a and tau of (1 - a) exp(-lag / tau), least squares over lags 1, 2, ..."""
    lag = step_s * np.arange(1, len(correlation))
    found = least_squares(
        lambda x: (1 - x[0]) * np.exp(-lag / x[1]) - correlation[1:],
        (0.3, 0.5),
        bounds=((0.01, 0.01), (1.0, 60.0)),
    )
    return float(found.x[0]), float(found.x[1])


def motion_densities(settings: DensitySettings) -> list[str]:
    """Return the lines about motion."""
    source = MocapSource(uri=settings.motion, poses_per_second=settings.rate)
    logarithms, frames = [], 0
    names = sorted(find_files(source.uri, SUFFIX))
    for name in names:
        motion = read_motion(source, name)
        if len(motion.positions_m) < 3:
            continue
        relative = 1000.0 * (motion.positions_m - motion.positions_m[:, ROOT : ROOT + 1])
        # a joint that stood still in a whole motion is a fault of the file
        logarithms.append(np.log(left_as_right(density_of(relative, 1 / motion.fps)).clip(1.0)))
        frames += len(relative)
    q = np.exp(np.quantile(logarithms, QUANTILE, axis=0))
    lines = [f"q of {len(names)} motions, {frames} frames at {settings.rate:g}/s, mm^2/s^3:", ""]
    return lines + table(
        ("joint", "q"), [(JOINT_NAMES[j], f"{q[j]:.3g}") for j in range(len(q)) if j != ROOT]
    )


def error_times(run: str, store_uri: str) -> list[str]:
    """Return the lines about a run's errors."""
    store = PoseStore.open(store_uri)
    lifter, sampling = load_to_sample(run, {})
    sums, counts, steps = np.zeros(_LAGS + 1), np.zeros(_LAGS + 1), []
    for clip in store.clips():
        rows = clip.first_row, clip.first_row + clip.n_rows
        truth = store.read("pose_3d", *rows).astype(np.float64)
        seen = read_observations(store, *rows)
        lifted = lifter.lift(seen, unrefined(sampling), row_seeds(0, np.arange(*rows)), [len(seen)])
        error = (lifted.pose_mm - truth)[:, MOVING]
        own, n = likeness(error[np.isfinite(error).all(axis=(1, 2))], _LAGS)
        sums, counts = sums + own, counts + n
        steps.append(1 / clip.fps)
    correlation = (sums / counts.clip(1)) / (sums[0] / counts[0])
    white, tau = fitted_likeness(correlation, float(np.median(steps)))
    return [
        "",
        f"errors of {run}: correlation after 1, 2, 3, 5, 10, 20 frames "
        + ", ".join(f"{correlation[lag]:.2f}" for lag in (1, 2, 3, 5, 10, 20)),
        f"white share {white:.2f}, time {tau:.2f} s",
    ]


def measure(settings: DensitySettings) -> int:
    """Print the constants."""
    print("\n".join(motion_densities(settings)))
    if settings.run is not None and settings.store is not None:
        print("\n".join(error_times(settings.run, settings.store)))
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(DensitySettings, measure, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
