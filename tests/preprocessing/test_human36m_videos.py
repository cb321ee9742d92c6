"""Human3.6M's own videos: sidecars by name, true poses, distortion taken out after detection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from films import write_film
from human36m_files import world_poses, write_human36m

from diffpose.jobs import human36m_videos
from diffpose.model.geometry.pinhole import project
from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import SourceError
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.fields import DETECTION_FIELDS
from diffpose.preprocessing.datasets.human36m import KEPT
from diffpose.preprocessing.datasets.human36m_cameras import CAMERAS, PLACES
from diffpose.preprocessing.datasets.human36m_videos import write_sidecars
from diffpose.preprocessing.detectors.bundled import BundledSettings
from diffpose.preprocessing.detectors.examples import examples_of_film
from diffpose.preprocessing.inspection.detector_errors import make_compare_fn
from diffpose.preprocessing.planning.plan import Span
from diffpose.preprocessing.planning.span_row import SpanRow
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.registry import source_of
from diffpose.preprocessing.sources.video_detection import CutSpan, PictureDetection
from diffpose.preprocessing.videos.decode import named_videos
from diffpose.preprocessing.videos.sidecar import (
    Sidecar,
    Truth,
    read_sidecar,
    read_truth,
    write_truth,
)

NAMES = ("S1/Videos/Directions 1.54138969.mp4", "S1/Videos/WalkingDog 1.58860488.mp4",
         "S9/Videos/Walking.60457274.mp4", "S11/Videos/Directions.54138969.mp4",
         "S11/Videos/_ALL.54138969.mp4", "S2/Videos/Walking.54138969.mp4")  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_human36m(tmp_path / "npz", 12)
    for name in NAMES:
        path = tmp_path / "h36m" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_film(path, 3, fps=50)
    return tmp_path


def test_sidecars_say_what_names_and_poses_tell(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"videos={tree / 'h36m'}", f"poses={tree / 'npz'}"]
    assert human36m_videos.main(given) == 0
    said = capsys.readouterr().out
    assert "3 videos with true poses, 1 without" in said
    assert "without: S11/Videos/Directions.54138969.mp4" in said
    assert "passed over: S11/Videos/_ALL.54138969.mp4: all actions in one" in said
    assert "passed over: S2/Videos/Walking.54138969.mp4: no camera 54138969 of S2" in said
    dog = str(tree / "h36m" / NAMES[1])
    sidecar = read_sidecar(dog)
    assert (sidecar.subject, sidecar.action, sidecar.camera) == ("S1", "WalkDog", "58860488")
    assert sidecar.lens == CAMERAS[2].lens
    truth = read_truth(dog, sidecar)
    assert truth is not None
    np.testing.assert_allclose(truth.timestamp_s, np.arange(12) / 50)
    world = world_poses(12, 3)[:, list(KEPT)] * 1000.0
    np.testing.assert_allclose(truth.joints_mm[0], PLACES["S1"][2].to_camera(world), atol=0.01)
    corrupt = read_sidecar(str(tree / "h36m" / NAMES[3]))
    assert (corrupt.split, corrupt.truth) == ("test", None)
    assert read_sidecar(str(tree / "h36m" / NAMES[2])).split == "test"
    chosen = named_videos(str(tree / "h36m" / "S*" / "Videos" / "[!_]*.mp4"))
    assert len(chosen) == 5
    assert not any("_ALL" in name for name in chosen)


def test_other_folders_are_explained(tree: Path) -> None:
    with pytest.raises(SourceError, match="no S1/Videos/Directions 1"):
        write_sidecars(str(tree / "npz"), str(tree / "npz"), 0.1, 0)
    with pytest.raises(SourceError, match=r"no '.*data_3d_h36m.npz'"):
        write_sidecars(str(tree / "h36m"), str(tree / "h36m"), 0.1, 0)
    with pytest.raises(ValueError, match="distortion needs intrinsics_px"):
        Sidecar(distortion=(0, 0, 0, 0, 0))


def test_crops_are_straightened_to_a_pixel_or_two() -> None:
    rng = np.random.default_rng(0)
    for camera in CAMERAS:
        corner = rng.uniform(50, 500, (40, 2))
        cell = rng.uniform(4, 7, (40, 1))
        crops = np.concatenate([corner, cell, cell], axis=1)
        straight = camera.lens.straightened_crops(crops, (64, 48))
        inside = rng.uniform(0.1, 0.9, (40, 20, 2)) * [48, 64]
        seen = crops[:, None, :2] + inside * crops[:, None, 2:]
        found = straight[:, None, :2] + inside * straight[:, None, 2:]
        true = camera.lens.straightened(seen)
        left, before = (np.linalg.norm(x - true, axis=-1) for x in (found, seen))
        assert np.median(left) < 1.5
        assert np.median(left) < 0.5 * np.median(before)


LENS = CAMERAS[0].lens
FX, FY, CX, CY = LENS.pinhole.tolist()
DETECTION = PictureDetection(BundledSettings())
TOLD = Sidecar(intrinsics_px=(FX, FY, CX, CY), distortion=(*LENS.radial, *LENS.tangential))


def bent_span(**lenses: Sidecar) -> CutSpan:
    """A span of two frames of noise, in a corner of the image, where the lens bends."""
    clip = Clip(clip="a", source="a.mp4", subject="S9", action="Walking", camera="54138969",
                split="test", fps=50, width=1000, height=1002, first_frame=0, first_row=0,
                n_rows=2)  # fmt: skip
    span = Span(span=0, first_row=0, n_rows=2, clips=[clip])
    rows, columns = BundledSettings().crop_size()
    pixels = np.random.default_rng(1).integers(0, 255, (2, rows, columns, 3), dtype=np.uint8)
    scale = 500 / rows
    windows = np.array([[60, 40, scale, scale]] * 2, np.float32)
    blank = SpanRow(span).with_blank(DETECTION_FIELDS)
    return CutSpan(**vars(blank), pixels=pixels, windows=windows, lenses=lenses)


def test_detections_move_with_their_crops() -> None:
    plain = DETECTION.detect(bent_span(), np.ones(17)).arrays
    moved = DETECTION.detect(bent_span(a=TOLD), np.ones(17)).arrays
    np.testing.assert_array_equal(plain["heatmaps"], moved["heatmaps"])
    apart = np.abs(moved["keypoints_2d"] - plain["keypoints_2d"]).max()
    assert apart > 3
    off = moved["keypoints_2d"] - LENS.straightened(plain["keypoints_2d"])
    assert np.abs(off).max() < 0.6 * apart


def test_calibration_compares_straight_detections_with_straight_truth(tmp_path: Path) -> None:
    found = DETECTION.detect(bent_span(a=TOLD), np.ones(17)).arrays
    # a truth that projects, by a lens that does not bend, onto what was detected
    joints = np.concatenate([(found["keypoints_2d"] - [CX, CY]) / [FX, FY], np.ones((2, 17, 1))], 2)
    truth = {
        "pose_3d": 4000.0 * (joints - joints[:, :1]), "root_position": 4000.0 * joints[:, 0],
        "camera": np.tile([FX, FY, CX, CY], (2, 1)), "timestamp_s": np.zeros(2),
    }  # fmt: skip
    recipe = {"store": "unused", "detector": {"kind": "bundled"},
              "source": {"kind": "videos", "uri": str(tmp_path)}}  # fmt: skip
    write_film(tmp_path / "a.mp4", 2, (64, 96))
    compare = make_compare_fn(source_of(validate(PreprocessSettings, recipe)), 1)

    def worst(row: CutSpan) -> float:
        row.fill(row.span.clips[0], truth)
        compared = compare(row).errors
        assert compared is not None
        return float(np.abs(compared.error_in_boxes).max())

    assert worst(bent_span(a=TOLD)) < 1e-4
    assert worst(bent_span()) > 0.005


def test_training_examples_lie_where_the_lens_shows_them(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", 3, (1002, 1000), fps=50)
    standing = np.array([-900.0, -900.0, 4000.0]) + np.random.default_rng(2).normal(
        0, 300, (1, 3, 17, 3)
    )
    write_truth(str(film), TOLD, Truth(np.arange(3) / 50, standing.astype(np.float32)))
    shown = LENS.project(standing.astype(np.float64))
    straight = project(standing, LENS.pinhole)
    assert np.abs(shown - straight).max() > 3

    # the examples' crops are cut around the joints' box, so that only sizes can be compared
    examples = examples_of_film(str(film), 50.0)
    size = np.ptp(shown[0], axis=1) / np.ptp(shown[0], axis=1).max(axis=1, keepdims=True)
    got = np.ptp(examples.joints_px, axis=1)
    np.testing.assert_allclose(got / got.max(axis=1, keepdims=True), size, rtol=1e-4)
    other = np.ptp(straight[0], axis=1)
    assert np.abs(other / other.max(axis=1, keepdims=True) - size).max() > 1e-3
