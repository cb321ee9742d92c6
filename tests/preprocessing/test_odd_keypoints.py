"""Everyday keypoint files that gave confident nonsense: each kind, with what is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.keypoints.joint_layouts import NAMES, to_h36m_points
from diffpose.preprocessing.keypoints.joint_names import canonical, layout_named
from diffpose.preprocessing.keypoints.recorded_formats import read_frames
from diffpose.preprocessing.planning.plan import Probe, extend_plan
from diffpose.preprocessing.planning.span_row import SpanRow
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.interface import SourceFile
from diffpose.preprocessing.sources.keypoints import KeypointRecordings
from diffpose.preprocessing.sources.registry import source_of

T = 30
# COCO's joints of one who stands, px
COCO = np.array(
    [[300, 250], [310, 235], [290, 235], [325, 245], [275, 245], [360, 330], [240, 330], [380, 420],
     [220, 420], [385, 500], [215, 500], [335, 480], [265, 480], [340, 580], [260, 580], [340, 680],
     [260, 680]], dtype=np.float64,
)  # fmt: skip
H36M = np.array(
    [[300, 480], [265, 480], [260, 580], [260, 680], [335, 480], [340, 580], [340, 680], [300, 405],
     [300, 330], [300, 250], [300, 200], [360, 330], [380, 420], [385, 500], [240, 330], [220, 420],
     [215, 500]], dtype=np.float64,
)  # fmt: skip
H36M_OF_MMPOSE = [
    "root", "right_hip", "right_knee", "right_foot", "left_hip", "left_knee", "left_foot", "spine",
    "thorax", "neck_base", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder",
    "right_elbow", "right_wrist",
]  # fmt: skip


def at(x: float, t: int, points: np.ndarray = COCO) -> np.ndarray:
    """Points of frame t of one who starts at x and walks to the right."""
    return points + np.array([x - 300 + 2.0 * t, 0])


def flat(points: np.ndarray, confidence: float = 0.9) -> list[float]:
    return np.column_stack([points, np.full(len(points), confidence)]).ravel().tolist()


def alphapose(path: Path, rows: list[tuple[int, float, Any]], name: str = "{}.jpg") -> None:
    """Rows are frame, x of the person, and its number or None."""
    entries = []
    for frame, x, number in rows:
        entry = {"image_id": name.format(frame), "category_id": 1, "score": 2.8}
        entry["keypoints"] = flat(at(x, frame))
        entries.append(entry if number is None else {**entry, "idx": number})
    path.write_text(json.dumps(entries))


def openpose(folder: Path, name: str, person: dict[str, Any], n: int = 12, first: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for t in range(n):
        (folder / name.format(first + t)).write_text(
            json.dumps({"version": 1.3, "people": [person]})
        )


def source(uri: Path, store: Path, **changes: Any) -> KeypointRecordings:
    given = {"kind": "keypoints", "uri": str(uri), "width": 1280, "height": 720, "fps": 30}
    given |= changes.pop("source", {})
    settings = validate(PreprocessSettings, {"source": given, "store": str(store), **changes})
    found = source_of(settings)
    assert isinstance(found, KeypointRecordings)
    return found


def probed(uri: Path, store: Path, **changes: Any) -> tuple[KeypointRecordings, Probe]:
    found = source(uri, store, **changes)
    (name,) = found.recordings()
    return found, found.probe_one(SourceFile(name, "test"))


def drawn(found: KeypointRecordings, probe: Probe) -> dict[str, np.ndarray]:
    assert not probe.error
    settings: PreprocessSettings = found.settings
    plan = extend_plan(None, settings, [probe], 4096)
    row = found.rasterise(SpanRow(plan.spans[0]))
    assert row.errors == {}
    n = sum(clip.n_rows for clip in plan.spans[0].clips)
    return {name: values[:n] for name, values in row.arrays.items()}


def hip_x(arrays: dict[str, np.ndarray]) -> np.ndarray:
    return arrays["keypoints_2d"][:, 0, 0]


def test_frames_without_a_detection_lie_between_their_neighbours_and_say_so(tmp_path: Path) -> None:
    lost = {9, 10, 11, 20}
    alphapose(tmp_path / "a.json", [(t, 300, None) for t in range(T) if t not in lost])
    arrays = drawn(*probed(tmp_path / "a.json", tmp_path / "store"))
    expected, _ = to_h36m_points(
        np.stack([at(300, t) for t in range(T)]), np.ones((T, 17)), "coco_17"
    )
    for t in lost:
        assert np.abs(arrays["keypoints_2d"][t] - expected[t]).max() < 25  # of a person 480 px tall
    seen = arrays["confidence"] >= 0.05
    assert [t for t in range(T) if not seen[t].any()] == sorted(lost)
    assert seen[[t for t in range(T) if t not in lost]].all()
    widths = arrays["heatmap_modes"][..., 2]
    assert widths[sorted(lost)].min() > 2 * widths[0].max()


def test_a_number_that_returns_after_patience_is_another_stretch(tmp_path: Path) -> None:
    rows = [(t, 300.0, 3) for t in (*range(15), *range(300, 315))]
    alphapose(tmp_path / "a.json", rows)
    _, probe = probed(tmp_path / "a.json", tmp_path / "store", source={"width": 2000})
    assert [(clip.first_frame, clip.n_rows) for clip in probe.clips] == [(0, 15), (300, 15)]


@pytest.mark.parametrize("number", [0, 7])
def test_one_number_for_everyone_tells_nobody_apart(tmp_path: Path, number: int) -> None:
    alphapose(tmp_path / "a.json", [(t, x, number) for t in range(T) for x in (300.0, 900.0)])
    found, probe = probed(tmp_path / "a.json", tmp_path / "store", people={"several": True})
    assert sorted(clip.n_rows for clip in probe.clips) == [T, T]
    arrays = drawn(found, probe)
    starts = sorted(hip_x(arrays)[[0, T]])
    np.testing.assert_allclose(starts, [300, 900], atol=5)


@pytest.mark.parametrize("number", [[[4]], [4], [], None, [[[]]]])
def test_numbers_in_lists(tmp_path: Path, number: Any) -> None:
    alphapose(tmp_path / "a.json", [(t, 300.0, number) for t in range(T)])
    _, probe = probed(tmp_path / "a.json", tmp_path / "store")
    assert [clip.n_rows for clip in probe.clips] == [T]


@pytest.mark.parametrize(
    ("name", "first", "shift"),
    [("frame_{:06d}.jpg", 1, 1), ("{:06d}.jpg", 1, 1), ("cam-2_{:04d}.png", 1, 1), ("{}.jpg", 0, 0),
     ("frame_{:06d}.jpg", 0, 0)],
)  # fmt: skip
def test_pictures_numbered_from_one_begin_with_the_film(
    tmp_path: Path, name: str, first: int, shift: int
) -> None:
    alphapose(tmp_path / "a.json", [(first + t, 300.0, None) for t in range(T)], name)
    assert read_frames(str(tmp_path / "a.json")).first_frame == shift


def mmpose_of(names: list[str], by_name: bool) -> dict[str, Any]:
    about = (
        {"keypoint_name2id": {name: i for i, name in enumerate(names)}}
        if by_name
        else {"keypoint_id2name": {str(i): name for i, name in enumerate(names)}}
    )
    frames = [
        {"frame_id": t + 1, "instances": [
            {"keypoints": at(300, t, H36M).tolist(), "keypoint_scores": [0.9] * 17}]}
        for t in range(T)
    ]  # fmt: skip
    return {"meta_info": about, "instance_info": frames}


def coco_of(names: list[str], points: np.ndarray = H36M) -> dict[str, Any]:
    return {
        "images": [
            {"id": t + 1, "file_name": f"{t:06d}.jpg", "width": 1280, "height": 720}
            for t in range(T)
        ],
        "categories": [
            {"id": 2, "name": "ball"}, {"id": 1, "name": "person", "keypoints": names},
        ],
        "annotations": [
            {"id": t, "image_id": t + 1, "category_id": 1, "keypoints": flat(at(300, t, points), 2)}
            for t in range(T)
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [mmpose_of(H36M_OF_MMPOSE, False), mmpose_of(H36M_OF_MMPOSE, True), coco_of(H36M_OF_MMPOSE)],
    ids=["id2name", "name2id", "categories"],
)
def test_a_file_that_names_its_joints_is_taken_at_its_word(tmp_path: Path, content: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    arrays = drawn(*probed(tmp_path / "a.json", tmp_path / "store"))
    points = arrays["keypoints_2d"][0]
    assert np.abs(points[JOINT_NAMES.index("Hip")] - [300, 480]).max() < 3
    assert np.abs(points[JOINT_NAMES.index("Head")] - [300, 200]).max() < 3


def test_names_that_no_layout_has_are_a_question(tmp_path: Path) -> None:
    names = [*H36M_OF_MMPOSE[:4], "tail", *H36M_OF_MMPOSE[5:]]
    (tmp_path / "a.json").write_text(json.dumps(coco_of(names)))
    _, probe = probed(tmp_path / "a.json", tmp_path / "store")
    assert "detector.layout=" in probe.error
    assert "right_foot" in probe.error
    _, probe = probed(
        tmp_path / "a.json", tmp_path / "again", detector={"kind": "recorded", "layout": "h36m_17"}
    )
    assert not probe.error  # the answer


@pytest.mark.parametrize("layout", sorted(NAMES))
def test_layouts_are_known_by_their_joints_names(layout: Any) -> None:
    spaced = [" ".join(name) for name in (n.split("_") for n in NAMES[layout])]
    assert layout_named(NAMES[layout], "x") == layout_named(spaced, "x") == layout
    swapped = list(NAMES[layout])
    a, b = (next(n for n in swapped if n in (f"{s}Hip", f"{s}Knee")) for s in "LR")
    i, j = swapped.index(a), swapped.index(b)
    swapped[i], swapped[j] = b, a
    with pytest.raises(SourceError, match="no known layout"):
        layout_named(swapped, "x")


def test_names_of_joints_are_read_in_many_hands() -> None:
    for name in ("LShoulder", "left_shoulder", "Left Shoulder", "LEFT-SHOULDER", "l_shoulder",
                 "leftShoulder", "shoulder.L"):  # fmt: skip
        assert canonical(name) == "lshoulder", name
    assert canonical("RightFoot") == canonical("RAnkle") == "rankle"
    assert {canonical(n) for n in ("root", "Pelvis", "neck_base", "HeadTop")} == {"middle"}


def test_other_things_than_people_are_passed_over(tmp_path: Path) -> None:
    coco_names = ["nose", *(f"{s}_{p}" for p in ("eye", "ear", "shoulder", "elbow", "wrist", "hip",
                  "knee", "ankle") for s in ("left", "right"))]  # fmt: skip
    content = coco_of(coco_names, COCO)
    ball = {"id": 99, "image_id": 3, "category_id": 2, "bbox": [10, 10, 50, 50]}
    content["annotations"] += [ball, {**ball, "keypoints": []}, {**ball, "keypoints": None}]
    (tmp_path / "a.json").write_text(json.dumps(content))
    _, probe = probed(tmp_path / "a.json", tmp_path / "store")
    assert [clip.n_rows for clip in probe.clips] == [T]


def test_the_sure_person_is_followed_not_the_phantom(tmp_path: Path) -> None:
    rows = [
        {"image_id": t, "category_id": 1, "score": score, "keypoints": flat(at(x, t))}
        for t in range(T) for x, score in ((800.0, 0.03), (300.0, 0.97))
    ]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(rows))
    arrays = drawn(*probed(tmp_path / "a.json", tmp_path / "store"))
    assert abs(hip_x(arrays)[0] - 300) < 5


PERSON = {"person_id": [-1], "pose_keypoints_2d": flat(COCO)}


@pytest.mark.parametrize(
    ("name", "first"),
    [("cam1_{:06d}.json", 0), ("frame{:04d}_keypoints.json", 1), ("{:012d}_keypoints.json", 0),
     ("take-{:03d}.json", 1), ("{}.json", 0)],
)  # fmt: skip
def test_frames_in_files_of_any_name_are_one_recording(
    tmp_path: Path, name: str, first: int
) -> None:
    openpose(tmp_path / "frames", name, PERSON, first=first)
    _, probe = probed(tmp_path / "frames", tmp_path / "store")
    assert [(clip.first_frame, clip.n_rows) for clip in probe.clips] == [(0, 12)]


def test_numbered_files_of_whole_recordings_stay_apart(tmp_path: Path) -> None:
    for take in (1, 2):
        alphapose(tmp_path / f"take_{take}.json", [(t, 300.0, None) for t in range(T)])
    assert sorted(source(tmp_path, tmp_path / "store").recordings()) == [
        "take_1.json",
        "take_2.json",
    ]


@pytest.mark.parametrize(
    "person",
    [{**PERSON, "person_id": []}, {**PERSON, "person_id": 3}, {"pose_keypoints": flat(COCO)}],
    ids=["no number", "a plain number", "version 1.0"],
)
def test_openpose_of_all_versions(tmp_path: Path, person: dict[str, Any]) -> None:
    openpose(tmp_path / "frames", "v_{:012d}_keypoints.json", person)
    _, probe = probed(tmp_path / "frames", tmp_path / "store")
    assert [clip.n_rows for clip in probe.clips] == [12]


def test_a_person_without_joints_was_not_seen(tmp_path: Path) -> None:
    openpose(tmp_path / "frames", "v_{:012d}_keypoints.json", PERSON)
    file = tmp_path / "frames" / "v_000000000003_keypoints.json"
    file.write_text(json.dumps({"people": [PERSON, {"pose_keypoints_2d": []}]}))
    _, probe = probed(tmp_path / "frames", tmp_path / "store")
    assert [clip.n_rows for clip in probe.clips] == [12]


def test_pairs_without_confidence_are_named(tmp_path: Path) -> None:
    body_18 = np.concatenate([COCO[:1], COCO])  # 36 numbers: 12 triples would fit as well
    openpose(
        tmp_path / "f", "v_{:06d}_keypoints.json", {"pose_keypoints_2d": body_18.ravel().tolist()}
    )
    _, probe = probed(tmp_path / "f", tmp_path / "store")
    assert "pairs" in probe.error
    assert "without confidence" in probe.error


def custom(path: Path, people: list[np.ndarray], size: tuple[int, int] | None = None) -> None:
    """VideoPose3D's custom data set."""
    metadata = {"video_metadata": {"a.mp4": {"w": size[0], "h": size[1]}}} if size else {}
    np.savez(path, positions_2d=np.array({"a.mp4": {"custom": people}}, object),
             metadata=np.array(metadata, object))  # fmt: skip


