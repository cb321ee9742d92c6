"""diffpose inspect source...: what a source holds, what is missing, whether its files agree."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from diffpose.platform.base.storage import write_json
from diffpose.preprocessing.settings import SourceSettings
from diffpose.preprocessing.sources.registry import source_alone

_MOST = 20  # problems that are printed


def inspect_source(source: SourceSettings, json_file: str | None) -> int:
    """Print and save what a source holds; returns 1 where a check failed.

    Raises:
        SourceError: there is nothing, or a file is another kind of file.
    """
    source = source.absolute()
    report = source_alone(source).check()
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    table = Table("", "found", title=report.title)
    for what, text in report.found.items():
        table.add_row(what, text)
    console.print(table)
    for problem in report.problems[:_MOST]:
        console.print(
            f"{problem.where}: {problem.what}. {problem.cause}", style="red", markup=False
        )
    if len(report.problems) > _MOST:
        console.print(f"... and {len(report.problems) - _MOST} more; --json FILE has all")
    if not report.problems:
        console.print("every check passed")
    if json_file:
        write_json(json_file, {"source": source.model_dump(mode="json"), **report.values})
    return 1 if report.problems else 0
