"""Widths of recorded keypoints, from files of several calibrated cameras."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from camera_ring import LENS, ring

from diffpose.jobs import calibrate
from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.keypoints.joint_widths import KEY, SIGMAS, joint_widths
from diffpose.preprocessing.keypoints.recorded import RecordedSettings, recorded_heatmaps
from diffpose.preprocessing.multiview.recorded_views import RecordedViews, fitted_widths

N = 120
TRUE = np.linspace(0.01, 0.03, 17)


def seen(count: int = 4, noise: np.ndarray = TRUE) -> RecordedViews:
    """Keypoints of a person who sways, off by a share of the longer side of their box."""
    rng = np.random.default_rng(0)
    body = rng.normal(0, 1, (17, 3)) * [250, 150, 420] + [0, 0, 1000]
    motion = body + np.cumsum(rng.normal(0, 3, (N, 17, 3)), axis=0)
    cameras = ring(count)
    exact = np.stack([camera.project(motion) for camera in cameras])
    boxes = np.concatenate([exact.min(axis=2), exact.max(axis=2)], axis=-1)
    size = (boxes[..., 2:] - boxes[..., :2]).max(axis=-1)
    noisy = exact + rng.normal(0, 1, exact.shape) * (noise * size[..., None])[..., None]
    return RecordedViews(cameras, noisy, np.ones(exact.shape[:3]), boxes)


def test_widths_are_the_detectors_own_without_what_the_other_cameras_add() -> None:
    found = fitted_widths(seen(), 2.0)
    np.testing.assert_allclose(list(found[KEY].values()), TRUE, rtol=0.2)
    assert np.mean(list(found[KEY].values())) == pytest.approx(TRUE.mean(), rel=0.07)
    assert all(found["apparent"][name] > found[KEY][name] for name in JOINT_NAMES)


def test_two_cameras_cannot_judge_each_other() -> None:
    with pytest.raises(SourceError, match="three cameras"):
        fitted_widths(seen(2), 2.0)


def test_widths_of_a_file_and_of_the_names_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "widths.json"
    path.write_text(json.dumps({KEY: dict(zip(JOINT_NAMES, TRUE.tolist(), strict=True))}))
    box = np.array([[0.0, 0.0, 300.0, 1000.0]])
    np.testing.assert_allclose(joint_widths(str(path)).sigma_px(box)[0], 1000 * TRUE)
    np.testing.assert_allclose(joint_widths("coco").sigma_px(box)[0], SIGMAS * np.sqrt(3e5))
    points = np.full((1, 17, 2), 500.0)
    drawn = {
        rule: recorded_heatmaps(
            points, np.ones((1, 17)), box, RecordedSettings(uri="x", widths=rule)
        )[0]
        for rule in ("coco", "measured", str(path))
    }
    area = {rule: (maps[0, 1] > 127).sum() for rule, maps in drawn.items()}
    assert area["measured"] < area["coco"] / 3
    versions = {RecordedSettings(uri="x", widths=rule).version() for rule in drawn}
    assert len(versions) == 3


def test_a_width_that_is_no_rule_and_no_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="neither coco nor measured"):
        joint_widths(str(tmp_path / "none.json"))
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"temperature": [1.0]}))
    with pytest.raises(SourceError, match="holds no widths"):
        joint_widths(str(path))


def write_scene(folder: Path) -> Path:
    """COCO's results with Human3.6M's joints, a file a camera, and Pose2Sim's calibration."""
    views = seen()
    keypoints = folder / "keypoints"
    keypoints.mkdir()
    sections = []
    for c, camera in enumerate(views.cameras):
        rows = [
            {
                "image_id": t,
                "category_id": 1,
                "score": 0.9,
                "keypoints": np.append(
                    views.keypoints_px[c, t], np.ones((17, 1)), axis=1
                ).ravel().tolist(),
            }
            for t in range(N)
        ]  # fmt: skip
        (keypoints / f"{camera.name}.json").write_text(json.dumps(rows))
        fx, fy, cx, cy = camera.intrinsics_px
        move = -camera.rotation @ camera.centre_mm / 1000
        sections.append(
            f"[{camera.name}]\nsize = [1088.0, 1920.0]\n"
            f"matrix = {[[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]}\n"
            f"distortions = {list(LENS)}\nrotation = {camera.rotation.tolist()}\n"
            f"translation = {move.tolist()}\n"
        )
    (folder / "Calib.toml").write_text("\n".join(sections))
    return keypoints


def test_calibrate_fits_the_widths_of_keypoint_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keypoints = write_scene(tmp_path)
    out = tmp_path / "widths.json"
    arguments = [
        "source.kind=keypoints", f"source.uri={keypoints}", "source.width=1088",
        "source.height=1920", "detector.layout=h36m_17", f"views={tmp_path / 'Calib.toml'}",
        "unit=m", f"out={out}",
    ]  # fmt: skip
    assert calibrate.main(arguments) == 0
    saved = json.loads(out.read_text())
    assert np.mean(list(saved[KEY].values())) == pytest.approx(TRUE.mean(), rel=0.1)
    assert f"detector.widths={out}" in capsys.readouterr().out
    assert joint_widths(str(out)).of == "longer side"


def test_keypoints_without_cameras_have_nothing_to_be_calibrated_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keypoints = write_scene(tmp_path)
    arguments = [
        "source.kind=keypoints", f"source.uri={keypoints}", "source.width=1088",
        "source.height=1920", f"out={tmp_path / 'a.json'}",
    ]  # fmt: skip
    assert calibrate.main(arguments) == 2
    assert "views=CALIBRATION" in capsys.readouterr().err
