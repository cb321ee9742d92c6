"""After training: the recalibration is fitted to validation poses and put beside the weights."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.metrics.pose_errors import mpjpe
from diffpose.model.observations.initial_distribution import Observations
from diffpose.model.refinement.map_refinement import refine, second_moment
from diffpose.model.uncertainty.covariances import (
    LEVELS,
    Array,
    coverage,
    fit_gaussian,
    mahalanobis_squared,
    uncalibrated,
    unpacked,
)
from diffpose.model.uncertainty.familiarity import Familiarity, familiarity_of
from diffpose.model.uncertainty.recalibration import MIN_POSES, fit_ellipsoids
from diffpose.platform.evaluation.evaluate import evaluate_runs
from diffpose.platform.evaluation.results import CONTEXT, Evaluation
from diffpose.platform.runs.load import load_run
from diffpose.platform.runs.uncertainty_file import (
    Recalibration,
    load_recalibration,
    save_recalibration,
)
from diffpose.platform.store.clips import Clip, Split
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore

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
    # what is fitted is fitted before smoothing, which starts from it
    own = SamplingSettings.model_validate(load_run(run).config["sampling"])
    sampling = own.model_copy(update={"smooth": "none"})
    found = load_recalibration(run)
    if found is not None and found.sampling == sampling and not again:
        return True
    free = {"refine": "none", "smooth": "none"}
    evaluation = evaluate_runs(store, {_RUN: run}, split, free, seed, None, most_poses=MOST_POSES)
    if len(evaluation.rows) < MIN_POSES:
        print(
            f"uncertainty: not recalibrated, the {split} split has {len(evaluation.rows)} known "
            f"poses of at least {MIN_POSES}"
            + ("" if sampling.refine == "none" else "; nor will it refine")
        )
        return False
    truth, poses_mm = evaluation.truth_mm.astype(np.float64), evaluation.methods[_RUN].pose_mm
    if sampling.refine != "none":
        poses_mm = refined_by_others(PoseStore.open(store), evaluation, sampling)
        before, after = (
            mpjpe(p, truth).mean() for p in (evaluation.methods[_RUN].pose_mm, poses_mm)
        )
        advice = "" if after < before else "; it does not help here: take refine=none"
        print(
            f"refine={sampling.refine}: {before:.2f} -> {after:.2f} mm on the {split} split{advice}"
        )
    # a run keeps what it was trained on, whichever store it is recalibrated with
    familiar = None if found is None else found.familiarity
    if familiar is None:
        known = training_poses(PoseStore.open(store))
        familiar = None if known is None else familiarity_of(known)
    fitted = fit(evaluation, poses_mm, sampling, split, familiar)
    residual = truth - poses_mm
    save_recalibration(run, fitted)
    print(f"uncertainty: {_describe(evaluation, residual, poses_mm, fitted)}")
    return True


def training_poses(store: PoseStore) -> NDArray[np.float64] | None:
    """Return true poses (n, 17, 3) of the training split, evenly spread; None without any."""
    clips = [clip for clip in store.clips("train") if clip.n_rows]
    # of a large store not every clip is read: neighbouring rows of one are much alike
    clips = clips[:: max(1, sum(clip.n_rows for clip in clips) // (8 * MOST_POSES))]
    step = max(1, sum(clip.n_rows for clip in clips) // MOST_POSES)
    parts = [
        store.read("pose_3d", clip.first_row, clip.first_row + clip.n_rows)[::step]
        for clip in clips
    ]
    poses = np.concatenate(parts) if parts else np.zeros((0, 17, 3))
    poses = poses[np.isfinite(poses).all(axis=(1, 2))].astype(np.float64)
    return poses if len(poses) >= MIN_POSES else None


def refined_by_others(
    store: PoseStore, evaluation: Evaluation, sampling: SamplingSettings
) -> NDArray[np.float32]:
    """Refine the poses of an evaluation as poses that nobody has measured will be, (n, 17, 3).

    By halves of the recordings, each with the errors of the other: with a pose's own errors among
    them the refined poses would be better than any others are, and all ellipsoids too small.

    Args:
        store: that was evaluated.
        evaluation: of one run, not refined.
        sampling: ``refine`` counts.
    """
    answer = evaluation.methods[_RUN].pose_mm
    errors = evaluation.truth_mm.astype(np.float64) - answer
    known = recordings(store.clips())
    own = np.array([known[clip] for clip in evaluation.clips.tolist()])
    half = np.unique(own, return_inverse=True)[1] % 2
    ends = np.cumsum(evaluation.stretches)
    stretches = [slice(end - n, end) for end, n in zip(ends, evaluation.stretches, strict=True)]
    refined = np.empty_like(answer)
    for part in np.unique(half):
        chosen = [s for s in stretches if half[s.start] == part]
        others = half != part
        moment = second_moment(errors[others] if others.any() else errors)
        first = [int(evaluation.rows[s.start]) for s in chosen]
        lengths = [s.stop - s.start for s in chosen]
        seen = Observations.joined(
            [
                read_observations(store, a, a + n, heatmaps=False)
                for a, n in zip(first, lengths, strict=True)
            ]
        ).detections()
        poses = np.concatenate([answer[s] for s in chosen])
        roots = seen.translation_mm(torch.from_numpy(poses)).numpy()
        whole = lengths if sampling.refine == "clip" else None
        refined[np.concatenate([np.arange(s.start, s.stop) for s in chosen])] = refine(
            poses, roots, seen, moment, whole
        )[0]
    return refined


def recordings(clips: Sequence[Clip]) -> dict[str, str]:
    """Return of which recording each clip is: its source, for films without the camera's name.

    Films of one motion are a file per camera, which ends with the camera's name by convention
    (diffpose render); other sources have all their cameras in one.
    """
    cameras: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        cameras[clip.source].add(clip.camera)
    found = {}
    for clip in clips:
        stem = clip.source.rpartition(".")[0]
        one_camera = len(cameras[clip.source]) == 1 and clip.camera != ""
        ends_so = one_camera and re.search(rf"[^0-9a-zA-Z]{re.escape(clip.camera)}$", stem)
        found[clip.clip] = stem.removesuffix(clip.camera) if ends_so else clip.source
    return found


def fit(
    evaluation: Evaluation,
    poses_mm: NDArray[np.floating],
    sampling: SamplingSettings,
    split: Split,
    familiar: Familiarity | None = None,
) -> Recalibration:
    """Fit to an evaluation of one run.

    Args:
        evaluation: of one run, not refined.
        poses_mm: (n, 17, 3), as answers are given: refined if they are.
        sampling: of the hypotheses.
        split: which poses these are.
        familiar: of the poses that the run was trained on: ellipsoids grow with the distance from
            them.
    """
    errors, context = evaluation.methods[_RUN], evaluation.methods[CONTEXT]
    measured = errors.uncertainty
    assert measured is not None  # evaluate_runs measures it
    truth = evaluation.truth_mm.astype(np.float64)
    n_hypotheses = int(measured.n_hypotheses[0])
    residual = truth - poses_mm
    ellipsoids = familiarity = None
    growth = np.ones(len(truth))
    if familiar is not None:
        familiarity = familiar.measured_by(poses_mm)
        growth = familiarity.growth(poses_mm)
    if n_hypotheses > 1:
        ellipsoids = fit_ellipsoids(
            unpacked(measured.sample_mm2), residual / growth[:, None, None], n_hypotheses
        )
    return Recalibration(
        ellipsoids,
        fit_gaussian(residual),
        fit_gaussian(truth - context.pose_mm),
        second_moment(truth - errors.pose_mm),
        n_hypotheses,
        sampling,
        len(truth),
        split,
        familiarity,
    )


def _describe(
    evaluation: Evaluation,
    residual: Array,
    poses_mm: NDArray[np.floating],
    fitted: Recalibration,
) -> str:
    head = f"recalibrated on {fitted.n_poses} {fitted.split} poses"
    measured = evaluation.methods[_RUN].uncertainty
    if fitted.ellipsoids is None or measured is None:
        return f"{head}: one answer, the Gaussian of its errors"
    sample = unpacked(measured.sample_mm2)
    ones = np.ones(len(residual))
    growth = ones if fitted.familiarity is None else fitted.familiarity.growth(poses_mm)
    before, after = (
        claim.levels(mahalanobis_squared(residual / by[:, None, None], claim.covariance(sample)))
        for claim, by in ((uncalibrated(fitted.n_hypotheses), ones), (fitted.ellipsoids, growth))
    )
    shares = ", ".join(
        f"{level:.0%} ellipsoids held {coverage(before, level):.0%}, "
        f"hold {coverage(after, level):.0%}"
        for level in LEVELS
    )
    return f"{head}: {shares}; Student t with {fitted.ellipsoids.dof:.1f} degrees of freedom"
