#!/usr/bin/env python
"""Real people: poses lifted from one camera against a truth triangulated from all of them.

    python benchmarks/real_people.py films=FOLDER run=RUN_DIR [runs={NAME: RUN_DIR}]

FOLDER holds synchronous films of one person by several calibrated cameras and their calibration
(Qualisys, TOML of Pose2Sim or Caliscope, EasyMocap; calibration= names it where it lies elsewhere).
Every film is detected as `diffpose preprocess` does it, with its camera's true focal length and
the lens's distortion taken out; the joints of all films give the truth with its own error
(model/multiview/triangulation.py, model/metrics/truth_error.py); every camera is then lifted alone
by every run. Beside them: the context encoder of the first run, and the detector's own 3D where it
has one. Writes the section "real people" of benchmarks/RESULTS.md and
benchmarks/results/real_people.json; section=null prints only.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from diffpose.benchmarks.results import RESULTS, processor, replace_section
from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.lifting.long_sequence import lift_in_parts
from diffpose.model.lifting.prediction import Lifted
from diffpose.model.lifting.sampling import Refine
from diffpose.model.metrics.truth_error import TruthError, truth_error
from diffpose.model.metrics.uncertain_truth import (
    coverage_figures,
    error_figures,
    limb_jitter,
    root_relative_covariance,
)
from diffpose.model.multiview.triangulation import Triangulated
from diffpose.model.observations.initial_distribution import Observations
from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings
from diffpose.platform.base.storage import SHIPPED, absolute, write_json
from diffpose.platform.evaluation.results import CONTEXT
from diffpose.platform.prediction.assembled import LEAST_SEEN
from diffpose.platform.prediction.unseen import covering_unseen
from diffpose.platform.runs.load import load_to_sample
from diffpose.platform.runs.uncertainty_file import load_recalibration, predict_uncertainty
from diffpose.platform.store.observations import read_observations
from diffpose.platform.workflows.multiview import DetectedScene, as_given, detect_scene
from diffpose.preprocessing.detectors.registry import DetectorSettings
from diffpose.preprocessing.detectors.simulated import SimulatedDetectorSettings
from diffpose.preprocessing.multiview.calibration_files import Unit
from diffpose.preprocessing.videos.settings import PeopleSettings

Array = NDArray[np.float64]
FIGURES_FILE = RESULTS.parent / "results" / "real_people.json"
OWN = "the detector's own 3D"
LASTING_S = (0.017, 0.1, 0.2)  # after which times errors are compared with themselves
COLUMNS = {
    "mpjpe_mm": "MPJPE mm", "n_mpjpe_mm": "N-MPJPE mm", "p_mpjpe_mm": "P-MPJPE mm",
    "p_mpjpe_17_mm": "P-MPJPE of 17 mm", "jitter_mm": "jitter mm/frame^2",
    "jitter_ratio": "/ truth's", "coverage50": "50 % hold %", "coverage90": "90 % hold %",
}  # fmt: skip


class RealPeopleSettings(Settings):
    """Poses of real people from one camera against several calibrated ones."""

    films: str = Field(description="folder of the films")
    calibration: str | None = Field(None, description="its file or folder; default: in films")
    unit: Unit | None = Field(None, description="of the cameras' places: m, cm, mm")
    run: str | None = Field(None, description="run directory with a trained model")
    runs: dict[str, str] = Field({}, description="more runs by their names, such as a baseline_c")
    refine: list[Refine | None] = Field(
        [None], description="ways to refine, each measured; null: the run's own"
    )
    detector: DetectorSettings = Field(
        SimulatedDetectorSettings(), description="default: that of videos"
    )
    people: PeopleSettings = Field(PeopleSettings(), description="whom to follow")
    seed: int = Field(0, ge=0, description="of the hypotheses")
    folder: str | None = Field(None, description="keeps store and films; default: a temporary one")
    section: str | None = Field("real people", description="of RESULTS.md; null: print only")
    workers: int | None = Field(None, ge=1, description="tasks at once; default: all CPUs")


class CameraTruth:
    """The truth as one camera has it: root-relative, its frame; NaN where unknown."""

    def __init__(self, scene: DetectedScene, found: Triangulated, camera: int) -> None:
        """Turn the scene's truth."""
        there = scene.detected.rows[camera] >= 0
        rotation = scene.detected.cameras[camera].rotation
        joints = scene.detected.cameras[camera].camera_from_world(found.points_mm[there])
        self.rows = scene.detected.rows[camera][there]
        self.pose_mm = joints - joints[:, :1]
        turned = rotation @ found.covariance_mm2[there] @ rotation.T
        self.covariance_mm2 = root_relative_covariance(turned)


