"""``import diffpose`` in a notebook: keypoints in, answers out, without Ray or a server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
from answers import STANDING_MM, made_answer

import diffpose
from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.platform.answers.files import write_answer
from diffpose.platform.base.errors import ConfigError, RunError
from diffpose.platform.notebook.lifter import PoseLifter

ROOT = Path(__file__).resolve().parents[2]
SIZE = (1280, 720)
FOCAL_PX = 1000.0


@pytest.fixture(scope="module")
def lifter() -> PoseLifter:
    return diffpose.load("shipped://frames")


@pytest.fixture(scope="module")
def seen_px() -> np.ndarray:
    """The keypoints of somebody who stands 4 m before the camera and sways, (8, 17, 2)."""
    rng = np.random.default_rng(0)
    points = np.tile(STANDING_MM, (8, 1, 1)) + np.array([0.0, 60.0, 4000.0])
    points[:, 13:, 0] += rng.normal(0, 3, (8, 4))
    return points[..., :2] / points[..., 2:] * FOCAL_PX + np.array(SIZE) / 2


def test_five_lines(lifter: PoseLifter, seen_px: np.ndarray) -> None:
    answer = lifter.lift(seen_px, image_size=SIZE, camera=FOCAL_PX, layout="h36m_17", fps=25)
    assert answer.poses_mm.shape == (8, 17, 3)
    error = np.linalg.norm(answer.poses_mm - STANDING_MM, axis=-1).mean()
    assert error < 90.0  # a man of 1.6 m whose keypoints alone are known
    assert answer.calibrated
    assert answer.covariance_mm2 is not None
    assert answer.covariance_mm2.shape == (8, 17, 3, 3)
    assert answer.hypotheses_mm is not None
    np.testing.assert_allclose(answer.hypotheses_mm.mean(axis=1), answer.poses_mm, atol=0.1)
    # it projects to where the keypoints were
    points = answer.positions_mm
    found = points[..., :2] / points[..., 2:] * FOCAL_PX + np.array(SIZE) / 2
    assert np.abs(found - seen_px).mean() < 4.0
    np.testing.assert_allclose(answer.timestamp_s, np.arange(8) / 25)
    assert (answer.width, answer.height, answer.fps) == (*SIZE, 25.0)
    assert "8 frames" in repr(answer)


def test_the_same_question_has_the_same_answer_however_it_is_put(
    lifter: PoseLifter, seen_px: np.ndarray
) -> None:
    one = lifter.lift(seen_px, image_size=SIZE, camera=FOCAL_PX, layout="h36m_17")
    camera = [FOCAL_PX, FOCAL_PX, SIZE[0] / 2, SIZE[1] / 2]
    confident = np.concatenate([seen_px, np.ones((8, 17, 1))], axis=-1).tolist()
    other = lifter.lift(confident, camera=camera, layout="h36m_17")
    np.testing.assert_array_equal(one.poses_mm, other.poses_mm)
    (frame,) = lifter.lift(seen_px[0], camera=camera, layout="h36m_17").poses_mm
    np.testing.assert_allclose(frame, one.poses_mm[0], atol=60.0)  # alone, refined alone


def test_what_was_not_seen_is_less_certain(lifter: PoseLifter, seen_px: np.ndarray) -> None:
    whole = lifter.lift(seen_px, image_size=SIZE, layout="h36m_17")
    part = seen_px.copy()
    part[:, 16] = np.nan  # the right wrist
    answer = lifter.lift(part, image_size=SIZE, layout="h36m_17")
    assert not answer.seen[:, 16].any()
    assert answer.seen[:, :16].all()
    assert answer.std_mm[:, 16].mean() > 1.5 * whole.std_mm[:, 16].mean()
    part[3] = np.nan  # and nobody at all in one frame
    assert np.isfinite(lifter.lift(part, image_size=SIZE, layout="h36m_17").poses_mm).all()


def test_long_recordings_go_piece_by_piece(
    lifter: PoseLifter, seen_px: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = seen_px.copy()
    part[2:7, 16] = np.nan  # a gap across the pieces' border
    asked = {"image_size": SIZE, "layout": "h36m_17"}
    whole = lifter.lift(part, **asked)
    monkeypatch.setattr("diffpose.platform.notebook.lifter._FRAMES_AT_ONCE", 4)
    pieces = lifter.lift(part, **asked)
    np.testing.assert_allclose(pieces.poses_mm, whole.poses_mm, atol=0.05)
    np.testing.assert_array_equal(pieces.seen, whole.seen)


def test_other_layouts_and_a_known_height(lifter: PoseLifter, seen_px: np.ndarray) -> None:
    halpe = np.full((8, 26, 2), np.nan)
    ours = {name: seen_px[:, j] for j, name in enumerate(JOINT_NAMES)}
    for theirs, name in enumerate(
        ("LShoulder", "RShoulder", "LElbow", "RElbow", "LWrist", "RWrist", "LHip", "RHip",
         "LKnee", "RKnee", "LFoot", "RFoot"), start=5,
    ):  # fmt: skip
        halpe[:, theirs] = ours[name]
    for theirs, name in ((0, "Nose"), (17, "Head"), (18, "Thorax"), (19, "Hip")):
        halpe[:, theirs] = ours[name]
    answer = lifter.lift(halpe, image_size=SIZE)
    assert answer.seen.all()
    tall = lifter.lift(halpe, image_size=SIZE, height_m=2.0)
    ratio = tall.poses_mm[:, 1:] / np.where(answer.poses_mm[:, 1:] == 0, 1, answer.poses_mm[:, 1:])
    assert np.ptp(np.median(ratio, axis=(1, 2))) < 1e-4
    assert np.median(ratio) > 1.05


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"layout": None}, "17 joints may be COCO's or Human3.6M's"),
        ({"layout": "coco"}, "layout='coco' is unknown"),
        ({"layout": "body_25"}, "has 25 joints, keypoints_px 17"),
        ({"image_size": None}, "give image_size="),
        ({"image_size": (0, 5)}, "must be positive"),
        ({"camera": -5.0}, "must be positive and finite"),
        ({"camera": (1.0, 2.0)}, "focal length in px, or"),
        ({"fps": 0}, "fps=0"),
        ({"height_m": 180}, "height_m=180"),
        (
            {"keypoints_px": np.zeros((3, 17))},
            r"layout='h36m_17' has 17 joints, keypoints_px 3|K, 2",
        ),
        ({"keypoints_px": np.full((2, 17, 2), np.nan)}, "no joint that is known"),
        ({"keypoints_px": np.full((2, 17, 2), 1e9)}, "must lie within"),
        ({"confidence": np.ones((3, 17))}, "3 frames, keypoints_px 8"),
        ({"confidence": np.full((8, 17), 50.0)}, "from 0 to 1"),
        ({"refine": "frames"}, "refine"),
        ({"conversion": "tuned"}, "for coco_17"),
    ],
)
def test_what_does_not_fit_is_said(
    lifter: PoseLifter, seen_px: np.ndarray, changed: dict[str, object], words: str
) -> None:
    asked = {"keypoints_px": seen_px, "image_size": SIZE, "layout": "h36m_17", **changed}
    with pytest.raises(ConfigError, match=words):
        lifter.lift(**asked)


def test_a_run_that_is_not_there() -> None:
    with pytest.raises(RunError):
        diffpose.load("no/such/run")


def test_an_answer_as_a_table(tmp_path: Path) -> None:
    answer = made_answer(3)
    table = answer.to_dataframe()
    assert isinstance(table, pd.DataFrame)
    assert len(table) == 3 * 17
    row = table[(table["frame"] == 2) & (table["joint"] == "RKnee")].iloc[0]
    expected = answer.positions_mm[2, 2]
    assert [row["x_mm"], row["y_mm"], row["z_mm"]] == pytest.approx(expected)
    # the camera is level, 1 m above the floor
    assert row["world_z_mm"] == pytest.approx(1000.0 - expected[1])
    assert row["std_mm"] == pytest.approx(np.sqrt(4300))
    assert (row["cov_xx_mm2"], row["cov_xy_mm2"], row["cov_zz_mm2"]) == (900.0, 0.0, 2500.0)
    write_answer(str(tmp_path), "a", answer, {})
    again = diffpose.read_answer(str(tmp_path / "a.json")).to_dataframe()
    pd.testing.assert_frame_equal(again, table)


def test_it_shows_in_a_notebook_and_as_a_file(tmp_path: Path) -> None:
    shown = made_answer().show()
    assert shown._repr_html_().startswith("<iframe srcdoc=")
    shown.save(str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == shown.page
    with pytest.raises(ConfigError, match="one film"):
        diffpose.show([made_answer(source="a.mp4"), made_answer(source="b.mp4")])


def test_the_notebook_of_the_docs_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "docs" / "keypoints.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # kept out of the repository
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3")
    done = client.execute(cwd=str(tmp_path))
    told = "".join(
        output.get("text", "") for cell in done.cells for output in cell.get("outputs", [])
    )
    error, claimed = (float(word) for word in re.findall(r"(\d+) mm", told))
    assert error < 100.0
    assert 0.3 < error / claimed < 3.0
    assert (tmp_path / "answer.html").stat().st_size > 10_000


def test_neither_ray_nor_a_server_is_loaded() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, diffpose\n"
            "light = {'torch', 'numpy', 'pydantic'} & set(sys.modules)\n"
            "assert not light, light\n"
            "lifter = diffpose.load('shipped://frames')\n"
            "heavy = {'ray', 'fastapi', 'zarr', 'av', 'matplotlib'} & set(sys.modules)\n"
            "assert not heavy, heavy\n"
            "assert diffpose.Answer.__name__ == 'Answer'\n",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
