"""Stages from recordings to stored detections. Each make_*_fn returns a plain function on rows.

A row is one span: a mapping with the span's plan as JSON and, as it travels, its arrays. A clip
that fails is recorded in the row and its rows stay unknown; the span goes on.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.model.heatmaps import grid as hm
from diffpose.platform.base.errors import DiffPoseError
from diffpose.platform.base.storage import write_json
from diffpose.platform.execution.ray_stages import Row, RowFunction
from diffpose.platform.store.clips import Clip, Split, clip_id
from diffpose.platform.store.pose_store import DETECTION_FIELDS, PoseStore
from diffpose.preprocessing.detectors import simulated
from diffpose.preprocessing.mocap.bodies import bone_factors, reshape_body
from diffpose.preprocessing.mocap.source import MocapSource, Motion, read_motion
from diffpose.preprocessing.mocap.virtual_cameras import view
from diffpose.preprocessing.planning.plan import Probe, Span, body_of
from diffpose.preprocessing.records.clip import ClipTruth
from diffpose.preprocessing.records.seeds import generator
from diffpose.preprocessing.settings import PreprocessSettings

LOG = "detect"


def make_probe_fn(settings: PreprocessSettings) -> RowFunction:
    """Return a function that looks at one motion: {"source", "split"} -> its clips or its error."""
    source = _mocap(settings)

    def probe(row: Row) -> Row:
        name: str = row["source"]
        split: Split = row["split"]
        try:
            motion = read_motion(source, name)
        except DiffPoseError as error:
            return {"source": name, "clips": "[]", "error": str(error)}
        clips = motion_clips(settings, name, split, motion.fps, motion.segments)
        texts = [clip.model_dump(mode="json") for clip in clips]
        return {"source": name, "clips": json.dumps(texts), "error": ""}

    return probe


def motion_clips(
    settings: PreprocessSettings,
    name: str,
    split: Split,
    fps: float,
    segments: Sequence[tuple[int, int]],
) -> tuple[Clip, ...]:
    """Return the clips of a motion, without rows yet: each frame range from each camera."""
    return tuple(
        Clip(
            clip=clip_id(name, start, stop - start, f"camera_{camera}"),
            source=name,
            subject=f"{split}_{body_of(settings, name, split):02d}",
            action=_mocap(settings).action_of(name),
            camera=f"camera_{camera}",
            split=split,
            fps=fps,
            width=settings.cameras.width,
            height=settings.cameras.height,
            first_frame=start,
            first_row=0,
            n_rows=stop - start,
        )
        for start, stop in segments
        for camera in range(settings.cameras.count)
    )


def probe_from_row(row: Row) -> Probe:
    """Read a row of make_probe_fn."""
    clips = tuple(Clip.model_validate(clip) for clip in json.loads(row["clips"]))
    return Probe(row["source"], clips, row["error"])


def blank_arrays(span: Span) -> dict[str, NDArray[Any]]:
    """Return the detection fields of a span with nothing known."""
    return {
        field.name: np.full(
            (span.n_rows, *field.shape),
            0 if field.dtype == "uint8" else np.nan,
            dtype=field.dtype,
        )
        for field in DETECTION_FIELDS
    }


def fill_rows(
    arrays: dict[str, NDArray[Any]], span: Span, clip: Clip, values: dict[str, NDArray[Any]]
) -> None:
    """Put a clip's values into the rows of its span."""
    first = clip.first_row - span.first_row
    for name, value in values.items():
        arrays[name][first : first + clip.n_rows] = value


def make_source_fn(settings: PreprocessSettings) -> RowFunction:
    """Return a function that adds to a span the true poses of its clips, by clip number."""
    source = _mocap(settings)

    def load(row: Row) -> Row:
        span = Span.model_validate_json(row["span"])
        read = functools.lru_cache(maxsize=2)(lambda name: read_motion(source, name))
        truths: dict[int, ClipTruth] = {}
        errors: dict[str, str] = {}
        for i, clip in enumerate(span.clips):
            try:
                motion = read(clip.source)
                truths[i] = _clip_truth(settings, span, i, motion)
            except DiffPoseError as error:
                errors[clip.clip] = str(error)
        return {**row, "truths": truths, "errors": json.dumps(errors)}

    return load


def make_detect_fn(settings: PreprocessSettings) -> RowFunction:
    """Return a function that adds to a span the detections and summaries of its clips."""
    detector = settings.detector
    assert isinstance(detector, simulated.SimulatedDetectorSettings)

    def detect(row: Row) -> Row:
        span = Span.model_validate_json(row["span"])
        arrays = blank_arrays(span)
        for i, truth in row["truths"].items():
            clip = span.clips[i]
            rng = generator(settings.seed, "detector", clip.source, clip.first_frame, clip.camera)
            found = simulated.detect(truth, detector, rng)
            keypoints, confidence, modes = hm.summarise(found.heatmaps, found.crops)
            values = {
                "keypoints_2d": keypoints,
                "confidence": confidence,
                "heatmap_modes": modes,
                "heatmap_crop": found.crops,
                "heatmaps": found.heatmaps,
                "pose_3d": truth.pose_3d_mm,
                "root_position": truth.root_position_mm,
                "camera": truth.camera,
                "timestamp_s": truth.timestamp_s,
            }
            fill_rows(arrays, span, clip, values)
        return {"span": row["span"], "errors": row["errors"], "arrays": arrays}

    return detect


def make_write_fn(store_uri: str) -> RowFunction:
    """Return a function that writes a span's shards, then its done marker, and sums it up."""

    def write(row: Row) -> Row:
        span = Span.model_validate_json(row["span"])
        store = PoseStore.open(store_uri, mode="r+")
        for name, values in row["arrays"].items():
            store.write(name, span.first_row, values)
        errors = json.loads(row["errors"])
        # The marker comes last: a span without one is simply done again.
        write_json(
            store.log_uri(LOG, f"span_{span.span:06d}.json"),
            {"span": span.span, "errors": errors},
        )
        done = sum(clip.n_rows for clip in span.clips if clip.clip not in errors)
        return {"span_number": span.span, "rows": done, "failed": len(errors)}

    return write


def _mocap(settings: PreprocessSettings) -> MocapSource:
    assert isinstance(settings.source, MocapSource)
    return settings.source


def _clip_truth(settings: PreprocessSettings, span: Span, i: int, motion: Motion) -> ClipTruth:
    clip = span.clips[i]
    frames = slice(clip.first_frame, clip.first_frame + clip.n_rows)
    body = body_of(settings, clip.source, clip.split)
    factors = bone_factors(settings.bodies, clip.split, body, settings.seed)
    return view(
        reshape_body(motion.positions_m[frames], factors),
        motion.timestamp_s[frames],
        settings.cameras,
        int(clip.camera.removeprefix("camera_")),
        settings.seed,
        f"{clip.source}#{clip.first_frame}",
    )
