"""Answers as files of other programs, read back by other libraries, to a millimetre."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import ezc3d
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from answers import made_answer

from diffpose.jobs import export as job
from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.platform.answers.answer import Answer
from diffpose.platform.answers.files import write_answer
from diffpose.platform.base.errors import ConfigError
from diffpose.platform.exports.c3d import c3d
from diffpose.platform.exports.export import export
from diffpose.platform.exports.motion import motion_of
from diffpose.platform.exports.trc import trc

RATES = {"25": 25.0, "29.97": 30000 / 1001, "1 frame": 10.0}


def read_trc(content: bytes) -> tuple[dict[str, str], list[str], np.ndarray, np.ndarray]:
    """Read as OpenSim's users do in pandas: header, marker names, times (F,), points (F, M, 3)."""
    lines = content.decode("ascii").split("\n")
    header = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
    names = [name for name in lines[3].split("\t")[2:] if name]
    table = pd.read_csv(io.BytesIO(content), sep="\t", skiprows=6, header=None)
    assert table.shape[1] == 2 + 3 * len(names)
    return (
        header,
        names,
        table[1].to_numpy(),
        table.iloc[:, 2:].to_numpy().reshape(len(table), len(names), 3),
    )


def y_up(answer: Answer) -> np.ndarray:
    """Where joints should be: of a camera that is level, 1 m high, over the world's origin."""
    camera = np.asarray(answer.positions_mm)
    return np.stack([camera[..., 0], 1000.0 - camera[..., 1], -(camera[..., 2] - 4000.0)], axis=-1)


@pytest.mark.parametrize("fps", RATES.values(), ids=RATES)
def test_trc_is_read_back(fps: float) -> None:
    frames = 1 if fps == 10.0 else 40
    answer = made_answer(frames, fps=fps, timestamp_s=3.0 + np.arange(frames) / fps)
    content = trc(motion_of(answer), "walk.trc")
    header, names, time_s, points = read_trc(content)
    assert tuple(names) == JOINT_NAMES
    assert (header["NumFrames"], header["NumMarkers"], header["Units"]) == (str(frames), "17", "mm")
    assert float(header["DataRate"]) == pytest.approx(fps, rel=1e-5)
    np.testing.assert_allclose(time_s, np.arange(frames) / fps, atol=1e-6)
    np.testing.assert_allclose(points, y_up(answer), atol=0.001)
    assert points[:, JOINT_NAMES.index("Head"), 1].min() > points[:, 3, 1].max()  # y is up
    assert content.startswith(b"PathFileType\t4\t(X/Y/Z)\twalk.trc\n")


def test_c3d_is_read_back(tmp_path: Path) -> None:
    answer = made_answer(30)
    std = np.asarray(answer.std_mm).copy()
    std[4, 16], std[5, 16] = 700.0, 3.0
    answer = made_answer(30, std_mm=std)
    (tmp_path / "walk.c3d").write_bytes(c3d(motion_of(answer)))
    found = ezc3d.c3d(str(tmp_path / "walk.c3d"))
    point = found["parameters"]["POINT"]
    assert point["LABELS"]["value"] == list(JOINT_NAMES)
    assert (point["UNITS"]["value"], point["RATE"]["value"]) == (["mm"], [25.0])
    assert (point["X_SCREEN"]["value"], point["Y_SCREEN"]["value"]) == (["+X"], ["+Y"])
    np.testing.assert_allclose(
        found["data"]["points"][:3].transpose(2, 1, 0), y_up(answer), atol=0.001
    )
    residual = found["data"]["meta_points"]["residuals"][0].T
    np.testing.assert_allclose(residual, std, atol=700 / 255 + 0.01)
    assert residual[4, 16] == pytest.approx(700.0, abs=0.1)
    assert (
        "world: x to the camera"
        in found["parameters"]["DIFFPOSE"]["FRAME_OF_REFERENCE"]["value"][0]
    )


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ezc3d", None)
    with pytest.raises(ConfigError, match=r"\[export\]"):
        c3d(motion_of(made_answer()))


