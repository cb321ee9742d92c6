"""Stages from stored detections to stored contexts: what the frozen encoder says of every frame.

The denoiser is trained on these, so that an encoder runs once per frame and not once per epoch, and
a window's encoder sees its whole window although training draws single frames.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import torch

from diffpose.model.networks.encoders import ContextEncoder
from diffpose.platform.base.storage import join, write_json
from diffpose.platform.execution.ray_stages import Row, RowFunction
from diffpose.platform.runs.model_files import load_encoder
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import Field, PoseStore
from diffpose.preprocessing.planning.plan import Span

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


def make_encode_fn(
    store_uri: str, group: str, encoder_uri: str, log: str, *, mirror: bool, device: str = "cpu"
) -> RowFunction:
    """Return a function that encodes the good clips of a span and writes them, marker last.

    Args:
        store_uri: a store with detections.
        group: of contexts.
        encoder_uri: folder of the encoder.
        log: folder of the markers.
        mirror: encode the mirror images as well.
        device: where the encoder runs.
    """

    def encode(row: Row) -> Row:
        torch.set_num_threads(1)
        span = Span.model_validate_json(row["span"])
        failed = set(json.loads(row["failed_clips"]))
        clips = [clip for clip in span.clips if clip.clip not in failed]
        encoder = _encoder(encoder_uri, device)
        store = PoseStore.open(store_uri, mode="r+")
        arrays: dict[str, np.ndarray[Any, Any]] = {
            field.name: np.full((span.n_rows, *field.shape), np.nan, dtype=field.dtype)
            for field in context_fields(encoder.width, mirror=mirror)
        }
        for clip in clips:
            rows = clip.first_row, clip.first_row + clip.n_rows
            seen = read_observations(store, *rows, heatmaps=False).detections()
            place = slice(rows[0] - span.first_row, rows[1] - span.first_row)
            for prefix in ("", MIRRORED) if mirror else ("",):
                view = seen.mirrored(torch.full((clip.n_rows,), bool(prefix)))
                with torch.inference_mode():
                    features, pose_mm = encoder.poses_mm(view.rays.to(device), [clip.n_rows])
                arrays[prefix + "features"][place] = features.cpu().numpy()
                arrays[prefix + "pose_mm"][place] = pose_mm.cpu().numpy()
        for name, values in arrays.items():
            store.write(f"contexts/{group}/{name}", span.first_row, values)
        write_json(
            join(log, f"span_{span.span:06d}.json"),
            {"span": span.span, "errors": {}, "skipped": sorted(failed)},
        )
        return {"span_number": span.span, "rows": sum(clip.n_rows for clip in clips), "failed": 0}

    return encode


@functools.lru_cache(maxsize=1)
def _encoder(uri: str, device: str) -> ContextEncoder:
    return load_encoder(uri)[0].to(device)
