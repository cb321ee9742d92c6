#!/usr/bin/env python
"""Measure the product on this machine, side by side with what else there is.

diffpose benchmark mixture|sampling|preprocess|store|metrics|evaluate_metrics|denoiser|all
diffpose benchmark all results=true        # also writes the tables to benchmarks/RESULTS.md
diffpose benchmark mixture frames=16 rounds=3   # quick
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings
from diffpose.platform.base.storage import write_json

TITLES = {
    "mixture": "Mixtures: EM on H_K draws",
    "sampling": "Sampling H_K",
    "preprocess": "From heatmaps to the store",
    "store": "Reading the store in training",
    "metrics": "Metrics",
    "evaluate_metrics": "Evaluation of 500,000 poses, after the model",
    "denoiser": "The released denoiser",
}
What = Literal[
    "mixture", "sampling", "preprocess", "store", "metrics", "evaluate_metrics", "denoiser", "all"
]


class BenchmarkSettings(Settings):
    """Speed and likelihood, side by side in one run."""

    what: What = Field(description="which benchmark, or all")
    folder: str = Field("runs/benchmark", description="where films and stores are made and kept")
    frames: int = Field(128, ge=2, description="size of the work")
    rounds: int = Field(5, ge=1, description="turns; medians are reported")
    json_file: str | None = Field(None, description="write the figures there too (--json FILE)")
    results: bool = Field(False, description="write the tables to benchmarks/RESULTS.md")


def benchmark(settings: BenchmarkSettings) -> None:
    """Run, print, and write what was asked for."""
    from diffpose.benchmarks.measure import machine, section
    from diffpose.benchmarks.results import replace_section

    folder = Path(settings.folder)
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for name in TITLES if settings.what == "all" else (settings.what,):
        where = machine()
        module = importlib.import_module(f"diffpose.benchmarks.{name}")
        figures, text = module.benchmark(folder, settings.frames, settings.rounds)
        sizes = f" frames={settings.frames}" if settings.frames != 128 else ""
        command = f"diffpose benchmark {name}{sizes}"
        body = section(TITLES[name], command, [where + ".", "", *text])
        print(body, flush=True)
        records += [figure.record() for figure in figures]
        if settings.results:
            replace_section(TITLES[name].lower(), body)
    for record in records:
        print(
            f"{record['name']}: {record['value']:.0f} {record['unit']}, "
            f"{record['ratio']:.2f} x {record['peer']}"
        )
    if settings.json_file:
        write_json(settings.json_file, records)


def main(arguments: Sequence[str]) -> int:
    """Run from the command line; the first word may name the benchmark."""
    first, *rest = arguments or [""]
    words = [f"what={first}", *rest] if first in (*TITLES, "all") else list(arguments)
    return command_line.run(BenchmarkSettings, benchmark, words)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
