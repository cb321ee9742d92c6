"""Timing side by side, and the figures that come of it."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from diffpose.benchmarks.results import processor


@dataclass(frozen=True)
class Figure:
    """One result: ours, the peer's, and ours over the peer's (larger is better for both)."""

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float

    def record(self) -> dict[str, Any]:
        """Return what ``--json`` writes of it."""
        return {**asdict(self), "ratio": self.value / self.peer_value}


def interleaved(
    work: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float] | None = None
) -> dict[str, float]:
    """Run each piece of work once per round, in turns; return the median seconds of each.

    Args:
        work: name -> what is timed; each was called once before, so that nothing is compiled.
        rounds: turns.
        clock: default CPU time of this thread, which other processes do not lengthen (they still
            share its caches).
    """
    clock = clock or time.thread_time
    for function in work.values():
        function()
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, function in work.items():
            start = clock()
            function()
            taken[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def machine() -> str:
    """Describe the machine in a line."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} CPU cores ({processor()}), Python {platform.python_version()}, numpy "
        f"{np.__version__}; load average {load:.1f} when it began"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def section(title: str, command: str, text: Sequence[str]) -> str:
    """Return a section of RESULTS.md."""
    return "\n".join([f"## {title}", "", "```", command, "```", "", *text]) + "\n"