def walk(x: float = 300.0) -> np.ndarray:
    return np.stack([at(x, t) for t in range(T)])


def test_joints_at_the_pictures_corner_were_not_found(tmp_path: Path) -> None:
    points = walk()
    points[5:15, 9:11] = 0  # wrists
    custom(tmp_path / "a.npz", [points])
    found, probe = probed(tmp_path / "a.npz", tmp_path / "store")
    assert [clip.n_rows for clip in probe.clips] == [T]
    arrays = drawn(found, probe)
    wrists = [JOINT_NAMES.index("LWrist"), JOINT_NAMES.index("RWrist")]
    unseen = arrays["confidence"][:, wrists] < 0.05
    assert unseen[5:15].all()
    assert not unseen[:5].any()
    assert not unseen[15:].any()
    crop = arrays["heatmap_crop"][10]
    assert crop[0] > 100  # the person's left border is at 215 px, not in the corner
    middle = arrays["keypoints_2d"][10, wrists].mean(axis=0)
    assert np.abs(middle - [(385 + 215) / 2 + 20, 500]).max() < 25


def test_further_arrays_are_further_people(tmp_path: Path) -> None:
    custom(tmp_path / "a.npz", [walk(), walk(800.0)])
    found, probe = probed(tmp_path / "a.npz", tmp_path / "store", people={"several": True})
    assert [clip.n_rows for clip in probe.clips] == [T, T]
    np.testing.assert_allclose(sorted(hip_x(drawn(found, probe))[[0, T]]), [300, 800], atol=5)
    custom(tmp_path / "b.npz", [walk(), walk(800.0)[:-1]])
    _, probe = probed(tmp_path / "b.npz", tmp_path / "store")
    assert "2 arrays of [29, 30] frames" in probe.error


def test_a_size_that_cannot_be_is_refused(tmp_path: Path) -> None:
    portrait = (walk() - [300, 250]) * 2.4 + [500, 640]
    custom(tmp_path / "a.npz", [portrait])
    landscape = {"width": 1920, "height": 1080}
    _, probe = probed(tmp_path / "a.npz", tmp_path / "store", source=landscape)
    assert "1080 x 1920 would hold them" in probe.error
    upright = {"width": 1080, "height": 1920}
    _, probe = probed(tmp_path / "a.npz", tmp_path / "store", source=upright)
    assert not probe.error
    # a file that says its pictures' size is believed
    custom(tmp_path / "b.npz", [walk()], (640, 720))
    _, probe = probed(tmp_path / "b.npz", tmp_path / "store")
    assert "640 x 720" in probe.error
    assert "1280 x 720" in probe.error
