#!/usr/bin/env python
"""Look at answers: a page of one file, a film with the poses drawn in, a recording for Rerun.

diffpose view answers=OUT out=FOLDER
diffpose view answers=OUT film=FILM.mp4 overlay=true out=FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from diffpose.platform.base import command_line
from diffpose.platform.workflows.view import ViewSettings, view


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(ViewSettings, view, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