def benchmark(settings: RealPeopleSettings) -> int:
    """Detect, triangulate, lift, measure, tell."""
    for run in _runs(settings).values():  # what is wrong with a run is said before any film is seen
        for refine in settings.refine:
            load_to_sample(run, {} if refine is None else {"refine": refine})
    with tempfile.TemporaryDirectory() as temporary:
        folder = absolute(settings.folder or temporary)
        recipe = as_given(settings, "detector", "people")
        scene = detect_scene(
            settings.films, settings.calibration, settings.unit, folder, recipe, settings.workers
        )
        figures = _measured(settings, scene)
    if settings.section is not None:
        write_json(str(FIGURES_FILE), figures)
        replace_section(settings.section, "\n".join(_section(figures)) + "\n")
    print("\n".join(_section(figures)))
    return 0


def _measured(settings: RealPeopleSettings, scene: DetectedScene) -> dict[str, Any]:
    found = scene.detected.triangulated()
    error = truth_error(found.points_mm, found.covariance_mm2)
    truths = [CameraTruth(scene, found, c) for c in range(len(scene.views))]
    names = [view.camera.name for view in scene.views]
    truth_jitter = limb_jitter(found.points_mm)
    methods: dict[str, list[dict[str, float]]] = {}
    own = [_seen(scene, _spans(truth)).detected_mm for truth in truths]
    for pose, truth in zip(own, truths, strict=True):
        if pose is not None:
            methods.setdefault(OWN, []).append(error_figures(pose, truth.pose_mm))
    runs = _runs(settings)
    for name, run in runs.items():
        for refine in settings.refine:
            title = name if refine is None else f"{name}, refine={refine}"
            for truth in truths:
                lifted, figures = _lifted(scene, run, refine, truth, settings.seed)
                methods.setdefault(title, []).append(figures)
                if OWN in methods:
                    _, alone = _lifted(scene, run, refine, truth, settings.seed, told=False)
                    methods.setdefault(f"{title}, not told that", []).append(alone)
                if name == next(iter(runs)) and refine == settings.refine[0]:
                    context = error_figures(lifted.context_pose_mm, truth.pose_mm)
                    methods.setdefault(CONTEXT, []).append(context)
    for parts in methods.values():
        for part in parts:
            part["jitter_ratio"] = part["jitter_mm"] / truth_jitter
    return {
        "asked": _asked(runs, scene),
        "detector": scene.settings.detector.version(),
        "frames": len(scene.detected.time_s),
        "truth": _told(error, found, truth_jitter),
        "lasting": _lasting(scene, found),
        "cameras": names,
        "methods": {
            name: {"all": _mean(parts), **dict(zip(names, parts, strict=True))}
            for name, parts in methods.items()
        },
    }


def _asked(runs: Mapping[str, str], scene: DetectedScene) -> str:
    """Return the arguments that anyone can give: own runs without their place."""
    named = {n: uri if uri.startswith(SHIPPED) else "RUN_DIR" for n, uri in runs.items()}
    more = ", ".join(f"{name}: '{uri}'" for name, uri in named.items() if name != "run")
    first = [f"run={named['run']}"] if "run" in named else []
    others = [f'"runs={{{more}}}"'] if more else []
    return " ".join([*first, *others, f"detector.kind={scene.settings.detector.kind}"])


def _runs(settings: RealPeopleSettings) -> dict[str, str]:
    return {**({"run": settings.run} if settings.run else {}), **settings.runs}


def _lifted(
    scene: DetectedScene,
    run: str,
    refine: Refine | None,
    truth: CameraTruth,
    seed: int,
    *,
    told: bool = True,
) -> tuple[Lifted, dict[str, float]]:
    """Lift a film as `diffpose predict` does; returns the answer and its figures.

    Where not ``told``, the detector's own pose is left out.
    """
    lifter, sampling = load_to_sample(run, {} if refine is None else {"refine": refine})
    store, spans = scene.store, _spans(truth)
    seen = _seen(scene, spans)
    seeds = [row_seeds(seed, np.arange(*span)) for span in spans]
    lifted = lift_in_parts(
        lifter,
        seen if told else replace(seen, detected_mm=None),
        (read_observations(store, *span) for span in spans),
        sampling,
        np.concatenate(seeds),
        [stop - first for first, stop in spans],
    )
    found = np.concatenate([store.read("confidence", *span) for span in spans]) >= LEAST_SEEN
    hypotheses = covering_unseen(lifted.hypotheses_mm, found)
    claimed = predict_uncertainty(hypotheses, sampling, load_recalibration(run))
    figures = error_figures(lifted.pose_mm, truth.pose_mm)
    if claimed.covariance_mm2 is not None:
        figures |= coverage_figures(
            lifted.pose_mm, claimed.covariance_mm2, claimed.dof, truth.pose_mm,
            truth.covariance_mm2,
        )  # fmt: skip
    return lifted, figures


