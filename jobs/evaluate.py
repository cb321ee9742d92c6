#!/usr/bin/env python
"""Measure a run on held-out poses; further runs beside it on the same poses; a report.

An interrupted evaluation goes on where it stopped.

diffpose evaluate run=RUN_DIR store=STORE
diffpose evaluate run=RUN_DIR store=STORE compare=[RUN_2,RUN_3] --json FILE
diffpose evaluate run=RUN_DIR store=STORE --table      # under the published rows
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from diffpose.platform.base import command_line
from diffpose.platform.workflows.evaluate import EvaluateSettings, evaluate


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(EvaluateSettings, evaluate, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
