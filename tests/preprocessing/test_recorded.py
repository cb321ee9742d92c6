"""Keypoint files in their real structure, their people, their heatmaps; and a real attack."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffpose.model.heatmaps.grid import summarise
from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.detectors.registry import temperatures
from diffpose.preprocessing.keypoints.joint_widths import SIGMAS
from diffpose.preprocessing.keypoints.recorded import (
    RecordedSettings,
    recorded_heatmaps,
    recording_of,
)

T = 4


def people(n_joints: int) -> np.ndarray:
    """(T, 2 people, K, 3): x, y, confidence; the second stands to the right."""
    rng = np.random.default_rng(n_joints)
    points = rng.uniform([100, 50, 0.6], [180, 300, 1.0], (T, 2, n_joints, 3))
    points[:, 1, :, 0] += 300
    return np.round(points, 2)


def box(points: np.ndarray) -> list[float]:
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return [*low.tolist(), *(high - low).tolist()]


def alphapose(folder: Path, points: np.ndarray) -> Path:
    rows = [
        {"image_id": f"{t}.jpg", "category_id": 1, "keypoints": points[t, p].ravel().tolist(),
         "score": 2.7, "box": box(points[t, p]), "idx": [p + 5]}
        for t in (2, 0, 3, 1) for p in (0, 1)
    ]  # fmt: skip
    (folder / "film.json").write_text(json.dumps(rows))
    return folder / "film.json"


def openpose(folder: Path, points: np.ndarray) -> Path:
    target = folder / "film"
    target.mkdir()
    for t in range(T):
        found = [
            {"person_id": [-1], "pose_keypoints_2d": points[t, p].ravel().tolist(),
             "face_keypoints_2d": []}
            for p in ((0, 1) if t % 2 else (1, 0))
        ]  # fmt: skip
        (target / f"film_{t:012d}_keypoints.json").write_text(
            json.dumps({"version": 1.3, "people": found})
        )
    return target


def mmpose(folder: Path, points: np.ndarray) -> Path:
    info = [
        {"frame_id": t, "instances": [
            {"keypoints": points[t, p, :, :2].tolist(),
             "keypoint_scores": points[t, p, :, 2].tolist(),
             "bbox": [[*points[t, p, :, :2].min(0).tolist(), *points[t, p, :, :2].max(0).tolist()]],
             "bbox_score": 0.8} for p in (0, 1)]}
        for t in range(T)
    ]  # fmt: skip
    (folder / "film.json").write_text(json.dumps({"meta_info": {}, "instance_info": info}))
    return folder / "film.json"


def coco(folder: Path, points: np.ndarray) -> Path:
    visible = points.copy()
    visible[..., 2] = 2
    content = {
        "images": [
            {"id": 70 + t, "file_name": f"f{t:03d}.jpg", "width": 800, "height": 400}
            for t in range(T)
        ],
        "annotations": [
            {"image_id": 70 + t, "category_id": 1, "bbox": box(points[t, p]), "num_keypoints": 17,
             "keypoints": visible[t, p].ravel().tolist()} for t in range(T) for p in (0, 1)
        ],
        "categories": [],
    }  # fmt: skip
    (folder / "film.json").write_text(json.dumps(content))
    return folder / "film.json"


def coco_results(folder: Path, points: np.ndarray) -> Path:
    rows = [
        {"image_id": t, "category_id": 1, "keypoints": points[t, p].ravel().tolist(), "score": 0.9}
        for t in range(T) for p in (0, 1)
    ]  # fmt: skip
    (folder / "film.json").write_text(json.dumps(rows))
    return folder / "film.json"


def detectron(folder: Path, points: np.ndarray) -> Path:
    def each(values: list[Any]) -> np.ndarray:
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array

    boxes, keypoints = [], []
    for t in range(T):
        corners = [[*points[t, p, :, :2].min(0), *points[t, p, :, :2].max(0), 0.95] for p in (0, 1)]
        boxes.append([[], np.array(corners, np.float32)])
        rows = [np.stack([q[:, 0], q[:, 1], np.zeros(17), q[:, 2]]) for q in points[t]]
        keypoints.append([[], np.array(rows, np.float32)])
    np.savez_compressed(
        folder / "film.npz", boxes=each(boxes), keypoints=each(keypoints),
        metadata=np.array({"w": 800, "h": 400}, dtype=object),
    )  # fmt: skip
    return folder / "film.npz"


def videopose3d(folder: Path, points: np.ndarray) -> Path:
    data = {"film.mp4": {"custom": [points[:, 0, :, :2].astype(np.float32)]}}
    meta = {"layout_name": "coco", "num_joints": 17, "video_metadata": {}}
    np.savez_compressed(
        folder / "film.npz", positions_2d=np.array(data, dtype=object),
        metadata=np.array(meta, dtype=object),
    )  # fmt: skip
    return folder / "film.npz"


@pytest.mark.parametrize(
    ("write", "n_joints"),
    [(alphapose, 17), (alphapose, 26), (openpose, 25), (openpose, 18), (mmpose, 17), (coco, 17),
     (coco_results, 17), (detectron, 17), (videopose3d, 17)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)  # fmt: skip
@pytest.mark.parametrize("named", ["file", "folder"])
def test_every_format_gives_its_people(
    tmp_path: Path, write: Any, n_joints: int, named: str
) -> None:
    points = people(n_joints)
    file = write(tmp_path, points)
    uri = file if named == "file" else tmp_path
    settings = validate(RecordedSettings, {"uri": str(uri)})
    recording = recording_of(settings, "anywhere/film.mp4")
    wrist = {17: (9, 10), 26: (9, 10), 25: (7, 4), 18: (7, 4)}[n_joints]
    expected_people = 1 if write is videopose3d else 2
    for t in range(T):
        found = sorted(recording.people(t), key=lambda p: p.keypoints_px[0, 0])
        assert len(found) == expected_people
        for p, person in enumerate(found):
            np.testing.assert_allclose(
                person.keypoints_px[[13, 16]], points[t, p, list(wrist), :2], atol=1e-3
            )
            low, high = points[t, p, :, :2].min(axis=0), points[t, p, :, :2].max(axis=0)
            np.testing.assert_allclose(person.box_px, [*low, *high], atol=0.01)
            assert (person.confidence > 0).all()
            assert person.track == (p + 5 if write is alphapose else -1)
    assert recording.people(99) == []
    boxes = np.array([recording.people(t)[0].box_px for t in range(T)])
    keypoints, confidence = recording.along(np.arange(T + 1), np.concatenate([boxes, boxes[-1:]]))
    np.testing.assert_allclose(keypoints[1], recording.people(1)[0].keypoints_px)
    assert (confidence[T] == 0).all()


def numbered(points: np.ndarray, names: list[str]) -> str:
    return json.dumps(
        [
            {"image_id": name, "keypoints": points[t, 0].ravel().tolist(), "score": 1.0}
            for t, name in enumerate(names)
        ]
    )


@pytest.mark.parametrize(
    ("pattern", "given", "first"),
    [("{:06d}.jpg", "auto", 1), ("{}.jpg", "auto", 0), ("{}.jpg", 1, 1), ("f_{:03d}.png", 0, 0)],
    ids=["pictures", "frames-of-a-video", "told-one", "told-zero"],
)
def test_where_the_count_begins(tmp_path: Path, pattern: str, given: Any, first: int) -> None:
    """Nobody is seen in frame 0 of a file that counts from 0: its first number is 1 as well."""
    points = people(17)
    names = [pattern.format(t + 1) for t in range(T)]
    (tmp_path / "film.json").write_text(numbered(points, names))
    recording = recording_of(RecordedSettings(uri=str(tmp_path), first_frame=given), "film.mp4")
    assert recording.people(1 - first)[0].keypoints_px[13] == pytest.approx(points[0, 0, 9, :2])
    assert (recording.people(0) == []) == (first == 0)


def test_openpose_files_of_two_videos_in_one_folder(tmp_path: Path) -> None:
    points = people(25)
    for video, shift in (("walk", 0.0), ("walk2", 500.0)):
        for t in range(T):
            moved = points[t, 0] + [shift, 0, 0]
            content = {"people": [{"pose_keypoints_2d": moved.ravel().tolist()}]}
            (tmp_path / f"{video}_{t:012d}_keypoints.json").write_text(json.dumps(content))
    places = {
        video: recording_of(RecordedSettings(uri=str(tmp_path)), f"{video}.mp4").people(2)[0]
        for video in ("walk", "walk2")
    }
    off = places["walk2"].keypoints_px - places["walk"].keypoints_px
    np.testing.assert_allclose(off, np.broadcast_to([500.0, 0], (17, 2)), atol=1e-6)


def test_coco_images_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    points = people(17)
    content = {
        "images": [{"id": f"img_{t}", "file_name": f"frame_{t * 5}.jpg"} for t in range(T)],
        "annotations": [
            {"image_id": f"img_{t}", "keypoints": points[t, 0].ravel().tolist(), "score": 0.5}
            for t in range(T)
        ],
    }
    (tmp_path / "film.json").write_text(json.dumps(content))
    recording = recording_of(RecordedSettings(uri=str(tmp_path)), "film.mp4")
    for t in range(T):
        assert recording.people(t)[0].keypoints_px[13] == pytest.approx(points[t, 0, 9, :2])


def test_a_neighbour_does_not_step_in_for_someone_with_a_number(tmp_path: Path) -> None:
    points = people(17)
    rows = []
    for t in range(T):
        for track, shift in ((0, 0.0), (1, 60.0)):
            if (track, t) != (0, 2):  # the first person is not seen in frame 2
                moved = points[0, 0] + [shift, 0, 0]
                rows.append(
                    {"image_id": f"{t}.jpg", "keypoints": moved.ravel().tolist(), "idx": track}
                )
    (tmp_path / "film.json").write_text(json.dumps(rows))
    recording = recording_of(RecordedSettings(uri=str(tmp_path)), "film.mp4")
    box = recording.people(0)[0].box_px
    keypoints, confidence = recording.along(np.arange(T), np.tile(box, (T, 1)))
    assert (confidence[2] == 0).all()
    seen = np.arange(T) != 2
    np.testing.assert_allclose(keypoints[seen], np.broadcast_to(keypoints[0], (T - 1, 17, 2)))


def test_widths_follow_the_stated_rule() -> None:
    settings = RecordedSettings(uri="-", spread=2.0, widths="coco")
    boxes = np.array([[100.0, 100, 260, 420]])
    points = np.random.default_rng(0).uniform([120, 120], [240, 400], (1, 17, 2))
    confidence = np.full((1, 17), 1.0)
    confidence[0, 13] = 0.25
    heatmaps, crops = recorded_heatmaps(points, confidence, boxes, settings)
    keypoints, _, modes = summarise(heatmaps, crops)
    area = np.sqrt(160 * 320)
    limb = [2, 3, 5, 6, 12, 16]
    np.testing.assert_allclose(modes[0, limb, 2], SIGMAS[limb] * area, rtol=0.08)
    assert modes[0, 13, 2] == pytest.approx(SIGMAS[13] * area * 2.5, rel=0.08)
    off = np.linalg.norm(modes[0, limb, :2] - points[0, limb], axis=1)
    assert off.max() < 0.5 * crops[0, 2]
    assert np.isfinite(keypoints).all()


def test_missing_joints_are_broad_and_near_their_neighbours() -> None:
    boxes = np.array([[100.0, 100, 260, 420]] * 2)
    points = np.full((2, 17, 2), 200.0)
    points[0, 12] = [150.0, 250.0]
    confidence = np.ones((2, 17))
    confidence[0, 13] = 0  # a wrist: its elbow is known
    confidence[1] = 0  # nothing at all is known
    # each alone: in a recording a missing joint lies between where it was seen before and after
    drawn = [
        recorded_heatmaps(points[i:j], confidence[i:j], boxes[i:j], RecordedSettings(uri="-"))
        for i, j in ((0, 1), (1, 2))
    ]
    heatmaps, crops = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    assert (heatmaps.max(axis=(2, 3)) == 255).all()
    _, _, modes = summarise(heatmaps, crops)
    np.testing.assert_allclose(modes[0, 13, :2], [150, 250], atol=4 * crops[0, 2])
    assert modes[0, 13, 2] > 3 * modes[0, 12, 2]
    np.testing.assert_allclose(modes[1, :, :2], [[180, 260]] * 17, atol=4 * crops[0, 2])


class Attack:
    """What an attacker would put into an npz."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch attacked",)


