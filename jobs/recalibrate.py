#!/usr/bin/env python
"""Measure a run's errors on known poses: its ellipsoids then hold, and it can refine answers.

diffpose train does this by itself, on the validation split of its store. This job is for runs that
were imported, and for other data than a run was trained on.

diffpose recalibrate run=RUN_DIR store=STORE
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pydantic import Field

from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings
from diffpose.platform.base.storage import absolute
from diffpose.platform.evaluation.fit_uncertainty import SPLIT, recalibrate
from diffpose.platform.execution.ray_session import ray_session
from diffpose.platform.store.clips import Split


class RecalibrateSettings(Settings):
    """Fit a run's uncertainty to known poses, in place of what was fitted before."""

    run: str = Field(description="run directory with a trained or imported model")
    store: str = Field(description="pose store with known poses")
    split: Split = Field(SPLIT, description="whose poses; the test split is for reports")
    seed: int = Field(0, ge=0, description="of the hypotheses")
    workers: int | None = Field(None, ge=1, description="tasks at once; default: all CPUs")


def recalibrate_run(settings: RecalibrateSettings) -> int:
    """Measure and store; returns the exit status, 1 where there are too few poses."""
    with ray_session(settings.workers):
        store, run = absolute(settings.store), absolute(settings.run)
        fitted = recalibrate(store, run, settings.seed, settings.split, again=True)
    return 0 if fitted else 1


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(RecalibrateSettings, recalibrate_run, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
