"""Answers as files: what is written is read, damage says so, what is older is understood."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from answers import made_answer

from diffpose.model.motion.world import CAMERA_UPRIGHT, World, rotation_upright
from diffpose.platform.answers.answer import Answer
from diffpose.platform.answers.files import answers_in, read_answer, write_answer
from diffpose.platform.answers.quality import quality
from diffpose.platform.base.errors import SourceError


def same(a: Answer, b: Answer) -> None:
    for field in dataclasses.fields(Answer):
        mine, other = getattr(a, field.name), getattr(b, field.name)
        if isinstance(mine, np.ndarray):
            np.testing.assert_array_equal(mine, other, err_msg=field.name)
        elif isinstance(mine, World):
            assert mine.to_json() == other.to_json()
        else:
            assert mine == other, field.name


@pytest.mark.parametrize("changed", [{}, {"hypotheses_mm": None, "world": None}, {"note": "n"}])
def test_an_answer_comes_back(tmp_path: Path, changed: dict[str, object]) -> None:
    answer = made_answer(**changed)
    write_answer(str(tmp_path), "walk_person_0", answer, {"question": "q"})
    for name in ("walk_person_0", "walk_person_0.json", "walk_person_0.npz"):
        same(answer, read_answer(str(tmp_path / name)))
    assert answers_in(str(tmp_path)) == [str(tmp_path / "walk_person_0")]


def test_the_text_says_unit_frames_numbers_and_calibrated_deviations(tmp_path: Path) -> None:
    answer = made_answer(4)
    write_answer(str(tmp_path), "a", answer, {"question": "q"})
    said = json.loads((tmp_path / "a.json").read_text())
    assert (said["unit"], said["frame"], said["fps"]) == ("mm", [0, 1, 2, 3], 25.0)
    assert said["frame_of_reference"].startswith("camera: x right, y down")
    assert said["world"]["axes"].startswith("world: right-handed")
    # of diag(900, 900, 2500) mm^2: not the spread of the hypotheses, which stands beside it
    np.testing.assert_allclose(np.array(said["std_mm"])[:, 1:], np.sqrt(4300), atol=0.06)
    np.testing.assert_allclose(np.array(said["spread_mm"]), 20 * np.sqrt(3), atol=0.06)
    np.testing.assert_allclose(said["poses_mm"], answer.poses_mm, atol=0.051)
    # the camera is 1 m above the floor and the hip 60 mm below its axis
    np.testing.assert_allclose(np.array(said["world_root_mm"])[:, 2], 940.0, atol=0.06)
    assert len(said["joints"]) == 17
    assert "hypotheses_mm" not in said


def test_an_answer_of_before_there_was_a_format_is_read(tmp_path: Path) -> None:
    answer = made_answer(3)
    write_answer(str(tmp_path), "a", answer, {})
    text = json.loads((tmp_path / "a.json").read_text())
    for name in ("format", "quality", "world", "frame_of_reference", "spread_mm"):
        del text[name]
    text["frame"] = "camera: x right, y down, z forward; poses relative to joint 0"
    (tmp_path / "a.json").write_text(json.dumps(text))
    with np.load(tmp_path / "a.npz") as file:
        arrays = {name: file[name] for name in file.files}
    arrays["std_mm"] = arrays.pop("spread_mm")
    del arrays["frame"], arrays["world_positions_mm"]
    np.savez(tmp_path / "a.npz", **arrays)
    found = read_answer(str(tmp_path / "a"))
    np.testing.assert_allclose(found.std_mm, answer.std_mm, rtol=1e-6)
    np.testing.assert_array_equal(found.spread_mm, answer.spread_mm)
    np.testing.assert_array_equal(found.frame, [0, 1, 2])


def test_what_is_no_answer_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no answer in"):
        answers_in(str(tmp_path))
    write_answer(str(tmp_path), "a", made_answer(), {})
    (tmp_path / "a.npz").write_bytes(b"PK no archive")
    with pytest.raises(SourceError, match="damaged"):
        read_answer(str(tmp_path / "a"))
    (tmp_path / "a.npz").unlink()
    with pytest.raises(SourceError, match="two files"):
        read_answer(str(tmp_path / "a.json"))


def test_quality_sees_bones_that_change_and_what_nobody_saw() -> None:
    answer = made_answer(10)
    steady = quality(answer.poses_mm, answer.confidence, answer.seen, None, "")
    assert steady["bone_length_variation"] < 0.02
    growing = answer.poses_mm * np.linspace(1.0, 1.5, 10)[:, None, None]
    seen = answer.seen.copy()
    seen[:5, 1] = False
    found = quality(growing, answer.confidence, seen, None, "careful")
    assert found["bone_length_variation"] > 0.1
    assert found["unseen_share"] == pytest.approx(5 / 170, abs=1e-4)
    assert found["warning"] == "careful"


def test_the_world_is_upright_and_leads_back() -> None:
    tilt = np.radians(20.0)  # the camera looks 20 degrees down
    up = np.array([0.0, -np.cos(tilt), -np.sin(tilt)])
    world = World(rotation_upright(up), np.array([100.0, 900.0, 3000.0]), 1.0, 9.0, "given", "feet")
    points = np.random.default_rng(0).normal(0, 900, (5, 3))
    np.testing.assert_allclose(world.points_mm(points) @ world.rotation + world.origin_mm, points)
    np.testing.assert_allclose(world.rotation @ up, [0.0, 0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(world.rotation @ [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], atol=1e-12)
    assert (world.rotation @ [0.0, 0.0, 1.0])[1] > 0.9  # away from the camera
    assert np.linalg.det(world.rotation) == pytest.approx(1.0)
    assert world.camera_height_mm == pytest.approx(900 * np.cos(tilt) + 3000 * np.sin(tilt))
    np.testing.assert_allclose(
        CAMERA_UPRIGHT.points_mm([1.0, 2.0, 3.0]), [1.0, 3.0, -2.0], atol=1e-12
    )
    with pytest.raises(ValueError, match="straight up or down"):
        rotation_upright(np.array([0.0, 0.0, -1.0]))