@pytest.mark.parametrize("inside", [False, True])
def test_a_hostile_pickle_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    value = {"film.mp4": {"custom": [Attack()]}} if inside else Attack()
    np.savez(tmp_path / "film.npz", positions_2d=np.array(value, dtype=object))
    # the attack is real: numpy's own loading runs it
    pickle.loads(pickle.dumps(Attack()))
    assert (tmp_path / "attacked").exists()
    (tmp_path / "attacked").unlink()
    with pytest.raises(SourceError, match="system"):
        recording_of(RecordedSettings(uri=str(tmp_path / "film.npz")), "film.mp4")
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", ["no known format"]),
        ("[1, 2]", ["no known format"]),
        ("{", ["neither JSON nor npz"]),
        ('[{"image_id": "a.jpg", "keypoints": [1, 2, 1]}]', ["a.jpg"]),
        ('[{"image_id": "1.jpg", "keypoints": [1, 2]}]', ["breaks off"]),
        ('[{"image_id": "1.jpg", "keypoints": [1, 2, 1]}]', ["1 joints", "layout"]),
    ],
)
def test_wrong_files_are_explained(tmp_path: Path, content: str, words: list[str]) -> None:
    (tmp_path / "film.json").write_text(content)
    with pytest.raises(SourceError) as caught:
        recording_of(RecordedSettings(uri=str(tmp_path)), "film.mp4")
    for word in ["film.json", *words]:
        assert word in str(caught.value)
    with pytest.raises(SourceError, match=r"other.json, other.npz"):
        recording_of(RecordedSettings(uri=str(tmp_path)), "other.mp4")


def test_a_calibration_for_recorded_keypoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="detectors that look at pixels"):
        temperatures(RecordedSettings(uri=str(tmp_path)), "calibration.json", "recorded-1")
