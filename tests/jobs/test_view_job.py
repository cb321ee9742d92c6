"""`diffpose view` as a user runs it: files of answers and a film in, a page and a film out."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from films import write_film
from walkers import walker

from diffpose.jobs import view
from diffpose.platform.answers.files import write_answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, x_m in enumerate((-0.6, 0.8)):
        answer = walker(number, seconds=1.0, place_m=(x_m, 0.2))
        write_answer(str(tmp_path / "answers"), f"two people_person_{number}", answer, {})
    write_film(tmp_path / "two people.mp4", n_frames=30, size=(360, 640), fps=30)
    return tmp_path


def test_a_page_an_overlay_and_a_recording(folder: Path) -> None:
    arguments = [f"answers={folder / 'answers'}", f"film={folder / 'two people.mp4'}"]
    asked = [*arguments, f"out={folder / 'seen'}", "overlay=true", "rerun=true"]
    assert view.main(asked) == 0
    page = (folder / "seen" / "viewer.html").read_text(encoding="utf-8")
    assert "two people.mp4" in page
    assert '"mp4":' in page
    assert "https://" not in page.replace("https://www.w3.org", "")  # nothing is fetched
    with av.open(str(folder / "seen" / "overlay.mp4")) as written:
        assert sum(1 for _ in written.decode(video=0)) == 30
    assert (folder / "seen" / "answers.rrd").stat().st_size > 1000


def test_one_person_without_a_film(folder: Path) -> None:
    one = folder / "answers" / "two people_person_1.json"
    assert view.main([f"answers={one}", f"out={folder / 'seen'}"]) == 0
    page = (folder / "seen" / "viewer.html").read_text(encoding="utf-8")
    assert '"mp4":' not in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["answers=NOWHERE"], "no answer in"),
        (["answers=answers", "overlay=true"], "give film=FILM"),
        (["answers=answers", "film=answers"], "answers"),
    ],
)
def test_what_is_missing_is_said(
    folder: Path,
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert view.main([*arguments, "out=seen"]) == 2
    assert words in capsys.readouterr().err
    assert not (folder / "seen").exists()
