"""From stored detections to contexts: what the frozen encoder says of every frame.

    stored keypoints --[per span] encode -> write--> contexts/<encoder>/

A span is done when its marker exists; a rerun does what is left.
"""

from __future__ import annotations

from diffpose.platform.base.storage import absolute, join, read_json
from diffpose.platform.execution.ray_session import ray_session
from diffpose.platform.execution.ray_stages import ActorStage, actors_on_gpus
from diffpose.platform.runs.model_files import encoder_digest, load_config
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.derived import context_stages
from diffpose.preprocessing.pipeline import Summary
from diffpose.preprocessing.planning.plan import Plan, markers, n_clip_rows
from diffpose.preprocessing.planning.run_spans import run_spans, spans_left
from diffpose.preprocessing.planning.span_row import make_write_fn


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
    known = {"encoder_digest": encoder_digest(encoder), "encoder": encoder}
    store.update_group("contexts", group, known)
    # with the mirror images it is another job: one without them may have been done before
    log = store.log_uri("contexts", f"{group}_mirrored" if mirror else group)
    rows = spans_left(plan, clips, log)
    if rows:
        device = "cuda" if gpu else "cpu"
        encode = context_stages.make_encode_fn(store.uri, encoder, mirror=mirror, device=device)
        with ray_session(workers):
            stage = ActorStage(encode, actors_on_gpus("gpu", 1.0), 1.0) if gpu else encode
            stages = [stage, make_write_fn(store.uri, log, name)]
            run_spans(name, rows, stages, n_clip_rows(plan), workers)
    whole = len(markers(log)) == len(plan.spans)
    store.update_group("contexts", group, {"mirrored_complete" if mirror else "complete": whole})
    return Summary(len(clips), {}, sum(c.n_rows for c in clips))
