#!/usr/bin/env python
"""Train: context encoder, its contexts, mixtures, denoiser, its uncertainty. Run again to go on.

diffpose train --config configs/train/frame_cpu.yaml store=STORE run=RUN_DIR
diffpose train --config configs/train/frame_cpu.yaml store=STORE run=RUN_DIR stage=encoder
diffpose train --config configs/train/stand_diff_cpu.yaml store=STORE run=RUN_2 encoder=RUN_DIR
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from diffpose.platform.base import command_line
from diffpose.platform.training.settings import TrainSettings
from diffpose.platform.workflows.train import train


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(TrainSettings, train, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
