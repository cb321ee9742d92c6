"""BlazePose: geometry of its regions, its anchors, its weights, and looks with small real files."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from tflite_models import blazepose_folder, landmark_network, person_network

from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.detectors.blazepose.detector import (
    BlazePoseDetector,
    BlazePoseSettings,
)
from diffpose.preprocessing.detectors.blazepose.finder import BlazePoseFinder
from diffpose.preprocessing.detectors.blazepose.looking import PersonLooker
from diffpose.preprocessing.detectors.blazepose.person_anchors import (
    ANCHORS,
    Circles,
    decoded,
    merged,
)
from diffpose.preprocessing.detectors.blazepose.regions import (
    cut_region,
    onto_window,
    region_of,
    to_picture,
    to_region,
)
from diffpose.preprocessing.detectors.blazepose.weights import read_network
from diffpose.preprocessing.detectors.registry import first_installed, person_finder
from diffpose.preprocessing.keypoints.joint_layouts import NAMES
from diffpose.preprocessing.sources.interface import Heatmaps
from diffpose.preprocessing.sources.video_detection import in_camera_axes
from diffpose.preprocessing.videos.settings import PeopleSettings, VideoSource

ROWS, COLUMNS = 320, 240


def test_a_region_stands_upright_where_the_body_does() -> None:
    region = region_of(np.array([50.0, 80.0]), np.array([50.0, 40.0]))
    np.testing.assert_allclose(region, [50, 80, 100, 0], atol=1e-12)
    np.testing.assert_allclose(to_picture(region, np.array([[0.0, 0.0], [1.0, 0.5]])),
                               [[0, 30], [100, 80]], atol=1e-9)  # fmt: skip


def test_a_lying_body_stands_upright_in_its_region() -> None:
    middle, head = np.array([100.0, 60.0]), np.array([140.0, 60.0])  # head to the right
    region = region_of(middle, head)
    assert region[3] == pytest.approx(math.pi / 2)
    up = to_region(region, np.array([middle, head]))
    np.testing.assert_allclose(up, [[0.5, 0.5], [0.5, 0.1]], atol=1e-12)
    np.testing.assert_allclose(to_picture(region, up), [middle, head], atol=1e-9)


def test_a_turned_region_shows_the_picture_turned_back() -> None:
    picture = np.zeros((80, 80, 3), np.uint8)
    picture[10:30, 40:60] = [200, 0, 0]
    upright = cut_region(picture, np.array([40.0, 40.0, 80.0, 0.0]), 80)
    np.testing.assert_allclose(upright, picture, atol=1e-3)
    turned = cut_region(picture, np.array([40.0, 40.0, 80.0, math.pi / 2]), 80)
    np.testing.assert_allclose(turned, np.rot90(picture), atol=0.5)


def test_a_smaller_picture_keeps_the_mean_and_beyond_the_rim_is_black() -> None:
    picture = np.indices((96, 96)).sum(axis=0)[..., None] % 2 * np.full(3, 255, np.uint8)
    small = cut_region(picture.astype(np.uint8), np.array([48.0, 48.0, 96.0, 0.0]), 12)
    assert np.abs(small[1:-1, 1:-1] - 127.5).max() < 20
    outside = cut_region(picture.astype(np.uint8), np.array([-200.0, 48.0, 96.0, 0.3]), 12)
    assert not outside.any()


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi])
def test_a_peak_lands_in_the_windows_cell_where_it_belongs(angle: float) -> None:
    region = np.array([130.0, 150.0, 260.0, angle])
    maps = np.zeros((64, 64, 2), np.float32)
    maps[20, 30, 0] = maps[40, 35, 1] = 1.0
    moved = onto_window(maps, region, ROWS, COLUMNS)
    # value i stands at i / 64 of the side
    wanted = to_picture(region, np.array([[30, 20], [35, 40]]) / 64) / [COLUMNS / 48, ROWS / 64]
    y, x = np.mgrid[:64, :48] + 0.5
    for density, place in zip(moved, wanted, strict=True):
        centre = np.array([(density * x).sum(), (density * y).sum()]) / density.sum()
        np.testing.assert_allclose(centre, place, atol=0.1)
    # a density's integral stays: cells of 5 px against values 260 / 64 px apart
    np.testing.assert_allclose(moved.sum(axis=(1, 2)) * 25, (260 / 64) ** 2, rtol=0.1)


def test_anchors_are_those_of_three_grids() -> None:
    assert ANCHORS.shape == (2254, 2)
    np.testing.assert_allclose(ANCHORS[0], 4 / 224)
    np.testing.assert_allclose(ANCHORS[2], [12 / 224, 4 / 224])  # two a cell
    np.testing.assert_allclose(ANCHORS[28 * 28 * 2], 8 / 224)
    np.testing.assert_allclose(ANCHORS[[-6, -1]], 1 - 16 / 224)  # six a cell


def test_an_anchors_numbers_are_pixels_from_its_cell() -> None:
    raw, logits = np.zeros((2254, 12)), np.full(2254, -9.0)
    raw[0, 4:8] = [100, 104, 100, 50]
    logits[0] = 0.0
    found = decoded(raw, logits, 0.4)
    np.testing.assert_allclose(found.middle, [[104 / 224, 108 / 224]])
    np.testing.assert_allclose(found.radius, [54 / 224])
    np.testing.assert_allclose(found.score, [0.5])
    assert len(decoded(raw, logits, 0.6).score) == 0


def test_one_person_has_one_circle_and_two_have_two() -> None:
    middle = np.array([[0.3, 0.5], [0.32, 0.5], [0.7, 0.5]])
    found = merged(Circles(middle, middle - [0, 0.3], np.array([0.6, 0.9, 0.8])))
    np.testing.assert_allclose(found.score, [0.9, 0.8])
    np.testing.assert_allclose(found.middle, [[0.312, 0.5], [0.7, 0.5]])


def test_the_layout_holds_cocos_joints_where_mediapipe_has_them() -> None:
    coco = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
    assert tuple(NAMES["blazepose_33"][i] for i in coco) == NAMES["coco_17"]
    assert len(NAMES["blazepose_33"]) == 33


def _picture(red: tuple[int, int], green: tuple[int, int]) -> np.ndarray:
    picture = np.zeros((1, ROWS, COLUMNS, 3), np.uint8)
    for channel, (x, y) in enumerate((red, green)):
        picture[0, y - 8 : y + 8, x - 8 : x + 8, channel] = 255
    return picture


@pytest.mark.parametrize("top", [(0.5, 0.15), (0.85, 0.5), (0.5, 0.85)])
def test_joints_are_found_whichever_way_the_person_lies(
    tmp_path: Path, top: tuple[float, float]
) -> None:
    blazepose_folder(tmp_path)
    person_network(tmp_path / "pose_detection.tflite", [(0.5, 0.5, *top, 3.0)])
    detector = BlazePoseDetector(BlazePoseSettings(weights=str(tmp_path)))
    windows = np.array([[1000.0, 500.0, 2.0, 2.0]])
    heatmaps, crops = detector.detect(_picture((100, 120), (150, 200)), windows)
    # RWrist is landmark 16, even: red; LWrist 15: green
    for name, (x, y) in (("RWrist", (100, 120)), ("LWrist", (150, 200))):
        density = heatmaps[0, JOINT_NAMES.index(name)]
        cell = np.array(np.unravel_index(density.argmax(), density.shape))[::-1] + 0.5
        place = crops[0, :2] + cell * crops[0, 2:]
        # half a cell, and the networks' convention: value i stands at i / 64
        np.testing.assert_allclose(place, np.array([1000 + 2 * x, 500 + 2 * y]), atol=12)


def test_the_person_in_the_middle_is_meant(tmp_path: Path) -> None:
    blazepose_folder(tmp_path)
    person_network(
        tmp_path / "pose_detection.tflite",
        [(0.15, 0.5, 0.15, 0.2, 5.0), (0.5, 0.5, 0.5, 0.2, 2.0), (0.85, 0.6, 0.85, 0.3, 4.0)],
    )
    look = PersonLooker("full", str(tmp_path)).look(_picture((100, 120), (150, 200))[0])
    np.testing.assert_allclose(look.region[:2], [COLUMNS / 2, ROWS / 2], atol=0.5)


def test_where_nobody_is_the_heatmaps_say_anywhere(tmp_path: Path) -> None:
    blazepose_folder(tmp_path)
    person_network(tmp_path / "pose_detection.tflite", [])
    for size in ("full", "heavy"):
        landmark_network(tmp_path / f"pose_landmark_{size}.tflite", score=0.0)
    detector = BlazePoseDetector(BlazePoseSettings(weights=str(tmp_path)))
    heatmaps, _ = detector.detect(_picture((100, 120), (150, 200)), np.array([[0, 0, 1.0, 1.0]]))
    wrist = heatmaps[0, JOINT_NAMES.index("RWrist")]
    np.testing.assert_allclose(wrist, 1 / (64 * 48), rtol=1e-3)


def test_world_landmarks_are_turned_back_and_rooted(tmp_path: Path) -> None:
    blazepose_folder(tmp_path)
    world = np.zeros((39, 3))
    world[16] = [0.1, -0.4, 0.2]  # RWrist, in the person's own upright axes
    world[[23, 24]] = [[0.1, 0.0, 0.0], [-0.1, 0.0, 0.0]]
    landmark_network(tmp_path / "pose_landmark_heavy.tflite", world_m=world)
    # the quick look turns the close one by a quarter: the head is to the right
    landmark_network(tmp_path / "pose_landmark_full.tflite", top=(0.9, 0.5))
    detector = BlazePoseDetector(BlazePoseSettings(weights=str(tmp_path)))
    picture = _picture((100, 120), (150, 200))
    _, _, pose = detector.detect_with_pose(picture, np.array([[0.0, 0.0, 2.0, 2.0]]))
    assert pose.shape == (1, 17, 3)
    np.testing.assert_allclose(pose[0, 0], 0, atol=1e-4)
    np.testing.assert_allclose(pose[0, JOINT_NAMES.index("RWrist")], [400, 100, 200], atol=1e-2)
    np.testing.assert_allclose(pose[0, JOINT_NAMES.index("LHip")], [0, 100, 0], atol=1e-2)
    with pytest.raises(ValueError, match="must be square"):
        detector.detect_with_pose(picture, np.array([[0.0, 0.0, 2.0, 1.0]]))


def test_a_finder_boxes_each_person_once(tmp_path: Path) -> None:
    blazepose_folder(tmp_path)
    person_network(
        tmp_path / "pose_detection.tflite",
        [(0.25, 0.5, 0.25, 0.2, 3.0), (0.26, 0.5, 0.26, 0.2, 2.0), (0.75, 0.5, 0.75, 0.2, 1.0)],
    )
    (boxes,) = BlazePoseFinder(str(tmp_path)).find(np.zeros((1, 400, 400, 3), np.uint8))
    assert boxes.shape == (2, 5)
    assert (np.diff(boxes[:, 4]) <= 0).all()
    middle = (boxes[:, 0] + boxes[:, 2]) / 2
    np.testing.assert_allclose(np.sort(middle), [100, 300], atol=60)
    assert (boxes[:, :4] >= 0).all()
    assert (boxes[:, :4] <= 400).all()


def test_auto_takes_the_detectors_own_finder(tmp_path: Path) -> None:
    blazepose_folder(tmp_path)
    settings = BlazePoseSettings(weights=str(tmp_path))
    own = person_finder(PeopleSettings(), settings, "cpu")
    assert own.version.startswith("blazepose-finder-")
    other = person_finder(PeopleSettings(finder="bundled"), settings, "cpu")
    assert other.version.startswith("bundled-")


def test_best_is_the_largest_that_is_there(tmp_path: Path) -> None:
    blazepose_folder(tmp_path)
    settings = BlazePoseSettings(weights=str(tmp_path))
    assert settings.chosen == "heavy"
    with_heavy = settings.version()
    (tmp_path / "pose_landmark_heavy.tflite").unlink()
    assert settings.chosen == "full"
    assert settings.version() != with_heavy


def test_videos_take_it_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first_installed(VideoSource.default_detectors) == "bundled"
    blazepose_folder(tmp_path)
    monkeypatch.setenv("DIFFPOSE_DETECTORS", str(tmp_path))
    assert first_installed(VideoSource.default_detectors) == "blazepose"


def test_a_downloaded_file_that_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blazepose_folder(tmp_path)
    monkeypatch.setenv("DIFFPOSE_DETECTORS", str(tmp_path))
    with pytest.raises(SourceError, match=r"pose_detection\.tflite is not the file.*get-detector"):
        read_network("pose_detection", None)


def test_what_is_missing_or_no_network_is_told(tmp_path: Path) -> None:
    settings = BlazePoseSettings(weights=str(tmp_path))
    with pytest.raises(SourceError, match="diffpose get-detector blazepose"):
        settings.version()
    blazepose_folder(tmp_path)
    (tmp_path / "pose_landmark_full.tflite").write_bytes(b"<html>not found</html>")
    with pytest.raises(SourceError, match=r"pose_landmark_full\.tflite is no TFLite model"):
        settings.open("cpu")
    landmark_network(tmp_path / "pose_landmark_full.tflite", side=128)
    with pytest.raises(SourceError, match="another network or another release"):
        settings.open("cpu")


REAL = os.environ.get("DIFFPOSE_REAL_DETECTORS", "")
FILM = Path(__file__).parents[2].parent / "shared" / "video" / "one_person.mp4"


@pytest.mark.skipif(not (REAL and FILM.exists()), reason="needs the real networks and a film")
def test_the_real_networks_find_the_real_person() -> None:
    from diffpose.preprocessing.detectors.interface import windows_around
    from diffpose.preprocessing.videos.cut import cut_windows
    from diffpose.preprocessing.videos.decode import decode

    frame = next(iter(decode(str(FILM)))).pixels
    (boxes,) = BlazePoseFinder(REAL).find(frame[None])
    np.testing.assert_allclose(boxes[0, :4], [765, 180, 891, 540], atol=12)
    detector = BlazePoseDetector(BlazePoseSettings(size="full", weights=REAL))
    windows = windows_around(boxes[:1, :4], detector.input_size)
    pixels = cut_windows(frame, windows, detector.input_size)
    pose = detector.detect_with_pose(pixels, windows)[2][0]
    spine = pose[JOINT_NAMES.index("Thorax")] - pose[0]
    assert 300 < np.linalg.norm(spine) < 700
    assert spine[1] < 0  # up


def test_a_pose_is_turned_into_the_axes_of_the_camera_that_filmed() -> None:
    """A detector looks straight at its window; the camera saw that aside and below."""
    camera = np.array([[1000.0, 1000.0, 500.0, 400.0]])
    crop = np.array([[900.0, 500.0, 5.0, 5.0]], dtype=np.float32)  # its middle at (1020, 660)
    ahead = np.zeros((1, 17, 3), dtype=np.float32)
    ahead[0, 1] = [0.0, 0.0, 1000.0]
    (turned,) = in_camera_axes(Heatmaps(np.zeros((1, 17, 64, 48)), crop, ahead), camera)
    np.testing.assert_allclose(turned[1, :2] / turned[1, 2], [0.52, 0.26], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(turned[1]), 1000.0, rtol=1e-6)
    assert (turned[0] == 0).all()
