#!/usr/bin/env python
"""The bundled detector on films of bodies, motions and surroundings that it never saw.

    python benchmarks/bundled_detector.py folder=runs/bundled_detector

Renders films of motions, bodies and looks of other seeds than training's (one person in each,
two cameras, 10 frames per second), sends them through people finding and detection as
`diffpose preprocess` does, and compares with the truth: share of joints within 5 % of the height of
the person's box, and how often the truth lies within the 50 % and 90 % highest-density regions of
the heatmaps as shipped (with the shipped temperatures).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from diffpose.benchmarks.results import processor, replace_section
from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings, validate
from diffpose.platform.synthesis.render import render
from diffpose.platform.workflows.calibrate import CalibrateSettings, fit
from diffpose.preprocessing.detectors.bundled import load_weights
from diffpose.preprocessing.mocap.procedural.motion import write_motion_library
from diffpose.preprocessing.render.settings import FilmSettings

SECTION = "the bundled detector"
GROUPS = {
    "hips": ("RHip", "LHip"),
    "knees": ("RKnee", "LKnee"),
    "ankles": ("RFoot", "LFoot"),
    "shoulders": ("LShoulder", "RShoulder"),
    "elbows": ("LElbow", "RElbow"),
    "wrists": ("LWrist", "RWrist"),
}
TARGET = {"elbows": 0.90, "wrists": 0.90}


class BenchmarkSettings(Settings):
    """The bundled detector on unseen films."""

    folder: str = Field("runs/bundled_detector", description="where films go")
    motion: str | None = Field(
        None, description="folder of BVH files; default: motions of our own, of an unseen seed"
    )
    seed: int = Field(
        5, ge=0, description="of bodies, looks and surroundings; training had 0 and 1"
    )
    mirror: bool = Field(False, description="average with the mirrored image")
    weights: str | None = Field(None, description="other weights than the shipped ones")


def benchmark(settings: BenchmarkSettings) -> None:
    """Render, compare, write the section."""
    folder = Path(settings.folder)
    motion = settings.motion or str(folder / "motion")
    if settings.motion is None:
        write_motion_library(motion, None, 4, 4.0, 99)  # training had seeds 7 and 8
    films = {
        "source": {"uri": motion}, "out": str(folder / "films"), "fps": 10, "seed": settings.seed,
        "cameras": {"count": 2}, "split": {"test_share": 0.6, "validation_share": 0.3},
    }  # fmt: skip
    assert render(validate(FilmSettings, films)) == 0
    recipe = {
        "source": {"kind": "videos", "uri": films["out"]},
        "detector": {"kind": "bundled", "mirror": settings.mirror, "weights": settings.weights},
        "out": str(folder / "unused.json"),
    }
    result = fit(validate(CalibrateSettings, recipe), load_weights(settings.weights).temperature)
    joints = result["joints"]
    half, most = result["coverage"]["50%"], result["coverage"]["90%"]
    trained = load_weights(settings.weights).description["trained"]
    given = "".join(
        f" {name}={getattr(settings, name)}"
        for name in ("mirror", "weights")
        if getattr(settings, name)
    )
    lines = [
        "## The bundled detector",
        "",
        "```",
        f"python benchmarks/bundled_detector.py folder=runs/bundled_detector{given}",
        "```",
        "",
        f"{result['report_frames']} frames of motions, bodies, looks and "
        "surroundings that training never saw, one person in each film, boxes of the bundled "
        f"finder; {os.cpu_count()} CPU cores ({processor()}). Weights {result['detector']}: "
        f"{trained['heatmap']['epoch']} epochs in their last round. PCK: within 5 % of the height "
        "of the person's box. Coverage: share of truths within the highest-density regions; raw: "
        "the network's own probabilities, shipped: with the shipped temperatures (fitted on other "
        "films, in training). In sight: not hidden by the person's own body "
        "(model/geometry/body.py).",
        "",
        "| joints | PCK | wanted | in sight | PCK of these | 50 % raw | 50 % shipped | 90 % raw "
        "| 90 % shipped |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, members in GROUPS.items():
        rows = [joints.index(member) for member in members]
        lines.append(
            f"| {name} | {_mean(result['pck'], rows):.3f} | {TARGET.get(name, 0.95):.2f} | "
            f"{_in_sight(result, rows)} | "
            + " | ".join(
                f"{100 * _mean(part[key], rows):.1f}"
                for part in (half, most)
                for key in ("before", "given")
            )
            + " |"
        )
    every = list(range(len(joints)))
    lines.append(
        f"| all 17 | {_mean(result['pck'], every):.3f} | | {_in_sight(result, every)} | "
        + " | ".join(
            f"{100 * _mean(part[key], every):.1f}"
            for part in (half, most)
            for key in ("before", "given")
        )
        + " |"
    )
    print("\n".join(lines[-8:]))
    replace_section(SECTION, "\n".join(lines) + "\n")


def _in_sight(result: dict[str, Any], rows: list[int]) -> str:
    """Return the share of joints in sight, and how many of these were found."""
    shares = [result["share_in_sight"][row] for row in rows]
    found = [result["pck_in_sight"][row] or 0.0 for row in rows]
    return f"{np.mean(shares):.1%} | {np.average(found, weights=shares):.3f}"


def _mean(values: list[float], rows: list[int]) -> float:
    return float(np.mean([values[row] for row in rows]))


def main() -> int:
    """Run from the command line."""
    return command_line.run(BenchmarkSettings, benchmark, sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
