"""Recordings -> pose store: detections, then mixtures; restartable."""

from __future__ import annotations

import sys

from diffpose.platform.execution.ray_session import one_session
from diffpose.preprocessing.derived.mixtures import fit_mixture_group
from diffpose.preprocessing.pipeline import Summary, detect
from diffpose.preprocessing.settings import PreprocessSettings


@one_session()
def preprocess(settings: PreprocessSettings) -> int:
    """Run the stages; returns the exit status."""
    settings = settings.with_absolute_uris()
    summaries: dict[str, Summary] = {}
    if "detect" in settings.stages:
        summaries["detect"] = detect(settings)
        print_summary("detect", summaries["detect"])
        if summaries["detect"].rows == 0:
            sys.stderr.write("error: not one clip could be made; see the failures above\n")
            return 1
    if "mixtures" in settings.stages:
        summaries["mixtures"] = fit_mixture_group(
            settings.store,
            settings.mixture,
            settings.encoder,
            settings.seed,
            settings.workers,
        )
        print_summary(f"mixtures/{settings.mixture.group}", summaries["mixtures"])
        if summaries["mixtures"].rows == 0:
            return 1
    failed = any(summary.failed for summary in summaries.values())
    return 1 if settings.strict and failed else 0


def print_summary(stage: str, summary: Summary, most: int = 10) -> None:
    """Print counts and the first failures."""
    print(
        f"{stage}: {summary.clips} clips, {summary.rows} frames, {len(summary.failed)} failed",
        flush=True,
    )
    for name, error in sorted(summary.failed.items())[:most]:
        print(f"  failed: {name}: {error}")
    if len(summary.failed) > most:
        print(f"  ... and {len(summary.failed) - most} more; diffpose inspect lists them")
    for name, damage in sorted(summary.damaged.items())[:most]:
        print(f"  damaged, frames before it kept: {name}: {damage}")
