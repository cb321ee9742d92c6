"""An evaluation that was interrupted goes on; one that asks something else begins again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffpose.jobs import evaluate
from diffpose.platform import evaluation
from diffpose.platform.evaluation import evaluate_runs

pytestmark = pytest.mark.cluster
RUN = "run"


def test_figures_do_not_depend_on_how_many_work_and_on_how_much(
    ray_local: None, small_run: str, small_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = evaluate_runs(small_store, {RUN: small_run}, "test", {}, 0, 1)
    monkeypatch.setattr(evaluation, "_ROWS_PER_TASK", 20)
    several = evaluate_runs(small_store, {RUN: small_run}, "test", {}, 0, 2)
    np.testing.assert_array_equal(one.rows, several.rows)
    for name, errors in one.methods.items():
        other = several.methods[name]
        np.testing.assert_allclose(errors.joint_mm, other.joint_mm, atol=0.01)
        assert errors.uncertainty is not None
        assert other.uncertainty is not None
        np.testing.assert_allclose(
            errors.uncertainty.sample_mm2, other.uncertainty.sample_mm2, rtol=1e-3, atol=0.1
        )


def test_what_was_measured_is_kept(
    ray_local: None,
    small_run: str,
    small_store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "_ROWS_PER_TASK", 20)
    keep = tmp_path / "parts"

    def measure(seed: int = 0) -> np.ndarray:
        runs = {RUN: small_run}
        found = evaluate_runs(small_store, runs, "test", {}, seed, None, keep=str(keep))
        return found.methods[RUN].joint_mm

    whole = measure()
    first, _, *_ = sorted(keep.glob("*.npz"), key=lambda path: int(path.stem))
    with np.load(first) as arrays:
        columns = dict(arrays)
    own = len(columns["rows"])
    columns[f"{RUN}/joint_mm"] = columns[f"{RUN}/joint_mm"] + 1000.0
    np.savez(first, **columns)
    for path in keep.glob("*.npz"):
        if path != first:
            path.unlink()
    marked = measure()
    np.testing.assert_allclose(marked[:own], whole[:own] + 1000.0)  # not measured again
    np.testing.assert_allclose(marked[own:], whole[own:])

    first.write_bytes(first.read_bytes()[:100])
    np.testing.assert_allclose(measure(), whole)  # damaged: measured again
    other = measure(seed=1)
    assert np.abs(other - whole).max() > 0.01
    np.testing.assert_allclose(measure(), whole)


def test_a_finished_evaluation_leaves_no_parts(
    ray_local: None, small_run: str, small_store: str, tmp_path: Path
) -> None:
    words = [f"run={small_run}", f"store={small_store}", f"output={tmp_path / 'out'}"]
    assert evaluate.main(words) == 0
    assert (tmp_path / "out" / "evaluation.json").is_file()
    assert not (tmp_path / "out" / "parts").exists()


def test_gpus_that_are_not_there_are_explained(
    ray_local: None, small_run: str, small_store: str, tmp_path: Path, capsys
) -> None:
    words = [f"run={small_run}", f"store={small_store}", f"output={tmp_path / 'out'}"]
    assert evaluate.main([*words, "gpus=1"]) == 2
    assert "gpus=1 asks for more than the cluster's 0 GPUs" in capsys.readouterr().err
