#!/usr/bin/env python
"""DiffPose on single frames of real motion capture, against its baselines, on CPU.

    python benchmarks/frame_mocap.py motion=../shared/mocap/bandai-1 folder=runs/frame_mocap

Runs the command line as a user does: preprocess, train DiffPose, train three baselines on the same
encoder, evaluate all on the same held-out poses; then writes the section "Frames of real motion
capture" of benchmarks/RESULTS.md. About 45 minutes on two cores; goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import Field

from diffpose.benchmarks.results import processor, replace_section
from diffpose.jobs import command_line
from diffpose.platform.config import Settings

SECTION = "frames of real motion capture"
BASELINES = {
    "baseline_a": ("configs/train/baseline_a_cpu.yaml", []),
    "stand_diff": ("configs/train/stand_diff_cpu.yaml", []),
    "baseline_c": ("configs/train/baseline_a_cpu.yaml", ["denoiser.condition=heatmap"]),
}
NAMES = {
    "context encoder": "context encoder alone",
    "diffpose": "DiffPose (mixture, heatmap condition)",
    "baseline_a": "Baseline A: one step, 2D pose only",
    "stand_diff": "Stand-Diff: plain DDPM noise, no condition",
    "baseline_c": "Baseline C: one step, everything that DiffPose is told",
}


class BenchmarkSettings(Settings):
    """Frame benchmark on BVH motion capture."""

    motion: str = Field(description="folder of Bandai-Namco BVH files")
    folder: str = Field("runs/frame_mocap", description="where stores and runs go")


def benchmark(settings: BenchmarkSettings) -> None:
    """Run all commands and write the table."""
    folder = Path(settings.folder)
    folder.mkdir(parents=True, exist_ok=True)
    store, run = folder / "store", folder / "diffpose"
    _step(
        folder,
        "preprocess",
        ["--config", "configs/preprocess/bandai.yaml", f"source.uri={settings.motion}",
         f"store={store}"],
    )  # fmt: skip
    where = [f"store={store}", f"run={run}"]
    _step(folder, "train", ["--config", "configs/train/frame_cpu.yaml", *where])
    for name, (config, extra) in BASELINES.items():
        arguments = ["--config", config, f"store={store}", f"run={folder / name}", *extra]
        _step(folder, "train", [*arguments, f"encoder={run}"], name)
    compare = ",".join(str(folder / name) for name in BASELINES)
    figures: dict[str, Any] = {}
    for n in (1, 5, 20):
        target = folder / f"n{n}.json"
        others = [f"compare=[{compare}]"] if n == 5 else []
        _step(
            folder,
            "evaluate",
            [*where, *others, f"n_hypotheses={n}", "--json", str(target)],
            f"evaluate_n{n}",
        )
        figures[str(n)] = json.loads(target.read_text())
    _write(settings, folder, figures)


def _step(folder: Path, job: str, arguments: list[str], name: str = "") -> None:
    """Run one command; its wall time is kept the first time that it ends well."""
    times_file = folder / "times.json"
    times = json.loads(times_file.read_text()) if times_file.exists() else {}
    key = name or job
    if key in times:
        return
    print(f"$ diffpose {job} {' '.join(arguments)}", flush=True)
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "diffpose.jobs.main", job, *arguments], check=True)
    times[key] = time.monotonic() - start
    times_file.write_text(json.dumps(times))


def _write(settings: BenchmarkSettings, folder: Path, figures: dict[str, Any]) -> None:
    times = json.loads((folder / "times.json").read_text())
    main = figures["5"]
    context = main["context_encoder"]
    rows = [("context encoder", context), *main["runs"].items()]
    lines = [
        f"## {SECTION[0].upper()}{SECTION[1:]}",
        "",
        "```",
        f"python benchmarks/frame_mocap.py motion=DIR_OF_BANDAI_1 folder={settings.folder}",
        "```",
        "",
        f"{main['n_poses']} test poses of motions and bodies that training never saw "
        f"(configs/preprocess/bandai.yaml), seed {main['seed']}, one training run each, "
        f"{os.cpu_count()} CPU cores ({processor()}), Python {platform.python_version()}. "
        f"Protocol: {main['protocol']}.",
        "",
        "| method | MPJPE mm | P-MPJPE mm | / context encoder |",
        "|---|---|---|---|",
    ]
    for name, part in rows:
        ratio = part["mpjpe_mm"] / context["mpjpe_mm"]
        lines.append(
            f"| {NAMES[name]} | {part['mpjpe_mm']:.2f} | {part['p_mpjpe_mm']:.2f} | {ratio:.3f} |"
        )
    by_n = ", ".join(f"N={n}: {figures[n]['mpjpe_mm']:.2f} mm" for n in ("1", "5", "20"))
    lines += ["", f"DiffPose by number of hypotheses: {by_n}.", "", "| step | wall time s |"]
    lines += ["|---|---|", *(f"| {name} | {seconds:.0f} |" for name, seconds in times.items()), ""]
    lines += ["| action | poses | context encoder mm | DiffPose mm |", "|---|---|---|---|"]
    for action, part in context["per_action"].items():
        own = main["per_action"][action]["mpjpe_mm"]
        lines.append(f"| {action} | {part['n_poses']} | {part['mpjpe_mm']:.2f} | {own:.2f} |")
    replace_section(SECTION, "\n".join(lines) + "\n")


if __name__ == "__main__":
    raise SystemExit(command_line.run(BenchmarkSettings, benchmark, sys.argv[1:]))
