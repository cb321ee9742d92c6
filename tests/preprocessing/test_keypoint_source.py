"""Keypoint files without videos: found, linked, drawn; wrong ones explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import ConfigError, SourceError
from diffpose.preprocessing.keypoints.joint_layouts import to_h36m_points, tuned_coco
from diffpose.preprocessing.keypoints.recordings import keypoint_recordings
from diffpose.preprocessing.planning.plan import Probe, extend_plan
from diffpose.preprocessing.planning.span_row import SpanRow
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.interface import SourceFile
from diffpose.preprocessing.sources.keypoints import KeypointRecordings
from diffpose.preprocessing.sources.registry import source_of

T = 30
# COCO's 17 joints of a standing person, px
STANDING = np.array(
    [[400, 100], [406, 92], [394, 92], [414, 96], [386, 96], [440, 160], [360, 160], [455, 230],
     [345, 230], [460, 300], [340, 300], [420, 300], [380, 300], [422, 400], [378, 400], [424, 500],
     [376, 500]], dtype=np.float64,
)  # fmt: skip


def walk(shift: float = 0.0) -> np.ndarray:
    """(T, 17, 2): one who walks to the right."""
    return STANDING + [shift, 0] + np.arange(T)[:, None, None] * [2.0, 0]


def alphapose(path: Path, people: dict[int, np.ndarray], scale: float = 1.0) -> None:
    rows = [
        {"image_id": f"{t}.jpg", "category_id": 1, "score": 2.5, "idx": person,
         "keypoints": np.column_stack([points[t] * scale, np.full(len(points[t]), 0.9)])
         .ravel().tolist()}
        for t in range(T) for person, points in people.items()
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))


def openpose(folder: Path, video: str, points: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for t in range(T):
        values = np.column_stack([points[t], np.full(len(points[t]), 0.8)]).ravel().tolist()
        name = f"{video}_{t:012d}_keypoints.json" if video else f"{t:06d}_keypoints.json"
        person = {"person_id": [-1], "pose_keypoints_2d": values}
        (folder / name).write_text(json.dumps({"version": 1.3, "people": [person]}))


def settings(uri: Path, store: Path, **changes: Any) -> PreprocessSettings:
    source = {"kind": "keypoints", "uri": str(uri), "width": 800, "height": 600, "fps": 15}
    source.update(changes.pop("source", {}))
    recipe = {"source": source, "store": str(store), "stages": ["detect"]}
    return validate(PreprocessSettings, {**recipe, **changes})


def recordings(chosen: PreprocessSettings) -> KeypointRecordings:
    source = source_of(chosen)
    assert isinstance(source, KeypointRecordings)
    return source


def probed(chosen: PreprocessSettings, name: str) -> Probe:
    return recordings(chosen).probe_one(SourceFile(name, "test"))


def test_every_kind_of_file_is_found(tmp_path: Path) -> None:
    alphapose(tmp_path / "a.json", {0: walk()})
    alphapose(tmp_path / "sub" / "b.json", {0: walk()})
    openpose(tmp_path / "frames", "first", walk())
    openpose(tmp_path / "frames", "second", walk())
    openpose(tmp_path / "plain", "", walk())
    (tmp_path / "notes.txt").write_text("none")
    found = keypoint_recordings(str(tmp_path))
    assert sorted(found) == ["a.json", "frames/first", "frames/second", "plain", "sub/b.json"]
    assert found["frames/second"].video == "second"
    assert list(keypoint_recordings(str(tmp_path / "a.json"))) == ["a.json"]
    for name in found:
        probe = probed(settings(tmp_path, tmp_path / "store"), name)
        assert not probe.error
        assert [(c.n_rows, c.fps, c.width, c.split) for c in probe.clips] == [(T, 15, 800, "test")]


def test_people_are_linked_and_drawn_where_they_stand(tmp_path: Path) -> None:
    alphapose(tmp_path / "two.json", {4: walk(), 9: walk(-250)})
    people = {"several": True}
    chosen = settings(tmp_path, tmp_path / "store", people=people, source={"focal_px": 900})
    probe = probed(chosen, "two.json")
    assert sorted(clip.track for clip in probe.clips) == [0, 1]
    plan = extend_plan(None, chosen, [probe], 4096)
    drawn = recordings(chosen).rasterise(SpanRow(plan.spans[0]))
    assert drawn.errors == {}
    arrays = drawn.arrays
    for clip in plan.spans[0].clips:
        rows = slice(clip.first_row, clip.first_row + clip.n_rows)
        nearest = min((0, -250), key=lambda s: abs(arrays["keypoints_2d"][rows][0, 9, 0] - 400 - s))
        expected, _ = to_h36m_points(walk(nearest), np.ones((T, 17)), "coco_17")
        assert np.abs(arrays["keypoints_2d"][rows] - expected).max() < 4
        np.testing.assert_allclose(arrays["camera"][rows][3], [900, 900, 400, 300])
        np.testing.assert_allclose(arrays["timestamp_s"][rows], np.arange(T) / 15)
        assert np.isnan(arrays["pose_3d"][rows]).all()


def test_tuned_conversion_by_its_published_formula() -> None:
    rng = np.random.default_rng(0)
    c = rng.uniform(100, 500, (17, 2))
    h, sure = to_h36m_points(c, np.full(17, 0.7), "coco_17", "tuned")
    m = (c[5] + c[6]) / 2
    hip, thorax = (c[11] + c[12]) / 2, m + (c[0] - m) / 3
    spine = (c[5] + c[6] + c[11] + c[12]) / 4
    spine[0] += 2 * (spine[0] - (hip[0] + thorax[0]) / 2)
    thorax[1] -= ((c[1, 1] + c[2, 1]) / 2 - c[0, 1]) * 2 / 3
    expected = {
        "Hip": hip, "Spine": spine, "Thorax": thorax, "Nose": c[0] - (c[0] - m) / 4,
        "Head": [c[1:5, 0].mean(), c[1, 1] + c[2, 1] - c[0, 1]], "RKnee": c[14], "LWrist": c[9],
    }  # fmt: skip
    for name, place in expected.items():
        np.testing.assert_allclose(h[JOINT_NAMES.index(name)], place)
    assert (sure == 0.7).all()
    np.testing.assert_allclose(tuned_coco().sum(axis=-1), 1)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda p: alphapose(p, {0: walk()}, 1 / 800), "must be in px, not normalised"),
        (lambda p: alphapose(p, {0: walk()}, 10.0), "outside an image of 800 x 600.*source.width"),
        (lambda p: alphapose(p, {0: walk()[:, :7]}), "7 joints per person.*detector.layout"),
        (lambda p: p.write_text("[]"), "no known format"),
        (lambda p: p.write_text(json.dumps({"meta_info": {}, "instance_info": [
            {"frame_id": 0, "instances": []}]})), "nobody is in any of its 1 frames"),
    ],
    ids=["normalised", "size", "joints", "empty", "nobody"],
)  # fmt: skip
def test_wrong_files_are_explained(tmp_path: Path, write: Any, words: str) -> None:
    write(tmp_path / "a.json")
    probe = probed(settings(tmp_path, tmp_path / "store"), "a.json")
    assert not probe.clips
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(probe.error.replace("\n", " "))


def test_single_pictures_are_all_kept(tmp_path: Path) -> None:
    points = np.column_stack([STANDING, np.ones(17)]).ravel().tolist()
    one = {"category_id": 1, "keypoints": points, "score": 0.9}
    content = [{**one, "image_id": 3}, {**one, "image_id": 900}]
    (tmp_path / "one.json").write_text(json.dumps(content))
    kept = probed(settings(tmp_path, tmp_path / "store"), "one.json")
    assert [(clip.first_frame, clip.n_rows) for clip in kept.clips] == [(3, 1), (900, 1)]


def test_wrong_settings_are_explained(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no keypoint file or folder"):
        keypoint_recordings(str(tmp_path / "none"))
    with pytest.raises(SourceError, match=r"no \*.json or \*.npz"):
        keypoint_recordings(str(tmp_path))
    with pytest.raises(ConfigError, match=r"has keypoint files alone.*detector.kind=recorded"):
        settings(tmp_path, tmp_path, detector={"kind": "vitpose"})
    with pytest.raises(ConfigError, match=r"'source\.width' is required"):
        validate(PreprocessSettings, {"source": {"kind": "keypoints", "uri": "x", "height": 5},
                                      "store": "y"})  # fmt: skip
    alphapose(tmp_path / "a.json", {0: np.tile(walk(), (1, 2, 1))[:, :26]})
    tuned = {"conversion": "tuned"}
    error = probed(settings(tmp_path, tmp_path / "s", detector=tuned), "a.json").error
    assert "tuned is for coco_17" in error