def _spans(truth: CameraTruth) -> list[tuple[int, int]]:
    """Return the unbroken ranges of a truth's rows."""
    breaks = np.flatnonzero(np.diff(truth.rows) != 1) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(truth.rows, breaks)]


def _seen(scene: DetectedScene, spans: list[tuple[int, int]]) -> Observations:
    return Observations.joined(
        [read_observations(scene.store, *span, heatmaps=False) for span in spans]
    )


def _lasting(scene: DetectedScene, found: Triangulated) -> dict[str, float]:
    """Return how long the detector's errors last: what stays through a film, and of the rest
    the autocorrelation after some times; means over cameras and joints."""
    constant: list[float] = []
    kept: dict[float, list[float]] = {time_s: [] for time_s in LASTING_S}
    step_s = float(np.median(np.diff(scene.detected.time_s)))
    for camera, seen in zip(scene.detected.cameras, scene.detected.keypoints_px, strict=True):
        error = seen - camera.project(found.points_mm)
        for joint in range(error.shape[1]):
            own = error[:, joint][np.isfinite(error[:, joint]).all(axis=-1)]
            if len(own) * step_s < 3 * max(LASTING_S):
                continue
            rest = own - own.mean(axis=0)
            constant.append(1 - float((rest**2).sum() / (own**2).sum()))
            for time_s, shares in kept.items():
                lag = max(round(time_s / step_s), 1)
                shares.append(float((rest[lag:] * rest[:-lag]).mean() / (rest**2).mean()))
    if not constant:
        return {}
    after = {f"kept_after_{1000 * t:.0f}_ms": float(np.mean(k)) for t, k in kept.items()}
    return {"constant_share": float(np.mean(constant)), **after}


def _told(error: TruthError, found: Triangulated, truth_jitter: float) -> dict[str, Any]:
    return {
        "own_error_mm": error.own_error_mm,
        "from_residuals_mm": error.from_residuals_mm,
        "from_limbs_mm": error.from_limbs_mm,
        "limb_std_mm": error.limb_std_mm.tolist(),
        "known": error.known,
        "jitter_mm": truth_jitter,
        "residual_px": float(np.nanmedian(found.residual_px)),
        "residual_px_of_cameras": np.nanmedian(found.residual_px, axis=(1, 2)).tolist(),
        "agreeing_views": found.inlier.mean(axis=(1, 2)).tolist(),
        "exchanged_views": float(found.exchanged.mean()),
        "sigma_px_of_joints": found.sigma_px.tolist(),
    }


def _mean(parts: list[dict[str, float]]) -> dict[str, float]:
    """Return the means over cameras: every camera counts the same."""
    keys = set.intersection(*({*part} for part in parts))
    return {key: float(np.mean([part[key] for part in parts])) for key in sorted(keys)}


def _section(figures: Mapping[str, Any]) -> list[str]:
    truth, cameras = figures["truth"], figures["cameras"]
    lines = [
        "## Real people",
        "",
        "```",
        f"python benchmarks/real_people.py films=FOLDER {figures['asked']}",
        "```",
        "",
        f"{len(cameras)} cameras x {figures['frames']} frames, detector {figures['detector']}. The "
        f"truth: median reprojection {truth['residual_px']:.1f} px; its own error "
        f"{truth['own_error_mm']:.0f} mm (by its residuals {truth['from_residuals_mm']:.0f}, by "
        f"limbs that change their length {truth['from_limbs_mm']:.0f}); {100 * truth['known']:.1f} "
        f"% of the joints known, jitter {truth['jitter_mm']:.1f} mm/frame^2. Errors over pelvis "
        "and 12 limb joints, root-relative, camera frame, true focal length; regions with the "
        f"truth's own covariance added. {os.cpu_count()} CPU cores ({processor()}).",
        "",
        f"| mean of cameras | {' | '.join(COLUMNS.values())} |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for name, parts in figures["methods"].items():
        cells = " | ".join(_cell(parts["all"], key) for key in COLUMNS)
        lines.append(f"| {name} | {cells} |")
    for key in ("mpjpe_mm", "p_mpjpe_mm"):
        lines += [
            "",
            f"| {COLUMNS[key]} | {' | '.join(cameras)} |",
            "|---" * (len(cameras) + 1) + "|",
        ]
        for name, parts in figures["methods"].items():
            lines.append(f"| {name} | {' | '.join(_cell(parts[c], key) for c in cameras)} |")
    return lines


def _cell(figures: Mapping[str, float], key: str) -> str:
    value = figures.get(key, float("nan"))
    if not np.isfinite(value):
        return "-"
    return f"{100 * value:.0f}" if key.startswith("coverage") else f"{value:.1f}"


if __name__ == "__main__":
    raise SystemExit(command_line.run(RealPeopleSettings, benchmark, sys.argv[1:]))
