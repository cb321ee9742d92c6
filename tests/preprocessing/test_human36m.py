"""Human3.6M: the real cameras, the real files' structure, and what is said of wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from human36m_files import write_human36m

from diffpose.model.geometry.lens import Lens
from diffpose.model.heatmaps.temperature import locate_truth
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.safe_pickle import read_npz
from diffpose.preprocessing.datasets import human36m
from diffpose.preprocessing.datasets.human36m import Human36mSource, read_view, recording_names
from diffpose.preprocessing.datasets.human36m_cameras import CAMERAS, PLACES
from diffpose.preprocessing.keypoints.dataset_keypoints import (
    DatasetKeypointSettings,
    fit_errors,
    rasterise_heatmaps,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("human36m")
    write_human36m(made)
    return made


@pytest.fixture(autouse=True)
def forget_files() -> None:
    human36m._files.cache_clear()


def source(folder: Path, **values: Any) -> Human36mSource:
    return Human36mSource.model_validate({"uri": str(folder), **values})


def test_known_numbers_of_camera_0() -> None:
    camera = CAMERAS[0]
    # as VideoPose3D's loader prints them, float32
    known = [2.2900989, 2.2875624, 0.025083065, 0.028902981, -0.20709892, 0.24777518,
             -0.0030751503, -0.00097569887, -0.0014244716]  # fmt: skip
    np.testing.assert_allclose(camera.lens.normalised(1000, 1002), known, atol=1e-7)
    assert [c.name for c in CAMERAS] == ["54138969", "55011271", "58860488", "60457274"]
    assert [(c.width, c.height) for c in CAMERAS] == [(1000, 1002), (1000, 1000)] * 1 + [
        (1000, 1000), (1000, 1002)
    ]  # fmt: skip


def test_places_are_rigid_motions_of_cameras_around_a_room() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal([0, 0, 900], 500, (50, 3))
    assert sorted(PLACES) == sorted(["S1", "S5", "S6", "S7", "S8", "S9", "S11"])
    for places in PLACES.values():
        assert len(places) == 4
        for place in places:
            seen = place.to_camera(points)
            np.testing.assert_allclose(place.to_world(seen), points, atol=1e-2)  # mm: rounded
            apart = np.linalg.norm(seen[:, None] - seen, axis=-1)
            np.testing.assert_allclose(
                apart, np.linalg.norm(points[:, None] - points, axis=-1), rtol=1e-6
            )
            assert 1500 < seen[:, 2].min() < seen[:, 2].max() < 9000  # all look at the room
            up = place.to_camera(np.array([[0, 0, 1000.0], [0, 0, 0]]))
            assert up[0, 1] < up[1, 1]  # y is down


def test_distortion_is_undone() -> None:
    rng = np.random.default_rng(1)
    for camera in CAMERAS:
        ideal = rng.uniform(0, 1000, (500, 2))
        rays = (ideal - camera.lens.centre_px) / camera.lens.focal_px
        seen = camera.lens.bend(rays) * camera.lens.focal_px + camera.lens.centre_px
        assert np.abs(seen - ideal).max() > 5
        np.testing.assert_allclose(camera.lens.straightened(seen), ideal, atol=1e-6)
    plain = Lens((1000.0, 1000.0), (500.0, 500.0))
    np.testing.assert_allclose(plain.straightened(np.array([[100.0, 900.0]])), [[100, 900]])


def test_the_formula_of_distortion_by_hand() -> None:
    lens = Lens((1.0, 1.0), (0.0, 0.0), (0.1, 0.01, 0.001), (0.02, 0.03))
    u, r2 = np.array([0.3, -0.4]), 0.25
    radial = 1 + 0.1 * r2 + 0.01 * r2**2 + 0.001 * r2**3
    tangential = 0.02 * 0.3 + 0.03 * -0.4
    expected = u * (radial + tangential) + np.array([0.02, 0.03]) * r2
    np.testing.assert_allclose(lens.bend(u), expected, rtol=1e-12)


def test_recordings_and_what_a_camera_sees(folder: Path) -> None:
    chosen = source(folder, keypoints="gt")
    names = recording_names(chosen)
    assert len(names) == 7 * 4 - 1
    assert "S11/Directions" not in names
    assert "S11/Directions 1" in names
    assert human36m.action_of("S11/Directions 1") == "Directions"
    world = read_npz(str(folder / human36m.POSES))["positions_3d"]["S9"]["Walking"]
    for number in range(4):
        view = read_view(chosen, "S9/Walking", number)
        assert view.joints_mm.shape == (24, 17, 3)
        # true detections, straightened, are the pinhole projection of the true joints
        np.testing.assert_allclose(view.keypoints_px, view.truth_px, atol=2e-3)
        back = PLACES["S9"][number].to_world(view.joints_mm)
        np.testing.assert_allclose(back / 1000, world[:, human36m.KEPT], atol=1e-5)
    assert human36m.n_frames(source(folder, stride=5), "S9/Walking") == 5


def test_errors_of_detections_are_measured(folder: Path) -> None:
    errors = fit_errors(human36m.residuals(source(folder), every=1))
    # the file: 4 px per axis, one joint in twenty six times as wide
    assert np.abs(errors.sigma_px[:, 0] - 4).max() < 0.5
    assert np.abs(errors.sigma_px[:, 1].mean() - 24) < 4
    assert np.abs(errors.tail_weight.mean() - 0.05) < 0.02
    exact = fit_errors(human36m.residuals(source(folder, keypoints="gt"), every=1))
    assert exact.sigma_px.max() < 0.01
    assert exact.version != errors.version


def test_heatmaps_hold_the_truth_as_often_as_they_claim(tmp_path: Path) -> None:
    write_human36m(tmp_path, noise_px=9.0)  # more than a cell, or the least width would decide
    chosen = source(tmp_path)
    errors = fit_errors(human36m.residuals(chosen, every=1))
    covered = []
    for number in range(4):  # of a subject whose errors were not measured
        view = read_view(chosen, "S9/Walking", number)
        heatmaps, crops = rasterise_heatmaps(view.keypoints_px, errors, DatasetKeypointSettings())
        assert heatmaps.shape == (24, 17, 64, 48)
        found = locate_truth(
            heatmaps.astype(np.float32), crops, view.truth_px, np.ones(1)
        ).counted()
        covered.append([found.coverage(level).mean() for level in (0.5, 0.9)])
    half, most = np.mean(covered, axis=0)
    assert abs(half - 0.5) < 0.06
    assert abs(most - 0.9) < 0.05


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p, k: p.pop("S6"), ["no subject S6", "data_3d_h36m.npz", "source.train_subjects"]),
        (lambda p, k: k.pop("S9"), ["no subject S9", "data_2d_h36m_cpn"]),
    ],
    ids=["missing-subject", "missing-detections"],
)
def test_missing_subjects_are_named(
    tmp_path: Path, spoil: Callable[..., Any], words: list[str]
) -> None:
    change(tmp_path, spoil)
    with pytest.raises(SourceError) as caught:
        recording_names(source(tmp_path))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p, k: p["S9"].update(Walking=p["S9"]["Walking"] * 1000), ["metres"]),
        (lambda p, k: p["S9"].update(Walking=p["S9"]["Walking"][:, :16]), ["(24, 16, 3)"]),
        (lambda p, k: k["S9"]["Walking"].pop(), ["3 cameras instead of 4"]),
        (lambda p, k: first(k, lambda v: v[:, :16]), ["(25, 16, 2)", "16 joints", "camera 0"]),
        (lambda p, k: first(k, lambda v: v / 1000), ["in px, not normalised"]),
        (lambda p, k: first(k, lambda v: v[:20]), ["20 frames", "24"]),
        (lambda p, k: first(k, lambda v: v * np.nan), ["not finite"]),
        (lambda p, k: k["S9"].pop("Walking"), ["S9/Walking is missing"]),
    ],
    ids=["millimetres", "joints-3d", "camera", "joints-2d", "normalised", "short", "nan", "action"],
)
def test_wrong_arrays_are_named(
    tmp_path: Path, spoil: Callable[..., Any], words: list[str]
) -> None:
    change(tmp_path, spoil)
    with pytest.raises(SourceError) as caught:
        read_view(source(tmp_path), "S9/Walking", 0)
    for word in [*words, "S9/Walking"]:
        assert word in str(caught.value)


def first(keypoints: dict[str, Any], change: Callable[[Any], Any]) -> None:
    views = keypoints["S9"]["Walking"]
    views[0] = change(views[0])


def change(folder: Path, spoil: Callable[..., Any]) -> None:
    """Write small files and spoil their content."""
    write_human36m(folder)
    pose_file, point_file = folder / human36m.POSES, folder / "data_2d_h36m_cpn_ft_h36m_dbb.npz"
    poses, points = (
        read_npz(str(path))[key]
        for path, key in ((pose_file, "positions_3d"), (point_file, "positions_2d"))
    )
    spoil(poses, points)
    np.savez(pose_file, positions_3d=np.array(poses, dtype=object))
    np.savez(point_file, positions_2d=np.array(points, dtype=object))


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    write_human36m(tmp_path)
    with pytest.raises(SourceError, match=r"no .*data_2d_h36m_sh_ft_h36m.npz.*holds data_2d"):
        recording_names(source(tmp_path, keypoints="sh_ft_h36m"))
    (tmp_path / "data_2d_h36m_gt.npz").rename(tmp_path / human36m.POSES)
    human36m._files.cache_clear()
    with pytest.raises(SourceError, match="has metadata, positions_2d instead of positions_3d"):
        recording_names(source(tmp_path))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"train_subjects": ["S1", "S2"]}, "no cameras are known of"),
        ({"train_subjects": ["S1", "S9"]}, "cannot both train and test"),
    ],
)
def test_wrong_subjects_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Human36mSource.model_validate({"uri": "x", **values})
