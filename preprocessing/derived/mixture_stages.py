"""Stages from stored heatmaps to stored mixtures: H_K draws, EM, whole shards."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.mixture_fitting.fit import Engine, fit_mixtures
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec, field_shapes
from diffpose.model.networks.encoders import ContextEncoder
from diffpose.model.observations import initial_distribution as hk
from diffpose.platform.execution.ray_stages import Stage
from diffpose.platform.runs.model_files import depth_from_json, load_encoder
from diffpose.platform.store.fields import Field
from diffpose.platform.store.groups import MixtureAttributes
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.planning.span_row import SpanRow

# Frames per fit. On a CPU the draws of 16 (3 MB) stay near; a GPU wants many mixtures at once.
_FRAMES_AT_ONCE = {"cpu": 16, "cuda": 512}


def mixture_fields(spec: MixtureSpec) -> tuple[Field, ...]:
    """Return the arrays of a mixture group; factors are float16, everything in mm."""
    texts = {
        "weights": ("float32", "1", "kernel weights, summing to 1"),
        "means_mm": ("float32", "mm", "kernel means, root-relative camera frame"),
        "scale_tril_mm": ("float16", "mm", "packed lower-triangular factors of the covariances"),
    }
    return tuple(
        Field(name, shape, *texts[name], chunk_rows=256 if np.prod(shape) > 2000 else 1024)
        for name, shape in field_shapes(spec).items()
    )


@dataclass
class ObservedSpan:
    """A span with the stored detections of its good clips, by their number in it."""

    row: SpanRow
    observations: dict[int, hk.Observations]


def make_load_fn(store_uri: str) -> Stage:
    """Return a stage that adds to a span the stored detections of its good clips."""

    def load(row: SpanRow) -> ObservedSpan:
        store = PoseStore.open(store_uri)
        observations: dict[int, hk.Observations] = {
            i: read_observations(store, clip.first_row, clip.first_row + clip.n_rows)
            for i, clip in enumerate(row.span.clips)
            if clip.clip not in row.skipped
        }
        return ObservedSpan(row, observations)

    return load


def make_fit_fn(
    attributes: MixtureAttributes, engine: Engine = "auto", device: str = "cpu"
) -> Stage:
    """Return a stage that fits a mixture to every frame of a span.

    Args:
        attributes: of the mixture group: spec, depth prior, bridging pose or encoder, seed.
        engine: of model.mixture_fit.
        device: where the fits run.
    """
    spec = attributes.spec
    depth = depth_from_json(attributes.depth)
    at_once = _FRAMES_AT_ONCE[device]

    def fit(observed: ObservedSpan) -> SpanRow:
        torch.set_num_threads(1)
        row = observed.row.with_blank(mixture_fields(spec))
        for i, seen in observed.observations.items():
            clip = row.span.clips[i]
            seeds = row_seeds(
                attributes.seed, clip.first_row + np.arange(clip.n_rows, dtype=np.int64)
            )
            first = row.rows_of(clip).start
            error = _fault(seen)
            if error:
                row.errors[clip.clip] = f"{clip.source}: {error}"
                continue
            try:
                bridge = bridging_poses(seen, attributes)
                for a in range(0, clip.n_rows, at_once):
                    part = slice(a, min(a + at_once, clip.n_rows))
                    draws = hk.sample_poses(
                        hk.take_rows(seen, part), bridge[part], depth, spec.n_draws, seeds[part],
                        stratified=spec.sampling == "stratified",
                    )  # fmt: skip
                    fitted = fit_mixtures(draws.to(device), spec, seeds[part], engine)
                    for name, values in row.arrays.items():
                        value = getattr(fitted, name).cpu().numpy()
                        values[first + part.start : first + part.stop] = value
            except ValueError as fault:
                row.errors[clip.clip] = f"{clip.source}: {fault}"
                row.clear(clip, row.arrays)
        return row

    return fit


def _fault(seen: hk.Observations) -> str:
    """Say why no mixture can be fitted to a clip's detections: frame, joint, repair; or nothing.

    What passes here gives finite mixtures: draws lie within the heatmaps' crops, and equal draws
    give kernels as wide as the regularisation.
    """
    assert seen.heatmaps is not None
    again = "detect it again (delete the span's marker under log/detect and run stages=detect)"
    empty = np.argwhere(~seen.heatmaps.any(axis=(2, 3)))
    if len(empty):
        frame, joint = empty[0]
        return f"the heatmap of frame {frame}, joint {JOINT_NAMES[joint]} is empty; {again}"
    for what, values in (
        ("crop", seen.crops),
        ("summary of the heatmap", seen.modes),
        ("camera", seen.camera),
    ):
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            frame = bad[0][0]
            joint = f", joint {JOINT_NAMES[bad[0][1]]}" if values.ndim == 3 else ""
            return f"the {what} of frame {frame}{joint} is not finite; {again}"
    return ""


def bridging_poses(seen: hk.Observations, attributes: MixtureAttributes) -> torch.Tensor:
    """Return the pose that brings pixels and mm together: the encoder's, or one for all.

    ``seen`` is a whole clip: an encoder of windows looks at its neighbouring frames.
    """
    if attributes.depth_kind == "histogram":
        pose = torch.tensor(attributes.bridging_pose_mm, dtype=torch.float32)
        return pose.expand(len(seen), -1, -1)
    assert attributes.encoder is not None  # goes with this depth
    encoder = _encoder(attributes.encoder)
    with torch.inference_mode():
        _, pose_mm = encoder.poses_mm(seen.detections().rays, None, seen.steps_s(None))
    return pose_mm


@functools.lru_cache(maxsize=1)
def _encoder(uri: str) -> ContextEncoder:
    return load_encoder(uri)[0]
