"""From recordings to stored detections, the whole chain on one screen.

    recordings --look, probe--> plan --[per span] source's stages -> write--> detections

What each kind of source does in these places is in preprocessing/sources; what is made from stored
detections later is in preprocessing/derived. A span is done when its marker exists; a rerun does
what is left and retries what failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from diffpose.platform.base.config import to_yaml
from diffpose.platform.base.errors import StoreError
from diffpose.platform.base.storage import join, write_bytes
from diffpose.platform.store.clips import write_clips
from diffpose.platform.store.fields import DETECTED_POSE
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.detectors.registry import temperatures
from diffpose.preprocessing.planning.plan import (
    Plan,
    clips_with_status,
    extend_plan,
    left,
    load_plan,
    markers,
    n_clip_rows,
    save_plan,
)
from diffpose.preprocessing.planning.run_spans import run_spans, session
from diffpose.preprocessing.planning.span_row import SpanRow, make_write_fn
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.interface import Source, SourceFile
from diffpose.preprocessing.sources.registry import source_of

LOG = "detect"


@dataclass(frozen=True)
class Summary:
    """How a stage ended.

    Attributes:
        clips: all clips and unreadable files.
        failed: clip or file -> error.
        rows: frames of the good clips.
        damaged: file -> what is wrong after the frames that were kept.
    """

    clips: int
    failed: dict[str, str]
    rows: int
    damaged: dict[str, str] = field(default_factory=dict)


def detect(settings: PreprocessSettings) -> Summary:
    """Fill a store with detections and true poses; go on where an earlier run stopped.

    Raises:
        SourceError: the source is missing or empty, or the detector cannot be loaded.
        StoreError: the store was made with other settings.
    """
    source = source_of(settings)
    source.recordings()  # says what is wrong before any weights are looked at
    version = settings.detector.version()
    temperature = temperatures(settings.detector, settings.calibration, version)
    plan = make_plan(settings, source)
    write_bytes(join(settings.store, "preprocess.yaml"), to_yaml(settings).encode())
    detector = {
        "version": version,
        "temperature": temperature.tolist(),
        "gives_pose": settings.detector.gives_pose,
        **settings.detector.model_dump(mode="json"),
    }
    store = PoseStore.create(
        settings.store,
        plan.n_rows,
        plan.span_rows,
        {
            "detector": detector,
            "config": settings.model_dump(mode="json"),
            "dataset": source.attributes(),
        },
    )
    _check_detector(store, detector)
    if settings.detector.gives_pose:
        store.require_array("", DETECTED_POSE, plan.n_rows)
    log = store.log_uri(LOG)
    # Known at once, so that a half-made store can be looked at.
    write_clips(store.uri, clips_with_status(plan, markers(log)))
    rows = [SpanRow(span) for span in left(plan, markers(log))]
    if rows:  # without any work Ray is not started
        with session(settings):
            stages = [*source.stages(temperature), make_write_fn(store.uri, log)]
            run_spans("detect", rows, stages, n_clip_rows(plan), settings.workers)
    clips = clips_with_status(plan, markers(log))
    write_clips(store.uri, clips)
    failed = {clip.clip: f"{clip.source}: {clip.error}" for clip in clips if clip.error}
    good = [clip for clip in clips if clip.status == "done"]
    return Summary(
        len(clips) + len(plan.unreadable),
        {**failed, **plan.unreadable},
        sum(clip.n_rows for clip in good),
        plan.damaged,
    )


def make_plan(settings: PreprocessSettings, source: Source) -> Plan:
    """Return the plan of a store, made or lengthened where files are new, and saved.

    Raises:
        StoreError: the store was made with other settings.
    """
    names = sorted(source.recordings())
    plan = load_plan(settings)
    planned = plan.sources() if plan else set()
    unplanned = [name for name in names if name not in planned]
    if unplanned:
        splits = source.splits(names, planned)
        probes = source.probe([SourceFile(name, splits[name]) for name in unplanned])
        plan = extend_plan(plan, settings, probes, source.longest_span)
        save_plan(settings.store, plan)
    assert plan is not None  # there is at least one name
    return plan


def _check_detector(store: PoseStore, detector: dict[str, Any]) -> None:
    saved = store.attributes.get("detector", {})
    if any(saved.get(key) != detector[key] for key in ("version", "temperature")):
        raise StoreError(
            f"The store at {store.uri!r} was begun with detector {saved.get('version')!r} and "
            f"temperatures {saved.get('temperature')}; now it is {detector['version']!r} and "
            f"{detector['temperature']}. Give another store=."
        )
