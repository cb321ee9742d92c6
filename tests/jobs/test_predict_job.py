"""From a video to poses, as a user runs it: `diffpose predict` with every detector."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from pose_models import heatmap_model, vitpose_model
from tflite_models import blazepose_folder

from diffpose.jobs import demo, predict
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore

pytestmark = pytest.mark.cluster
REAL_VIDEO = Path(__file__).resolve().parents[3] / "shared" / "video" / "one_person.mp4"


def test_predict_writes_poses_of_every_person(
    ray_local: None, small_run: str, film_folder: Path, tmp_path: Path
) -> None:
    film = sorted(film_folder.glob("*.mp4"))[0]
    out = tmp_path / "out"
    arguments = [f"run={small_run}", f"video={film}", f"out={out}", "workers=2", "n_hypotheses=3"]
    assert predict.main(arguments) == 0
    (text,) = out.glob("*.json")
    answer = json.loads(text.read_text())
    with np.load(text.with_suffix(".npz")) as arrays:
        assert arrays["hypotheses_mm"].shape[1:] == (3, 17, 3)
        np.testing.assert_allclose(
            arrays["hypotheses_mm"].mean(axis=1), arrays["poses_mm"], atol=0.1
        )
        np.testing.assert_allclose(answer["poses_mm"], arrays["poses_mm"], atol=0.06)
        assert len(arrays["timestamp_s"]) == len(arrays["keypoints_px"]) == len(answer["std_mm"])
        assert arrays["covariance_mm2"].shape == (*arrays["poses_mm"].shape, 3)
        assert "covariance_mm2" not in answer  # most of the file, as text
    assert answer["calibrated"]
    assert set(answer["ellipsoid_radius"]) == {"50", "90"}
    assert answer["video"] == film.name
    before = text.stat().st_mtime_ns
    assert predict.main(arguments) == 0  # nothing left to do
    assert text.stat().st_mtime_ns == before
    asked = json.loads(answer["question"])
    fewer = {**asked, "clips": asked["clips"][1:]}  # an answer of before a clip was repaired
    text.write_text(json.dumps({**answer, "question": json.dumps(fewer, sort_keys=True)}))
    assert predict.main(arguments) == 0
    assert json.loads(text.read_text()) == answer
    assert predict.main([*arguments, "refine=clip"]) == 0  # the detections are kept
    poses = [np.array(a["poses_mm"]) for a in (answer, json.loads(text.read_text()))]
    shins = [np.linalg.norm(p[:, [3, 6]] - p[:, [2, 5]], axis=-1) for p in poses]
    assert shins[1].std() < shins[0].std()


def test_the_demo_lifts_a_film_by_the_shipped_run_without_any_network(
    ray_local: None,
    film_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))  # where nothing lies
    out = tmp_path / "out"
    demo.lift_film(str(sorted(film_folder.glob("*.mp4"))[0]), str(out))
    assert "the bundled detector looks" in capfd.readouterr().out
    (text,) = out.glob("*.json")
    answer = json.loads(text.read_text())
    assert answer["model"] == "shipped://windows"
    assert np.isfinite(answer["poses_mm"]).all()


@pytest.mark.parametrize("kind", ["bundled", "blazepose", "vitpose", "onnx", "recorded"])
def test_every_detector_goes_all_the_way(
    ray_local: None,
    small_run: str,
    film_folder: Path,
    tmp_path: Path,
    kind: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A rendered film, and the real video where it is at hand, from pixels to poses."""
    videos = [sorted(film_folder.glob("*.mp4"))[0]]
    videos += [REAL_VIDEO] if REAL_VIDEO.is_file() else []
    given = [f"detector.kind={kind}"]
    if kind == "vitpose":
        vitpose_model(tmp_path / "model")
        given += [f"detector.model={tmp_path / 'model'}"]
    elif kind == "blazepose":
        (tmp_path / "networks").mkdir()
        blazepose_folder(tmp_path / "networks")
        given += [f"detector.weights={tmp_path / 'networks'}"]
    elif kind == "onnx":
        heatmap_model(tmp_path / "pose.onnx")
        given += [f"detector.model={tmp_path / 'pose.onnx'}"]
    elif kind == "recorded":
        (tmp_path / "keypoints").mkdir()
        for video in videos:
            _alphapose_of(video, tmp_path / "keypoints" / f"{video.stem}.json")
        given += [f"detector.uri={tmp_path / 'keypoints'}"]
    for video in videos:
        out = tmp_path / f"out_{video.stem}"
        arguments = [f"run={small_run}", f"video={video}", f"out={out}", "workers=2", *given]
        # the bundled finder knows rendered people; a real one may come out with a low score
        assert predict.main([*arguments, "people.threshold=0.02", "people.shortest_s=0"]) == 0
        texts = list(out.glob("*.json"))
        assert texts
        answer = json.loads(texts[0].read_text())
        assert np.isfinite(answer["poses_mm"]).all()
        assert np.isfinite(answer["std_mm"]).all()
        assert answer["video"] == video.name
        store = PoseStore.open(str(out / "store"))
        pose_mm = read_observations(store, 0, store.clips()[0].n_rows).detected_mm
        if kind == "blazepose":  # what it says of space itself is kept, for the refinement
            assert pose_mm is not None
            assert np.isfinite(pose_mm).all()
            assert (pose_mm[:, 0] == 0).all()
        else:
            assert pose_mm is None
        if kind == "bundled":  # it knows rendered people alone, and says so
            assert answer["calibrated"] == (video != REAL_VIDEO)
            told = "do not hold together" in capfd.readouterr().err
            assert told == (video == REAL_VIDEO)
        if video == REAL_VIDEO:
            assert (answer["width"], answer["height"]) == (960, 540)


def test_another_question_gets_another_answer(
    ray_local: None, small_run: str, film_folder: Path, tmp_path: Path
) -> None:
    film = sorted(film_folder.glob("*.mp4"))[0]
    out = tmp_path / "out"
    arguments = [f"run={small_run}", f"video={film}", f"out={out}", "workers=2"]
    assert predict.main([*arguments, "n_hypotheses=2"]) == 0
    (text,) = out.glob("*.json")
    assert predict.main([*arguments, "n_hypotheses=4"]) == 0
    assert json.loads(text.read_text())["n_hypotheses"] == 4


def _alphapose_of(video: Path, target: Path) -> None:
    """Write keypoints of somebody who stands in the middle of the video."""
    rng = np.random.default_rng(0)
    with av.open(str(video)) as container:
        frames = [(f.width, f.height) for f in container.decode(video=0)]
    rows = []
    for i, (width, height) in enumerate(frames):
        points = rng.uniform([0.4, 0.3, 0.5], [0.6, 0.9, 1.0], (17, 3)) * [width, height, 1]
        rows.append({"image_id": f"{i}.jpg", "keypoints": points.ravel().tolist(), "score": 2.0})
    target.write_text(json.dumps(rows))
