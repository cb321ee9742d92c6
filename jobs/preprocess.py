#!/usr/bin/env python
"""Recordings -> pose store: detections, then mixtures. Run again to go on or to retry.

diffpose preprocess --config configs/preprocess/mocap.yaml source.uri=DIR_OF_BVH store=STORE
diffpose preprocess --config configs/preprocess/mocap.yaml source.uri=DIR store=s3://bucket/store
diffpose preprocess ... stages=mixtures mixture.depth=encoder encoder=RUN_DIR
ray job submit --working-dir . -- python jobs/preprocess.py --config ... source.uri=... store=...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from diffpose.platform.base import command_line
from diffpose.platform.workflows.preprocess import preprocess
from diffpose.preprocessing.settings import PreprocessSettings


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(PreprocessSettings, preprocess, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
