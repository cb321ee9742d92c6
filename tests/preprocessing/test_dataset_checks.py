"""diffpose inspect source...: sound files pass, each kind of wrong file is named with its cause."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from human36m_files import write_human36m
from human36m_pickle import write_pickle
from mpi_inf_3dhp_files import write_npz

from diffpose.jobs import inspect_store as inspect
from diffpose.model.geometry.skeleton import MIRROR
from diffpose.platform.base.safe_pickle import read_npz
from diffpose.preprocessing.datasets import checks, human36m, human36m_pickle, mpi_inf_3dhp_files

SUBJECTS = ("S1", "S9")
SOME = ["source.train_subjects=[S1]", "source.test_subjects=[S9]"]


@pytest.fixture(autouse=True)
def forget_files() -> None:
    human36m._files.cache_clear()
    human36m_pickle._read.cache_clear()
    mpi_inf_3dhp_files._npz.cache_clear()


def examined(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    out = tmp_path / "found.json"
    status = inspect.main([*arguments, "--json", str(out)])
    return status, json.loads(out.read_text())


def test_sound_files_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_human36m(tmp_path / "h36m", 30, subjects=SUBJECTS)
    write_npz(tmp_path / "mpi", 12, original=True)
    write_pickle(tmp_path / "h36m.pkl")
    for kind, uri, more in (
        ("human36m", "h36m", SOME),
        ("human36m", "h36m.pkl", SOME),
        ("mpi_inf_3dhp", "mpi", ["source.poses=annot3", "source.cameras=[0,5]"]),
    ):
        source = [f"source.kind={kind}", f"source.uri={tmp_path / uri}", *more]
        status, found = examined(tmp_path, *source)
        assert (status, found["problems"]) == (0, [])
        assert found["views_checked"] > 8
        assert found["median_reprojection_px"] < (1e-6 if kind == "mpi_inf_3dhp" else 8)
        assert found["dataset"]["name"] == kind
    assert found["cameras"] == {"0": 22, "5": 16}
    assert found["frames"] == 12 * 38
    assert "every check passed" in capsys.readouterr().out


def poses_of(content: Any, change: Callable[[Any], Any]) -> None:
    content["S9"]["Walking"] = change(content["S9"]["Walking"])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p, k: k["S9"]["Walking"].insert(0, k["S9"]["Walking"].pop()),
         ["camera 54138969", "those of camera", "wrong order of cameras"]),
        (lambda p, k: k["S9"].update(Walking=[v[:, list(MIRROR)] for v in k["S9"]["Walking"]]),
         ["left and right"]),
        (lambda p, k: poses_of(p, lambda v: v - v[:, :1]),
         ["projection misses", "relative to their root"]),
        (lambda p, k: poses_of(p, lambda v: np.concatenate([v[:15], 2 * v[15:]])), ["changes by"]),
        (lambda p, k: poses_of(p, duplicated), ["Hip-RHip is 0 mm", "choice of joints"]),
        (lambda p, k: k["S9"]["Walking"].pop(), ["3 cameras instead of 4"]),
        (lambda p, k: poses_of(p, lambda v: v * 1000), ["metres"]),
    ],
    ids=["cameras", "sides", "root", "bones", "joints", "missing", "units"],
)  # fmt: skip
def test_wrong_files_are_named_with_the_likely_cause(
    tmp_path: Path, spoil: Callable[..., Any], words: list[str]
) -> None:
    write_human36m(tmp_path, 30, subjects=SUBJECTS)
    names = {human36m.POSES: "positions_3d", "data_2d_h36m_gt.npz": "positions_2d"}
    content = {name: read_npz(str(tmp_path / name))[key] for name, key in names.items()}
    spoil(*content.values())
    for name, key in names.items():
        np.savez(tmp_path / name, **{key: np.array(content[name], object)})
    source = ["source.kind=human36m", f"source.uri={tmp_path}", "source.keypoints=gt", *SOME]
    status, found = examined(tmp_path, *source)
    assert status == 1
    assert {problem["where"].partition(",")[0] for problem in found["problems"]} == {"S9/Walking"}
    texts = [" ".join(problem.values()) for problem in found["problems"]]
    for word in words:
        assert any(word in text for text in texts), texts


def duplicated(poses: np.ndarray) -> np.ndarray:
    poses = poses.copy()
    poses[:, 1] = poses[:, 0]  # RHip is the root
    return poses


def test_other_sources_are_opened_file_by_file(
    tmp_path: Path, motion_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = sorted(motion_folder.glob("*.bvh"))[0]
    (tmp_path / "a.bvh").write_bytes(some.read_bytes())
    (tmp_path / "b.bvh").write_text("HIERARCHY")
    status, found = examined(tmp_path, "source.kind=mocap", f"source.uri={tmp_path}")
    assert status == 1
    assert "poses at 10 per second" in found["files"]["a.bvh"]
    assert [problem["where"] for problem in found["problems"]] == ["b.bvh"]
    (tmp_path / "k.json").write_text(json.dumps(
        [{"image_id": "0.jpg", "keypoints": [1.0] * 51, "category_id": 1}]))  # fmt: skip
    keypoints = ["source.kind=keypoints", f"source.uri={tmp_path / 'k.json'}"]
    status, found = examined(tmp_path, *keypoints, "source.width=9", "source.height=9")
    assert (status, found["files"]) == (0, {"k.json": "1 frames, up to 1 people, [17] joints"})
    assert inspect.main([]) == 2
    assert "either store= or source.uri=" in capsys.readouterr().err


def test_sides_are_judged_over_a_recording_not_a_frame() -> None:
    """MPI-INF-3DHP has genuine frames whose thighs measure 326 and 485 mm."""
    rng = np.random.default_rng(0)
    joints = np.tile(rng.normal(0, 300, (1, 17, 3)), (12, 1, 1))
    for side, (hip, knee, foot) in enumerate(((1, 2, 3), (4, 5, 6))):
        joints[:, hip] = joints[:, 0] + [130 * (1 - 2 * side), 0, 0]
        joints[:, knee] = joints[:, hip] + [0, 430, 0]
        joints[:, foot] = joints[:, knee] + [0, 420, 0]
    for shoulder, elbow, wrist in ((11, 12, 13), (14, 15, 16)):
        joints[:, elbow] = joints[:, shoulder] + [0, 280, 0]
        joints[:, wrist] = joints[:, elbow] + [0, 250, 0]

    def odd(frames: slice) -> list[str]:
        spoilt = joints.copy()
        spoilt[frames, 2:4] += [0, 326 - 430, 0]  # knee and foot
        spoilt[frames, 5:7] += [0, 485 - 430, 0]
        return [p.what for p in checks._check_bones("x", spoilt) if "mm long" in p.what]

    assert odd(slice(3, 4)) == []
    (found,) = odd(slice(0, 12))
    assert "485 mm long" in found
    assert "326 mm" in found
    alone = joints[:1].copy()
    alone[0, 2:4] += [0, 326 - 430, 0]
    alone[0, 5:7] += [0, 485 - 430, 0]
    assert checks._check_bones("x", alone) == []
