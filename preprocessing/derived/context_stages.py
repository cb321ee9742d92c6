"""Stages from stored detections to stored contexts: what the frozen encoder says of every frame.

The denoiser is trained on these, so that an encoder runs once per frame and not once per epoch, and
a window's encoder sees its whole window although training draws single frames.
"""

from __future__ import annotations

import functools

import torch

from diffpose.model.networks.encoders import ContextEncoder
from diffpose.platform.execution.ray_stages import Stage
from diffpose.platform.runs.model_files import load_encoder
from diffpose.platform.store.fields import Field
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.planning.span_row import SpanRow

MIRRORED = "mirrored_"


def context_fields(width: int, *, mirror: bool) -> tuple[Field, ...]:
    """Return the arrays of a context group; ``mirrored_`` ones are of the mirrored detections."""
    seen = (
        Field("features", (17, width), "float16", "1", "f_ST of the context encoder"),
        Field("pose_mm", (17, 3), "float32", "mm", "its pose, root-relative, camera frame"),
    )
    mirrored = tuple(
        Field(MIRRORED + f.name, f.shape, f.dtype, f.unit, f"{f.description}, of the mirror image")
        for f in seen
    )
    return (*seen, *mirrored) if mirror else seen


def make_encode_fn(store_uri: str, encoder_uri: str, *, mirror: bool, device: str = "cpu") -> Stage:
    """Return a stage that encodes the good clips of a span.

    Args:
        store_uri: a store with detections.
        encoder_uri: folder of the encoder.
        mirror: encode the mirror images as well.
        device: where the encoder runs.
    """

    def encode(row: SpanRow) -> SpanRow:
        torch.set_num_threads(1)
        encoder = _encoder(encoder_uri, device)
        store = PoseStore.open(store_uri)
        row = row.with_blank(context_fields(encoder.width, mirror=mirror))
        for clip in row.good_clips():
            first, stop = clip.first_row, clip.first_row + clip.n_rows
            read = read_observations(store, first, stop, heatmaps=False)
            seen, steps = read.detections(), read.steps_s([clip.n_rows])
            for prefix in ("", MIRRORED) if mirror else ("",):
                shown = seen.mirrored(torch.full((clip.n_rows,), bool(prefix)))
                with torch.inference_mode():
                    rays = shown.rays.to(device)
                    features, pose_mm = encoder.poses_mm(rays, [clip.n_rows], steps)
                encoded = {"features": features, "pose_mm": pose_mm}
                row.fill(clip, {prefix + name: v.cpu().numpy() for name, v in encoded.items()})
        return row

    return encode


@functools.lru_cache(maxsize=1)
def _encoder(uri: str, device: str) -> ContextEncoder:
    return load_encoder(uri)[0].to(device)
