"""Human3.6M from its files to a measured model: preprocess, train a little, evaluate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from human36m_files import write_human36m

from diffpose.jobs import evaluate, preprocess, train
from diffpose.model.camera import project
from diffpose.platform.pose_store import PoseStore

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]


def test_from_files_to_errors_per_action(ray_local: None, tmp_path: Path) -> None:
    files, store, run = tmp_path / "files", tmp_path / "store", tmp_path / "run"
    write_human36m(files, frames=16)
    recipe = ["--config", str(ROOT / "configs" / "preprocess" / "human36m.yaml")]
    arguments = [*recipe, f"source.uri={files}", f"store={store}", "workers=2", "source.stride=2"]
    assert preprocess.main(arguments) == 0
    found = PoseStore.open(str(store))
    clips = found.clips()
    assert len(clips) == (7 * 4 - 1) * 4
    assert {c.subject for c in clips if c.split == "test"} == {"S9", "S11"}
    assert {c.subject for c in clips if c.split != "test"} == {"S1", "S5", "S6", "S7", "S8"}
    assert {c.action for c in clips} == {"Directions", "Walking", "WalkDog"}
    assert {(c.n_rows, c.fps) for c in clips} == {(8, 25.0)}
    for clip in clips[::17]:
        rows = clip.first_row, clip.first_row + clip.n_rows
        pose, root, camera = (
            found.read(name, *rows).astype(np.float64)
            for name in ("pose_3d", "root_position", "camera")
        )
        off = project(pose + root[:, None], camera[:, None]) - found.read("keypoints_2d", *rows)
        assert np.median(np.abs(off)) < 8  # px: a cell, after distortion was taken out
        assert np.isfinite(found.read("mixtures/histogram/means_mm", *rows)).all()
    assert found.attributes["detector"]["kind"] == "dataset"

    settings = ["--config", str(ROOT / "configs" / "train" / "demo.yaml")]
    settings += [f"store={store}", f"run={run}", "encoder_training.epochs=2"]
    assert train.main([*settings, "denoiser_training.epochs=2"]) == 0
    figures = tmp_path / "figures.json"
    assert evaluate.main([f"run={run}", f"store={store}", "--json", str(figures)]) == 0
    measured = json.loads(figures.read_text())
    assert measured["n_poses"] == 7 * 4 * 8
    assert sorted(measured["per_action"]) == ["Directions", "WalkDog", "Walking"]
    actions = [part["mpjpe_mm"] for part in measured["per_action"].values()]
    assert measured["mean_of_actions"]["mpjpe_mm"] == pytest.approx(np.mean(actions))
