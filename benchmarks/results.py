"""Sections of RESULTS.md that benchmarks write themselves."""

from __future__ import annotations

import platform
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"


def replace_section(section: str, text: str) -> None:
    """Put a section into RESULTS.md in the place of its last version."""
    old = RESULTS.read_text() if RESULTS.exists() else "# Results\n\n"
    begin, end = f"<!-- begin {section} -->", f"<!-- end {section} -->"
    block = f"{begin}\n{text}{end}\n"
    if begin in old:
        old = old[: old.index(begin)] + block + old[old.index(end) + len(end) + 1 :]
    else:
        old = f"{old.rstrip()}\n\n{block}"
    RESULTS.write_text(old)
    print(f"written: {RESULTS}")


def processor() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"
