"""diffpose benchmark: every part runs, and says what was asked for in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffpose.jobs import benchmark

pytestmark = pytest.mark.cluster
FIGURES = {
    "mixture": ["mixture.pose_full.cpu", "mixture.joint.cpu"],
    "sampling": ["sampling.iid"],
    "preprocess": ["preprocess.heatmaps_to_store", "preprocess.two_workers"],
    "store": ["store.shuffled_small", "store.shuffled_factors"],
    "metrics": ["metrics.p_mpjpe"],
    "evaluate_metrics": ["evaluate_metrics.tasks"],
    "denoiser": ["denoiser.inference", "denoiser.reverse_process", "denoiser.training_step"],
}


def test_all_figures_are_measured_and_written(
    ray_local: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "figures.json"
    arguments = ["all", f"folder={tmp_path}", "frames=4", "rounds=1", "--json", str(target)]
    assert benchmark.main(arguments) == 0
    records = json.loads(target.read_text())
    expected = [name for names in FIGURES.values() for name in names]
    assert [record["name"] for record in records] == expected
    for record in records:
        assert set(record) == {"name", "value", "unit", "peer", "peer_value", "ratio"}
        assert record["ratio"] == pytest.approx(record["value"] / record["peer_value"])
        assert record["value"] > 0
    printed = capsys.readouterr().out
    for words in (
        "scikit-learn",
        "fresh draws",
        "memmap",
        "core-hours",
        "batched SVD",
        "released layers",
        "CPU cores",
    ):
        assert words in printed


def test_unknown_benchmarks_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["mixtures"]) == 2
    assert "mixtures" in capsys.readouterr().err
