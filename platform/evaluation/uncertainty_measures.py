"""Whether predicted uncertainty holds: per-pose measures within tasks, their summary after them.

What is kept of a pose's hypotheses is a few numbers per joint; the hypotheses stay in the task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.uncertainty.covariances import (
    LEVELS,
    MOVING,
    Array,
    Ellipsoids,
    coverage,
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


_PARTS = tuple(field.name for field in fields(PoseUncertainty))


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
    energy, energy_pose = hypotheses_score(hypotheses_mm, truth_mm)
    sample = before = None
    if n_hypotheses > 1:
        sample = sample_covariance(hypotheses_mm)
        before = predict_from_sample(sample, n_hypotheses, sampling, None)
        predicted = predict_from_sample(sample, n_hypotheses, sampling, recalibration)
    else:
        predicted = predict_from_one(n, sampling, recalibration)
    return _measured(
        n, residual, before, predicted, None if sample is None else packed(sample),
        (energy, energy_pose), best_of_n_mpjpe(hypotheses_mm, truth_mm), n_hypotheses,
    )  # fmt: skip


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
    predicted = Predicted(covariance, math.inf, covariance is not None, "")
    return _measured(n, residual, None, predicted, None, None, None, 1)


def _measured(
    n: int,
    residual: Array,
    before: Predicted | None,
    predicted: Predicted,
    sample: Floats | None,
    energy: tuple[Array, Array] | None,
    oracle: Array | None,
    n_hypotheses: int,
) -> PoseUncertainty:
    def unknown(*shape: int) -> Floats:
        return np.full((n, *shape), np.nan, dtype=np.float32)

    after = predicted if predicted.calibrated else None
    level_before, size_before = _levels(residual, before)
    level_after, size_after = _levels(residual, after)
    joints, pose = (unknown(17), unknown()) if energy is None else energy
    gaussian: tuple[NDArray[np.floating], NDArray[np.floating]] = (unknown(17), unknown())
    covariance = unknown(17, 6)
    if predicted.covariance_mm2 is not None:
        constant = predicted.covariance_mm2.strides[0] == 0
        given = predicted.covariance_mm2[0] if constant else predicted.covariance_mm2
        gaussian = gaussian_score(np.zeros_like(residual), given, residual)
        covariance = packed(predicted.covariance_mm2)
    return PoseUncertainty(
        unknown(17, 6) if sample is None else sample,
        covariance,
        level_before,
        level_after,
        size_before,
        size_after,
        joints.astype(np.float32),
        pose.astype(np.float32),
        gaussian[0].astype(np.float32),
        gaussian[1].astype(np.float32),
        unknown() if oracle is None else oracle.astype(np.float32),
        np.full(n, n_hypotheses, dtype=np.int32),
        np.full(n, predicted.calibrated),
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


def to_columns(name: str, measured: PoseUncertainty) -> dict[str, NDArray[Any]]:
    """Return what a task sends back, under NAME/uncertainty/PART."""
    return {f"{name}/uncertainty/{part}": getattr(measured, part) for part in _PARTS}


def from_columns(name: str, found: Sequence[dict[str, Any]]) -> PoseUncertainty:
    """Join what the tasks sent back, in their order."""
    return PoseUncertainty(
        *(
            np.concatenate([np.asarray(row[f"{name}/uncertainty/{part}"]) for row in found])
            for part in _PARTS
        )
    )


def summarise_uncertainty(measured: PoseUncertainty) -> dict[str, Any]:
    """Return the figures as JSON values; None where a method has no such thing.

    coverage50, coverage90 and sharpness_mm are those of what the method answers: recalibrated
    where that was fitted. Means are over all poses and the 16 joints but the root.
    """
    calibrated = bool(measured.calibrated.all())
    moving = {
        name: getattr(measured, name)[:, MOVING]
        for name in _PARTS
        if getattr(measured, name).shape[1:] == (17,)
    }
    answered = "after" if calibrated else "before"
    figures: dict[str, Any] = {"n_hypotheses": int(measured.n_hypotheses[0])}
    figures["calibrated"] = calibrated
    for when in ("before", "after"):
        for level in LEVELS:
            share = _known(coverage(moving[f"level_{when}"], level))
            figures[f"coverage{round(100 * level)}_{when}"] = share
        figures[f"sharpness_mm_{when}"] = _mean(moving[f"size_{when}_mm"])
    for key in (*(f"coverage{round(100 * level)}" for level in LEVELS), "sharpness_mm"):
        figures[key] = figures[f"{key}_{answered}"]
    levels = moving[f"level_{answered}"]
    spread = measured.sample_mm2[:, MOVING][..., [0, 3, 5]].sum(axis=-1)
    n = figures["n_hypotheses"]
    spread_mean = _mean(spread)
    figures |= {
        # as std_mm: over the N hypotheses, not N - 1
        "rms_spread_mm": None if spread_mean is None else math.sqrt(spread_mean * (n - 1) / n),
        "energy_score_mm": _mean(moving["energy_mm"]),
        "energy_score_pose_mm": _mean(measured.energy_pose_mm),
        "gaussian_energy_score_mm": _mean(moving["gaussian_energy_mm"]),
        "gaussian_energy_score_pose_mm": _mean(measured.gaussian_energy_pose_mm),
        "oracle_best_of_n_mpjpe_mm": _mean(measured.oracle_mm),
        "per_joint_coverage": {
            f"{round(100 * level)}": [
                None, *(_known(coverage(levels[:, j], level)) for j in range(len(MOVING)))
            ]
            for level in LEVELS
        },
    }  # fmt: skip
    return figures


def _mean(values: NDArray[np.floating]) -> float | None:
    """Return the mean, or None where a part is NaN or infinite (all are, or none)."""
    return _known(float(values.mean(dtype=np.float64)))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
