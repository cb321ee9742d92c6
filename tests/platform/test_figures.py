"""The registry of figures, and what is kept and written of an evaluation, against closed forms."""

from __future__ import annotations

import json
import math
import typing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from stored_clips import made_clip

from diffpose.platform.ablation.tables import KEYS, columns
from diffpose.platform.evaluation.evaluate import collect, hidden_joints, summarise, write_poses
from diffpose.platform.evaluation.figures import FIGURES, Figure, Place, figures_of, shown_in
from diffpose.platform.evaluation.parts import EvaluationParts
from diffpose.platform.evaluation.results import CONTEXT, Evaluation, MeasuredRange, PoseErrors
from diffpose.platform.evaluation.uncertainty_measures import PoseUncertainty, measure_context

N = 6


def errors(offset_mm: float, n: int = N, seed: int = 0) -> tuple[PoseErrors, np.ndarray]:
    """Poses that miss by ``offset_mm`` in x, all joints but the root; and the truth."""
    truth = np.random.default_rng(seed).normal(0, 200, (n, 17, 3))
    truth[:, 0] = 0
    pose = truth + np.array([offset_mm, 0, 0])
    pose[:, 0] = 0
    joint = np.linalg.norm(pose - truth, axis=-1)
    found = PoseErrors(
        joint_mm=joint,
        aligned_mm=joint / 2,
        std_mm=np.full((n, 17), np.nan),
        pose_mm=pose.astype(np.float32),
        uncertainty=measure_context(pose, truth, None),
    )
    return found, truth.astype(np.float32)


def evaluation(actions: str = "aabbbb") -> Evaluation:
    context, truth = errors(34.0)
    run, _ = errors(17.0)
    names = np.array(list(actions))
    hidden = np.zeros((N, 17), np.int8)
    return Evaluation(np.arange(N), names, names, truth, hidden, {CONTEXT: context, "run": run})


def test_every_figure_has_its_own_key_and_place() -> None:
    keys = [figure.key for figure in FIGURES]
    assert len(keys) == len(set(keys))
    for place in typing.get_args(Place):
        heads = [figure.head for figure in shown_in(place)]
        assert heads
        assert len(heads) == len(set(heads)), place
    for figure in shown_in("differences"):  # these are read from poses.parquet
        assert figure.per_pose is not None
    for figure in FIGURES:
        if figure.before_after:
            assert {f"{figure.key}_before", f"{figure.key}_after"} <= set(keys)
    assert {column.key for column in columns()} <= {*KEYS, "ratio"}


def test_figures_of_known_errors() -> None:
    found = summarise(evaluation(), "run")
    assert found["mpjpe_mm"] == pytest.approx(16.0)  # 17 mm at 16 of 17 joints
    assert found["mpjpe_16_mm"] == pytest.approx(17.0)
    assert found["p_mpjpe_mm"] == pytest.approx(8.0)
    assert found["mpjve_mm_per_frame"] == pytest.approx(0.0, abs=1e-3)  # a constant offset
    assert found["n_hypotheses"] == 1
    assert found["coverage50"] is None
    assert found["per_action"]["a"] == {
        "mpjpe_mm": pytest.approx(16.0), "p_mpjpe_mm": pytest.approx(8.0), "n_poses": 2,
    }  # fmt: skip
    assert found["mean_of_actions"]["mpjpe_mm"] == pytest.approx(16.0)
    assert set(figures_of(evaluation(), "run")) == {figure.key for figure in FIGURES} <= set(found)
    json.dumps(found, allow_nan=False)


def test_single_frames_have_no_velocity() -> None:
    apart = replace(evaluation(), rows=np.arange(N) * 10)
    assert summarise(apart, "run")["mpjve_mm_per_frame"] is None


def test_errors_of_hidden_joints() -> None:
    measured = evaluation()
    errors = measured.methods["run"].joint_mm
    errors[:] = 10.0
    errors[:, 0], errors[:, 3], errors[:, 5] = 0.0, 70.0, 30.0
    hidden = measured.hidden
    hidden[:3, 3] = hidden[:, 5] = 1  # 9 of 96; (3 * 70 + 6 * 30) / 9
    hidden[:, 0] = 1  # the root counts nowhere
    found = figures_of(measured, "run")
    assert found["hidden_joints_mm"] == pytest.approx(390 / 9)
    assert found["joints_in_sight_mm"] == pytest.approx((3 * 70 + 14 * 60) / 87)
    assert found["hidden_joints_share"] == pytest.approx(9 / 96)
    assert found["hidden_coverage50"] is None  # nothing was claimed
    hidden[:] = -1  # no place, no view
    found = figures_of(measured, "run")
    assert found["hidden_joints_mm"] is found["joints_in_sight_mm"] is None
    assert found["hidden_joints_share"] is None


