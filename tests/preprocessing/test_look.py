"""Looking through films: every so often, and at the last frame, whatever the rates."""

from __future__ import annotations

from pathlib import Path

import pytest
from films import write_film

from diffpose.platform.base.config import validate
from diffpose.preprocessing.people.look import make_inspect_fn, make_look_fn
from diffpose.preprocessing.people.segments import LookedThrough, Segment, load_segment
from diffpose.preprocessing.people.video_job import VideoJob
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.videos.settings import VideoSource


def looked_through(film: Path) -> tuple[int, LookedThrough]:
    """Return how many frames a film has and what looking through it found."""
    settings = validate(
        PreprocessSettings,
        {
            "source": {"kind": "videos", "uri": str(film)},
            "detector": {"kind": "bundled"},
            "store": str(film.parent / "store"),
        },
    )
    assert isinstance(settings.source, VideoSource)
    job = VideoJob(settings, settings.source, {film.name: str(film)}, None)
    segment = Segment(make_inspect_fn(job)(film.name), 0)
    count = make_look_fn(job)(segment)
    found = load_segment(settings, segment)
    assert found is not None
    return count, found


@pytest.mark.parametrize(
    ("frames", "fps", "looks"),
    [
        (
            11,
            30,
            [0, 3, 6, 9, 10],
        ),  # the last frame is looked at, though it is no tenth of a second
        (10, 30, [0, 3, 6, 9]),  # and not twice
        (2, 30, [0, 1]),
        (1, 30, [0]),
        (28, 30, [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]),  # more than wait for the finder together
    ],
)
def test_boxes_are_known_up_to_the_last_frame(
    tmp_path: Path, frames: int, fps: int, looks: list[int]
) -> None:
    film = write_film(tmp_path / "a.mp4", n_frames=frames, fps=fps)
    count, found = looked_through(film)
    assert count == frames
    assert found.looks.tolist() == looks
    assert len(found.boxes) == len(looks)
    assert found.damage == ""


def test_a_film_that_breaks_off_is_looked_at_up_to_its_last_frame(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", n_frames=60, size=(120, 160), fps=30, gop=60,
                      mux_options={"movflags": "faststart"})  # fmt: skip
    content = film.read_bytes()
    film.write_bytes(content[: int(0.6 * len(content))])
    frames, found = looked_through(film)
    assert 5 < frames < 60
    assert found.looks[-1] == frames - 1
    assert len(found.boxes) == len(found.looks)
