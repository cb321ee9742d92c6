"""Fit a detector's temperatures on frames with known truth, and judge them.

The truth is what sidecars say, or, of films by several calibrated cameras (``views``), what the
other cameras triangulate: each camera is judged by a truth that it has no part in, whose own
uncertainty is taken into account. Of files of keypoints widths are fitted in the same way.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from rich.console import Console
from rich.table import Table

from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.model.heatmaps.temperature import LEVELS, fit_temperature
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.progress import Progress
from diffpose.platform.base.storage import absolute, join, write_json
from diffpose.platform.execution.ray_stages import run_stages
from diffpose.platform.store.clips import Clip, Split
from diffpose.platform.workflows.multiview import as_given, detect_scene
from diffpose.preprocessing.inspection.detector_errors import (
    TEMPERATURES,
    DetectorErrors,
    make_compare_fn,
)
from diffpose.preprocessing.keypoints.joint_widths import KEY
from diffpose.preprocessing.keypoints.recorded import RecordedSettings
from diffpose.preprocessing.multiview.calibration_files import Unit
from diffpose.preprocessing.multiview.detected import truth_in
from diffpose.preprocessing.multiview.recorded_views import fitted_widths, recorded_views
from diffpose.preprocessing.multiview.views import find_keypoint_views, with_sidecars
from diffpose.preprocessing.pipeline import make_plan
from diffpose.preprocessing.planning.run_spans import session
from diffpose.preprocessing.planning.span_row import SpanRow
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.interface import Source
from diffpose.preprocessing.sources.registry import source_of
from diffpose.preprocessing.sources.video_truth import truth_covariances_px2

PCK_THRESHOLD = 0.05


class CalibrateSettings(PreprocessSettings):
    """Fit a detector's temperatures on films with known truth. Settings as for preprocess."""

    store: str = Field("", description="not used: calibration works in a folder of its own")
    out: str = Field(description="JSON file to write")
    fit_split: Split = Field("validation", description="temperatures are fitted on this split")
    report_split: Split = Field("test", description="and judged on this one")
    views: str | None = Field(
        None,
        description="calibration of several cameras, file or folder (Qualisys *.qca.txt, TOML of "
        "Pose2Sim or Caliscope, EasyMocap's intri.yml): source.uri are films, or files of "
        "keypoints, of one scene by these; the truth is what the others triangulate",
    )
    unit: Unit | None = Field(
        None, description="of the cameras' places in views, where it cannot say: m, cm or mm"
    )
    every: int = Field(3, ge=1, description="take each such frame")


def calibrate(settings: CalibrateSettings) -> int:
    """Fit, judge, write, print."""
    if settings.detector.reads == "keypoint files":
        return _calibrate_widths(settings)
    with tempfile.TemporaryDirectory() as folder:
        result = fit(_with_views(settings, folder) if settings.views else settings)
    write_json(absolute(settings.out), result)
    print_result(result)
    print(f"written to {settings.out}; use it: diffpose preprocess ... calibration={settings.out}")
    return 0


