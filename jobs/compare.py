#!/usr/bin/env python
"""Evaluations side by side: paired differences on the same poses, with intervals.

diffpose compare RUN_DIR RUN_2 RUN_3                 # each with its evaluation/
diffpose compare RUN_DIR methods=all                 # all that RUN_DIR/evaluation holds
diffpose compare FOLDER_1 FOLDER_2 out=FOLDER        # folders of diffpose evaluate output=FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator
from rich.console import Console
from rich.table import Table

from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings
from diffpose.platform.base.storage import absolute, join, write_bytes, write_json
from diffpose.platform.evaluation.comparison import Comparison, compare, evaluation_folder
from diffpose.platform.evaluation.figures import shown_in
from diffpose.platform.reports.comparison_report import (
    interval_text,
    render_comparison,
)


class CompareSettings(Settings):
    """Compare evaluations of the same poses."""

    evaluations: list[str] = Field(
        min_length=1,
        description="run directories or evaluation folders; the first is compared with",
    )
    methods: Literal["own", "all"] = Field(
        "own",
        description="own: the run of each evaluation; all: its context encoder and the runs beside "
        "it as well",
    )
    resamples: int = Field(4000, ge=100, le=1_000_000, description="of whole clips")
    seed: int = Field(0, ge=0, description="of the resamples")
    out: str | None = Field(
        None, description="folder of comparison.html and .json; default: comparison/ in the first's"
    )
    json_file: str | None = Field(None, description="write the figures there too (--json FILE)")

    @field_validator("evaluations", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def compare_evaluations(settings: CompareSettings) -> None:
    """Compare, print, write the page and the figures."""
    comparison = compare(
        settings.evaluations, settings.methods == "all", settings.resamples, settings.seed
    )
    print_tables(comparison)
    first = evaluation_folder(settings.evaluations[0])
    out = absolute(settings.out) if settings.out else join(first, "comparison")
    figures = {
        **comparison.to_json(), "resamples": settings.resamples, "seed": settings.seed
    }  # fmt: skip
    write_json(join(out, "comparison.json"), figures)
    if settings.json_file:
        write_json(settings.json_file, figures)
    page = join(out, "comparison.html")
    write_bytes(page, render_comparison(comparison).encode())
    print(f"comparison: {page}")


def print_tables(comparison: Comparison) -> None:
    """Print the methods' figures, then the differences to the first."""
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    title = f"{comparison.poses.split} split, {len(comparison.poses.rows)} poses"
    shown = [figure.plain for figure in shown_in("comparison")]
    table = Table("method", *(figure.head for figure in shown), title=title)
    for method in comparison.methods:
        table.add_row(method.name, *(figure.text(method.figures) for figure in shown))
    console.print(table)
    compared = shown_in("differences")
    heads = [text for f in compared for text in (f"{f.head} [95 %]", "sign flips")]
    table = Table("method", *heads, title=f"minus {comparison.methods[0].name}, clips resampled")
    for name, parts in comparison.differences.items():
        cells = []
        for found in parts.values():
            cells += [interval_text(found).replace("[", r"\["), f"{100 * found.sign_flips:.1f} %"]
        table.add_row(name, *cells)
    console.print(table)
    if comparison.warning:
        console.print(f"warning: {comparison.warning}")


def main(arguments: Sequence[str]) -> int:
    """Run from the command line; words without = before the settings name evaluations."""
    given = list(arguments)
    count = next(
        (i for i, word in enumerate(given) if "=" in word or word.startswith("-")), len(given)
    )
    words = [f"evaluations={json.dumps(given[:count])}"] if count else []
    return command_line.run(CompareSettings, compare_evaluations, [*words, *given[count:]])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
