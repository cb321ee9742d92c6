"""Data sets from their files to a measured model: preprocess, train a little, evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import zarr
from human36m_files import write_human36m
from human36m_pickle import pickle_content, write_pickle
from mpi_inf_3dhp_files import valid_frames, write_npz

from diffpose.jobs import evaluate, export_gmm, import_gmm, preprocess, train
from diffpose.model.geometry.pinhole import project
from diffpose.model.metrics.protocols import H36M_OF_MPI, mpi_figures
from diffpose.model.mixtures.gaussian_mixture import GaussianMixture, joint_kernels
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.datasets.human36m_cameras import CAMERAS
from diffpose.preprocessing.derived.mixture_import import in_pinhole_px
from diffpose.preprocessing.derived.mixture_stages import bridging_poses

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]


SMALL = [
    "--config", str(ROOT / "configs" / "train" / "demo.yaml"), "workers=1",
    "encoder_training.epochs=1", "denoiser_training.epochs=1", "mixture.n_draws=100",
    "context_encoder.width=16", "denoiser.width=8",
]  # fmt: skip


def measured_by(run: Path, store: Path) -> dict[str, Any]:
    figures = run / "figures.json"
    assert evaluate.main([f"run={run}", f"store={store}", "--table", "--json", str(figures)]) == 0
    measured: dict[str, Any] = json.loads(figures.read_text())
    return measured


@pytest.fixture(scope="module")
def human36m(ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Human3.6M's files, a store made of them and a run trained for a moment."""
    made = tmp_path_factory.mktemp("human36m")
    write_human36m(made / "files", frames=16)
    recipe = ["--config", str(ROOT / "configs" / "preprocess" / "human36m.yaml")]
    recipe += [f"source.uri={made / 'files'}", f"store={made / 'store'}", "workers=2"]
    some = ["source.stride=2", "mixture.spec.n_draws=100"]
    assert preprocess.main([*recipe, *some]) == 0
    assert train.main([*SMALL, f"store={made / 'store'}", f"run={made / 'run'}"]) == 0
    return made


def test_from_files_to_errors_per_action(human36m: Path, tmp_path: Path) -> None:
    files, store, run = human36m / "files", human36m / "store", human36m / "run"
    found = PoseStore.open(str(store))
    clips = found.clips()
    assert len(clips) == (7 * 4 - 1) * 4
    assert {c.subject for c in clips if c.split == "test"} == {"S9", "S11"}
    assert {c.subject for c in clips if c.split != "test"} == {"S1", "S5", "S6", "S7", "S8"}
    assert {c.action for c in clips} == {"Directions", "Walking", "WalkDog"}
    assert {(c.n_rows, c.fps) for c in clips} == {(8, 25.0)}
    for clip in clips[::17]:
        rows = clip.first_row, clip.first_row + clip.n_rows
        pose, root, camera = (
            found.read(name, *rows).astype(np.float64)
            for name in ("pose_3d", "root_position", "camera")
        )
        off = project(pose + root[:, None], camera[:, None]) - found.read("keypoints_2d", *rows)
        assert np.median(np.abs(off)) < 8  # px: a cell, after distortion was taken out
        assert np.isfinite(found.read("mixtures/histogram/means_mm", *rows)).all()
    assert found.attributes["detector"]["kind"] == "dataset"

    target = tmp_path / "data_2d_h36m_cpn_ft_h36m_dbb_gmm.npz"
    assert export_gmm.main([f"store={store}", f"out={target}", "n_draws=300"]) == 0
    # as the authors' loader reads it: positions_2d, subject, action, camera
    views = np.load(target, allow_pickle=True)["positions_2d"].item()
    assert sorted(views["S11"]) == ["Directions 1", "WalkDog 1", "Walking"]
    raw = np.load(files / "data_2d_h36m_gt.npz", allow_pickle=True)["positions_2d"].item()
    for subject, action in (("S9", "Directions 1"), ("S1", "Walking")):
        assert len(views[subject][action]) == 4
        for mixtures, truth in zip(views[subject][action], raw[subject][action], strict=True):
            assert mixtures.shape == (8, 17, 5, 5)
            np.testing.assert_allclose(mixtures[..., 0].sum(axis=-1), 1, atol=1e-4)
            mean = (mixtures[..., :1] * mixtures[..., 1:3]).sum(axis=2)
            assert np.median(np.abs(mean - truth[::2])) < 8  # px of the original, bent image
            sigma_px = mixtures[..., 3:] * 1000 / 2
            assert 1 <= np.median(sigma_px) < 15

    # and back: the mixtures that were read are those that were written, with a depth of their own
    again = [f"store={store}", f"gmm={target}", "name=theirs"]
    assert import_gmm.main(again) == 0
    assert import_gmm.main(again) == 2  # is there
    group = zarr.open_group(str(store), mode="r+")["mixtures/theirs"]
    written = np.array(group["means_mm"][:3])
    group.attrs.update({"complete": False})  # an import that was interrupted
    group["means_mm"][:3] = 0.0
    assert import_gmm.main(again) == 0
    np.testing.assert_array_equal(group["means_mm"][:3], written)
    # training on them fits nothing anew
    chosen = [f"store={store}", f"run={run}", "stage=mixtures", "mixtures=theirs"]
    assert train.main([*chosen, "depth=histogram", "mixture.n_kernels=5"]) == 0
    again = PoseStore.open(str(store))
    assert again.mixture_attributes("theirs").complete
    spec = again.mixture_attributes("theirs").spec
    for clip in clips[::31]:
        written = in_pinhole_px(views[clip.subject][clip.source.split("/")[1]][
            [c.name for c in CAMERAS].index(clip.camera)], clip)  # fmt: skip
        rows = clip.first_row, clip.first_row + clip.n_rows
        theirs = GaussianMixture(*(
            torch.from_numpy(again.read(f"mixtures/theirs/{name}", *rows).astype(np.float32))
            for name in ("weights", "means_mm", "scale_tril_mm")
        ))  # fmt: skip
        np.testing.assert_allclose(theirs.weights, written[..., 0], atol=1e-5)
        # a kernel's mean lies on the line of sight through the written centre
        seen = read_observations(again, *rows)
        bridge = bridging_poses(seen, again.mixture_attributes("theirs"))
        away = seen.detections().translation_mm(bridge).double().numpy()
        means = theirs.means_mm.double().numpy() + away[:, None, None]
        off = project(means, seen.camera[:, None, None].astype(np.float64)) - written[..., 1:3]
        np.testing.assert_allclose(off[:, 1:], 0, atol=0.05)
        assert (theirs.means_mm[:, 0] == 0).all()
        assert joint_kernels(theirs, spec)[2].shape == (8, 17, 5, 3, 3)

    measured = measured_by(run, store)
    assert measured["protocol_figures"] is None
    assert measured["n_poses"] == 7 * 4 * 8
    assert sorted(measured["per_action"]) == ["Directions", "WalkDog", "Walking"]
    assert measured["mpjpe_mm"] >= measured["n_mpjpe_mm"] * 0.99
    assert measured["mpjve_mm_per_frame"] > 0
    poses = pq.read_table(run / "evaluation" / "poses.parquet").to_pandas()
    assert len(poses) == measured["n_poses"]
    assert poses["run/mpjpe_mm"].mean() == pytest.approx(measured["mpjpe_mm"])
    off = np.stack(poses["run/pose_mm"]) - np.stack(poses["truth_mm"])
    errors = np.linalg.norm(off.reshape(-1, 17, 3), axis=-1).mean(axis=1)
    np.testing.assert_allclose(errors, poses["run/mpjpe_mm"], rtol=1e-3)
    actions = [part["mpjpe_mm"] for part in measured["per_action"].values()]
    assert measured["mean_of_actions"]["mpjpe_mm"] == pytest.approx(np.mean(actions))


