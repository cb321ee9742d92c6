"""From stored detections to contexts and mixtures.

    stored keypoints --[per span] encode, write--> contexts/<encoder>/
    stored heatmaps  --[per span] load -> fit -> write--> mixtures/<name>/

A span is done when its marker exists; a rerun does what is left and retries what failed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from diffpose.platform.base.errors import StoreError
from diffpose.platform.base.storage import absolute, join, read_json
from diffpose.platform.execution.ray_session import ray_session
from diffpose.platform.execution.ray_stages import ActorStage, RowFunction, actors_on_gpus
from diffpose.platform.runs.model_files import encoder_digest, load_config
from diffpose.platform.store.clips import Clip, Split
from diffpose.platform.store.groups import MixtureAttributes
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.derived import context_stages, mixture_stages
from diffpose.preprocessing.derived.mixture_attributes import mixture_attributes
from diffpose.preprocessing.pipeline import Summary, run_spans
from diffpose.preprocessing.planning.plan import Plan, left, markers, n_clip_rows
from diffpose.preprocessing.settings import MixtureGroupSettings


def fit_mixtures(
    store_uri: str,
    mixture: MixtureGroupSettings,
    encoder_run: str | None,
    seed: int,
    workers: int | None,
    splits: Sequence[Split] = ("train", "validation", "test"),
) -> Summary:
    """Fit a mixture to every stored frame, into ``mixtures/<name>/``; restartable.

    Args:
        store_uri: a store with detections.
        mixture: the group's name, depth prior and spec.
        encoder_run: run directory whose encoder gives z, for ``depth=encoder``.
        seed: of the draws from H_K.
        workers: tasks at once.
        splits: whose frames; training needs those of its own split alone.

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
    attributes = mixture_attributes(mixture, encoder_run, seed, store, clips)
    if attributes.origin is not None:  # of diffpose import-gmm: what the file lacks is not made up
        lacking = dict.fromkeys(attributes.failed_clips, "not in the imported file")
        return Summary(len(clips), lacking, sum(c.n_rows for c in clips if c.clip not in lacking))
    for array in mixture_stages.mixture_fields(mixture.spec):
        store.require_array(f"mixtures/{group}", array, plan.n_rows)
    store.group[f"mixtures/{group}"].attrs.update(attributes.fitted_with())
    log = store.log_uri("mixtures", group)
    wanted = plan.model_copy(
        update={"spans": [s for s in plan.spans if {c.split for c in s.clips} & {*splits}]}
    )
    rows = _span_rows(wanted, clips, log)
    if rows:
        with ray_session(workers):
            stages = _mixture_stages(store.uri, mixture, attributes)
            run_spans(f"mixtures/{group}", rows, stages, None, n_clip_rows(wanted), workers)
    done = markers(log)
    failed = {clip: text for marker in done.values() for clip, text in marker["errors"].items()}
    whole = {
        split: all(s.span in done for s in plan.spans if split in {c.split for c in s.clips})
        for split in ("train", "validation", "test")
    }
    store.group[f"mixtures/{group}"].attrs.update(
        {
            "failed_clips": sorted(failed),
            "complete": all(whole.values()),
            "complete_splits": [split for split, complete in whole.items() if complete],
        }
    )
    fitted = [c for c in clips if c.split in splits]
    return Summary(len(fitted), failed, sum(c.n_rows for c in fitted if c.clip not in failed))


def encode_contexts(
    store_uri: str, group: str, encoder_run: str, workers: int | None, *, mirror: bool, gpu: bool
) -> Summary:
    """Run the context encoder on every stored frame, into ``contexts/<group>/``; restartable.

    Args:
        store_uri: a store with detections.
        group: the contexts' name.
        encoder_run: run directory of the encoder.
        workers: tasks at once.
        mirror: encode the mirror images as well, for training with mirrored poses.
        gpu: encode in processes with a GPU each.

    Raises:
        StoreError: there are no detections.
        RunError: there is no encoder.
    """
    store = PoseStore.open(store_uri, mode="r+")
    plan = Plan.model_validate(read_json(join(store.uri, "plan.json")))
    clips = store.clips()
    encoder = absolute(join(encoder_run, "encoder"))
    config = load_config(encoder, "context_encoder")
    name = f"contexts/{group}"
    for array in context_stages.context_fields(config["architecture"]["width"], mirror=mirror):
        store.require_array(name, array, plan.n_rows)
    store.group[name].attrs.update({"encoder_digest": encoder_digest(encoder), "encoder": encoder})
    # with the mirror images it is another job: one without them may have been done before
    log = store.log_uri("contexts", f"{group}_mirrored" if mirror else group)
    rows = _span_rows(plan, clips, log)
    if rows:
        device = "cuda" if gpu else "cpu"
        encode = context_stages.make_encode_fn(
            store.uri, group, encoder, log, mirror=mirror, device=device
        )
        with ray_session(workers):
            stage = ActorStage(encode, actors_on_gpus("gpu", 1.0), 1.0) if gpu else encode
            run_spans(name, rows, [stage], None, n_clip_rows(plan), workers)
    whole = len(markers(log)) == len(plan.spans)
    store.group[name].attrs.update({"mirrored_complete" if mirror else "complete": whole})
    return Summary(len(clips), {}, sum(c.n_rows for c in clips))


def _span_rows(plan: Plan, clips: Sequence[Clip], log: str) -> list[dict[str, Any]]:
    """Return the spans that are left, each with its clips that could not be detected."""
    good = {clip.clip for clip in clips}
    # a span whose clips were detected only after its stage was run is not done
    done = {n: m for n, m in markers(log).items() if not good & {*m.get("skipped", [])}}
    return [
        {
            "span": span.model_dump_json(),
            "failed_clips": json.dumps([c.clip for c in span.clips if c.clip not in good]),
        }
        for span in left(plan, done)
    ]


def _mixture_stages(
    store_uri: str, mixture: MixtureGroupSettings, attributes: MixtureAttributes
) -> list[RowFunction | ActorStage]:
    """Return the way from stored heatmaps to stored mixtures."""
    device = "cuda" if mixture.gpus else "cpu"
    fit = mixture_stages.make_fit_fn(attributes, mixture.engine, device)
    return [
        mixture_stages.make_load_fn(store_uri),  # 1:1, stored heatmaps of a span
        # 1:1, H_K draws and EM; with GPUs in processes that keep theirs
        ActorStage(fit, actors_on_gpus("mixture.gpus", mixture.gpus), mixture.gpus)
        if mixture.gpus
        else fit,
        mixture_stages.make_write_fn(
            store_uri, mixture.group
        ),  # 1:1, whole shards, then the marker
    ]
