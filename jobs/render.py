#!/usr/bin/env python
"""Render films with known truth from motion capture: a lit, dressed body, H.264, sidecars.

diffpose render source.uri=DIR_OF_BVH out=FILMS
diffpose render --config configs/render/detector.yaml source.uri=DIR_OF_BVH out=FILMS

Each NAME.mp4 gets NAME.json (camera, subject, split) and NAME.truth.npz (true joints and boxes).
Run again to go on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from diffpose.platform.base import command_line
from diffpose.platform.synthesis.render import render
from diffpose.preprocessing.render.settings import FilmSettings


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(FilmSettings, render, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
