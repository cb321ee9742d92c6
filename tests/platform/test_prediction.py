"""Whose clips belong together, what the files are called, what stands in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from stored_clips import made_clip

from diffpose.platform.prediction.predict import (
    LiftPerson,
    Person,
    file_names,
    people_of,
    sequence_lengths,
    write_person,
)
from diffpose.platform.runs.uncertainty_file import Predicted


def test_clips_of_a_person_are_put_together_in_order() -> None:
    clips = [
        made_clip(0, 8, source="a.mp4", track=0, first_frame=8),
        made_clip(8, 8, source="a.mp4", track=1, first_frame=0),
        made_clip(16, 8, source="a.mp4", track=0, first_frame=0),
        made_clip(24, 8, source="b/a.mp4", track=0, first_frame=0),
    ]
    people = people_of(clips)
    assert [(p.source, p.track, [c.first_row for c in p.clips]) for p in people] == [
        ("a.mp4", 0, [16, 0]), ("a.mp4", 1, [8]), ("b/a.mp4", 0, [24]),
    ]  # fmt: skip
    assert file_names(people) == ["a_person_0", "a_person_1", "b__a_person_0"]


def test_names_that_would_meet_keep_their_suffix() -> None:
    people = [Person("a.mp4", 0, ()), Person("a.mkv", 0, ()), Person("c.mp4", 0, ())]
    assert file_names(people) == ["a.mp4_person_0", "a.mkv_person_0", "c_person_0"]


@pytest.mark.parametrize(
    ("pieces", "lengths"),
    [([(0, 8), (8, 4)], [12]), ([(0, 8), (9, 4)], [8, 4]), ([(3, 1)], [1]), ([], [])],
)
def test_broken_tracks_are_sequences_of_their_own(
    pieces: list[tuple[int, int]], lengths: list[int]
) -> None:
    clips = [made_clip(8 * i, n, first_frame=f) for i, (f, n) in enumerate(pieces)]
    assert sequence_lengths(clips) == lengths


def test_files_of_a_person(tmp_path: Path) -> None:
    clip = made_clip(0, 3, source="a.mp4", width=640, height=360, fps=25.0)
    asked = LiftPerson(Person("a.mp4", 2, (clip,)), "a_person_2", "asked for this")
    rng = np.random.default_rng(0)
    arrays = {
        "timestamp_s": np.arange(3) / 25, "keypoints_px": rng.normal(0, 9, (3, 17, 2)),
        "confidence": np.ones((3, 17)), "camera_px": np.ones((3, 4)),
        "poses_mm": rng.normal(0, 9, (3, 17, 3)), "std_mm": np.ones((3, 17)),
        "root_mm": np.ones((3, 3)), "hypotheses_mm": rng.normal(0, 9, (3, 5, 17, 3)),
    }  # fmt: skip
    uncertainty = Predicted(np.tile(np.eye(3), (3, 17, 1, 1)), np.inf, True, "")
    write_person(str(tmp_path), asked, arrays, uncertainty, "runs/here")
    with np.load(tmp_path / "a_person_2.npz", allow_pickle=False) as saved:
        for name, values in arrays.items():
            np.testing.assert_array_equal(saved[name], values)
    said = json.loads((tmp_path / "a_person_2.json").read_text())
    assert (said["video"], said["person"], said["width"], said["fps"]) == ("a.mp4", 2, 640, 25.0)
    assert (said["unit"], said["n_hypotheses"], said["calibrated"]) == ("mm", 5, True)
    assert said["question"] == "asked for this"
    np.testing.assert_allclose(said["poses_mm"], arrays["poses_mm"], atol=0.051)
    assert len(said["joints"]) == 17
    assert "hypotheses_mm" not in said