def fit(settings: CalibrateSettings, given: Sequence[float] | None = None) -> dict[str, Any]:
    """Return temperatures, coverage before and after, and PCK, as plain JSON values.

    Args:
        settings: what is fitted and judged.
        given: temperatures of the joints to be judged as well, as ``given`` beside ``after``.

    Raises:
        SourceError: a split has no frame with known truth.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = settings.with_absolute_uris().model_copy(update={"store": folder})
        source = source_of(work)
        with session(work):
            plan = make_plan(work, source)
            own_errors = functools.partial(_own_errors, source) if settings.views else None
            stages = [*source.stages(None), make_compare_fn(source, settings.every, own_errors)]
            splits: tuple[Split, ...] = (settings.fit_split, settings.report_split)
            rows = [SpanRow(span) for span in plan.spans if span.clips[0].split in splits]
            progress = Progress("calibrate", len(rows), "spans")
            parts: dict[Split, list[DetectorErrors]] = {split: [] for split in splits}
            for done in run_stages(rows, stages, work.workers):
                if done.errors is not None:
                    parts[done.split].append(done.errors)
                progress.advance(1)
    for split, pieces in parts.items():
        if not pieces:
            raise SourceError(
                f"The {split} split has no frame with known truth. Give films with sidecars that "
                "name intrinsics_px and truth, or other fit_split= and report_split=."
            )
    fit_on, report_on = (DetectorErrors.joined(parts[split]) for split in splits)
    temperature = fit_temperature(fit_on.counts, TEMPERATURES)
    judged = report_on.counts
    after = np.array([int(np.abs(TEMPERATURES - t).argmin()) for t in temperature])
    own = np.abs(TEMPERATURES[None] - np.array(given or [1.0])[:, None]).argmin(axis=1)
    before = int(np.abs(TEMPERATURES - 1.0).argmin())
    near = report_on.error_in_boxes <= PCK_THRESHOLD
    seen = ~report_on.hidden
    joints = np.arange(len(JOINT_NAMES))
    return {
        "detector": settings.detector.version(),
        "temperature": temperature.tolist(),
        "fit_split": settings.fit_split,
        "fit_frames": len(fit_on.hidden),
        "report_split": settings.report_split,
        "report_frames": len(report_on.hidden),
        "coverage": {
            f"{level:.0%}": {
                "before": judged.coverage(level)[:, before].tolist(),
                "after": judged.coverage(level)[joints, after].tolist(),
                **(
                    {} if given is None else {"given": judged.coverage(level)[joints, own].tolist()}
                ),
            }
            for level in LEVELS
        },
        "pck_threshold_of_box_height": PCK_THRESHOLD,
        "pck": near.mean(axis=0).tolist(),
        # of joints that the person's own body does not hide (model.self_occlusion)
        "share_in_sight": seen.mean(axis=0).tolist(),
        "pck_in_sight": [
            float(n[s].mean()) if s.any() else None for n, s in zip(near.T, seen.T, strict=True)
        ],
        "joints": list(JOINT_NAMES),
    }


def _own_errors(source: Source, clip: Clip, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    return truth_covariances_px2(source.recordings()[clip.source], times_s)


def _with_views(settings: CalibrateSettings, folder: str) -> CalibrateSettings:
    """Return the settings with films whose truth is what the other cameras triangulate.

    Cameras take turns: every other one is of the split that is fitted on.
    """
    recipe = as_given(settings, "detector", "people", "calibration", "seed")
    scene = detect_scene(
        str(settings.source.uri), settings.views, settings.unit, join(folder, "first"), recipe,
        settings.workers,
    )  # fmt: skip
    if len(scene.views) < 3:
        raise SourceError(
            f"{len(scene.views)} cameras cannot judge each other: the truth of one takes two "
            "others or more. Give films of three cameras."
        )
    truths, splits = {}, {}
    for c, view in enumerate(scene.views):
        truths[view.name] = truth_in(scene.detected, scene.detected.triangulated(without=c), c)
        splits[view.name] = settings.fit_split if c % 2 == 0 else settings.report_split
    films = join(folder, "films")
    with_sidecars(films, scene.views, truths, splits)
    source = settings.source.model_copy(update={"uri": films})
    return settings.model_copy(update={"source": source})


def _calibrate_widths(settings: CalibrateSettings) -> int:
    """Fit the widths of recorded keypoints by several cameras; write, print."""
    if settings.views is None or settings.source.kind != "keypoints":
        raise SourceError(
            "Keypoints have no heatmaps to be calibrated. Their widths are fitted on files of "
            "several calibrated cameras: source.kind=keypoints source.uri=FOLDER views=CALIBRATION."
        )
    recorded = cast(RecordedSettings, settings.detector)
    source = settings.source
    size = (source.width, source.height)
    views = find_keypoint_views(source.uri, size, settings.views, settings.unit)
    result = {
        "detector": f"keypoints, {recorded.format}, {recorded.layout}",
        **fitted_widths(recorded_views(views, recorded), recorded.spread),
    }
    write_json(absolute(settings.out), result)
    table = Table(
        "joint", "width", "as seen", "COCO's rule", title="share of the box's longer side"
    )
    for name, value in result[KEY].items():
        table.add_row(
            name, f"{value:.4f}", f"{result['apparent'][name]:.4f}", f"{result['coco'][name]:.4f}"
        )
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)
    print(f"written to {settings.out}; use it: detector.widths={settings.out}")
    return 0


def print_result(result: dict[str, Any]) -> None:
    """Print a table of joints."""
    table = Table(
        "joint", "T", "50 % before", "after", "90 % before", "after", "PCK at 5 %",
        title=f"{result['detector']}: fitted on {result['fit_frames']} frames, judged on "
        f"{result['report_frames']}",
    )  # fmt: skip
    half, most = result["coverage"]["50%"], result["coverage"]["90%"]
    columns = [result["temperature"], half["before"], half["after"], most["before"],
               most["after"], result["pck"]]  # fmt: skip
    for j, name in enumerate(result["joints"]):
        table.add_row(name, f"{columns[0][j]:.2f}", *(f"{c[j]:.1%}" for c in columns[1:]))
    table.add_row("all", f"{np.mean(columns[0]):.2f}", *(f"{np.mean(c):.1%}" for c in columns[1:]))
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)