def test_where_the_camera_is_decides_what_is_hidden() -> None:
    pose = np.zeros((3, 17, 3))
    pose[:, :, 1] = np.linspace(-800, 800, 17)  # down the picture, none before another
    pose[:, 0] = 0
    pose[:, [11, 14], 1], pose[:, 11, 0], pose[:, 14, 0] = -400, -200, 200  # the shoulders' line
    pose[:, 16] = [0, -400, 300]  # a wrist behind it
    root = np.array([[0, 0, 4000], [0, 0, -4000], [np.nan] * 3])
    hidden = hidden_joints(pose, root)
    assert hidden[0, 16] == 1
    assert hidden[1, 16] == 0  # seen from the other side
    assert (hidden[2] == -1).all()


def test_bones_that_change() -> None:
    measured = evaluation()
    pose = measured.truth_mm.copy()
    pose[:] = pose[0]
    errors = replace(measured.methods["run"], pose_mm=pose)
    whole = replace(measured, methods={"run": errors})
    assert figures_of(whole, "run")["bone_length_std_mm"] == pytest.approx(0.0, abs=1e-4)
    thigh = pose[0, 2] - pose[0, 1]
    thigh /= np.linalg.norm(thigh)
    pose[::2, 2] += 8 * thigh
    pose[::2, 3] += 8 * thigh  # longer by 8 mm in every second frame: 4 mm, at 1 of 16 bones
    assert figures_of(whole, "run")["bone_length_std_mm"] == pytest.approx(4 / 16, rel=1e-4)
    still = replace(whole, truth_mm=np.repeat(measured.truth_mm[:1], N, axis=0))
    assert figures_of(still, "run")["bone_length_error_mm"] == pytest.approx(4 / 16, rel=1e-4)
    # within a stretch only: another person has other bones
    alone = replace(whole, rows=np.array([0, 2, 4, 6, 8, 10]))
    assert figures_of(alone, "run")["bone_length_std_mm"] is None
    clips = np.array(list("aabbbb"))
    pose[2:] *= 1.1
    apart = figures_of(replace(whole, clips=clips), "run")["bone_length_std_mm"]
    assert apart == pytest.approx((2 * 4 + 4 * 4.4) / 6 / 16, rel=1e-3)


def test_calibration_error() -> None:
    measured = evaluation()
    run = measured.methods["run"]
    levels = np.full((N, 17), 0.45)  # claims: 0.1 .. 0.4 hold never, 0.5 .. 0.9 always
    claims = replace(run.uncertainty, level_before=levels, level_after=levels / 100)
    whole = replace(measured, methods={"run": replace(run, uncertainty=claims)})
    found = figures_of(whole, "run")
    assert found["calibration_error"] == pytest.approx((0.1 + 0.2 + 0.3 + 0.4 + 1.5) / 9)
    assert found["calibration_error_after"] == pytest.approx(0.5)
    hidden = measured.hidden
    hidden[:, 4] = hidden[:, 7] = 1
    levels[:, 4] = 0.95  # beyond the 50 % and the 90 % region; joint 7 within both
    found = figures_of(whole, "run")
    assert found["hidden_coverage50"] == found["hidden_coverage90"] == pytest.approx(0.5)
    fitted = replace(claims, calibrated=np.ones(N, bool))  # what was fitted is answered
    answered = replace(measured, methods={"run": replace(run, uncertainty=fitted)})
    fitted.level_after[:, 7] = 0.7
    found = figures_of(answered, "run")
    assert found["hidden_coverage50"] == pytest.approx(0.5)
    assert found["hidden_coverage90"] == pytest.approx(1.0)
    uniform = np.linspace(0, 1, N * 16).reshape(N, 16)
    levels[:, 1:] = uniform
    assert figures_of(whole, "run")["calibration_error"] == pytest.approx(0, abs=0.006)


