#!/usr/bin/env python
"""Videos, or keypoint files alone, in; 3D poses with their uncertainty out, as files.

diffpose predict video=VIDEO out=DIR
diffpose predict video=[a.mp4,b.mp4] out=DIR people.several=true detector.kind=vitpose
diffpose predict run=RUN_DIR keypoints=FILE_OR_FOLDER width=1920 height=1080 fps=30 out=DIR

Writes per person VIDEO_person_K.npz (poses, hypotheses, covariances, keypoints, times) and .json
(the same without hypotheses and covariances). Run again to go on where it stopped. Look at them:
diffpose view answers=DIR film=VIDEO out=FOLDER.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from diffpose.platform.base import command_line
from diffpose.platform.workflows.predict import PredictSettings, predict


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(PredictSettings, predict, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
