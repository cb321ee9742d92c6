"""Recalibration beside a checkpoint, what answers make of it, and the figures of an evaluation."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.uncertainty.covariances import (
    N_VALUES,
    Ellipsoids,
    radius,
    sample_covariance,
    uncalibrated,
)
from diffpose.model.uncertainty.energy_score import gaussian_score, hypotheses_score
from diffpose.platform.base.errors import RunError
from diffpose.platform.evaluation.evaluate import summarise
from diffpose.platform.evaluation.fit_uncertainty import recordings
from diffpose.platform.evaluation.parts import joined
from diffpose.platform.evaluation.results import Evaluation, PoseErrors
from diffpose.platform.evaluation.uncertainty_measures import (
    PoseUncertainty,
    measure_context,
    measure_hypotheses,
)
from diffpose.platform.runs.uncertainty_file import (
    Recalibration,
    digest,
    load_recalibration,
    predict_uncertainty,
    save_recalibration,
)
from diffpose.platform.serving.schema import LiftResponse
from diffpose.platform.store.clips import Clip

Array = NDArray[np.float64]
ONES = np.ones(17)


def matrices(size_mm: float) -> Array:
    found = np.tile(size_mm**2 * np.eye(3), (17, 1, 1))
    found[0] = 0
    return found


def recalibration(**changes: Any) -> Recalibration:
    fitted = Recalibration(
        Ellipsoids(0.3, 25 * ONES, 4 * ONES, 6.0), matrices(40), matrices(50),
        400.0 * np.eye(N_VALUES), 5, SamplingSettings(), 900, "validation",
    )  # fmt: skip
    return replace(fitted, **changes)


def answers(n: int, n_hypotheses: int, spread: float, error: float) -> tuple[Array, Array]:
    """Return hypotheses and truths whose roots are 0."""
    rng = np.random.default_rng(0)
    middle = rng.normal(0, 300, (n, 1, 17, 3))
    hypotheses = middle + rng.normal(0, spread, (n, n_hypotheses, 17, 3))
    truth = middle[:, 0] + rng.normal(0, error, (n, 17, 3))
    hypotheses[:, :, 0] = truth[:, 0] = 0
    return hypotheses, truth


def test_round_trip_and_its_absence(tmp_path: Path) -> None:
    run = str(tmp_path)
    assert load_recalibration(run) is None
    fitted = recalibration()
    save_recalibration(run, fitted)
    found = load_recalibration(run)
    assert found is not None
    assert found.to_json() == fitted.to_json()
    assert digest(found) == digest(fitted) != digest(None)
    single = recalibration(ellipsoids=None, n_hypotheses=1)
    save_recalibration(run, single)
    again = load_recalibration(run)
    assert again is not None
    assert again.ellipsoids is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 9}, "format 9, expected 4"),
        ({"context_covariance_mm2": [[1.0]]}, "context_covariance_mm2 must be finite"),
        ({"errors_mm2": [[1.0]]}, "errors_mm2 must be finite with shape (48, 48)"),
        ({"ellipsoids": {"weight": 2}}, "floor_mm2"),
        ({"n_poses": None}, "TypeError"),
        ({"sampling": {"temprature": 1}}, "temprature"),
    ],
)
def test_a_damaged_file_is_explained(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    save_recalibration(str(tmp_path), recalibration())
    file = tmp_path / "denoiser" / "uncertainty.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(RunError, match="is damaged") as caught:
        load_recalibration(str(tmp_path))
    assert words in str(caught.value)
    assert "Delete the file" in str(caught.value)


def test_what_is_answered() -> None:
    hypotheses, _ = answers(3, 5, 20, 40)
    sample, settings = sample_covariance(hypotheses), SamplingSettings()
    fitted = recalibration()
    assert fitted.ellipsoids is not None
    found = predict_uncertainty(hypotheses, settings, fitted)
    assert (found.calibrated, found.note) == (True, "")
    np.testing.assert_allclose(found.covariance_mm2, fitted.ellipsoids.covariance(sample))
    assert found.radii == {0.5: radius(0.5, 6.0), 0.9: radius(0.9, 6.0)}
    plain = predict_uncertainty(hypotheses, settings, None)
    assert not plain.calibrated
    assert "without recalibration" in plain.note
    np.testing.assert_allclose(plain.covariance_mm2, uncalibrated(5).covariance(sample))
    other = SamplingSettings(temperature=0.5, centred=True)
    changed = predict_uncertainty(hypotheses[:, :3], other, fitted)
    assert changed.note.startswith("recalibrated for n_hypotheses 5, not 3, temperature 1.0, not")
    assert changed.note.endswith("not 0.5, centred False, not True")


def test_one_hypothesis() -> None:
    hypotheses, _ = answers(3, 1, 20, 40)
    for fitted in (None, recalibration()):  # of another N
        found = predict_uncertainty(hypotheses, SamplingSettings(), fitted)
        assert found.covariance_mm2 is None
        assert found.radii is None
        assert "one hypothesis has no covariance" in found.note
    own = recalibration(ellipsoids=None, n_hypotheses=1)
    found = predict_uncertainty(hypotheses, SamplingSettings(), own)
    assert found.calibrated
    assert found.covariance_mm2 is not None
    np.testing.assert_array_equal(found.covariance_mm2[2], matrices(40))


@pytest.mark.parametrize("n_hypotheses", [5, 1])
def test_the_answer_s_fields(n_hypotheses: int) -> None:
    hypotheses, _ = answers(2, n_hypotheses, 20, 40)
    found = predict_uncertainty(hypotheses, SamplingSettings(), recalibration())
    response = LiftResponse(
        poses_mm=hypotheses.mean(axis=1).tolist(),
        std_mm=[[0.0] * 17] * 2,
        root_mm=[[0.0] * 3] * 2,
        n_hypotheses=n_hypotheses,
        model="r",
        **found.to_answer(),
    )
    sent = json.loads(response.model_dump_json())
    if n_hypotheses == 1:
        assert sent["covariance_mm2"] is None
        assert sent["ellipsoid_radius"] is None
        assert sent["calibrated"] is False
        return
    assert np.shape(sent["covariance_mm2"]) == (2, 17, 3, 3)
    np.testing.assert_allclose(sent["covariance_mm2"], found.covariance_mm2, atol=0.006)
    assert sent["ellipsoid_radius"] == {"50": radius(0.5, 6.0), "90": radius(0.9, 6.0)}
    assert sent["calibrated"] is True


def errors_with(measured: PoseUncertainty) -> PoseErrors:
    """Errors of poses that hit, with a measured uncertainty."""
    n = len(measured.calibrated)
    nothing = np.zeros((n, 17))
    return PoseErrors(nothing, nothing, nothing, np.zeros((n, 17, 3), np.float32), measured)


def summarise_uncertainty(measured: PoseUncertainty) -> dict[str, Any]:
    errors = errors_with(measured)
    names = np.full(len(errors.joint_mm), "a")
    rows = np.arange(len(errors.joint_mm))
    truth = np.random.default_rng(0).normal(0, 100, errors.pose_mm.shape).astype(np.float32)
    hidden = np.zeros(truth.shape[:2], np.int8)
    return summarise(Evaluation(rows, names, names, truth, hidden, {"x": errors}), "x")


def test_a_file_of_the_time_of_too_large_covariances_claims_the_same(tmp_path: Path) -> None:
    """Format 2 was fitted to sample covariances of centred draws that were N/(N-1) too large."""
    rng = np.random.default_rng(0)
    hypotheses = rng.normal(0, 30, (20, 5, 17, 3))
    hypotheses[:, :, 0] = 0
    ellipsoids = Ellipsoids(0.3, 4 * ONES, 2 * ONES, 8.0)
    for centred in (True, False):
        how = SamplingSettings(centred=centred, held_mean=centred)
        fitted = replace(recalibration(ellipsoids=ellipsoids), n_hypotheses=5, sampling=how)
        save_recalibration(str(tmp_path), fitted)
        file = tmp_path / "denoiser" / "uncertainty.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "format": 2}))
        read = load_recalibration(str(tmp_path))
        found = predict_uncertainty(hypotheses, how, read).covariance_mm2
        claimed = ellipsoids.covariance(sample_covariance(hypotheses))  # as it was computed then
        np.testing.assert_allclose(found, claimed, rtol=1e-9)


def test_figures_of_known_gaussians() -> None:
    """Spread 20 mm, errors 40 mm about the middle: too narrow before; right where told so."""
    hypotheses, truth = answers(1500, 5, 20, 40)
    # The error's variance is 40^2 + 20^2/5; tr(S)/3 estimates 20^2 with 12 degrees of freedom, so
    # their ratio is exactly t with 12, whose covariance is 12/10 of its scale matrix.
    right = Ellipsoids(1.0, 0 * ONES, (1680 / 400) * 1.2 * ONES, 12.0)
    measured = measure_hypotheses(
        hypotheses, truth, SamplingSettings(), recalibration(ellipsoids=right)
    )
    figures = summarise_uncertainty(measured)
    assert figures["calibrated"]
    assert figures["n_hypotheses"] == 5
    assert figures["coverage50_before"] < 0.25
    assert figures["coverage90_before"] < 0.55
    assert figures["coverage50"] == figures["coverage50_after"] == pytest.approx(0.5, abs=0.01)
    assert figures["coverage90"] == pytest.approx(0.9, abs=0.01)
    assert figures["sharpness_mm"] == pytest.approx(
        radius(0.5, 12.0) * math.sqrt(1680 * 1.2), rel=0.03
    )
    assert figures["sharpness_mm_before"] < figures["sharpness_mm_after"]
    assert figures["rms_spread_mm"] == pytest.approx(20 * math.sqrt(3) * math.sqrt(4 / 5), rel=0.02)
    joints, poses = hypotheses_score(hypotheses, truth)
    assert figures["energy_score_mm"] == pytest.approx(joints[:, 1:].mean(), rel=1e-5)
    assert figures["energy_score_pose_mm"] == pytest.approx(poses.mean(), rel=1e-5)
    covariance = right.covariance(sample_covariance(hypotheses))
    joints, poses = gaussian_score(hypotheses.mean(axis=1), covariance, truth)
    assert figures["gaussian_energy_score_mm"] == pytest.approx(joints[:, 1:].mean(), rel=1e-4)
    assert figures["gaussian_energy_score_pose_mm"] == pytest.approx(poses.mean(), rel=1e-4)
    assert figures["per_joint_coverage"]["50"][0] is None
    assert np.mean(figures["per_joint_coverage"]["50"][1:]) == pytest.approx(figures["coverage50"])
    halves = [
        measure_hypotheses(
            hypotheses[part], truth[part], SamplingSettings(), recalibration(ellipsoids=right)
        )
        for part in (slice(0, 600), slice(600, 1500))
    ]
    whole = joined([errors_with(half) for half in halves]).uncertainty
    assert summarise_uncertainty(whole) == figures


def test_figures_of_methods_without_some() -> None:
    hypotheses, truth = answers(400, 1, 0, 50)
    plain = summarise_uncertainty(measure_hypotheses(hypotheses, truth, SamplingSettings(), None))
    assert plain["coverage50"] is None
    assert plain["sharpness_mm"] is None
    assert plain["rms_spread_mm"] is None
    distance = np.linalg.norm(hypotheses[:, 0] - truth, axis=-1)
    assert plain["energy_score_mm"] == pytest.approx(distance[:, 1:].mean(), rel=1e-5)
    assert plain["oracle_best_of_n_mpjpe_mm"] == pytest.approx(distance.mean(), rel=1e-5)
    json.dumps(plain, allow_nan=False)
    context = summarise_uncertainty(measure_context(hypotheses[:, 0], truth, recalibration()))
    assert context["coverage90"] == pytest.approx(0.9, abs=0.02)
    assert context["coverage90_before"] is None
    assert context["energy_score_mm"] is None
    assert context["gaussian_energy_score_mm"] < plain["energy_score_mm"]
    assert context["sharpness_mm"] == pytest.approx(radius(0.5) * 50, rel=1e-4)
    none = summarise_uncertainty(measure_context(hypotheses[:, 0], truth, None))
    assert none["coverage50"] is none["gaussian_energy_score_mm"] is None
    json.dumps(none, allow_nan=False)


def test_equal_hypotheses_have_finite_figures() -> None:
    hypotheses, truth = answers(50, 1, 0, 50)
    equal = np.repeat(hypotheses, 5, axis=1)
    figures = summarise_uncertainty(measure_hypotheses(equal, truth, SamplingSettings(), None))
    assert figures["coverage90_before"] < 0.01
    assert figures["rms_spread_mm"] == pytest.approx(0, abs=1e-6)
    assert figures["sharpness_mm"] == pytest.approx(radius(0.5), rel=1e-3)  # the floor of 1 mm
    json.dumps(figures, allow_nan=False)


def test_a_file_of_an_earlier_version_is_none(tmp_path: Path) -> None:
    save_recalibration(str(tmp_path), recalibration())
    file = tmp_path / "denoiser" / "uncertainty.json"
    file.write_text(json.dumps({"format": 1, "other": "fields"}))
    assert load_recalibration(str(tmp_path)) is None
    file.write_text(json.dumps({"format": 99}))
    with pytest.raises(RunError, match="format 99"):
        load_recalibration(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"refine": "frame"}, "refine none, not frame"), ({"root": "predicted"}, "root subtracted")],
)
def test_a_note_says_what_the_claims_are_not_of(changes: dict[str, Any], words: str) -> None:
    hypotheses, _ = answers(4, 5, 30.0, 40.0)
    for n, fitted in ((5, recalibration()), (1, recalibration(ellipsoids=None, n_hypotheses=1))):
        asked = SamplingSettings(n_hypotheses=n)
        plain = predict_uncertainty(hypotheses[:, :n], asked, fitted)
        assert "not" not in plain.note
        changed = predict_uncertainty(hypotheses[:, :n], asked.model_copy(update=changes), fitted)
        assert words in changed.note


def test_films_of_one_motion_are_one_recording() -> None:
    def clip(name: str, source: str, camera: str) -> Clip:
        return Clip(clip=name, source=source, subject="S", action="a", camera=camera,
                    split="validation", fps=10, width=9, height=9, first_frame=0, first_row=0,
                    n_rows=1)  # fmt: skip

    films = [clip(f"{i}{c}", f"walk_{i}_camera_{c}.mp4", f"camera_{c}") for i in "01" for c in "01"]
    found = recordings(films)
    assert found["00"] == found["01"] != found["10"] == found["11"]
    # a file with all its cameras is a recording, whatever its name ends with
    motions = [clip(f"{i}{c}", f"walk_{i}.bvh", c) for i in "01" for c in "01"]
    assert recordings(motions) == {c.clip: c.source for c in motions}
    own = [clip("a", "me.mp4", "camera_0"), clip("b", "you.mp4", "camera_0")]
    assert recordings(own) == {"a": "me.mp4", "b": "you.mp4"}
