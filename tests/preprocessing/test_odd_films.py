"""Films of other hands: B-frames in AVI, recordings joined by cat, pixels that are not square."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from films import write_film

from diffpose.preprocessing.videos.decode import DamagedVideoError, Frame, decode, inspect_video
from diffpose.preprocessing.videos.opening import named_videos

ODD = Path(__file__).parents[3] / "shared" / "odd-inputs"  # where there is such a folder


def block_places(frames: list[Frame]) -> list[int]:
    """The column of the bright block, which walks 4 px a frame."""
    return [int(frame.pixels[..., 1].mean(axis=0).argmax()) for frame in frames]


def test_b_frames_in_avi_come_in_order_and_all(tmp_path: Path) -> None:
    path = write_film(
        tmp_path / "a.avi", 40, (64, 320), codec="mpeg4", options={"bf": "2"}, fps=10, gop=20
    )
    frames = list(decode(str(path)))
    assert len(frames) == 40
    np.testing.assert_allclose(np.diff([frame.time_s for frame in frames]), 0.1, atol=1e-6)
    assert (np.diff(block_places(frames)) > 0).all()
    again = next(iter(decode(str(path), first_pts=frames[17].pts)))
    np.testing.assert_array_equal(again.pixels, frames[17].pixels)


@pytest.mark.skipif(not ODD.is_dir(), reason="shared/odd-inputs is not here")
def test_packed_b_frames() -> None:
    frames = list(decode(str(ODD / "film_avi_packed_b_frames.avi")))
    assert len(frames) == 80
    np.testing.assert_allclose(np.diff([frame.time_s for frame in frames]), 0.1, atol=1e-6)


def test_recordings_joined_by_cat_are_told(tmp_path: Path) -> None:
    parts = [write_film(tmp_path / f"{i}.ts", 30, fps=10) for i in range(2)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = decode(str(joined))
    assert len([next(frames) for _ in range(30)]) == 30
    with pytest.raises(DamagedVideoError, match=r"after 30 frames.*time stamps start again"):
        next(frames)


@pytest.mark.parametrize(
    ("aspect", "stored", "shown"),
    [
        (Fraction(4, 3), (96, 72), (96, 96)),
        (Fraction(3, 4), (72, 96), (96, 96)),
        (Fraction(1, 1), (64, 96), (64, 96)),
        (Fraction(99, 1), (64, 96), (64, 96)),  # nonsense
    ],
)
def test_pixels_that_are_not_square_are_made_so(
    tmp_path: Path, aspect: Fraction, stored: tuple[int, int], shown: tuple[int, int]
) -> None:
    path = write_film(tmp_path / "a.mp4", 5, stored, pixel_aspect=aspect)
    info = inspect_video(str(path))
    assert (info.height, info.width) == shown
    frames = list(decode(str(path)))
    assert {frame.pixels.shape for frame in frames} == {(*shown, 3)}
    turned = write_film(tmp_path / "b.mp4", 5, stored, pixel_aspect=aspect, rotation=90)
    info = inspect_video(str(turned))
    assert (info.width, info.height) == shown
    assert next(iter(decode(str(turned)))).pixels.shape == (*shown[::-1], 3)


@pytest.mark.parametrize("suffix", ["mts", "m2ts", "MTS", "3gp", "wmv", "flv", "ogv", "asf"])
def test_films_of_any_usual_suffix_are_found_in_a_folder(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"film.{suffix}").write_bytes(b"x")
    assert list(named_videos(str(tmp_path))) == [f"film.{suffix}"]
