"""What all jobs share on the command line: settings in, clear errors and exit status out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel

from diffpose.platform.base.config import load_settings
from diffpose.platform.base.errors import DiffPoseError

S = TypeVar("S", bound=BaseModel)


def run(settings: type[S], job: Callable[[S], int | None], arguments: Sequence[str]) -> int:
    """Read the settings, run the job, return the exit status.

    0: done; 1: nothing succeeded, or the job says so; 2: wrong input, explained in one message;
    130: interrupted (the same command goes on). Unknown exceptions keep their traceback.
    """
    try:
        return job(load_settings(settings, arguments)) or 0
    except DiffPoseError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; the same command goes on from here\n")
        return 130
