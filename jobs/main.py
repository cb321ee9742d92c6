"""The ``diffpose`` command: ``diffpose JOB [--config FILE] [key=value ...]``."""

from __future__ import annotations

import difflib
import importlib
import sys

import diffpose

JOBS = {
    "preprocess": "recordings -> pose store: detections and mixtures",
    "make-motion": "motion of our own as a library of BVH files",
    "render": "films with known truth from motion capture",
    "calibrate": "make a detector's heatmaps honest, on films with known truth",
    "get-detector": "bring a real detector's networks to this machine",
    "train-detector": "train the bundled detector on rendered films",
    "inspect": "what a pose store holds; or whether a source's files agree",
    "predict": "videos or keypoint files in, 3D poses with their uncertainty out",
    "export": "answers as files of other programs: TRC, C3D, CSV, Parquet",
    "view": "answers as a page, a film with the poses drawn in, a file for Rerun",
    "train": "context encoder, mixtures with its depth, denoiser",
    "recalibrate": "a run's errors on known poses: what its uncertainty and refinement rest on",
    "evaluate": "errors on the test split, report",
    "ablate": "many recipes side by side on the same poses, the paper's tables",
    "compare": "evaluations side by side: paired differences with intervals",
    "serve": "answer requests over HTTP",
    "import-checkpoint": "a run from the networks that DiffPose's authors released",
    "export-gmm": "DiffPose's own mixture file from a pose store",
    "import-gmm": "DiffPose's own mixture file as mixtures of a pose store",
    "human36m-videos": "sidecars for Human3.6M's own videos, so that a detector can look at them",
    "benchmark": "speed and likelihood on this machine, side by side",
    "demo": "the whole way on motion that the project makes itself",
}


def file_of(name: str) -> str:
    """Return the module of a job: its name with underscores, but for one.

    As a script, a job's folder comes first on the path: a jobs/inspect.py would stand in for
    Python's own inspect.
    """
    return "inspect_store" if name == "inspect" else name.replace("-", "_")


def main() -> int:
    """Dispatch to a job; every job is also ``python jobs/JOB.py`` with the same arguments."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["--version"], ["-V"]):
        sys.stdout.write(f"diffpose {diffpose.__version__}\n")
        return 0
    if arguments[:1] == ["help"]:  # diffpose help JOB
        arguments = [*arguments[1:2], "--help"]
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = [f"  {name:19s}{text}" for name, text in JOBS.items()]
        sys.stdout.write(
            "usage: diffpose JOB [--config FILE] [key=value ...]\n\njobs:\n"
            + "\n".join(lines)
            + "\n\ndiffpose help JOB lists the settings of a job; "
            "diffpose --version tells which version this is.\n"
        )
        return 0
    name = arguments[0]
    if name not in JOBS:
        close = difflib.get_close_matches(name, JOBS, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Jobs: {', '.join(JOBS)}."
        sys.stderr.write(f"error: unknown job {name!r}. {hint}\n")
        return 2
    job = importlib.import_module(f"diffpose.jobs.{file_of(name)}")
    status: int = job.main(arguments[1:])
    return status


if __name__ == "__main__":
    raise SystemExit(main())
