"""The whole chain on one screen; the only file of preprocessing that names Ray resources.

    files --probe--> plan --[per span] source -> detect -> write--> detections
    stored heatmaps  --[per span] load -> fit -> write--> mixtures/<name>/

A span is done when its marker exists; a rerun does what is left and retries what failed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffpose.model.initial_distribution import HistogramDepth
from diffpose.platform.checkpoint import (
    depth_to_json,
    encoder_digest,
    load_config,
)
from diffpose.platform.clips import Clip, write_clips
from diffpose.platform.config import to_yaml
from diffpose.platform.errors import StoreError
from diffpose.platform.pose_store import PoseStore, contiguous_ranges
from diffpose.platform.progress import Progress
from diffpose.platform.ray_session import ray_session
from diffpose.platform.storage import (
    absolute,
    find_files,
    join,
    list_names,
    read_json,
    write_bytes,
)
from diffpose.preprocessing import detect_stages, mixture_stages
from diffpose.preprocessing.detectors import simulated
from diffpose.preprocessing.mocap.source import SUFFIX
from diffpose.preprocessing.plan import Plan, Span, extend_plan, load_plan, save_plan
from diffpose.preprocessing.settings import MixtureGroupSettings, PreprocessSettings

RowFunction = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Summary:
    """How a stage ended."""

    clips: int
    failed: dict[str, str]  # clip or file -> error
    rows: int


def run_stages(
    rows: Sequence[dict[str, Any]], stages: Sequence[RowFunction], workers: int | None
) -> Iterator[dict[str, Any]]:
    """Send rows through stages in parallel, one row per task; results come as they finish.

    The stages ask for the same resources, so Ray fuses them into one task per row: arrays never
    leave the process between them.
    """
    import ray.data

    dataset: ray.data.Dataset = ray.data.from_items(list(rows), override_num_blocks=len(rows))
    for stage in stages:
        # one CPU: the stages are single-threaded by design (see ray_session.ONE_THREAD)
        dataset = dataset.map(stage, num_cpus=1, concurrency=workers)
    yield from dataset.iter_rows()


def detect(settings: PreprocessSettings) -> Summary:
    """Fill a store with detections and true poses; go on where an earlier run stopped.

    Raises:
        SourceError: the source folder is missing or empty.
        StoreError: the store was made with other settings.
    """
    names = find_files(settings.source.uri, SUFFIX)
    plan = load_plan(settings)
    planned = plan.sources() if plan else set()
    unplanned = [name for name in names if name not in planned]
    if unplanned:
        with ray_session(settings.workers):
            plan = extend_plan(plan, settings, _probe(settings, unplanned), names)
        save_plan(settings.store, plan)
    assert plan is not None  # find_files names at least one file
    write_bytes(join(settings.store, "preprocess.yaml"), to_yaml(settings).encode())
    store = PoseStore.create(
        settings.store,
        plan.n_rows,
        plan.span_rows,
        {
            "detector": {"version": simulated.VERSION, **settings.detector.model_dump(mode="json")},
            "config": settings.model_dump(mode="json"),
        },
    )
    log = store.log_uri(detect_stages.LOG)
    # Known at once, so that a half-made store can be looked at.
    write_clips(store.uri, _clips_with_status(plan, _markers(log)))
    stages = [
        detect_stages.make_source_fn(settings),  # 1:1, files -> true poses per clip
        detect_stages.make_detect_fn(settings),  # 1:1, poses -> heatmaps and their summaries
        detect_stages.make_write_fn(store.uri),  # 1:1, whole shards, then the marker
    ]
    rows = [{"span": span.model_dump_json()} for span in _left(plan, _markers(log))]
    _run("detect", rows, stages, settings.workers, _n_clip_rows(plan))
    clips = _clips_with_status(plan, _markers(log))
    write_clips(store.uri, clips)
    failed = {clip.clip: f"{clip.source}: {clip.error}" for clip in clips if clip.error}
    good = [clip for clip in clips if clip.status == "done"]
    return Summary(
        len(clips) + len(plan.unreadable),
        {**failed, **plan.unreadable},
        sum(clip.n_rows for clip in good),
    )


def fit_mixtures(
    store_uri: str,
    mixture: MixtureGroupSettings,
    encoder_run: str | None,
    seed: int,
    workers: int | None,
) -> Summary:
    """Fit a mixture to every stored frame, into ``mixtures/<name>/``; restartable.

    Args:
        store_uri: a store with detections.
        mixture: the group's name, depth prior and spec.
        encoder_run: run directory whose encoder gives z, for ``depth=encoder``.
        seed: of the draws from H_K.
        workers: tasks at once.

    Raises:
        StoreError: there are no detections, or the group was fitted with other settings.
        RunError: ``depth=encoder`` without a trained encoder.
    """
    store = PoseStore.open(store_uri, mode="r+")
    plan = Plan.model_validate(read_json(join(store.uri, "plan.json")))
    clips = store.clips()
    if not clips:
        raise StoreError(
            f"The store at {store_uri!r} holds no finished clip. Run stages=detect first."
        )
    group = mixture.group
    attributes = _mixture_attributes(mixture, encoder_run, seed, store, clips)
    for field in mixture_stages.mixture_fields(mixture.spec):
        store.require_array(f"mixtures/{group}", field, plan.n_rows)
    store.group[f"mixtures/{group}"].attrs.update(attributes)
    log = store.log_uri("mixtures", group)
    good = {clip.clip for clip in clips}
    stages = [
        mixture_stages.make_load_fn(store.uri),  # 1:1, stored heatmaps of a span
        mixture_stages.make_fit_fn(attributes),  # 1:1, H_K draws and EM
        mixture_stages.make_write_fn(store.uri, group),  # 1:1, whole shards, then the marker
    ]
    rows = [
        {
            "span": span.model_dump_json(),
            "failed_clips": json.dumps([c.clip for c in span.clips if c.clip not in good]),
        }
        for span in _left(plan, _markers(log))
    ]
    _run(f"mixtures/{group}", rows, stages, workers, _n_clip_rows(plan))
    failed = {clip: text for m in _markers(log).values() for clip, text in m["errors"].items()}
    store.group[f"mixtures/{group}"].attrs.update(
        {"failed_clips": sorted(failed), "complete": len(_markers(log)) == len(plan.spans)}
    )
    return Summary(len(clips), failed, sum(c.n_rows for c in clips if c.clip not in failed))


def _probe(settings: PreprocessSettings, names: Sequence[str]) -> list[Any]:
    progress = Progress("probe", len(names), "files")
    probes = []
    rows = [{"source": name} for name in names]
    for row in run_stages(rows, [detect_stages.make_probe_fn(settings)], settings.workers):
        probes.append(detect_stages.probe_from_row(row))
        progress.advance(1)
    return probes


def _run(
    what: str,
    rows: Sequence[dict[str, Any]],
    stages: Sequence[RowFunction],
    workers: int | None,
    total_rows: int,
) -> None:
    """Run stages over what is left; without any work Ray is not started."""
    if not rows:
        return
    left = sum(clip.n_rows for row in rows for clip in Span.model_validate_json(row["span"]).clips)
    progress = Progress(what, total_rows, "frames", already=total_rows - left)
    with ray_session(workers):
        for done in run_stages(rows, stages, workers):
            progress.advance(int(done["rows"]))


def _markers(log_uri: str) -> dict[int, dict[str, Any]]:
    markers = (read_json(join(log_uri, name)) for name in list_names(log_uri, ".json"))
    return {marker["span"]: marker for marker in markers}


def _left(plan: Plan, markers: dict[int, dict[str, Any]]) -> list[Span]:
    return [span for span in plan.spans if span.span not in markers or markers[span.span]["errors"]]


def _n_clip_rows(plan: Plan) -> int:
    return sum(clip.n_rows for span in plan.spans for clip in span.clips)


def _clips_with_status(plan: Plan, markers: dict[int, dict[str, Any]]) -> list[Clip]:
    clips = []
    for span in plan.spans:
        marker = markers.get(span.span)
        for clip in span.clips:
            if marker is None:
                clips.append(clip)
                continue
            error = marker["errors"].get(clip.clip, "")
            status = "failed" if error else "done"
            clips.append(clip.model_copy(update={"status": status, "error": error}))
    return clips


def _mixture_attributes(
    mixture: MixtureGroupSettings,
    encoder_run: str | None,
    seed: int,
    store: PoseStore,
    clips: Sequence[Clip],
) -> dict[str, Any]:
    """Return what the group is fitted with; an earlier run's values where it was begun already."""
    wanted: dict[str, Any] = {
        "spec": mixture.spec.model_dump(mode="json"),
        "seed": seed,
    }
    if mixture.depth == "encoder":
        assert encoder_run is not None  # checked with the settings
        encoder = absolute(join(encoder_run, "encoder"))
        sigma = load_config(encoder, "context_encoder")["depth_sigma_mm"]
        wanted["encoder_digest"] = encoder_digest(encoder)
        wanted["depth"] = {"kind": "encoder", "sigma_mm": sigma}
        wanted["encoder"] = encoder
    else:
        wanted["depth"] = {"kind": "histogram"}
    group = mixture.group
    if group in store.mixture_names():
        saved = store.mixture_attributes(group)
        if "spec" in saved:
            changed = [
                f"{key}: saved {saved.get(key)!r}, now {wanted.get(key)!r}"
                for key in ("spec", "seed", "encoder_digest")
                if saved.get(key) != wanted.get(key)
            ]
            if saved["depth"]["kind"] != wanted["depth"]["kind"]:
                kinds = saved["depth"]["kind"], wanted["depth"]["kind"]
                changed.append(f"depth: saved {kinds[0]}, now {kinds[1]}")
            if changed:
                raise StoreError(
                    f"The mixtures {group!r} of {store.uri!r} were fitted otherwise:\n  "
                    + "\n  ".join(changed)
                    + "\nGive another mixture.name= to fit these beside them."
                )
            return {**saved, "encoder": wanted.get("encoder", "")}
    if mixture.depth == "histogram":
        poses = [
            store.read("pose_3d", a, b)
            for a, b in contiguous_ranges([c for c in clips if c.split == "train"], 65536)
        ]
        known = np.concatenate(poses) if poses else np.empty((0, 17, 3))
        known = known[np.isfinite(known).all(axis=(1, 2))]
        if len(known) == 0:
            raise StoreError(
                "A depth histogram needs training poses, and this store has none in its training "
                "split. Use mixture.depth=encoder with a trained encoder=RUN."
            )
        wanted["depth"] = depth_to_json(HistogramDepth.from_poses(known))
        wanted["bridging_pose_mm"] = known.mean(axis=0, dtype=np.float64).tolist()
    return wanted
