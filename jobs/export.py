#!/usr/bin/env python
"""Answers of diffpose predict as files that other programs open.

diffpose export answers=OUT to=trc,c3d,csv,parquet
diffpose export answers=OUT/FILM_person_0.json to=trc out=FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from diffpose.platform.base import command_line
from diffpose.platform.exports.workflow import ExportSettings, export_answers


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(ExportSettings, export_answers, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
