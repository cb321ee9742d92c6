#!/usr/bin/env python
"""Make a detector's heatmaps honest: fit one temperature per joint on frames with known truth.

diffpose calibrate --config configs/preprocess/videos.yaml source.uri=FILMS out=calibration.json
diffpose preprocess ... calibration=calibration.json

The films need sidecars with true poses (diffpose render writes such films). Temperatures are
fitted on one split and judged on another.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from diffpose.platform.base import command_line
from diffpose.platform.workflows.calibrate import CalibrateSettings, calibrate


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(CalibrateSettings, calibrate, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