def test_cells_of_tables() -> None:
    share = Figure("share", "50 % hold", "%", lambda _: None, digits=1)
    assert share.head == "50 % hold %"
    assert share.text({"share": 0.4567}) == "45.7"
    assert share.text({"share": 0.4567}, 0) == "46"
    assert share.text({"share": None}) == share.text({}) == "-"
    both = replace(share, before_after=True)
    assert both.text({"share_before": 0.25, "share_after": None}) == "25.0 -> -"
    assert both.plain.text({"share": 0.5}) == "50.0"
    assert math.isnan(share.in_unit({}))


def test_every_pose_is_written_with_its_figures(tmp_path: Path) -> None:
    measured = evaluation()
    write_poses(str(tmp_path / "poses.parquet"), measured)
    table = pq.read_table(tmp_path / "poses.parquet")
    wanted = {f"{m}/{f.key}" for m in measured.methods for f in FIGURES if f.per_pose is not None}
    assert wanted <= set(table.column_names)
    np.testing.assert_allclose(table["run/mpjpe_mm"].to_numpy(), 16.0)
    np.testing.assert_allclose(table["context encoder/p_mpjpe_mm"].to_numpy(), 16.0)
    assert np.isnan(table["run/energy_score_mm"].to_numpy()).all()
    poses = np.array(table["run/pose_mm"].to_pylist()).reshape(N, 17, 3)
    np.testing.assert_allclose(poses, measured.methods["run"].pose_mm)


def hidden_somewhere(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(-1, 2, (n, 17)).astype(np.int8)


def same(one: PoseErrors, other: PoseErrors) -> bool:
    def equal(a: Any, b: Any) -> bool:
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f") and a.dtype == b.dtype

    own = [f.name for f in fields(PoseErrors) if f.name != "uncertainty"]
    parts = [f.name for f in fields(PoseUncertainty)]
    return all(equal(getattr(one, n), getattr(other, n)) for n in own) and all(
        equal(getattr(one.uncertainty, n), getattr(other.uncertainty, n)) for n in parts
    )


def test_parts_are_kept_as_they_were_measured(tmp_path: Path) -> None:
    folder = str(tmp_path / "parts")
    found, truth = errors(10.0)
    names = {CONTEXT: found, "a/b.c run": errors(5.0, seed=0)[0]}
    part = MeasuredRange(512, np.arange(512, 512 + N), truth, hidden_somewhere(N), names)
    nothing = MeasuredRange(0, np.arange(0), truth[:0], hidden_somewhere(0), {})
    parts = EvaluationParts(folder, {"seed": 0})
    parts.save(part)
    parts.save(nothing)
    again = EvaluationParts(folder, {"seed": 0}).load()
    assert set(again) == {0, 512}
    assert list(again[512].methods) == list(names)
    assert all(same(again[512].methods[name], names[name]) for name in names)
    np.testing.assert_array_equal(again[512].rows, part.rows)
    np.testing.assert_array_equal(again[512].hidden, part.hidden)
    assert not len(again[0].rows)
    # what is no part of this code's, or was cut short, is measured again
    np.savez(tmp_path / "parts" / "7.npz", rows=np.arange(3))
    file = tmp_path / "parts" / "512.npz"
    file.write_bytes(file.read_bytes()[:200])
    assert set(EvaluationParts(folder, {"seed": 0}).load()) == {0}
    assert EvaluationParts(folder, {"seed": 1}).load() == {}  # another question
    assert EvaluationParts(None, {}).load() == {}


def test_ranges_are_joined_with_their_clips() -> None:
    clips = [made_clip(0, 4, action="walk"), made_clip(4, 4, action="run")]
    parts = []
    for first, rows in ((0, [0, 1, 3]), (4, [4, 6])):
        found, truth = errors(10.0, len(rows), seed=first)
        hidden = hidden_somewhere(len(rows))
        parts.append(MeasuredRange(first, np.array(rows), truth, hidden, {CONTEXT: found}))
    whole = collect(parts, clips)
    assert whole.rows.tolist() == [0, 1, 3, 4, 6]
    assert whole.actions.tolist() == ["walk"] * 3 + ["run"] * 2
    assert whole.clips[0] == clips[0].clip
    assert whole.stretches.tolist() == [2, 1, 1, 1]
    assert whole.hidden.tolist() == hidden_somewhere(3).tolist() + hidden_somewhere(2).tolist()
    np.testing.assert_array_equal(whole.truth_mm, np.concatenate([part.truth_mm for part in parts]))
    assert whole.methods[CONTEXT].mpjpe_mm.shape == (5,)
