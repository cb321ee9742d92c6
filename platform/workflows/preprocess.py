"""Recordings -> pose store: detections, then mixtures; restartable."""

from __future__ import annotations

import sys
from typing import Any, TypeVar

from diffpose.platform.base.storage import absolute
from diffpose.preprocessing.derived.refinement import fit_mixtures
from diffpose.preprocessing.keypoints.recorded import RecordedSettings
from diffpose.preprocessing.pipeline import Summary, detect
from diffpose.preprocessing.settings import PreprocessSettings

S = TypeVar("S", bound=PreprocessSettings)


def preprocess(settings: PreprocessSettings) -> int:
    """Run the stages; returns the exit status."""
    settings = with_absolute_uris(settings)
    summaries: dict[str, Summary] = {}
    if "detect" in settings.stages:
        summaries["detect"] = detect(settings)
        print_summary("detect", summaries["detect"])
        if summaries["detect"].rows == 0:
            sys.stderr.write("error: not one clip could be made; see the failures above\n")
            return 1
    if "mixtures" in settings.stages:
        summaries["mixtures"] = fit_mixtures(
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


def with_absolute_uris(settings: S) -> S:
    """Return the settings with URIs that mean the same on every worker."""
    uri = settings.source.uri
    found = [absolute(one) for one in uri] if isinstance(uri, list) else absolute(uri)
    update: dict[str, Any] = {"source": settings.source.model_copy(update={"uri": found})}
    if isinstance(settings.detector, RecordedSettings):
        where = absolute(settings.detector.uri)
        update["detector"] = settings.detector.model_copy(update={"uri": where})
    if settings.store:
        update["store"] = absolute(settings.store)
    if settings.calibration:
        update["calibration"] = absolute(settings.calibration)
    return settings.model_copy(update=update)


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