def test_mpi_inf_3dhp_by_its_own_protocol(
    human36m: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, store, run = tmp_path / "files", tmp_path / "store", tmp_path / "run"
    write_npz(files, frames=8)
    recipe = ["--config", str(ROOT / "configs" / "preprocess" / "mpi_inf_3dhp.yaml")]
    some = ["source.cameras=[0,5]", "stages=detect", "workers=2"]
    assert preprocess.main([*recipe, f"source.uri={files}", f"store={store}", *some]) == 0
    found = PoseStore.open(str(store))
    assert found.attributes["dataset"]["poses"] == "univ_annot3"
    clips = found.clips()
    assert len(clips) == 16 * 2 + 6
    assert {c.split: 0 for c in clips}.keys() == {"train", "validation", "test"}
    sizes = {c.subject: (c.width, c.height) for c in clips}
    assert (sizes["TS4"], sizes["TS5"]) == ((2048, 2048), (1920, 1080))

    # on the other data set's encoder, as who moves from one to the other does
    encoder = f"encoder={human36m / 'run'}"
    assert train.main([*SMALL, f"store={store}", f"run={run}", encoder]) == 0
    measured = measured_by(run, store)
    counted = int(valid_frames(8).sum())
    assert measured["n_poses"] == 6 * counted
    own = measured["protocol_figures"]
    assert "univ_annot3" in own["protocol"]
    six = [f"TS{i}" for i in range(1, 7)]
    assert list(own["sequences"]) == [*six, "pooled", "mean of sequences"]
    assert own["sequences"]["TS1"]["n_frames"] == counted
    poses = pq.read_table(run / "evaluation" / "poses.parquet").to_pandas()
    sequences = {}
    for name in six:
        rows = poses[poses["action"] == name]
        sequences[name] = tuple(
            np.stack(rows[column]).reshape(-1, 17, 3)[:, list(H36M_OF_MPI)]
            for column in ("run/pose_mm", "truth_mm")
        )
    for name, expected in mpi_figures(sequences).items():
        assert own["sequences"][name] == pytest.approx(expected, rel=1e-4)
    assert own["sequences"]["pooled"]["mpjpe_mm"] == pytest.approx(measured["mpjpe_mm"])
    assert "mean of sequences" in capsys.readouterr().out


def test_the_pickle_of_motionbert(ray_local: None, tmp_path: Path) -> None:
    files, store = tmp_path / "h36m_sh_conf_cam_source_final.pkl", tmp_path / "store"
    write_pickle(files, pickle_content(8))
    recipe = ["--config", str(ROOT / "configs" / "preprocess" / "human36m.yaml")]
    arguments = [*recipe, f"source.uri={files}", f"store={store}", "workers=2", "stages=detect"]
    assert preprocess.main(arguments) == 0
    found = PoseStore.open(str(store))
    assert found.attributes["dataset"]["keypoints"] == "sh_conf"
    assert len(found.clips()) == (7 * 3 - 1) * 4
    clip = found.clips("test")[0]
    rows = clip.first_row, clip.first_row + clip.n_rows
    pose, root, camera = (
        found.read(name, *rows).astype(np.float64)
        for name in ("pose_3d", "root_position", "camera")
    )
    off = project(pose + root[:, None], camera[:, None]) - found.read("keypoints_2d", *rows)
    assert np.median(np.abs(off)) < 8
