"""MotionBERT's pickle: its 2.5D labels become the camera frame; what is said of wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from human36m_files import world_poses
from human36m_pickle import pickle_content, write_pickle

from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.datasets import human36m_pickle
from diffpose.preprocessing.datasets.human36m import KEPT, Human36mSource
from diffpose.preprocessing.datasets.human36m_cameras import CAMERAS, PLACES
from diffpose.preprocessing.datasets.registry import data_set
from diffpose.preprocessing.keypoints.dataset_keypoints import (
    DatasetKeypointSettings,
    ErrorsByConfidence,
    fit_by_confidence,
    rasterise_heatmaps,
)
from diffpose.preprocessing.sources.dataset import measured_errors


@pytest.fixture(autouse=True)
def forget_file() -> None:
    human36m_pickle._read.cache_clear()


def source(folder: Path, **values: Any) -> Human36mSource:
    uri = str(folder / "h36m_sh_conf_cam_source_final.pkl")
    return Human36mSource.model_validate({"uri": uri, **values})


def spoilt(folder: Path, spoil: Callable[[dict[str, Any]], Any]) -> Human36mSource:
    content = pickle_content(8)
    spoil(content)
    write_pickle(folder / "h36m_sh_conf_cam_source_final.pkl", content)
    return source(folder)


def test_labels_become_the_camera_frame(tmp_path: Path) -> None:
    data = data_set(spoilt(tmp_path, lambda content: None))
    names = data.recordings()
    # one of MotionBERT's drifted clips is there, and left out
    assert len(names) == 7 * 3 - 1
    assert "S9/Greeting subact 2" not in names
    assert {data.action(name) for name in names} == {"Directions", "Walking", "Greeting"}
    assert {data.subject(n) for n in names if not data.trains(n)} == {"S9", "S11"}
    for subject, seed in (("S1", 1), ("S9", 501)):
        name = f"{subject}/Walking subact 1"
        assert [s.camera for s in data.shots(name)] == [c.name for c in CAMERAS]
        assert {(s.n_frames, s.fps) for s in data.shots(name)} == {(8, 50.0)}
        world = world_poses(8, seed)[:, list(KEPT)] * 1000.0
        for number, camera in enumerate(CAMERAS):
            view = data.view(name, camera.name)
            true = PLACES[subject][number].to_camera(world)
            np.testing.assert_allclose(view.joints_mm, true, atol=0.5)  # mm: float32 px
            straight = camera.lens.straightened(camera.lens.project(true))
            np.testing.assert_allclose(view.truth_px, straight, atol=0.05)
            assert view.confidence is not None
            assert view.confidence.shape == (8, 17)
            assert 1 < np.abs(view.keypoints_px - view.truth_px).mean() < 8
    every = data_set(source(tmp_path, leave_out=[], stride=3))
    assert len(every.recordings()) == 7 * 3
    assert len(every.view("S9/Greeting subact 2", "54138969").joints_mm) == 3


def test_unsure_keypoints_are_drawn_wider(tmp_path: Path) -> None:
    write_pickle(tmp_path / "h36m_sh_conf_cam_source_final.pkl")
    few = measured_errors(data_set(source(tmp_path)))
    assert isinstance(few, ErrorsByConfidence)
    data = data_set(source(tmp_path))
    views = [data.view(n, s.camera) for n in data.recordings()[:9] for s in data.shots(n)]
    offsets = np.concatenate([view.keypoints_px - view.truth_px for view in views])
    errors = fit_by_confidence(
        offsets, np.concatenate([view.confidence for view in views]), least=99
    )
    assert np.abs(errors.edges - [0.4, 0.6, 0.8]).max() < 0.05
    # the file: 4 px (1.6 - confidence) per axis; a level's mean confidence is its middle
    widths = [np.median(level.sigma_px[:, 0]) for level in errors.levels]
    np.testing.assert_allclose(widths, 4 * (1.6 - np.array([0.3, 0.5, 0.7, 0.9])), rtol=0.15)
    # too few for levels of their own: all alike
    assert np.ptp([level.sigma_px for level in few.levels], axis=0).max() == 0
    points = np.random.default_rng(0).uniform(300, 700, (1, 17, 2)).repeat(2, axis=0)
    sure = np.stack([np.full(17, 0.25), np.full(17, 0.95)])
    heatmaps, _ = rasterise_heatmaps(points, errors, DatasetKeypointSettings(least_cells=0.1), sure)
    filled = (heatmaps > 25).sum(axis=(2, 3))
    assert (filled[0] >= filled[1]).all()
    assert filled[0].sum() > filled[1].sum()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: c["test"].update(joint3d_image=shifted(c["test"]["joint3d_image"])),
         ["miss each other", "px"]),
        (lambda c: c["test"]["joint3d_image"].__setitem__((..., 2), 0.0),
         ["depths of joint3d_image", "2.5D"]),
        (lambda c: c["test"].update({"2.5d_factor": 2 * c["test"]["2.5d_factor"]}),
         ["2.5d_factor is off by 100 %"]),
        (lambda c: c["test"].update(joint_2d=c["test"]["joint_2d"] / 1000),
         ["joint_2d", "not normalised"]),
        (lambda c: one_camera(c["test"]), ["a camera is missing"]),
    ],
    ids=["shifted", "depth", "factor", "normalised", "camera"],
)  # fmt: skip
def test_wrong_labels_are_named(
    tmp_path: Path, spoil: Callable[..., Any], words: list[str]
) -> None:
    data = data_set(spoilt(tmp_path, spoil))
    with pytest.raises(SourceError) as caught:
        data.view("S9/Walking subact 1", "54138969")
    for word in [*words, "S9/Walking subact 1", ".pkl"]:
        assert word in str(caught.value)


def shifted(labels: Any) -> Any:
    """Every camera gets the labels of the next."""
    return np.roll(labels, 8, axis=0)


def one_camera(part: dict[str, Any]) -> None:
    keep = np.array([s.endswith("ca_01") for s in part["source"]])
    for key, value in part.items():
        part[key] = [v for v, k in zip(value, keep, strict=True) if k] if isinstance(
            value, list) else value[keep]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: c.pop("test"), r"must have train and test, it has \['train'\]"),
        (lambda c: c["train"].pop("confidence"), "train has no confidence"),
        (lambda c: c["train"].update(joint_2d=c["train"]["joint_2d"][:, :16]), "16, 2.* is wanted"),
        (lambda c: c["train"]["source"].__setitem__(slice(8), ["clip"] * 8), "'clip' .* is none"),
        (lambda c: c["train"].update(camera_name=["7"] * 480), "camera '7' is none"),
        (lambda c: rename(c["test"], "s_09", "s_08"), "comes twice"),
    ],
    ids=["part", "key", "16", "name", "camera-name", "twice"],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, spoil: Callable[..., Any], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        data_set(spoilt(tmp_path, spoil)).recordings()


def rename(part: dict[str, Any], old: str, new: str) -> None:
    part["source"] = [name.replace(old, new) for name in part["source"]]


def test_a_missing_subject_is_named(tmp_path: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        rename(content["test"], "s_09_act_02", "s_09_act_03")
        rename(content["test"], "s_11_act_05", "s_11_act_06")
        rename(content["test"], "s_11", "s_09")
        # every clip of S11 is now one of S9 that was not there
        rename(content["test"], "s_09_act_14_subact_01", "s_09_act_14_subact_02")
        half = len(content["test"]["source"]) // 2
        first = [s.replace("_act_14_subact_02", "_act_14_subact_01")
                 for s in content["test"]["source"][:half]]  # fmt: skip
        content["test"]["source"][:half] = first

    with pytest.raises(SourceError, match="no subject S11; it has S1, S5, S6, S7, S8, S9"):
        data_set(spoilt(tmp_path, spoil)).recordings()
