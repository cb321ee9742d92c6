"""What lies beside a video: read, written, refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.videos.sidecar import (
    Sidecar,
    Truth,
    read_sidecar,
    read_truth,
    write_truth,
)


def truth(times: np.ndarray) -> Truth:
    joints = np.random.default_rng(0).normal(0, 300, (2, len(times), 17, 3)).astype(np.float32)
    joints[1, 0] = np.nan
    return Truth(times, joints, np.zeros((2, len(times), 4), np.float32))


def test_round_trip(tmp_path: Path) -> None:
    video = str(tmp_path / "a.b.mp4")
    wanted = truth(np.arange(5) / 25)
    sidecar = Sidecar(subject="S1", split="test", intrinsics_px=(500, 500, 240, 240))
    write_truth(video, sidecar, wanted)
    found = read_sidecar(video)
    assert (tmp_path / "a.b.json").is_file()
    assert found == sidecar.model_copy(update={"truth": "a.b.truth.npz"})
    again = read_truth(video, found)
    assert again is not None
    np.testing.assert_array_equal(again.joints_mm, wanted.joints_mm)
    np.testing.assert_array_equal(again.boxes_px, wanted.boxes_px)


def test_nothing_beside_a_video_is_fine(tmp_path: Path) -> None:
    sidecar = read_sidecar(str(tmp_path / "film.mp4"))
    assert sidecar == Sidecar()
    assert read_truth(str(tmp_path / "film.mp4"), sidecar) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ["film.json", "no JSON"]),
        ('{"subjekt": 1}', ["film.json", "subjekt", "subject"]),
        ('{"split": "exam"}', ["split", "train"]),
        ("[1]", ["film.json", "sidecar"]),
        ('{"intrinsics_px": [0, -5, 1, 1]}', ["fx and fy above 0", "-5"]),
        ('{"intrinsics_px": [NaN, 1, 1, 1]}', ["finite", "nan"]),
        ('{"intrinsics_px": [9, 9, 1, 1], "distortion": [NaN, 0, 0, 0, 0]}', ["distortion", "nan"]),
    ],
)
def test_wrong_sidecars_are_named(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "film.json").write_text(text)
    with pytest.raises(SourceError) as caught:
        read_sidecar(str(tmp_path / "film.mp4"))
    for word in words:
        assert word in str(caught.value)


def test_wrong_truth_is_named(tmp_path: Path) -> None:
    video = str(tmp_path / "film.mp4")
    (tmp_path / "film.json").write_text(json.dumps({"truth": "t.npz"}))
    sidecar = read_sidecar(video)
    with pytest.raises(SourceError, match="there is no"):
        read_truth(video, sidecar)
    np.savez(tmp_path / "t.npz", timestamp_s=np.arange(3.0), joints_mm=np.zeros((1, 4, 17, 3)))
    with pytest.raises(SourceError, match=r"joints_mm must be \(people, 3 moments"):
        read_truth(video, sidecar)
    np.savez(tmp_path / "t.npz", timestamp_s=np.zeros(3), joints_mm=np.zeros((1, 3, 17, 3)))
    with pytest.raises(SourceError, match="must rise"):
        read_truth(video, sidecar)
    np.savez(tmp_path / "t.npz", timestamp_s=np.array([{}], dtype=object))
    with pytest.raises(SourceError, match="plain arrays"):
        read_truth(video, sidecar)
    write_truth(video, sidecar, truth(np.arange(3.0)))
    whole = (tmp_path / "film.truth.npz").read_bytes()
    spoilt = bytearray(whole)
    spoilt[len(whole) // 3] ^= 255
    np.save(tmp_path / "one.npy", np.arange(3.0))
    for content in (b"", whole[:-30], bytes(spoilt), (tmp_path / "one.npy").read_bytes()):
        (tmp_path / "film.truth.npz").write_bytes(content)
        with pytest.raises(SourceError, match=r"film\.truth\.npz is no npz file of plain arrays"):
            read_truth(video, read_sidecar(video))


def test_moments_are_matched_by_time() -> None:
    known = truth(np.array([0.0, 0.1, 0.2, 0.5]))
    found = known.at(np.array([-0.2, 0.01, 0.11, 0.19, 0.33, 0.49, 2.0]))
    assert found.tolist() == [-1, 0, 1, 2, -1, 3, -1]
    single = truth(np.array([0.3]))
    assert single.at(np.array([0.3, 0.9])).tolist() == [0, -1]
