"""From recordings to stored detections, the whole chain on one screen.

What is made from stored detections later is in refinement.py; these two files alone name Ray
resources here.

    motion --probe--> plan --[per span] source -> simulated detector -> write--> detections
    videos --look for people--> plan --[per span] decode, cut -> detect -> write--> detections

A span is done when its marker exists; a rerun does what is left and retries what failed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.config import to_yaml
from diffpose.platform.base.errors import StoreError
from diffpose.platform.base.progress import Progress
from diffpose.platform.base.storage import find_files, join, write_bytes
from diffpose.platform.execution.ray_session import ray_session
from diffpose.platform.execution.ray_stages import (
    ActorStage,
    RowFunction,
    actors_on_gpus,
    run_stages,
)
from diffpose.platform.store.clips import write_clips
from diffpose.platform.store.pose_store import LARGEST_SPAN, PoseStore
from diffpose.preprocessing.datasets.registry import DatasetSource, data_set
from diffpose.preprocessing.detectors.registry import (
    detector_version,
    pixel_detector,
    temperatures,
)
from diffpose.preprocessing.detectors.simulated import SimulatedDetectorSettings
from diffpose.preprocessing.keypoints.dataset_keypoints import DatasetKeypointSettings
from diffpose.preprocessing.keypoints.recorded import RecordedSettings
from diffpose.preprocessing.keypoints.recordings import KeypointSource, keypoint_recordings
from diffpose.preprocessing.mocap.source import SUFFIX
from diffpose.preprocessing.people import stages as people_stages
from diffpose.preprocessing.planning.plan import (
    Plan,
    Probe,
    Span,
    clips_with_status,
    extend_plan,
    left,
    load_plan,
    markers,
    n_clip_rows,
    save_plan,
)
from diffpose.preprocessing.records.splits import assign_splits, check_patterns
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources import dataset as dataset_stages
from diffpose.preprocessing.sources import keypoints as keypoint_stages
from diffpose.preprocessing.sources import mocap as detect_stages
from diffpose.preprocessing.sources import video as video_stages
from diffpose.preprocessing.videos.decode import named_videos
from diffpose.preprocessing.videos.settings import VideoSource


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
    uris = source_uris(settings)
    version = detector_version(settings.detector)
    temperature = temperatures(settings.detector, settings.calibration, version)
    plan = make_plan(settings, uris)
    write_bytes(join(settings.store, "preprocess.yaml"), to_yaml(settings).encode())
    detector = {
        "version": version,
        "temperature": temperature.tolist(),
        **settings.detector.model_dump(mode="json"),
    }
    store = PoseStore.create(
        settings.store,
        plan.n_rows,
        plan.span_rows,
        {
            "detector": detector,
            "config": settings.model_dump(mode="json"),
            "dataset": data_set(settings.source).attributes()
            if isinstance(settings.source, DatasetSource)
            else {},
        },
    )
    saved = store.attributes.get("detector", {})
    if saved.get("version") != version or saved.get("temperature") != detector["temperature"]:
        raise StoreError(
            f"The store at {settings.store!r} was begun with detector {saved.get('version')!r} and "
            f"temperatures {saved.get('temperature')}; now it is {version!r} and "
            f"{detector['temperature']}. Give another store=."
        )
    log = store.log_uri(detect_stages.LOG)
    # Known at once, so that a half-made store can be looked at.
    write_clips(store.uri, clips_with_status(plan, markers(log)))
    stages = [
        *detection_stages(settings, uris, temperature),
        detect_stages.make_write_fn(store.uri),
    ]
    rows = [{"span": span.model_dump_json()} for span in left(plan, markers(log))]
    run_spans("detect", rows, stages, settings, n_clip_rows(plan))
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


def make_plan(settings: PreprocessSettings, uris: dict[str, str]) -> Plan:
    """Return the plan of a store, made or lengthened where files are new, and saved.

    Raises:
        StoreError: the store was made with other settings.
    """
    names = sorted(uris)
    plan = load_plan(settings)
    planned = plan.sources() if plan else set()
    unplanned = [name for name in names if name not in planned]
    if unplanned:
        if not isinstance(settings.source, DatasetSource):
            check_patterns({*names, *planned}, settings.split)
        splits = assign_splits(names, settings.split, settings.seed)
        files = [{"source": name, "split": splits[name]} for name in unplanned]
        if isinstance(settings.source, DatasetSource):
            probes = dataset_stages.probe(settings, unplanned)
        else:
            videos = isinstance(settings.source, VideoSource)
            look = _look_for_people if videos else _probe
            with session(settings):
                probes = look(settings, uris, files)
        plan = extend_plan(plan, settings, probes, _longest_span(settings))
        save_plan(settings.store, plan)
    assert plan is not None  # there is at least one name
    return plan


def source_uris(settings: PreprocessSettings) -> dict[str, str]:
    """Return the files of a source: name in the store -> URI.

    Raises:
        SourceError: there are none.
    """
    source = settings.source
    if isinstance(source, VideoSource):
        return named_videos(source.uri)
    if isinstance(source, DatasetSource):
        return dict.fromkeys(data_set(source).recordings(), source.uri)
    if isinstance(source, KeypointSource):
        return {name: located.uri for name, located in keypoint_recordings(source.uri).items()}
    return {name: join(source.uri, name) for name in find_files(source.uri, SUFFIX)}


def detection_stages(
    settings: PreprocessSettings,
    uris: dict[str, str],
    temperature: NDArray[np.float64] | None,
) -> list[RowFunction | ActorStage]:
    """Return the way from a span to its detections; without temperature no pixels are judged."""
    detector = settings.detector
    if isinstance(detector, SimulatedDetectorSettings):
        return [
            detect_stages.make_source_fn(settings),  # files -> true poses per clip
            detect_stages.make_detect_fn(settings),  # poses -> heatmaps and their summaries
        ]
    if isinstance(settings.source, DatasetSource):
        errors = dataset_stages.measured_errors(settings.source)
        return [dataset_stages.make_dataset_fn(settings, errors)]  # keypoints -> heatmaps
    if isinstance(settings.source, KeypointSource):
        return [keypoint_stages.make_draw_fn(settings)]  # keypoints -> heatmaps
    if isinstance(detector, RecordedSettings):
        return [video_stages.make_recorded_fn(settings, uris)]  # keypoints -> heatmaps
    assert not isinstance(detector, DatasetKeypointSettings)  # goes with data sets alone
    input_size = pixel_detector(detector, "cpu").input_size
    cut = video_stages.make_crop_fn(settings, uris, input_size)  # frames -> windows on people
    if temperature is None:
        return [cut]
    device = "cuda" if settings.detector_gpus else "cpu"
    found = video_stages.make_pixel_detect_fn(detector, temperature, device)
    actors = _detector_actors(settings)
    return [cut, ActorStage(found, actors, settings.detector_gpus) if actors else found]


def _probe(
    settings: PreprocessSettings, _uris: dict[str, str], files: Sequence[dict[str, Any]]
) -> list[Probe]:
    progress = Progress("probe", len(files), "files")
    keypoints = isinstance(settings.source, KeypointSource)
    probe = (keypoint_stages if keypoints else detect_stages).make_probe_fn(settings)
    probes = []
    for row in run_stages(files, [probe], settings.workers):
        probes.append(detect_stages.probe_from_row(row))
        progress.advance(1)
    return probes


def _look_for_people(
    settings: PreprocessSettings, uris: dict[str, str], files: Sequence[dict[str, Any]]
) -> list[Probe]:
    """Inspect videos, look through their segments, link people into tracks; restartable."""
    splits = {row["source"]: row["split"] for row in files}
    inspect = people_stages.make_inspect_fn(settings, uris)
    rows = sorted(run_stages(files, [inspect], settings.workers), key=lambda row: row["source"])
    probes = [people_stages.probe_from_row(row) for row in rows if row["error"]]
    videos = [row for row in rows if not row["error"]]
    segments = [
        {**row, "segment": i, "range": json.dumps(limits)}
        for row in videos
        for i, limits in enumerate(json.loads(row["info"])["segments"])
    ]
    left = [row for row in segments if not people_stages.has_segment(settings, row, row["segment"])]
    if left:
        progress = Progress(
            "people", len(segments), "video segments", already=len(segments) - len(left)
        )
        gpus = settings.detector_gpus
        look = people_stages.make_people_fn(settings, uris, "cuda" if gpus else "cpu")
        actors = _detector_actors(settings) if gpus else 0
        stage = ActorStage(look, actors, gpus) if actors else look
        for _ in run_stages(left, [stage], settings.workers):
            progress.advance(1)
    if videos:
        track = people_stages.make_tracks_fn(settings, uris)
        rows = [{**row, "split": splits[row["source"]]} for row in videos]
        probes += map(people_stages.probe_from_row, run_stages(rows, [track], settings.workers))
    return probes


def _detector_actors(settings: PreprocessSettings) -> int:
    """Return how many processes only detect; 0: the decoding workers detect as well."""
    if settings.detector_workers is not None:
        return settings.detector_workers
    if not settings.detector_gpus:
        return 0
    return actors_on_gpus("detector_gpus", settings.detector_gpus)


def session(settings: PreprocessSettings) -> contextlib.AbstractContextManager[None]:
    """Open Ray with a CPU for each worker and each detecting process."""
    extra = settings.detector_workers or 0
    return ray_session(None if settings.workers is None else settings.workers + extra)


def _longest_span(settings: PreprocessSettings) -> int:
    """Return the rows that a task may hold: pixels weigh three times as much as heatmaps.

    A power of two, since spans are whole shards and chunks; a longer clip gets several of them.
    """
    if not isinstance(settings.source, VideoSource):
        return LARGEST_SPAN
    return int(1 << (settings.source.clip_frames.bit_length() - 1))


def run_spans(
    what: str,
    rows: Sequence[dict[str, Any]],
    stages: Sequence[RowFunction | ActorStage],
    settings: PreprocessSettings | None,
    total_rows: int,
    workers: int | None = None,
) -> None:
    """Run stages over what is left; without any work Ray is not started."""
    if not rows:
        return
    left = sum(clip.n_rows for row in rows for clip in Span.model_validate_json(row["span"]).clips)
    progress = Progress(what, total_rows, "frames", already=total_rows - left)
    workers = settings.workers if settings else workers
    with session(settings) if settings else ray_session(workers):
        for done in run_stages(rows, stages, workers):
            progress.advance(int(done["rows"]))
