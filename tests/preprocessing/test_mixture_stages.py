"""From a span's detections to its mixtures: every row finite, or a clip's error that names why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diffpose.model.heatmaps.grid import rasterise
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec
from diffpose.model.observations.initial_distribution import HistogramDepth, Observations
from diffpose.platform.runs.model_files import depth_to_json
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.groups import MixtureAttributes
from diffpose.preprocessing.derived.mixture_stages import ObservedSpan, make_fit_fn
from diffpose.preprocessing.planning.plan import Span
from diffpose.preprocessing.planning.span_row import SpanRow

ROWS = 3


def observe(seed: int) -> Observations:
    rng = np.random.default_rng(seed)
    centres = rng.uniform(150, 350, (ROWS, 17, 1, 2))
    crops = np.tile(np.array([100, 50, 6, 6], dtype=np.float32), (ROWS, 1))
    heatmaps = rasterise(centres, np.full((ROWS, 17, 1), 10.0), np.ones((ROWS, 17, 1)), crops)
    camera = np.tile(np.array([1100, 1100, 250, 250], dtype=np.float32), (ROWS, 1))
    return Observations.from_heatmaps(heatmaps, crops, camera)


def clip(number: int) -> Clip:
    return Clip(
        clip=f"clip-{number}", source=f"walk_{number}.bvh", subject="train_00", action="walk",
        camera="camera_0", split="train", fps=10, width=500, height=500, first_frame=0,
        first_row=number * ROWS, n_rows=ROWS,
    )  # fmt: skip


def fitted(observations: list[Observations], engine: Any = "auto", **spec: Any) -> SpanRow:
    poses = np.random.default_rng(9).normal(0, 200, (100, 17, 3))
    attributes = MixtureAttributes(
        spec=MixtureSpec(**spec),
        depth=depth_to_json(HistogramDepth.from_poses(poses)),
        bridging_pose_mm=poses.mean(axis=0).tolist(),
        seed=0,
    )
    clips = [clip(i) for i in range(len(observations))]
    span = Span(span=0, first_row=0, n_rows=ROWS * len(clips), clips=clips)
    observed = ObservedSpan(SpanRow(span), dict(enumerate(observations)))
    row: SpanRow = make_fit_fn(attributes, engine)(observed)
    return row


def test_a_bad_clip_is_named_and_the_others_are_finite() -> None:
    empty, lost = observe(1), observe(2)
    assert empty.heatmaps is not None
    empty.heatmaps[1, 12] = 0
    lost.crops[2, 0] = np.nan
    result = fitted([observe(0), empty, lost, observe(3)])
    errors = result.errors
    assert sorted(errors) == ["clip-1", "clip-2"]
    for word in ("walk_1.bvh", "frame 1", "joint LElbow", "empty", "stages=detect"):
        assert word in errors["clip-1"]
    for word in ("walk_2.bvh", "crop", "frame 2", "not finite"):
        assert word in errors["clip-2"]
    for values in result.arrays.values():
        known = np.isfinite(values.reshape(4, -1)).all(axis=1)
        assert known.tolist() == [True, False, False, True]


@pytest.mark.parametrize(("scope", "covariance"), [("joint", "full"), ("pose", "full")])
def test_detections_without_spread_give_finite_mixtures(scope: Any, covariance: Any) -> None:
    sharp = observe(4)
    assert sharp.heatmaps is not None
    sharp.heatmaps[:] = 0
    sharp.heatmaps[..., 30, 20] = 255  # every joint in the same cell
    result = fitted([sharp], scope=scope, covariance=covariance, n_draws=200)
    assert result.errors == {}
    for values in result.arrays.values():
        assert np.isfinite(values).all()


def test_engines_and_samplings() -> None:
    means = {}
    for engine, sampling in (("cpu", "iid"), ("sklearn", "iid"), ("cpu", "stratified")):
        result = fitted([observe(5)], engine, n_draws=300, max_iterations=5, sampling=sampling)
        means[engine, sampling] = result.arrays["means_mm"]
    np.testing.assert_allclose(means["cpu", "iid"], means["sklearn", "iid"], atol=0.1)
    assert np.abs(means["cpu", "iid"] - means["cpu", "stratified"]).max() > 1
