"""diffpose get-detector: networks out of wheels and packages, checked, and refused when wrong."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from tflite_models import blazepose_folder

from diffpose.jobs import get_detector as job
from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import SourceError
from diffpose.platform.downloads import detector_files
from diffpose.platform.downloads.detector_files import Package, by_npm, by_pip, take_networks
from diffpose.platform.downloads.get_detector import GetDetectorSettings, get_detector

NAMES = ("pose_detection", "pose_landmark_full", "pose_landmark_heavy", "pose_landmark_lite")


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    folder = tmp_path / "networks"
    folder.mkdir()
    blazepose_folder(folder)
    return folder


def _known(networks: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256((networks / f"{name}.tflite").read_bytes()).hexdigest()
        for name in NAMES
    }


def _wheel(networks: Path, path: Path) -> Path:
    """A wheel laid out as mediapipe's: two of the networks among other files."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mediapipe/__init__.py", "")
        for name in NAMES[:2]:
            room = "pose_detection" if name == "pose_detection" else "pose_landmark"
            inside = f"mediapipe/modules/{room}/{name}.tflite"
            archive.write(networks / f"{name}.tflite", inside)
        archive.writestr("mediapipe/modules/hand_landmark/hand_landmark_full.tflite", b"other")
    return path


def _tgz(networks: Path, path: Path) -> Path:
    """A package laid out as npm's @mediapipe/pose."""
    with tarfile.open(path, "w:gz") as archive:
        for name in NAMES[1:]:
            archive.add(networks / f"{name}.tflite", f"package/{name}.tflite")
        readme = tarfile.TarInfo("package/README.md")
        archive.addfile(readme, io.BytesIO(b""))
    return path


def test_networks_come_out_of_a_wheel_a_tgz_and_alone(networks: Path, tmp_path: Path) -> None:
    known = _known(networks)
    out = tmp_path / "out"
    for path, names in (
        (_wheel(networks, tmp_path / "mediapipe.whl"), NAMES[:2]),
        (_tgz(networks, tmp_path / "pose.tgz"), NAMES[1:]),
        (networks / "pose_landmark_lite.tflite", NAMES[3:]),
    ):
        fetched = take_networks(path, known, out)
        assert {one.path.name for one in fetched} == {f"{name}.tflite" for name in names}
        assert all(known[one.path.stem] == one.sha256 for one in fetched)
    assert sorted(path.name for path in out.iterdir()) == [f"{name}.tflite" for name in NAMES]
    for name in NAMES:
        theirs = (networks / f"{name}.tflite").read_bytes()
        assert (out / f"{name}.tflite").read_bytes() == theirs


def test_another_release_is_refused_and_nothing_is_written(networks: Path, tmp_path: Path) -> None:
    wheel = _wheel(networks, tmp_path / "mediapipe.whl")
    known = {**_known(networks), "pose_landmark_full": "0" * 64}
    with pytest.raises(SourceError, match=r"pose_landmark_full\.tflite has the sha256"):
        take_networks(wheel, known, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(SourceError, match="not used"):  # the small networks are not MediaPipe's
        get_detector(
            validate(
                GetDetectorSettings,
                {"name": "blazepose", "file": str(wheel), "folder": str(tmp_path / "out")},
            )
        )
    assert not (tmp_path / "out").exists()


def test_a_file_without_networks_a_cut_one_and_a_missing_one_are_told(tmp_path: Path) -> None:
    empty = tmp_path / "empty.whl"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("a.txt", "")
    with pytest.raises(SourceError, match=r"holds none of pose_detection\.tflite"):
        take_networks(empty, {"pose_detection": ""}, tmp_path)
    whole = tmp_path / "whole.tgz"
    with tarfile.open(whole, "w:gz") as archive_of_npm:
        entry = tarfile.TarInfo("package/pose_detection.tflite")
        content = os.urandom(100_000)
        entry.size = len(content)
        archive_of_npm.addfile(entry, io.BytesIO(content))
    cut = tmp_path / "cut.tgz"
    cut.write_bytes(whole.read_bytes()[:50_000])
    with pytest.raises(SourceError, match=r"cut\.tgz cannot be read"):
        take_networks(cut, {"pose_detection": ""}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(SourceError, match="There is no file"):
        take_networks(tmp_path / "no.whl", {}, tmp_path)


def test_pip_and_npm_that_fail_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    nothing = Package("mediapipe==0.10.21", "")
    with pytest.raises(
        SourceError, match=r"pip could not fetch mediapipe==0\.10\.21: ERROR.*file="
    ):
        by_pip(nothing, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not detector_files.npm_is_there()
    with pytest.raises(SourceError, match=r"npm cannot be started.*file=PATH"):
        by_npm(Package("@mediapipe/pose", ""), tmp_path)


def test_a_server_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/rtmpose.zip"
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:9/rtmpose\.zip cannot.*file=PATH"):
        detector_files.by_url(url, tmp_path)


def test_rtmpose_comes_out_of_openmmlabs_zip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rtmpose-m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("20230831/rtmpose_onnx/rtmpose-m/end2end.onnx", b"network")
        archive.writestr("20230831/rtmpose_onnx/rtmpose-m/detail.json", "{}")
    given = ["rtmpose-m", f"file={path}", f"folder={tmp_path / 'out'}", "layout=coco_17"]
    assert job.main([*given, f"sha256={'0' * 64}"]) == 2
    assert "it is not used" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert job.main(given) == 0
    assert (tmp_path / "out" / "rtmpose-m-coco_17.onnx").read_bytes() == b"network"
    said = capsys.readouterr().out
    assert "detector.layout=coco_17" in said
    assert hashlib.sha256(path.read_bytes()).hexdigest() in said


def test_a_detector_that_is_not_known_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert job.main(["blazpose"]) == 2
    assert "blazepose" in capsys.readouterr().err


def test_vitpose_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job.main(["vitpose", f"file={tmp_path / 'none'}"]) == 2
    assert "save_pretrained" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert job.main(["vitpose", f"file={tmp_path / 'empty'}"]) == 2
    assert str(tmp_path / "empty") in capsys.readouterr().err


REAL = Path(os.environ.get("DIFFPOSE_REAL_DETECTORS", "none"))


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real networks")
def test_the_real_networks_are_the_known_ones(tmp_path: Path) -> None:
    for name in ("pose_detection", "pose_landmark_full"):
        given = {"name": "blazepose", "file": str(REAL / f"{name}.tflite"), "folder": str(tmp_path)}
        assert get_detector(validate(GetDetectorSettings, given)) == 0
    assert len(list(tmp_path.iterdir())) == 2
