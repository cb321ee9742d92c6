"""Whether predicted uncertainty holds, pose by pose; figures.py sums it up.

What is kept of a pose's hypotheses is a few numbers per joint; the hypotheses stay in the task.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.uncertainty.covariances import (
    Array,
    Ellipsoids,
    equal_volume_radius,
    mahalanobis_squared,
    packed,
    sample_covariance,
)
from diffpose.model.uncertainty.energy_score import (
    best_of_n_mpjpe,
    gaussian_score,
    hypotheses_score,
)
from diffpose.platform.runs.uncertainty_file import (
    Predicted,
    Recalibration,
    predict_from_one,
    predict_from_sample,
)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PoseUncertainty:
    """One method's uncertainty on n poses. NaN: the method has no such thing.

    "before": what the hypotheses claim themselves; "after": recalibrated on other known poses.

    Attributes:
        sample_mm2: (n, 17, 6), the hypotheses' sample covariance (xx, xy, xz, yy, yz, zz).
        covariance_mm2: (n, 17, 6), the predicted one: after, or before if nothing was fitted.
        level_before: (n, 17), level of the smallest ellipsoid that holds the truth.
        level_after: (n, 17).
        size_before_mm: (n, 17), radius of the sphere as large as the 50 % ellipsoid.
        size_after_mm: (n, 17).
        energy_mm: (n, 17), energy score of the hypotheses.
        energy_pose_mm: (n,), of the whole pose as one vector.
        gaussian_energy_mm: (n, 17), energy score of the Gaussian with the predicted covariance.
        gaussian_energy_pose_mm: (n,).
        oracle_mm: (n,), MPJPE of the hypothesis that is nearest to the truth.
        n_hypotheses: (n,), N.
        calibrated: (n,), whether "after" was fitted.
    """

    sample_mm2: Floats
    covariance_mm2: Floats
    level_before: Floats
    level_after: Floats
    size_before_mm: Floats
    size_after_mm: Floats
    energy_mm: Floats
    energy_pose_mm: Floats
    gaussian_energy_mm: Floats
    gaussian_energy_pose_mm: Floats
    oracle_mm: Floats
    n_hypotheses: NDArray[np.int32]
    calibrated: NDArray[np.bool_]

    @property
    def answered(self) -> Literal["before", "after"]:
        """Which of the two is what the method answers."""
        return "after" if self.calibrated.all() else "before"

    @property
    def level(self) -> Floats:
        """The levels of what the method answers, (n, 17)."""
        return self.level_after if self.answered == "after" else self.level_before


def measure_hypotheses(
    hypotheses_mm: NDArray[np.floating],
    truth_mm: NDArray[np.floating],
    sampling: SamplingSettings,
    recalibration: Recalibration | None,
) -> PoseUncertainty:
    """Measure a run's hypotheses (n, N, 17, 3) against the truth (n, 17, 3)."""
    n, n_hypotheses = hypotheses_mm.shape[:2]
    mean = hypotheses_mm.mean(axis=1, dtype=np.float64)
    residual = np.asarray(truth_mm, dtype=np.float64) - mean
    energy, energy_pose = hypotheses_score(hypotheses_mm, truth_mm, sampling.draws)
    sample = before = None
    if n_hypotheses > 1:
        sample = sample_covariance(hypotheses_mm, sampling.draws)
        before = predict_from_sample(sample, mean, n_hypotheses, sampling, None)
        predicted = predict_from_sample(sample, mean, n_hypotheses, sampling, recalibration)
    else:
        predicted = predict_from_one(n, sampling, recalibration)
    return _measured(
        residual,
        n_hypotheses,
        before=before,
        predicted=predicted,
        sample_mm2=None if sample is None else packed(sample),
        energy_mm=energy,
        energy_pose_mm=energy_pose,
        oracle_mm=best_of_n_mpjpe(hypotheses_mm, truth_mm),
    )


def measure_context(
    pose_mm: NDArray[np.floating],
    truth_mm: NDArray[np.floating],
    recalibration: Recalibration | None,
) -> PoseUncertainty:
    """Measure the context encoder with the Gaussian fitted to its errors on known poses."""
    n = len(pose_mm)
    residual = np.asarray(truth_mm, np.float64) - np.asarray(pose_mm, np.float64)
    covariance = None
    if recalibration is not None:
        covariance = np.broadcast_to(recalibration.context_covariance_mm2, (n, 17, 3, 3))
    predicted = Predicted(covariance, math.inf, covariance is not None, "", constant=True)
    return _measured(residual, 1, predicted=predicted)


def _measured(
    residual: Array,
    n_hypotheses: int,
    *,
    predicted: Predicted,
    before: Predicted | None = None,
    sample_mm2: Floats | None = None,
    energy_mm: Array | None = None,
    energy_pose_mm: Array | None = None,
    oracle_mm: Array | None = None,
) -> PoseUncertainty:
    n = len(residual)

    def known(values: NDArray[np.floating] | None, *shape: int) -> Floats:
        if values is None:
            return np.full((n, *shape), np.nan, dtype=np.float32)
        return values.astype(np.float32)

    level_before, size_before = _levels(residual, before)
    level_after, size_after = _levels(residual, predicted if predicted.calibrated else None)
    gaussian, gaussian_pose, covariance = None, None, None
    if predicted.covariance_mm2 is not None:
        # where all poses have one covariance its score is integrated once
        given = predicted.covariance_mm2[0] if predicted.constant else predicted.covariance_mm2
        gaussian, gaussian_pose = gaussian_score(np.zeros_like(residual), given, residual)
        covariance = packed(predicted.covariance_mm2)
    return PoseUncertainty(
        sample_mm2=known(sample_mm2, 17, 6),
        covariance_mm2=known(covariance, 17, 6),
        level_before=level_before,
        level_after=level_after,
        size_before_mm=size_before,
        size_after_mm=size_after,
        energy_mm=known(energy_mm, 17),
        energy_pose_mm=known(energy_pose_mm),
        gaussian_energy_mm=known(gaussian, 17),
        gaussian_energy_pose_mm=known(gaussian_pose),
        oracle_mm=known(oracle_mm),
        n_hypotheses=np.full(n, n_hypotheses, dtype=np.int32),
        calibrated=np.full(n, predicted.calibrated),
    )


def _levels(residual: Array, predicted: Predicted | None) -> tuple[Floats, Floats]:
    """Return the truth's levels and the 50 % ellipsoids' sizes, both (n, 17); NaN without any."""
    if predicted is None or predicted.covariance_mm2 is None:
        nothing = np.full(residual.shape[:2], np.nan, dtype=np.float32)
        return nothing, nothing
    ones = np.ones(17)
    radii = predicted.radii
    assert radii is not None  # as there is a covariance
    distance = mahalanobis_squared(residual, predicted.covariance_mm2)
    levels = Ellipsoids(0.0, ones, ones, predicted.dof).levels(distance)
    size = equal_volume_radius(predicted.covariance_mm2, radii[0.5])
    return levels.astype(np.float32), size.astype(np.float32)
