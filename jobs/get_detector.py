#!/usr/bin/env python
"""Bring a real detector to this machine.

diffpose get-detector blazepose
diffpose get-detector blazepose file=mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl
diffpose get-detector rtmpose-m layout=coco_17
diffpose get-detector vitpose
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from diffpose.platform.base import command_line
from diffpose.platform.downloads.get_detector import GetDetectorSettings, get_detector


def main(arguments: Sequence[str]) -> int:
    """Run from the command line; a first word without = is the detector's name."""
    words = list(arguments)
    if words and "=" not in words[0] and not words[0].startswith("-"):
        words[0] = f"name={words[0]}"
    return command_line.run(GetDetectorSettings, get_detector, words)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
