"""From stored detections to mixtures.

    stored heatmaps --[per span] load -> fit -> write--> mixtures/<name>/

A span is done when its marker exists; a rerun does what is left and retries what failed.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffpose.platform.base.errors import StoreError
from diffpose.platform.base.storage import join, read_json
from diffpose.platform.execution.ray_session import ray_session
from diffpose.platform.execution.ray_stages import ActorStage, Stage, actors_on_gpus
from diffpose.platform.store.clips import Split
from diffpose.platform.store.groups import MixtureAttributes
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.derived import mixture_stages
from diffpose.preprocessing.derived.mixture_attributes import mixture_attributes
from diffpose.preprocessing.pipeline import Summary
from diffpose.preprocessing.planning.plan import Plan, markers, n_clip_rows
from diffpose.preprocessing.planning.run_spans import run_spans, spans_left
from diffpose.preprocessing.planning.span_row import make_write_fn
from diffpose.preprocessing.settings import MixtureGroupSettings


def fit_mixture_group(
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
    store.update_group("mixtures", group, attributes.fitted_with())
    log = store.log_uri("mixtures", group)
    wanted = plan.model_copy(
        update={"spans": [s for s in plan.spans if {c.split for c in s.clips} & {*splits}]}
    )
    rows = spans_left(wanted, clips, log)
    if rows:
        with ray_session(workers):
            stages = _mixture_stages(store.uri, log, mixture, attributes)
            run_spans(f"mixtures/{group}", rows, stages, n_clip_rows(wanted), workers)
    done = markers(log)
    failed = {clip: text for marker in done.values() for clip, text in marker.errors.items()}
    whole = {
        split: all(s.span in done for s in plan.spans if split in {c.split for c in s.clips})
        for split in ("train", "validation", "test")
    }
    store.update_group(
        "mixtures",
        group,
        {
            "failed_clips": sorted(failed),
            "complete": all(whole.values()),
            "complete_splits": [split for split, complete in whole.items() if complete],
        },
    )
    fitted = [c for c in clips if c.split in splits]
    return Summary(len(fitted), failed, sum(c.n_rows for c in fitted if c.clip not in failed))


def _mixture_stages(
    store_uri: str, log: str, mixture: MixtureGroupSettings, attributes: MixtureAttributes
) -> list[Stage | ActorStage]:
    """Return the way from stored heatmaps to stored mixtures."""
    device = "cuda" if mixture.gpus else "cpu"
    fit = mixture_stages.make_fit_fn(attributes, mixture.engine, device)
    return [
        mixture_stages.make_load_fn(store_uri),  # 1:1, stored heatmaps of a span
        # 1:1, H_K draws and EM; with GPUs in processes that keep theirs
        ActorStage(fit, actors_on_gpus("mixture.gpus", mixture.gpus), mixture.gpus)
        if mixture.gpus
        else fit,
        # 1:1, whole shards, then the marker
        make_write_fn(store_uri, log, f"mixtures/{mixture.group}"),
    ]
