"""After training: the recalibration is fitted to validation poses and put beside the weights."""

from __future__ import annotations

import numpy as np

from diffpose.model.map_refinement import second_moment
from diffpose.model.recalibration import MIN_POSES, fit_ellipsoids
from diffpose.model.sampling import SamplingSettings, unrefined
from diffpose.model.uncertainty import (
    LEVELS,
    Array,
    coverage,
    fit_gaussian,
    mahalanobis_squared,
    unpacked,
)
from diffpose.platform.checkpoint import load_lifter
from diffpose.platform.clips import Split
from diffpose.platform.evaluation import Evaluation, evaluate_runs
from diffpose.platform.evaluation_files import CONTEXT
from diffpose.platform.recalibration import (
    Recalibration,
    load_recalibration,
    save_recalibration,
)

# Evenly spread over the split; more change no figure's third digit.
MOST_POSES = 20_000
SPLIT: Split = "validation"
_RUN = "run"


def recalibrate(
    store: str, run: str, seed: int, split: Split = SPLIT, *, again: bool = False
) -> bool:
    """Fit the recalibration of a run and store it; one that has been fitted is left alone.

    Args:
        store: pose store with known poses.
        run: run directory, with a denoiser; its own sampling settings are used.
        seed: of the hypotheses.
        split: whose poses; those of training are known better than any others.
        again: fit even if there is one.

    Returns:
        Whether there is one now: too few poses fit none.
    """
    sampling = SamplingSettings.model_validate(load_lifter(run)[2]["sampling"])
    found = load_recalibration(run)
    if found is not None and found.sampling == sampling and not again:
        return True
    free = unrefined(sampling)
    evaluation = _evaluate(store, run, seed, split, free)
    if len(evaluation.rows) < MIN_POSES:
        print(
            f"uncertainty: not recalibrated, the {split} split has {len(evaluation.rows)} known "
            f"poses of at least {MIN_POSES}"
            + ("" if sampling.refine == "none" else "; nor will it refine")
        )
        return False
    answer = evaluation.methods[_RUN]
    errors_mm2 = second_moment(evaluation.truth_mm.astype(np.float64) - answer.pose_mm)
    fitted = fit(evaluation, free, errors_mm2, split)
    save_recalibration(run, fitted)
    if sampling.refine != "none":  # which the errors that were just stored make possible
        before = float(answer.mpjpe_mm.mean())
        evaluation = _evaluate(store, run, seed, split, sampling)
        fitted = fit(evaluation, sampling, errors_mm2, split)
        save_recalibration(run, fitted)
        after = float(evaluation.methods[_RUN].mpjpe_mm.mean())
        print(f"refine={sampling.refine}: {before:.2f} -> {after:.2f} mm on the {split} split")
    print(f"uncertainty: {_describe(evaluation, fitted)}")
    return True


def _evaluate(
    store: str, run: str, seed: int, split: Split, sampling: SamplingSettings
) -> Evaluation:
    overrides = {"refine": sampling.refine}
    return evaluate_runs(store, {_RUN: run}, split, overrides, seed, None, most_poses=MOST_POSES)


def fit(
    evaluation: Evaluation, sampling: SamplingSettings, errors_mm2: Array, split: Split
) -> Recalibration:
    """Fit to an evaluation of one run.

    Args:
        evaluation: of one run, with these sampling settings.
        sampling: of the hypotheses.
        errors_mm2: (48, 48), second moment of the errors before any refinement.
        split: which poses these are.
    """
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
        errors_mm2,
        n_hypotheses,
        sampling,
        len(truth),
        split,
    )


def _describe(evaluation: Evaluation, fitted: Recalibration) -> str:
    head = f"recalibrated on {fitted.n_poses} {fitted.split} poses"
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
