"""Batches of questions to a run: who fails alone, what is lifted in pieces. Without HTTP or Ray."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from untrained import CAMERA, make_lifter, observations

from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.uncertainty.covariances import N_VALUES
from diffpose.platform.serving import pose_model
from diffpose.platform.serving.pose_model import LiftError, LiftJob, LiftResult, PoseModel


@pytest.fixture
def model() -> PoseModel:
    made = PoseModel.__new__(PoseModel)  # without a run directory
    made.run = "untrained"
    made.lifter = make_lifter(process="mixture")
    made.lifter.errors_mm2 = 400.0 * np.eye(N_VALUES)
    made.sampling = SamplingSettings(n_hypotheses=3)
    made.sigma_cells = np.full(17, 1.5)
    made.recalibration = None
    return made


def question(n: int, **changes: object) -> LiftJob:
    keypoints = np.tile(observations().keypoints_px, (n, 1, 1))[:n].astype(np.float64)
    keypoints += np.arange(n)[:, None, None]
    camera = np.tile(CAMERA.astype(np.float32), (n, 1))
    return replace(LiftJob(keypoints, None, camera, None, None, 7), **changes)


def same(one: LiftResult | LiftError, other: LiftResult | LiftError) -> None:
    assert isinstance(one, LiftResult)
    assert isinstance(other, LiftResult)
    for name in ("poses_mm", "std_mm", "root_mm", "hypotheses_mm"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=0.05)


def test_a_question_that_cannot_be_lifted_fails_alone(model: PoseModel) -> None:
    bad = question(1)
    bad.keypoints_px[0, 3] = 1e39
    good = [question(2), question(3, n_hypotheses=2)]
    first, refused, second = model.lift([good[0], bad, good[1]])
    assert isinstance(refused, LiftError)
    assert refused.reason
    same(first, model.lift([good[0]])[0])
    same(second, model.lift([good[1]])[0])
    assert isinstance(second, LiftResult)
    assert second.hypotheses_mm.shape == (3, 2, 17, 3)


def test_an_error_of_one_question_is_not_that_of_its_batch(model: PoseModel) -> None:
    # a heatmap so wide that it is empty: the whole batch cannot be lifted
    bad = question(1, sigma_px=np.full((1, 17), 1e20))
    asked = [question(2), bad, question(3)]
    with pytest.raises(ValueError, match="empty"):
        model._lift([question(2), bad])
    first, refused, second = model.lift(asked)
    assert isinstance(refused, LiftError)
    assert "empty" in refused.reason
    same(first, model.lift([asked[0]])[0])
    same(second, model.lift([asked[2]])[0])


def test_what_a_run_cannot_do_is_said(model: PoseModel) -> None:
    model.lifter.errors_mm2 = None
    (refused,) = model.lift([question(1, refine="frame")])
    assert isinstance(refused, LiftError)
    assert "refine=frame needs the errors of this run" in refused.reason
    model.sampling = SamplingSettings(n_hypotheses=3, root="predicted")
    (refused,) = model.lift([question(1, refine="frame")])
    assert isinstance(refused, LiftError)
    assert refused.reason.startswith("refine=frame moves poses whose root is 0")


@pytest.mark.parametrize("refine", [None, "clip"])
def test_a_long_question_is_lifted_in_pieces_like_a_short_one(
    model: PoseModel, monkeypatch: pytest.MonkeyPatch, refine: str | None
) -> None:
    asked = [question(11, refine=refine), question(2, refine=refine)]
    whole = model.lift(asked)
    monkeypatch.setattr(pose_model, "_FRAMES_AT_ONCE", 4)
    pieces = model.lift(asked)
    for one, other in zip(whole, pieces, strict=True):
        same(one, other)


def test_batches_have_a_size(model: PoseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pose_model, "_FRAMES_AT_ONCE", 5)
    asked = [question(3), question(2), question(1), question(9), question(1, n_hypotheses=2)]
    assert model._batches(asked) == [[0, 1], [2], [3], [4]]
    answers = [a for a in model.lift(asked) if isinstance(a, LiftResult)]
    assert [len(a.poses_mm) for a in answers] == [len(q.keypoints_px) for q in asked]
