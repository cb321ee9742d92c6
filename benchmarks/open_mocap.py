#!/usr/bin/env python
"""The open benchmark: DiffPose, its baselines and the paper's recipe on the same poses.

    python benchmarks/open_mocap.py motion=FOLDER [folder=runs/open_mocap] [profile=small]

FOLDER holds 230 motions of the Bandai-Namco Research Motiondataset (Kobayashi et al., arXiv
2306.08861; CC BY-NC 4.0, on GitHub): those of configs/benchmark/open_mocap_files.txt, files of its
first data set in bandai-1/, of its second in bandai-2/. Runs diffpose ablate on
configs/benchmark/open_mocap.yaml, writes the section "open benchmark" of benchmarks/RESULTS.md and
benchmarks/results/open_mocap.json. On two cores some three and a half hours, added up from its
parts (the variants next_on_grid_* of the paper's tables are one of them; only= leaves recipes out);
profile=small 31 minutes. Goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import Field

from diffpose.benchmarks.results import RESULTS, processor, replace_section
from diffpose.platform.ablation.settings import AblationSettings
from diffpose.platform.ablation.tables import TableRow, markdown, mean_rows
from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings, read_yaml, validate
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import absolute, find_files
from diffpose.platform.evaluation.protocol_figures import protocol
from diffpose.platform.evaluation.results import CONTEXT
from diffpose.platform.workflows.ablate import ablate, evaluations

CONFIG = "configs/benchmark/open_mocap.yaml"
MOTIONS = "configs/benchmark/open_mocap_files.txt"
FIGURES = RESULTS.parent / "results" / "open_mocap.json"
# The rows of the first table of each encoder, in words; a profile may have others.
TITLES = {
    CONTEXT: "context encoder alone",
    "default": "**DiffPose**, `default`: N=5, 5 steps",
    "next_on_grid": "DiffPose, eq. 8-9 on the grid of steps, M=5 per joint, K=50",
    "clean_pose": "DiffPose, h_0 predicted, M=1",
    "clean_pose_blend": "the same, g reads the blend",
    "clean_pose_blend_uneven": "the same, uneven steps",
    "baseline_a": "Baseline A: one step, 2D pose only",
    "baseline_b": "Baseline B: the same, five times the blocks",
    "baseline_c": "Baseline C: one step, everything that DiffPose is told",
    "stand_diff": "Stand-Diff: plain noise, no condition",
    "stand_diff_conditioned": "Stand-Diff, the same condition",
    "stand_diff_as_default": "Stand-Diff, everything of `default` but the noise",
    "paper": "`paper`: to the letter, N=5, 50 steps",
}
# What only the paper's tables show.
VARIANTS = {
    "next_on_grid_m1": "eq. 8-9, M=1 per joint",
    "next_on_grid_m9": "eq. 8-9, M=9 per joint",
    "next_on_grid_pose": "eq. 8-9, M=5 over the whole pose",
    "next_on_grid_no_context": "eq. 8-9, M=5 per joint, g without f_ST",
    "next_on_grid_k10": "eq. 8-9, K=10",
    "next_on_grid_k25": "eq. 8-9, K=25",
    "next_on_grid_k100": "eq. 8-9, K=100",
    "next_on_grid_all_steps": "eq. 8-9, all 50 steps",
}
# What the figures are held against: name, row, row below the fraction line, at most.
TARGETS = (
    ("context encoder", CONTEXT, 0.90),
    ("Stand-Diff, same condition", "stand_diff_conditioned", 0.95),
    ("Stand-Diff", "stand_diff", 0.88),
    ("Baseline A", "baseline_a", 0.90),
    ("Baseline C", "baseline_c", 1.00),
)


class BenchmarkSettings(Settings):
    """The open benchmark."""

    motion: str = Field(description="folder of the Bandai-Namco motions")
    folder: str = Field(
        "",
        description="where stores and runs go; default: runs/open_mocap, of the small profile "
        "runs/open_mocap_small (its poses are others)",
    )
    profile: str = Field(
        "full", description="full; small: one seed, fewer poses; search: on validation"
    )
    on: list[str] = Field([], description="encoders to run now; default: all")
    only: list[str] = Field([], description="recipes to run now; default: all")


def benchmark(settings: BenchmarkSettings) -> int:
    """Run what is left of it and write section and figures.

    Raises:
        SourceError: the motions are not those of the benchmark.
    """
    check_motions(settings.motion)
    full = settings.profile == "full"
    small = "_small" if settings.profile == "small" else ""
    settings = settings.model_copy(update={"folder": settings.folder or f"runs/open_mocap{small}"})
    values = {**read_yaml(CONFIG), **settings.model_dump()}
    ablation = validate(AblationSettings, {**values, "results": str(FIGURES) if full else None})
    status = ablate(ablation)
    resolved = ablation.resolved().model_copy(update={"folder": absolute(settings.folder)})
    rows = {name: mean_rows(evaluations(resolved, name)) for name in resolved.rows}
    section = "open benchmark" if full else f"open benchmark, {settings.profile} profile"
    replace_section(section, "\n".join(_section(settings, resolved, rows)) + "\n")
    return status


def check_motions(folder: str) -> None:
    """Make sure that a folder holds the benchmark's motions, all and no others.

    Raises:
        SourceError: it does not.
    """
    wanted = set((RESULTS.parents[1] / MOTIONS).read_text().split())
    found = set(find_files(folder, ".bvh"))
    if found != wanted:
        lacking, others = sorted(wanted - found), sorted(found - wanted)
        raise SourceError(
            f"motion={folder!r} does not hold the benchmark's {len(wanted)} motions ({MOTIONS}): "
            f"{len(lacking)} are missing ({', '.join(lacking[:3])} ..), {len(others)} are others "
            f"({', '.join(others[:3])} ..). Figures of other motions do not compare."
        )


def _section(
    settings: BenchmarkSettings, ablation: AblationSettings, rows: dict[str, list[TableRow]]
) -> list[str]:
    profile = "" if settings.profile == "full" else f" profile={settings.profile}"
    found = json.loads((Path(ablation.folder) / "ablation.json").read_text())
    lines = [
        f"## Open benchmark{'' if not profile else f', {settings.profile} profile'}",
        "",
        "```",
        f"python benchmarks/open_mocap.py motion=FOLDER{profile}",
        "```",
        "",
        f"Bandai-Namco motions, simulated detector, {ablation.split} split ({CONFIG}); "
        "mean ± half the range over the seeds (of weights, order and noise). All rows of a table "
        "stand on the same context encoders, poses and budget. What is told the heatmaps is also "
        "refined by them, frame by frame. Regions: how often the truth lies "
        "within the 50 % and 90 % ellipsoids, recalibrated on the validation split. "
        f"{protocol()}. Frames/s: of one thread, context included, medians in turns. "
        f"{os.cpu_count()} CPU cores ({processor()}).",
    ]
    for encoder, part in rows.items():
        if not part:
            continue
        several = "s" if part[0].seeds > 1 else ""
        lines += ["", f"**Encoder {encoder}**, {part[0].seeds} seed{several}", ""]
        shown = [name for name in ablation.rows[encoder] if name in TITLES]
        lines += markdown(part, shown, TITLES)
        lines += ["", *_energy(part), "", *_ratios(part)]
    for title, table in ablation.tables.items():
        for encoder, every in table.items():
            recipes = [name for name in every if name in ablation.rows.get(encoder, ())]
            known = {row.name for row in rows.get(encoder, ())}
            missing = [name for name in recipes if name not in known]
            if len(recipes) - len(missing) > 1:  # one alone compares nothing
                lines += ["", f"**{title}** (encoder {encoder})", ""]
                lines += markdown(rows[encoder], recipes, {**TITLES, **VARIANTS})
                if missing:
                    names = "; ".join({**TITLES, **VARIANTS}[name] for name in missing)
                    lines += ["", f"Not measured yet: {names}."]
    for title, sweep in found["sweeps"].items():
        if sweep["mpjpe_mm"]:
            lines += ["", _sweep(title, sweep)]
    return lines


def _energy(rows: list[TableRow]) -> list[str]:
    """Return the energy scores of the two that have a distribution."""
    known = {row.name: row for row in rows}
    if "default" not in known:
        return []
    return [
        "Energy score per joint (lower is better): "
        f"{known['default'].text('energy_score_mm')} mm of DiffPose's hypotheses, "
        f"{known['default'].text('gaussian_energy_score_mm')} mm of its recalibrated Gaussians, "
        f"{known[CONTEXT].text('gaussian_energy_score_mm')} mm of the context encoder with a "
        "Gaussian fitted to its errors."
    ]


def _ratios(rows: list[TableRow]) -> list[str]:
    known = {row.name: row for row in rows}
    lines = ["| DiffPose `default` over | MPJPE ratio | wanted at most |", "|---|---|---|"]
    if "default" not in known:
        return []
    own = known["default"].figures["mpjpe_mm"]
    for title, name, most in TARGETS:
        if name in known:
            values = known[name].figures["mpjpe_mm"]
            ratios = [a / b for a, b in zip(own, values, strict=True)]
            each = ", ".join(f"{ratio:.3f}" for ratio in ratios)
            mean = sum(ratios) / len(ratios)
            lines.append(f"| {title} | {mean:.3f} ({each}) | {most:.2f} |")
    return lines


def _sweep(title: str, sweep: dict[str, Any]) -> str:
    values = ", ".join(
        f"{value}: {sum(errors) / len(errors):.2f}" for value, errors in sweep["mpjpe_mm"].items()
    )
    where = f"{sweep['encoder']}, {sweep['recipe']}, {sweep['split']} split"
    if sweep["most_poses"]:
        where += f", some {sweep['most_poses']} poses evenly spread"
    return f"{title} ({where}; MPJPE mm): {values}."


if __name__ == "__main__":
    raise SystemExit(command_line.run(BenchmarkSettings, benchmark, sys.argv[1:]))