def test_gaps_and_uneven_times_are_filled_and_said() -> None:
    whole = made_answer(40)
    kept = np.r_[0:10, 15:40]  # five frames are missing
    fields = ("poses_mm", "root_mm", "std_mm", "spread_mm", "keypoints_px", "confidence", "seen",
              "camera_px", "timestamp_s", "frame")  # fmt: skip
    broken = made_answer(40, **{name: getattr(whole, name)[kept] for name in fields})
    motion = motion_of(broken)
    assert len(motion.positions_mm) == 40
    assert np.isfinite(motion.positions_mm).all()
    np.testing.assert_allclose(motion.positions_mm[kept], y_up(whole)[kept], atol=1e-6)
    # the root walks at a steady pace, also where nobody looked
    np.testing.assert_allclose(motion.positions_mm[:, 0], y_up(whole)[:, 0], atol=1e-6)
    assert not motion.seen[11:14].any()
    assert "5 of them across gaps" in motion.note
    jitter = 0.2 / 25 * np.sin(np.arange(40))
    uneven = motion_of(made_answer(40, timestamp_s=whole.timestamp_s + jitter))
    assert "uneven times" in uneven.note
    np.testing.assert_allclose(np.diff(uneven.time_s), 1 / 25)
    assert motion_of(whole).note == ""


def test_without_a_world_the_camera_is_turned_upright() -> None:
    answer = made_answer(level=False)
    motion = motion_of(answer)
    np.testing.assert_allclose(motion.positions_mm, answer.positions_mm * [1, -1, -1])
    assert motion.frame_of_reference.startswith("camera turned upright")
    with pytest.raises(ConfigError, match="not finite"):
        motion_of(made_answer(root_mm=np.full((6, 3), np.nan)))


def test_tables_hold_everybody_and_say_what_they_hold(tmp_path: Path) -> None:
    people = [made_answer(5), made_answer(4, person=1, seed=1)]
    written = export(people, str(tmp_path), "two people", ["csv", "parquet", "csv"])
    assert [Path(uri).name for uri in written] == ["two people.csv", "two people.parquet"]
    text = pd.read_csv(tmp_path / "two people.csv")
    table = pq.read_table(tmp_path / "two people.parquet")
    binary = table.to_pandas()
    assert len(text) == len(binary) == 9 * 17
    for name in binary.columns:
        if binary[name].dtype.kind == "f":
            np.testing.assert_allclose(text[name], binary[name], atol=0.0051, err_msg=name)
        else:
            assert (text[name] == binary[name]).all(), name
    one = binary[(binary["person"] == 1) & (binary["frame"] == 3) & (binary["joint"] == "Nose")]
    np.testing.assert_allclose(
        one[["x_mm", "y_mm", "z_mm"]].to_numpy()[0], people[1].positions_mm[3, 9]
    )
    about = json.loads(table.schema.metadata[b"diffpose"])
    assert about["fps"] == 25.0
    assert "camera, x right, y down" in about["frame_of_reference"]
    assert "z up" in about["frame_of_reference"]
    beside = json.loads((tmp_path / "two people.export.json").read_text())
    assert beside["two people.parquet"] == about


def test_the_command_writes_each_films_people(tmp_path: Path) -> None:
    for source, number in (("a.mp4", 0), ("a.mp4", 1), ("b.mp4", 0)):
        answer = made_answer(source=source, person=number)
        write_answer(str(tmp_path), f"{source[0]}_person_{number}", answer, {})
    out = tmp_path / "files"
    assert job.main([f"answers={tmp_path}", "to=trc,c3d,csv", f"out={out}"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "a.csv", "a.export.json", "a_person_0.c3d", "a_person_0.trc", "a_person_1.c3d",
        "a_person_1.trc", "b.csv", "b.export.json", "b_person_0.c3d", "b_person_0.trc",
    ]  # fmt: skip
    said = json.loads((out / "a.export.json").read_text())["a_person_1.trc"]
    assert (said["unit"], said["fps"], said["up"], said["person"]) == ("mm", 25.0, "y", 1)
    assert said["frame_of_reference"].startswith("world:")


@pytest.mark.parametrize(
    ("arguments", "words"), [(["to=fbx"], "'trc', 'c3d'"), (["answers=nowhere"], "no answer in")]
)
def test_what_cannot_be_written_is_said(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_answer(str(tmp_path), "a", made_answer(), {})
    assert job.main([f"answers={tmp_path}", *arguments]) == 2
    assert words in capsys.readouterr().err
