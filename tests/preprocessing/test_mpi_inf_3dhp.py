"""MPI-INF-3DHP: all its files give the same poses, and what is said of wrong ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from mpi_inf_3dhp_files import (
    SCALE,
    camera_of,
    pixels,
    poses_before,
    valid_frames,
    write_mat,
    write_mat73,
    write_npz,
)

from diffpose.model.geometry.skeleton import LEFT, RIGHT
from diffpose.model.metrics.protocols import H36M_OF_MPI, MPI_OF_H36M
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.mat_files import read_mat
from diffpose.platform.base.safe_pickle import read_npz
from diffpose.preprocessing.datasets import mpi_inf_3dhp_files as files
from diffpose.preprocessing.datasets.mpi_inf_3dhp import MpiInf3dhp, MpiInf3dhpSource


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("mpi")
    write_npz(made / "npz")
    write_npz(made / "npz", original=True)
    write_mat(made / "mat")
    return made


@pytest.fixture(autouse=True)
def forget_files() -> None:
    files._npz.cache_clear()
    files._mat.cache_clear()


def opened(folder: Path, **values: Any) -> MpiInf3dhp:
    return MpiInf3dhp(MpiInf3dhpSource.model_validate({"uri": str(folder), **values}))


def test_joints_keep_their_sides() -> None:
    assert sorted(MPI_OF_H36M) == list(range(17))
    assert MPI_OF_H36M[0] == 14
    assert {MPI_OF_H36M[j] for j in LEFT} == {5, 6, 7, 11, 12, 13}
    assert {MPI_OF_H36M[j] for j in RIGHT} == {2, 3, 4, 8, 9, 10}
    assert [MPI_OF_H36M[j] for j in H36M_OF_MPI] == list(range(17))


@pytest.mark.parametrize("poses", ["univ_annot3", "annot3"])
@pytest.mark.parametrize("kind", ["npz", "mat"])
def test_files_give_poses_keypoints_and_cameras(folder: Path, kind: str, poses: str) -> None:
    some = {"train_subjects": ["S1"]} if kind == "mat" else {}
    data = opened(folder / kind, poses=poses, **some)
    assert len(data.recordings()) == (2 if kind == "mat" else 16) + 6
    assert data.attributes()["poses"] == poses
    scale = SCALE if poses == "univ_annot3" else 1.0
    shots = data.shots("S1/Seq2")
    assert [s.camera for s in shots] == ["0", "1", "2", "4", "5", "6", "7", "8"]
    assert {(s.width, s.height, s.n_frames, s.fps) for s in shots} == {(2048, 2048, 12, 50.0)}
    assert [(s.width, s.height) for s in data.shots("TS6")] == [(1920, 1080)]
    view = data.view("S1/Seq2", "5")
    true = poses_before("5", 12, 2)[:, list(MPI_OF_H36M)]
    np.testing.assert_allclose(view.joints_mm, scale * true, rtol=1e-9)
    np.testing.assert_allclose(view.keypoints_px, pixels(true, "5"), rtol=1e-9)
    np.testing.assert_allclose(view.camera_px, camera_of("5"), rtol=1e-6)
    test = data.view("TS5", "0")
    np.testing.assert_allclose(test.camera_px, camera_of("TS5"), rtol=1e-6)
    counted = valid_frames(12).astype(bool)
    assert np.isfinite(test.joints_mm).all(axis=(1, 2)).tolist() == counted.tolist()
    assert np.isfinite(test.keypoints_px).all()
    thin = opened(folder / kind, poses=poses, stride=5, **some)
    assert thin.shots("TS1")[0].n_frames == len(thin.view("TS1", "0").joints_mm) == 3
    assert not data.trains("TS1")
    assert (data.subject("S1/Seq2"), data.action("S1/Seq2")) == ("S1", "S1 Seq2")


def spoilt(tmp_path: Path, part: str, spoil: Callable[[Any], Any]) -> MpiInf3dhp:
    write_npz(tmp_path, 6)
    path = tmp_path / f"data_{part}_3dhp.npz"
    content = read_npz(str(path))["data"]
    spoil(content)
    np.savez(path, data=np.array(content, object))
    return opened(tmp_path)


def view_of(content: Any) -> dict[str, Any]:
    return content["S1 Seq1"][0]["0"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda v: v.update(data_3d=v["data_3d"] / 1000), ["must be in mm", "metres"]),
        (lambda v: v.update(data_3d=v["data_3d"] - v["data_3d"][:, 14:15]), ["relative to a root"]),
        (lambda v: v.update(data_2d=v["data_2d"] / 2048), ["px", "2048 x 2048", "normalised"]),
        (lambda v: v.update(data_2d=v["data_2d"][:, :16]), ["(6, 16, 2)", "(F, 17, 2)"]),
        (lambda v: v.update(data_3d=np.ones((6, 28, 3))), ["(6, 28, 3)", "28 joints of annot.mat"]),
        (lambda v: v.update(data_2d=v["data_2d"][:4]), ["4 frames of keypoints", "6 of poses"]),
        (lambda v: v.update(data_3d=v["data_3d"] * np.nan), ["not finite"]),
        (lambda v: v.pop("data_2d"), ["no data_2d"]),
    ],
    ids=["metres", "root", "normalised", "16", "28", "short", "nan", "key"],
)
def test_wrong_arrays_are_named(
    tmp_path: Path, spoil: Callable[..., Any], words: list[str]
) -> None:
    data = spoilt(tmp_path, "train", lambda content: spoil(view_of(content)))
    with pytest.raises(SourceError) as caught:
        data.view("S1/Seq1", "0")
    for word in [*words, "data_train_3dhp.npz", "S1/Seq1, camera 0"]:
        assert word in str(caught.value)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    data = spoilt(tmp_path, "train", lambda c: (c.pop("S6 Seq2"), c["S2 Seq1"][0].pop("7")))
    with pytest.raises(SourceError, match=r"has no S6/Seq2; .*train_subjects"):
        data.recordings()
    with pytest.raises(SourceError, match=r"S2/Seq1, camera 7 is missing; the file has .*0, 1, 2"):
        data.view("S2/Seq1", "7")
    (tmp_path / "data_test_3dhp.npz").unlink()
    with pytest.raises(SourceError, match=r"no .*TS1/annot_data.mat.*no data_test_3dhp.npz"):
        data.view("TS1", "0")


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    write_npz(tmp_path, 6)
    train, test = tmp_path / "data_train_3dhp.npz", tmp_path / "data_test_3dhp.npz"
    train.write_bytes(test.read_bytes())
    with pytest.raises(SourceError, match="training and test files are interchanged".capitalize()):
        opened(tmp_path).recordings()
    files._npz.cache_clear()
    np.savez(train, positions_2d=np.array({"S1": {}}, object))
    with pytest.raises(SourceError, match="positions_2d instead of data"):
        opened(tmp_path).recordings()


def test_annotations_of_another_version_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mat(tmp_path, 6)
    data = opened(tmp_path, train_subjects=["S1"])
    train, test = tmp_path / "S1/Seq1/annot.mat", tmp_path / "TS1/annot_data.mat"
    good = scipy.io.loadmat(train)
    scipy.io.savemat(train, {"annot2": good["annot2"], "annot3": good["annot3"]})
    with pytest.raises(SourceError, match="no univ_annot3; it is another version"):
        data.view("S1/Seq1", "0")
    files._mat.cache_clear()
    cells = {name: good[name] for name in ("annot2", "annot3", "univ_annot3")}
    cells["annot2"] = np.empty((14, 1), object)
    cells["annot2"][:, 0] = [np.ones((6, 34))] * 14
    scipy.io.savemat(train, cells)
    with pytest.raises(SourceError, match=r"annot2 has shape \(6, 34\).*28 joints"):
        data.view("S1/Seq1", "0")
    write_mat73(test, {name: np.ones((6, 1, 28, 3)) for name in ("annot2", "annot3", "univ_annot3")}
                | {"valid_frame": np.ones((6, 1))})  # fmt: skip
    with pytest.raises(SourceError, match=r"shape \(3, 28, 1, 6\); \(3, 17, 1, F\) is wanted"):
        data.view("TS1", "0")
    test.write_bytes(train.read_bytes()[:200])
    files._mat.cache_clear()
    with pytest.raises(SourceError, match="cannot be read as a MATLAB file"):
        data.view("TS1", "0")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        SourceError, match=r"version 7.3 .*pip install 'diffpose-at-scale\[mat73\]'"
    ):
        data.view("TS2", "0")


def test_cells_of_both_versions_look_the_same(tmp_path: Path) -> None:
    import h5py

    cells = np.empty((2, 1), object)
    cells[:, 0] = [np.arange(6.0).reshape(2, 3), np.ones((1, 4))]
    scipy.io.savemat(tmp_path / "old.mat", {"cells": cells})
    with h5py.File(tmp_path / "new.mat", "w") as file:
        inside = [file.create_dataset(f"#refs#/{i}", data=cells[i, 0].T) for i in range(2)]
        references = file.create_dataset("cells", (1, 2), dtype=h5py.ref_dtype)
        references[0] = [part.ref for part in inside]
    old, new = (read_mat(str(tmp_path / f"{n}.mat"), ["cells", "none"]) for n in ("old", "new"))
    assert old.keys() == new.keys() == {"cells"}
    assert old["cells"].shape == new["cells"].shape == (2, 1)
    for i in range(2):
        np.testing.assert_array_equal(old["cells"][i, 0], new["cells"][i, 0])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"train_subjects": ["S9"]}, "none of S1"),
        ({"test_subjects": ["S1"]}, "none of TS1"),
        ({"cameras": [14]}, "none of 0"),
    ],
)
def test_unknown_names_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MpiInf3dhpSource.model_validate({"uri": "x", **values})
