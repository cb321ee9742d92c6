"""After training: the recalibration is fitted to validation poses and put beside the weights."""

from __future__ import annotations

import numpy as np

from diffpose.model.recalibration import MIN_POSES, fit_ellipsoids
from diffpose.model.uncertainty import (
    LEVELS,
    coverage,
    fit_gaussian,
    mahalanobis_squared,
    unpacked,
)
from diffpose.platform.checkpoint import load_lifter
from diffpose.platform.evaluation import Evaluation, evaluate_runs
from diffpose.platform.evaluation_files import CONTEXT
from diffpose.platform.recalibration import (
    Recalibration,
    load_recalibration,
    save_recalibration,
)

# Evenly spread over the split; more change no figure's third digit.
MOST_POSES = 20_000
SPLIT = "validation"
_RUN = "run"


def recalibrate(store: str, run: str, seed: int) -> None:
    """Fit the recalibration of a trained run and store it; a run that has one is left alone.

    Args:
        store: pose store with a validation split.
        run: run directory, with a denoiser; its own sampling settings are used.
        seed: of the hypotheses.
    """
    if load_recalibration(run) is not None:
        return
    evaluation = evaluate_runs(store, {_RUN: run}, SPLIT, {}, seed, None, most_poses=MOST_POSES)
    if len(evaluation.rows) < MIN_POSES:
        print(
            f"uncertainty: not recalibrated, the {SPLIT} split has {len(evaluation.rows)} known "
            f"poses of at least {MIN_POSES}"
        )
        return
    fitted = fit(evaluation, run)
    save_recalibration(run, fitted)
    print(f"uncertainty: {_describe(evaluation, fitted)}")


def fit(evaluation: Evaluation, run: str) -> Recalibration:
    """Fit to an evaluation of one run on its validation split."""
    _, sampling, _ = load_lifter(run)
    errors, context = evaluation.methods[_RUN], evaluation.methods[CONTEXT]
    measured = errors.uncertainty
    assert measured is not None  # evaluate_runs measures it
    truth = evaluation.truth_mm.astype(np.float64)
    n_hypotheses = int(measured.n_hypotheses[0])
    residual = truth - errors.pose_mm
    ellipsoids = None
    if n_hypotheses > 1:
        ellipsoids = fit_ellipsoids(unpacked(measured.sample_mm2), residual, n_hypotheses)
    return Recalibration(
        ellipsoids,
        fit_gaussian(residual),
        fit_gaussian(truth - context.pose_mm),
        n_hypotheses,
        sampling,
        len(truth),
        SPLIT,
    )


def _describe(evaluation: Evaluation, fitted: Recalibration) -> str:
    head = f"recalibrated on {fitted.n_poses} {SPLIT} poses"
    measured = evaluation.methods[_RUN].uncertainty
    if fitted.ellipsoids is None or measured is None:
        return f"{head}: one answer, the Gaussian of its errors"
    residual = evaluation.truth_mm.astype(np.float64) - evaluation.methods[_RUN].pose_mm
    covariance = fitted.ellipsoids.covariance(unpacked(measured.sample_mm2))
    after = fitted.ellipsoids.levels(mahalanobis_squared(residual, covariance))
    shares = ", ".join(
        f"{level:.0%} ellipsoids held {coverage(measured.level_before, level):.0%}, "
        f"hold {coverage(after, level):.0%}"
        for level in LEVELS
    )
    return f"{head}: {shares}; Student t with {fitted.ellipsoids.dof:.1f} degrees of freedom"
