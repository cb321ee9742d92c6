"""What every data set promises (preprocessing/datasets/interface.py), kept by all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from human36m_files import write_human36m
from human36m_pickle import write_pickle
from mpi_inf_3dhp_files import write_mat, write_npz

from diffpose.preprocessing.datasets.checks import examine
from diffpose.preprocessing.datasets.human36m import Human36mSource
from diffpose.preprocessing.datasets.interface import DataSet
from diffpose.preprocessing.datasets.mpi_inf_3dhp import MpiInf3dhpSource
from diffpose.preprocessing.datasets.registry import DatasetSource, data_set


def human36m(folder: Path) -> DatasetSource:
    write_human36m(folder)
    return Human36mSource(uri=str(folder))


def human36m_pickle(folder: Path) -> DatasetSource:
    write_pickle(folder / "h36m_sh_conf_cam_source_final.pkl")
    return Human36mSource(uri=str(folder / "h36m_sh_conf_cam_source_final.pkl"))


def mpi_npz(folder: Path) -> DatasetSource:
    write_npz(folder)
    return MpiInf3dhpSource(uri=str(folder))


def mpi_mat(folder: Path) -> DatasetSource:
    write_mat(folder)
    return MpiInf3dhpSource(uri=str(folder), train_subjects=["S1"])


@pytest.fixture(params=[human36m, human36m_pickle, mpi_npz, mpi_mat])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> DataSet:
    write: Callable[[Path], DatasetSource] = request.param
    return data_set(write(tmp_path))


def test_recordings_are_listed_once_and_of_both_splits(data: DataSet) -> None:
    names = data.recordings()
    assert len(names) == len(set(names)) > 1
    assert data.recordings() == names
    assert {data.trains(name) for name in names} == {True, False}
    for name in names:
        assert data.subject(name)
        assert data.action(name)


def test_views_have_the_frames_that_shots_promise(data: DataSet) -> None:
    names = data.recordings()
    for name in (names[0], names[-1]):
        shots = data.shots(name)
        assert len({shot.camera for shot in shots}) == len(shots) > 0
        for shot in shots:
            assert min(shot.width, shot.height, shot.n_frames, shot.fps) > 0
            view = data.view(name, shot.camera)
            assert view.joints_mm.shape == (shot.n_frames, 17, 3)
            assert view.keypoints_px.shape == view.truth_px.shape == (shot.n_frames, 17, 2)
            assert view.camera_px.shape == (4,)
            if view.confidence is not None:
                assert view.confidence.shape == (shot.n_frames, 17)
            counted = np.isfinite(view.joints_mm).all(axis=(1, 2))
            assert counted.any()
            # a camera without distortion: the truth projects where it is said to lie
            joints = view.joints_mm[counted]
            shown = joints[..., :2] / joints[..., 2:] * view.camera_px[:2] + view.camera_px[2:]
            assert np.nanmax(np.abs(shown - view.truth_px[counted])) < 0.5
            assert (joints[..., 2] > 0).all()


def test_residuals_are_measured_on_training_recordings(data: DataSet) -> None:
    found = data.residuals()
    assert found.offset_px.shape[1:] == (17, 2)
    assert np.isfinite(found.offset_px).any()
    if found.confidence is not None:
        assert found.confidence.shape == found.offset_px.shape[:2]


def test_attributes_say_which_poses_these_are(data: DataSet) -> None:
    said = json.loads(json.dumps(data.attributes()))
    assert {"name", "poses", "poses_meaning"} <= set(said)


def test_the_files_agree_with_each_other(data: DataSet) -> None:
    *_, found = examine(data)
    assert found.problems == []
    assert found.n_frames > 0
