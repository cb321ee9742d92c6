"""Looking through the files of a source, one by one."""

from __future__ import annotations

from collections.abc import Callable

from diffpose.platform.base.errors import DiffPoseError
from diffpose.platform.base.progress import Progress
from diffpose.preprocessing.datasets.checks import Problem
from diffpose.preprocessing.sources.interface import SourceReport


def look_through(files: dict[str, str], look: Callable[[str, str], str]) -> SourceReport:
    """Open every file of a source.

    Args:
        files: name -> URI.
        look: name and URI -> what the file holds; raises DiffPoseError where it cannot be used.
    """
    report = SourceReport("")
    progress = Progress("inspect", len(files), "files")
    for name, uri in files.items():
        try:
            report.found[name] = look(name, uri)
        except DiffPoseError as error:
            report.problems.append(Problem(name, "cannot be used", str(error)))
        progress.advance(1)
    report.title = f"{len(report.found)} readable files, {len(report.problems)} not"
    report.values = {
        "files": report.found,
        "problems": [vars(problem) for problem in report.problems],
    }
    return report
