"""The report of an evaluation: picks cases, lifts them again with all steps, writes the page."""

from __future__ import annotations

import datetime
import json
import platform
import sys
from typing import Any

import numpy as np
import torch
import yaml

import diffpose
from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.lifting.sampling import unrefined
from diffpose.platform.base.storage import exists, join, read_bytes, write_bytes
from diffpose.platform.evaluation.evaluate import load_lifters
from diffpose.platform.evaluation.figures import FIGURES
from diffpose.platform.evaluation.results import CONTEXT, Evaluation, before_refinement
from diffpose.platform.reports.report import Case, Curve, MethodResult, Report, render_html
from diffpose.platform.runs.load import load_run
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore

# Percentiles of the run's MPJPE that stand for good, median and bad poses.
_CASES = (("good", 5), ("median", 50), ("bad", 95))
_CALIBRATION_SAMPLE = 20_000


def write_report(
    folder: str,
    store_uri: str,
    runs: dict[str, str],
    overrides: dict[str, Any],
    evaluation: Evaluation,
    figures: dict[str, Any],
    config_yaml: str,
) -> str:
    """Write report.html into a folder; returns its URI.

    Args:
        folder: of the report.
        store_uri: the store that was evaluated.
        runs: by name; the first is the report's subject.
        overrides: of its sampling settings.
        evaluation: all errors.
        figures: their summary, jobs.evaluate.describe.
        config_yaml: resolved configuration, shown at the end.
    """
    name, uri = next(iter(runs.items()))
    errors = evaluation.methods[name]
    predicted, actual = errors.std_mm.ravel(), errors.joint_mm.ravel()
    # The root is 0 by definition, in every hypothesis.
    moving = np.flatnonzero((predicted > 0) & np.isfinite(predicted))
    picked = moving[:: max(len(moving) // _CALIBRATION_SAMPLE, 1)]
    report = Report(
        title="DiffPose evaluation",
        run=name,
        created=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        protocol=figures["protocol"] + f"; {figures['split']} split, seed {figures['seed']}",
        command="diffpose " + " ".join(sys.argv[1:]),
        n_poses=figures["n_poses"],
        poses_per_action={a: v["n_poses"] for a, v in figures["per_action"].items()},
        methods=[
            _method(CONTEXT, figures["context_encoder"], "the frozen encoder alone"),
            *(_method(n, f, _note(runs[n])) for n, f in figures["runs"].items()),
            *(
                _method(before_refinement(n), f, "as it comes from the walk")
                for n, f in figures["before_refinement"].items()
            ),
        ],
        cases=_cases(store_uri, uri, overrides, evaluation, name, figures["seed"]),
        curves=_curves(runs),
        per_joint_mpjpe_mm=errors.joint_mm.mean(axis=0),
        predicted_std_mm=predicted[picked] if len(picked) else None,
        actual_error_mm=actual[picked] if len(picked) else None,
        config_yaml=config_yaml + _training_config(uri),
        versions={
            "diffpose": diffpose.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    )
    target = join(folder, "report.html")
    write_bytes(target, render_html(report).encode())
    return target


def _method(name: str, part: dict[str, Any], note: str) -> MethodResult:
    per_action = {action: value["mpjpe_mm"] for action, value in part["per_action"].items()}
    figures = {figure.key: part[figure.key] for figure in FIGURES}
    return MethodResult(name, figures, per_action, note)


def _note(run_uri: str) -> str:
    run = load_run(run_uri)
    architecture = run.config["architecture"]
    if architecture["process"] == "single_step":
        return f"one step, condition: {architecture['condition']}"
    return (
        f"{architecture['process']}, {architecture['parametrisation']}, condition: "
        f"{architecture['condition']}, K={architecture['n_steps']}, "
        f"{architecture['n_visited_steps']} steps, N={run.sampling.n_hypotheses}"
    )


def _cases(
    store_uri: str,
    run_uri: str,
    overrides: dict[str, Any],
    evaluation: Evaluation,
    name: str,
    seed: int,
) -> list[Case]:
    store = PoseStore.open(store_uri)
    lifter, sampling = load_lifters({name: run_uri}, overrides)[name]
    refines, sampling = sampling.refine != "none", unrefined(sampling)
    clips = store.clips()
    starts = np.array([clip.first_row for clip in clips])
    order = np.argsort(evaluation.methods[name].mpjpe_mm, kind="stable")
    cases = []
    for title, percentile in _CASES:
        at = order[round((len(order) - 1) * percentile / 100)]
        row = int(evaluation.rows[at])
        clip = clips[int(np.searchsorted(starts, row, side="right")) - 1]
        seen = read_observations(store, row, row + 1)
        rows = clip.first_row, clip.first_row + clip.n_rows
        whole = read_observations(store, *rows, heatmaps=False)
        passes = lifter.passes(whole, sampling, [clip.n_rows])
        place = slice(row - clip.first_row, row - clip.first_row + 1)
        lifted = lifter.lift(
            seen,
            sampling,
            row_seeds(seed, np.array([row])),
            passes=[one.rows(place) for one in passes],
        )
        if refines:  # by the whole clip: as it was measured
            lifted = lifted.moved(evaluation.methods[name].pose_mm[at][None], lifted.root_mm)
        truth = store.read("pose_3d", row, row + 1)[0]
        error = np.linalg.norm(lifted.pose_mm[0] - truth, axis=-1).mean()
        cases.append(
            Case(
                title=title,
                clip=f"{clip.source}, {clip.camera}, {clip.subject}, row {row}",
                action=clip.action,
                mpjpe_mm=float(error),
                keypoints_px=seen.keypoints_px[0],
                confidence=store.read("confidence", row, row + 1)[0],
                image_size_px=(clip.width, clip.height),
                truth_mm=truth,
                context_mm=lifted.context_pose_mm[0],
                pose_mm=lifted.pose_mm[0],
                hypotheses_mm=lifted.hypotheses_mm[0],
                steps=lifted.steps,
                trajectory_mm=lifted.trajectory_mm[:, 0].astype(np.float64),
            )
        )
    return cases


def _curves(runs: dict[str, str]) -> list[Curve]:
    curves = []
    for name, uri in runs.items():
        for stage in ("encoder", "denoiser"):
            history = join(uri, f"{stage}_history.jsonl")
            if not exists(history):
                continue  # a run that took another run's encoder
            records = [json.loads(line) for line in read_bytes(history).decode().splitlines()]
            curves.append(
                Curve(
                    f"{name}: {stage}",
                    [r["epoch"] for r in records],
                    [r["loss"] for r in records],
                    [r["mpjpe_mm"] for r in records],
                )
            )
    return curves


def _training_config(run_uri: str) -> str:
    uri = join(run_uri, "denoiser.yaml")
    if not exists(uri):
        return ""
    return "training:\n" + yaml.safe_dump(
        {"settings": yaml.safe_load(read_bytes(uri))}, sort_keys=False
    )
