"""An evaluation that was interrupted goes on; one that asks something else begins again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from diffpose.jobs import evaluate
from diffpose.platform.evaluation import evaluate as evaluation
from diffpose.platform.evaluation.evaluate import evaluate_runs
from diffpose.platform.evaluation.results import Evaluation
from diffpose.platform.store.pose_store import PoseStore

pytestmark = pytest.mark.cluster
RUN = "run"


def test_figures_depend_neither_on_interruptions_nor_on_who_works(
    ray_local: None,
    small_run: str,
    small_store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = {RUN: small_run}
    one = evaluate_runs(small_store, runs, "test", {}, 0, 1)
    monkeypatch.setattr(evaluation, "_ROWS_PER_TASK", 20)
    keep = tmp_path / "parts"

    def measure(seed: int = 0) -> Evaluation:
        return evaluate_runs(small_store, runs, "test", {}, seed, None, keep=str(keep))

    whole = measure()
    np.testing.assert_array_equal(one.rows, whole.rows)
    for name, errors in one.methods.items():
        other = whole.methods[name]
        np.testing.assert_allclose(errors.joint_mm, other.joint_mm, atol=0.01)
        np.testing.assert_allclose(
            errors.uncertainty.sample_mm2, other.uncertainty.sample_mm2, rtol=1e-3, atol=0.1
        )

    joint_mm = whole.methods[RUN].joint_mm
    first, second, *rest = sorted(keep.glob("*.npz"), key=lambda path: int(path.stem))
    with np.load(first) as arrays:
        columns = dict(arrays)
    own = len(columns["rows"])
    marked_column = f"{columns['methods'].tolist().index(RUN)}.joint_mm"
    columns[marked_column] = columns[marked_column] + 1000.0
    np.savez(first, **columns)
    second.write_bytes(second.read_bytes()[:100])  # damaged: measured again
    for path in rest:
        path.unlink()
    marked = measure().methods[RUN].joint_mm
    np.testing.assert_allclose(marked[:own], joint_mm[:own] + 1000.0)  # not measured again
    np.testing.assert_allclose(marked[own:], joint_mm[own:])
    other_seed = measure(seed=1).methods[RUN].joint_mm  # another question: nothing is kept
    assert 0.01 < np.abs(other_seed - joint_mm).max() < 900


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


def test_a_store_that_was_made_anew_is_another_question(small_store: str, tmp_path: Path) -> None:
    other = tmp_path / "poses"
    shutil.copytree(small_store, other)
    store = PoseStore.open(str(other), mode="r+")
    clips = store.clips("test")

    def asked() -> dict[str, object]:
        return evaluation._question(PoseStore.open(str(other)), {}, {}, "test", 0, clips)

    before = asked()
    assert asked() == before
    detector = store.attributes["detector"]
    store.update_attributes({"detector": {**detector, "version": "other"}})
    assert asked() != before
