#!/usr/bin/env python
"""Train many recipes on the same encoders and poses, in parallel, and fill the paper's tables.

diffpose ablate --config configs/benchmark/open_mocap.yaml motion=FOLDER folder=runs/open_mocap
diffpose ablate --config ... motion=FOLDER folder=runs/small profile=small on=[frame]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from diffpose.platform.ablation.settings import AblationSettings
from diffpose.platform.base import command_line
from diffpose.platform.workflows.ablate import ablate


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(AblationSettings, ablate, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
