#!/usr/bin/env python
"""Motion of our own -> BVH files that preprocess and render read as any library.

diffpose make-motion out=FOLDER
diffpose make-motion out=FOLDER files=200 seconds=20 fps=30 seed=0 kinds=[freestyle,balancing]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from diffpose.platform.base import command_line
from diffpose.platform.synthesis.make_motion import MakeMotionSettings, make_motion


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(MakeMotionSettings, make_motion, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
