"""Sending spans through their stages, with a CPU for each worker and each detecting process."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from diffpose.platform.base.progress import Progress
from diffpose.platform.execution.ray_session import ray_session
from diffpose.platform.execution.ray_stages import ActorStage, Stage, actors_on_gpus, run_stages
from diffpose.platform.store.clips import Clip
from diffpose.preprocessing.planning.plan import Plan, left, markers
from diffpose.preprocessing.planning.span_row import SpanRow
from diffpose.preprocessing.settings import PreprocessSettings


def session(settings: PreprocessSettings) -> contextlib.AbstractContextManager[None]:
    """Open Ray with a CPU for each worker and each detecting process."""
    extra = settings.detector_workers or 0
    return ray_session(None if settings.workers is None else settings.workers + extra)


def detecting(stage: Stage, settings: PreprocessSettings) -> Stage | ActorStage:
    """Return a stage that detects: in processes of its own where settings or GPUs ask for them."""
    actors = settings.detector_workers
    if actors is None and settings.detector_gpus:
        actors = actors_on_gpus("detector_gpus", settings.detector_gpus)
    return ActorStage(stage, actors, settings.detector_gpus) if actors else stage


def run_spans(
    what: str,
    rows: Sequence[SpanRow],
    stages: Sequence[Stage | ActorStage],
    total_rows: int,
    workers: int | None,
) -> None:
    """Run stages that end in SpanDone over what is left, inside an open session."""
    to_do = sum(clip.n_rows for row in rows for clip in row.span.clips)
    progress = Progress(what, total_rows, "frames", already=total_rows - to_do)
    for done in run_stages(rows, stages, workers):
        progress.advance(done.rows)


def spans_left(plan: Plan, clips: Sequence[Clip], log_uri: str) -> list[SpanRow]:
    """Return the spans that are left, each with its clips that could not be detected.

    Args:
        plan: of the store.
        clips: its good clips.
        log_uri: folder of the markers of what is made from them.
    """
    good = {clip.clip for clip in clips}
    # a span whose clips were detected only after its stage was run is not done
    done = {n: m for n, m in markers(log_uri).items() if not good & {*m.skipped}}
    return [
        SpanRow(span, skipped=tuple(c.clip for c in span.clips if c.clip not in good))
        for span in left(plan, done)
    ]
