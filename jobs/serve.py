#!/usr/bin/env python
"""Answer requests over HTTP: 2D keypoints in, 3D poses with their uncertainty out.

diffpose serve [run=RUN_DIR]
curl -s localhost:8000/healthz; browse to http://127.0.0.1:8000/docs
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from diffpose.platform.base import command_line
from diffpose.platform.workflows.serve import ServeSettings, run_service


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(ServeSettings, run_service, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
