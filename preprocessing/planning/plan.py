"""The plan of a store: which clip gets which rows, fixed and saved before any work is done.

Clips are sorted by split and path, so that the same input gives the same store whatever order the
workers finish in. The plan only ever grows at its end: files that appear later, or can be read at
last, get new rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from diffpose.platform.base.config import differences
from diffpose.platform.base.errors import StoreError
from diffpose.platform.base.storage import exists, join, list_names, read_json, write_json
from diffpose.platform.store.clips import Clip, Split
from diffpose.platform.store.fields import span_rows_for
from diffpose.preprocessing.records.seeds import number
from diffpose.preprocessing.settings import CONTENT_FIELDS, PreprocessSettings

FILE_NAME = "plan.json"
_SPLIT_ORDER: tuple[Split, ...] = ("train", "validation", "test")


class Span(BaseModel, frozen=True, extra="forbid"):
    """Rows that one task writes alone."""

    span: int
    first_row: int
    n_rows: int
    clips: list[Clip]


class SpanMarker(BaseModel, frozen=True, extra="ignore"):
    """What is written when a span is done."""

    span: int
    errors: dict[str, str]  # clip -> why it failed
    skipped: list[str] = []  # clips that there was nothing to make from


class Plan(BaseModel, frozen=True, extra="forbid"):
    """All spans of a store, the files that could not be read, and the settings behind them."""

    span_rows: int
    spans: list[Span] = []
    unreadable: dict[str, str] = {}  # path -> error
    damaged: dict[str, str] = {}  # path -> what is wrong from some frame on; those before are kept
    settings: dict[str, Any] = {}

    @property
    def n_rows(self) -> int:
        """Return the rows of the store, padding included."""
        return self.spans[-1].first_row + self.spans[-1].n_rows if self.spans else 0

    def sources(self) -> set[str]:
        """Return the paths that have rows."""
        return {clip.source for span in self.spans for clip in span.clips}


@dataclass(frozen=True)
class Probe:
    """What a first look at a file found: its clips, or why it cannot be used.

    Attributes:
        source: path below the source folder.
        clips: without rows yet.
        error: why there are none.
        damage: what is wrong after the clips' last frame.
    """

    source: str
    clips: tuple[Clip, ...] = ()
    error: str = ""
    damage: str = ""


def load_plan(settings: PreprocessSettings) -> Plan | None:
    """Return the saved plan of the store, None when there is none.

    Raises:
        StoreError: the store was made with other settings.
    """
    uri = join(settings.store, FILE_NAME)
    if not exists(uri):
        return None
    plan = Plan.model_validate(read_json(uri))
    changed = differences(settings, plan.settings, CONTENT_FIELDS)
    if changed:
        raise StoreError(
            f"The store at {settings.store!r} was made with other settings:\n  "
            + "\n  ".join(changed)
            + "\nGive another store=, or the settings that it was made with."
        )
    return plan


def save_plan(store_uri: str, plan: Plan) -> None:
    """Write the plan atomically."""
    write_json(join(store_uri, FILE_NAME), plan.model_dump(mode="json"))


def extend_plan(
    plan: Plan | None, settings: PreprocessSettings, probes: Sequence[Probe], longest_span: int
) -> Plan:
    """Give rows to newly probed files.

    Args:
        plan: what is there already.
        settings: of the store.
        probes: first looks at the files that have no rows yet.
        longest_span: rows that a task may hold.
    """
    clips = [clip for probe in probes for clip in probe.clips]
    clips.sort(key=lambda c: (_SPLIT_ORDER.index(c.split), c.source, c.first_frame))
    total = sum(clip.n_rows for clip in clips)
    span_rows = plan.span_rows if plan else min(span_rows_for(total), longest_span)
    spans = list(plan.spans) if plan else []
    first_row = plan.n_rows if plan else 0
    for group in _packed(clips, span_rows):
        used = sum(clip.n_rows for clip in group)
        n_rows = -(-used // span_rows) * span_rows
        placed, row = [], first_row
        for clip in group:
            placed.append(clip.model_copy(update={"first_row": row}))
            row += clip.n_rows
        spans.append(Span(span=len(spans), first_row=first_row, n_rows=n_rows, clips=placed))
        first_row += n_rows
    return Plan(
        span_rows=span_rows,
        spans=spans,
        unreadable={probe.source: probe.error for probe in probes if probe.error},
        damaged={
            **(plan.damaged if plan else {}),
            **{probe.source: probe.damage for probe in probes if probe.damage},
        },
        settings=settings.model_dump(mode="json"),
    )


def body_of(settings: PreprocessSettings, source: str, split: Split) -> int:
    """Return which pseudo-subject of its split performs a motion."""
    n_bodies: int = getattr(settings.bodies, split)
    return number(settings.seed, "body of", source) % n_bodies


def _packed(clips: Sequence[Clip], span_rows: int) -> list[list[Clip]]:
    """Fill spans with neighbouring clips; a clip longer than a span gets several spans' rows."""
    groups: list[list[Clip]] = []
    used = 0
    for clip in clips:
        if not groups or used + clip.n_rows > span_rows or clip.split != groups[-1][0].split:
            groups.append([])
            used = 0
        groups[-1].append(clip)
        used += clip.n_rows
    return groups


def markers(log_uri: str) -> dict[int, SpanMarker]:
    """Return what was written when each span was done, by the span's number."""
    found = (
        SpanMarker.model_validate(read_json(join(log_uri, name)))
        for name in list_names(log_uri, ".json")
    )
    return {marker.span: marker for marker in found}


def left(plan: Plan, done: dict[int, SpanMarker]) -> list[Span]:
    """Return the spans that are not done, or in which a clip failed."""
    return [span for span in plan.spans if span.span not in done or done[span.span].errors]


def n_clip_rows(plan: Plan) -> int:
    """Return the rows that clips fill, padding left out."""
    return sum(clip.n_rows for span in plan.spans for clip in span.clips)


def clips_with_status(plan: Plan, done: dict[int, SpanMarker]) -> list[Clip]:
    """Return all clips with how their making went."""
    clips = []
    for span in plan.spans:
        marker = done.get(span.span)
        for clip in span.clips:
            if marker is None:
                clips.append(clip)
                continue
            error = marker.errors.get(clip.clip, "")
            status = "failed" if error else "done"
            clips.append(clip.model_copy(update={"status": status, "error": error}))
    return clips
