"""Keypoint files without videos through predict, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from diffpose.jobs import predict

pytestmark = pytest.mark.cluster


def test_poses_from_keypoints_alone(
    ray_local: None, small_run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    standing = np.array(
        [[400, 100], [406, 92], [394, 92], [414, 96], [386, 96], [440, 160], [360, 160], [455, 230],
         [345, 230], [460, 300], [340, 300], [420, 300], [380, 300], [422, 400], [378, 400],
         [424, 500], [376, 500]], dtype=np.float64,
    )  # fmt: skip
    walk = standing + np.arange(12)[:, None, None] * [2, 0]
    rows = [
        {"image_id": f"{t}.jpg", "category_id": 1, "score": 2.0, "idx": 0,
         "keypoints": np.column_stack([points, np.full(17, 0.9)]).ravel().tolist()}
        for t, points in enumerate(walk)
    ]  # fmt: skip
    (tmp_path / "walk.json").write_text(json.dumps(rows))
    out = tmp_path / "out"
    given = [f"run={small_run}", f"keypoints={tmp_path / 'walk.json'}", f"out={out}", "workers=2"]
    assert predict.main([*given, "width=800", "height=600", "fps=10"]) == 0
    answer = json.loads((out / "walk_person_0.json").read_text())
    assert (answer["width"], answer["height"], answer["fps"]) == (800, 600, 10)
    assert answer["joint_layout"] == "human36m_17"
    assert np.shape(answer["poses_mm"]) == (12, 17, 3)
    assert np.isfinite(answer["poses_mm"]).all()
    nose = np.array(answer["keypoints_px"])[:, 9]
    assert np.abs(nose - walk[:, 0]).max() < 4
    with np.load(out / "walk_person_0.npz") as arrays:
        assert str(arrays["joint_layout"]) == "human36m_17"
    assert predict.main(given) == 2
    assert "width= and height=" in capsys.readouterr().err
    assert predict.main([*given, "video=x.mp4", "width=8", "height=6"]) == 2
    assert "either video= or keypoints=" in capsys.readouterr().err
