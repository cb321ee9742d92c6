"""Comparing evaluations: hand-made files whose answer is known, and what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffpose.jobs import compare as job

# Three clips of 2, 2 and 4 poses.
CLIPS = ["a", "a", "b", "b", "c", "c", "c", "c"]
ROWS = [0, 1, 64, 65, 128, 129, 130, 131]
ACTIONS = ["walk"] * 4 + ["run"] * 4


def write_evaluation(
    folder: Path,
    run: str,
    mpjpe: list[float],
    figures: dict[str, Any] | None = None,
    **columns: Any,
) -> Path:
    """Write what diffpose evaluate writes, as far as a comparison reads it."""
    folder.mkdir(parents=True)
    truth = np.zeros((len(ROWS), 51), np.float32)
    values = {
        "row": ROWS,
        "clip": CLIPS,
        "action": ACTIONS,
        "truth_mm": truth,
        f"{run}/mpjpe_mm": mpjpe,
        f"{run}/p_mpjpe_mm": [value / 2 for value in mpjpe],
        "context encoder/mpjpe_mm": [60.0] * len(ROWS),
        "context encoder/p_mpjpe_mm": [50.0] * len(ROWS),
        **columns,
    }
    flat = pa.array(np.asarray(values.pop("truth_mm"), np.float32).ravel())
    table = {name: pa.array(value) for name, value in values.items()}
    table["clip"] = table["clip"].dictionary_encode()
    table["truth_mm"] = pa.FixedSizeListArray.from_arrays(flat, 51)
    pq.write_table(pa.table(table), folder / "poses.parquet")
    part = {"mpjpe_mm": float(np.mean(mpjpe)), "p_mpjpe_mm": float(np.mean(mpjpe)) / 2}
    described = {
        "run": run,
        "runs": {run: {**part, "coverage50": 0.487, "energy_score_mm": 31.25}},
        "context_encoder": {"mpjpe_mm": 60.0, "p_mpjpe_mm": 50.0, "coverage50": None},
        "split": "test",
        "protocol": "root-relative",
        **(figures or {}),
    }
    (folder / "evaluation.json").write_text(json.dumps(described))
    return folder


ONE = [50.0] * 8
OTHER = [48.0, 48, 53, 53, 49, 49, 49, 49]  # clip means -2, +3, -1


def test_differences_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "first"
    write_evaluation(run / "evaluation", "first", ONE)  # a run directory
    other = write_evaluation(tmp_path / "other", "run.v2", OTHER)  # an evaluation's folder
    target = tmp_path / "figures.json"
    arguments = [str(run), str(other), "resamples=20000", "--json", str(target)]
    assert job.main(arguments) == 0
    figures = json.loads(target.read_text())
    assert figures["first"] == "first"
    found = figures["differences"]["run.v2"]["mpjpe_mm"]
    # sums -4, 6, -4 over 2, 2, 4 poses; 27 resamples of three clips, all as likely
    assert found["mean"] == pytest.approx(-0.25)
    sums, counts = np.array([-4.0, 6, -4]), np.array([2.0, 2, 4])
    drawn = np.array(np.meshgrid(*[range(3)] * 3)).reshape(3, -1)
    means = sums[drawn].sum(axis=0) / counts[drawn].sum(axis=0)
    assert found["low"] == pytest.approx(means.min())  # 1 of 27 is above 2.5 %
    assert found["high"] == pytest.approx(means.max())
    assert found["sign_flips"] == pytest.approx((means > 0).mean(), abs=0.02)
    assert found["n_clips"] == 3
    halved = figures["differences"]["run.v2"]["p_mpjpe_mm"]
    assert halved["low"] == pytest.approx(found["low"] / 2)
    printed = capsys.readouterr().out
    assert "-0.25 [-2.00, +3.00]" in printed
    assert "only 3 clips" in printed
    assert "48.7" in printed
    page = (run / "evaluation" / "comparison" / "comparison.html").read_text()
    for words in ("run.v2", "-0.25 [-2.00, +3.00]", "<svg", "only 3 clips", "walk"):
        assert words in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")


def test_all_methods_of_one_evaluation(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "one", "<run>", OTHER)
    out = tmp_path / "out"
    assert job.main([str(folder), "methods=all", f"out={out}"]) == 0
    figures = json.loads((out / "comparison.json").read_text())
    assert list(figures["methods"]) == ["context encoder", "<run>"]
    found = figures["differences"]["<run>"]["mpjpe_mm"]
    assert found["mean"] == pytest.approx(np.mean(OTHER) - 60)
    assert found["sign_flips"] == 0
    assert "&lt;run&gt;" in (out / "comparison.html").read_text()


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    for name, errors in (("x", ONE), ("y", OTHER)):
        write_evaluation(tmp_path / name / "run" / "evaluation", "run", errors)
    out = tmp_path / "out"
    uris = [str(tmp_path / name / "run") for name in ("x", "y")]
    assert job.main([*uris, f"out={out}", "methods=all"]) == 0
    figures = json.loads((out / "comparison.json").read_text())
    assert list(figures["methods"]) == [
        "context encoder (x/run)", "run (x/run)", "context encoder (y/run)", "run (y/run)"
    ]  # fmt: skip


OTHER_TRUTH = np.zeros((8, 51), np.float32)
OTHER_TRUTH[5, 7] = 4.5
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "split": ({"figures": {"split": "validation"}}, ["split test", "validation in"]),
    "protocol": ({"figures": {"protocol": "aligned"}}, ["protocol 'root-relative'", "'aligned'"]),
    "clips": ({"clip": [*CLIPS[:-1], "d"]}, ["1 poses are in the first alone", "row 131 of clip"]),
    "rows": ({"row": [*ROWS[:-1], 140]}, ["1 in the second alone", "row 131 of clip c"]),
    "order": ({"row": [1, 0, *ROWS[2:]]}, ["order of the poses, at place 0: row 0", "1 in"]),
    "actions": ({"action": ["run"] * 8}, ["action of row 0 walk", "run in"]),
    "truth": (
        {"truth_mm": OTHER_TRUTH},
        ["truth of row 129 (joint 2, y) 0.00 mm", "4.50 mm in"],
    ),
}


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED)
def test_other_poses_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], words: list[str]
) -> None:
    one = write_evaluation(tmp_path / "one", "one", ONE)
    other = write_evaluation(tmp_path / "other", "other", OTHER, **changes)
    assert job.main([str(one), str(other)]) == 2
    told = capsys.readouterr().err
    assert "other poses and cannot be compared" in told
    for word in words:
        assert word in told


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_evaluation(tmp_path / "one", "one", ONE)
    cases = {
        "needs two methods": [str(one)],
        "compared once": [str(one), f"{one}/evaluation.json"],
        "There is no evaluation at": [str(one), str(tmp_path)],
        "'evaluations' is required": [],
    }
    for words, arguments in cases.items():
        assert job.main(arguments) == 2
        assert words in capsys.readouterr().err
    older = write_evaluation(tmp_path / "older", "older", ONE)
    pq.write_table(pa.table({"row": [0]}), older / "poses.parquet")
    assert job.main([str(one), str(older)]) == 2
    assert "older/p_mpjpe_mm" in capsys.readouterr().err
    (older / "poses.parquet").unlink()
    assert job.main([str(one), str(older)]) == 2
    assert "poses.parquet is missing" in capsys.readouterr().err
    single = write_evaluation(tmp_path / "single", "single", ONE, clip=["a"] * 8)
    assert job.main([str(single), "methods=all"]) == 2
    assert "two or more" in capsys.readouterr().err
