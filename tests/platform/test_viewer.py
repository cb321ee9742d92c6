"""What people look at: the page in a real browser, the overlay film, the recording for Rerun."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Tab, browser
from films import write_film
from walkers import walker

from diffpose.platform.base.errors import ConfigError, SourceError
from diffpose.platform.viewer import geometry
from diffpose.platform.viewer.mp4 import small_film
from diffpose.platform.viewer.overlay import Heatmaps, overlay_film, row_at
from diffpose.platform.viewer.packing import packed_floats, packed_steps, unpacked
from diffpose.platform.viewer.page import viewer_page
from diffpose.platform.viewer.page_data import AngleSeries, page_data
from diffpose.platform.viewer.rerun_file import rerun_recording
from diffpose.platform.workflows.view import by_source, films_of
from diffpose.preprocessing.videos.decode import decode, inspect_video

PEOPLE = [
    walker(0, seconds=1.0, place_m=(-0.6, 0.2)),
    walker(1, "waving", seconds=1.0, place_m=(0.8, 0.5)),
]
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


def grey(i: int, rows: int, columns: int) -> np.ndarray:
    return np.full((rows, columns, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "two people.mp4"
    return write_film(path, n_frames=30, size=(360, 640), fps=30, frame=grey)


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, film: Path) -> Path:
    value = np.linspace(0.0, 90.0, 30)
    angles = {"right knee": AngleSeries(value, value - 5, value + 5)}
    path = tmp_path_factory.mktemp("page") / "viewer.html"
    text = viewer_page(
        PEOPLE, title="two <people>", film=small_film(str(film)), angles=[angles, angles]
    )
    path.write_text(text, encoding="utf-8")
    return path


def test_packed_arrays_come_back_within_half_a_step() -> None:
    values = np.random.default_rng(0).normal(0, 500, (20, 17, 3))
    values[3, 4] = np.nan
    back = unpacked(packed_steps(values, 0.1))
    assert np.array_equal(np.isnan(back), np.isnan(values))
    assert np.nanmax(np.abs(back - values)) <= 0.05 + 1e-9
    wide = unpacked(packed_steps(np.array([1e6, -3.0]), 0.1))
    assert abs(wide[0] - 1e6) < 1e6 / 32767
    assert np.array_equal(unpacked(packed_floats(np.array([[0.5, 2.0]]))), [[0.5, 2.0]])


def test_factors_give_the_covariances_back() -> None:
    rng = np.random.default_rng(1)
    root = rng.normal(size=(50, 3, 3))
    root[0, 2] = 0.0  # a flat one
    wanted = root @ root.transpose(0, 2, 1)
    lower = np.zeros((50, 3, 3))
    lower[:, *np.tril_indices(3)] = geometry.cholesky_factors(wanted)
    np.testing.assert_allclose(lower @ lower.transpose(0, 2, 1), wanted, atol=1e-9)


def test_projected_covariances_are_those_of_projected_draws() -> None:
    rng = np.random.default_rng(2)
    point, camera = np.array([[300.0, -200.0, 4000.0]]), np.array([600.0, 640.0, 320.0, 180.0])
    covariance = np.diag([20.0, 30.0, 60.0]) ** 2
    draws = rng.multivariate_normal(point[0], covariance, 200_000)
    seen = np.cov(geometry.projected_px(draws, camera).T)
    found = geometry.projected_covariances_px2(covariance[None], point, camera)[0]
    np.testing.assert_allclose(found, seen, rtol=0.03, atol=0.1)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(SourceError, match="no answer"):
        viewer_page([], title="")
    with pytest.raises(SourceError, match="Angles of 1 people for 2"):
        viewer_page(PEOPLE, title="", angles=[{}])
    short = AngleSeries(np.zeros(3), np.zeros(3), np.zeros(3))
    with pytest.raises(SourceError, match=r"'knee'.*\(3,\) for 30 frames"):
        viewer_page(PEOPLE[:1], title="", angles={"knee": short})


def test_the_page_asks_for_nothing_and_its_data_cannot_break_out() -> None:
    evil = replace(PEOPLE[0], note="</script><b>", quality={"warnings": ["feet slide"]})
    text = viewer_page([evil], title="<!--DATA-->")
    assert text.count("</script>") == 2
    assert "http" not in text.replace("http-equiv", "")
    assert page_data([evil], [{}])["people"][0]["warnings"] == ["feet slide"]


@needs_browser
@pytest.mark.parametrize("size", SIZES)
def test_the_page_plays_turns_and_obeys_the_keys(tab: Tab, page: Path, size: str) -> None:
    tab.complaints.clear()
    tab.open(page, *SIZES[size])
    tab.until("viewer.hasFilm && viewer.drawnPeople === 2")
    assert tab.ask("document.querySelector('h1').textContent") == "two <people>"
    assert tab.ask("document.documentElement.scrollWidth <= innerWidth")
    assert tab.ask("viewer.frames") == 30
    tab.press("ArrowRight")
    tab.press("ArrowRight", shift=True)
    tab.until("viewer.frame === 11")
    tab.press("End")
    tab.until("viewer.frame === 29")
    tab.press("Home")
    tab.until("viewer.frame === 0")
    tab.press(" ", text=" ")
    tab.until("viewer.time > 0.2")
    tab.until("!viewer.playing && viewer.frame === 29")  # it stops at the end
    before = tab.ask("viewer.matrix")
    tab.drag(tab.middle_of("#scene"), (60, 20))
    turned = tab.until(f"JSON.stringify(viewer.matrix) !== '{_json(before)}' && viewer.matrix")
    rotation = np.array(turned).reshape(3, 4)[:, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    tab.ask("document.querySelector('#scene').focus()")
    tab.press("ArrowLeft")
    assert tab.ask("viewer.matrix") != turned
    assert tab.ask("viewer.frame") == 29  # the arrows were the view's
    tab.ask("document.querySelectorAll('.person')[1].click()")
    tab.until("viewer.drawnPeople === 1 && viewer.people[1].visible === false")
    tab.ask("document.querySelector('[data-level=\"90\"]').click()")
    assert tab.ask("viewer.shown.level") == "90"
    assert tab.complaints == []


def _json(values: list[float]) -> str:
    return json.dumps(values, separators=(",", ":"))


@needs_browser
def test_the_page_has_the_answers_places(tab: Tab, page: Path) -> None:
    tab.open(page, *SIZES["desktop"])
    for person, row, joint in ((0, 3, 16), (1, 20, 6)):
        found = tab.ask(f"viewer.position({person}, {row}, {joint})")
        wanted = PEOPLE[person].world_positions_mm[row, joint]
        np.testing.assert_allclose(found, wanted, atol=0.2)


@needs_browser
def test_a_bare_answer_is_shown_too(tab: Tab, tmp_path: Path) -> None:
    bare = replace(
        walker(0, seconds=0.5, known_world=False), hypotheses_mm=None, covariance_mm2=None,
        ellipsoid_radius=None, calibrated=False,
    )  # fmt: skip
    path = tmp_path / "bare.html"
    path.write_text(viewer_page([bare], title="bare"), encoding="utf-8")
    tab.complaints.clear()
    tab.open(path, *SIZES["desktop"])
    tab.until("viewer.drawnPeople === 1")
    assert tab.ask("document.querySelector('.chips').textContent.includes('not calibrated')")
    tab.press(" ", text=" ")
    tab.until("viewer.time > 0.1")
    assert tab.complaints == []


def test_the_overlay_is_where_the_joints_are(film: Path, tmp_path: Path) -> None:
    out = tmp_path / "overlay.mp4"
    late = replace(PEOPLE[1], **_rows(PEOPLE[1], slice(10, 30)))
    written = overlay_film(str(film), [PEOPLE[0], late], str(out))
    assert (written.frames, written.with_people, written.damage) == (30, 30, "")
    info = inspect_video(str(out))
    assert (info.width, info.height) == (640 + 288, 360)
    frames, plain = list(decode(str(out))), list(decode(str(film)))
    np.testing.assert_allclose([f.time_s for f in frames], [f.time_s for f in plain], atol=1e-3)
    changed = [np.abs(f.pixels[:, :640].astype(int) - 128).max(axis=-1) > 40 for f in frames]
    for row in (2, 25):
        at = geometry.projected_px(PEOPLE[0].positions_mm[row], PEOPLE[0].camera_px[row])
        assert [_drawn(frames[row].pixels, x, y) for x, y in at] == [True] * 17
        assert changed[row].mean() < 0.2
    other = geometry.projected_px(PEOPLE[1].positions_mm[5], PEOPLE[1].camera_px[5])
    assert not any(changed[5][round(y), round(x)] for x, y in other)  # not there yet
    side = frames[25].pixels[:, 640:]
    assert (side.max(axis=-1).astype(int) - side.min(axis=-1) > 60).sum() > 300


def _drawn(pixels: np.ndarray, x: float, y: float) -> bool:
    """Whether grey was drawn over within a pixel: between a dot and its rim it is grey again."""
    row, column = round(y), round(x)
    around = pixels[row - 1 : row + 2, column - 1 : column + 2].astype(int)
    return bool(np.abs(around - 128).max() > 40)


def _rows(answer: object, rows: slice) -> dict[str, np.ndarray]:
    names = (
        "poses_mm", "root_mm", "std_mm", "spread_mm", "keypoints_px", "confidence", "seen",
        "camera_px", "timestamp_s", "frame", "hypotheses_mm", "covariance_mm2",
    )  # fmt: skip
    return {name: getattr(answer, name)[rows] for name in names}


def test_a_turned_film_comes_upright(tmp_path: Path) -> None:
    film = write_film(
        tmp_path / "phone.mp4", n_frames=5, size=(640, 360), fps=30, rotation=90, frame=grey
    )
    out = tmp_path / "overlay.mp4"
    person = walker(0, seconds=0.2)
    assert overlay_film(str(film), [person], str(out), side=False).frames == 5
    frame = next(decode(str(out)))
    assert frame.pixels.shape == (360, 640, 3)
    at = geometry.projected_px(person.positions_mm[0], person.camera_px[0])
    assert all(_drawn(frame.pixels, x, y) for x, y in at)
    wrong = replace(person, width=360, height=640)
    with pytest.raises(SourceError, match=r"640 x 360 px.*360 x 640"):
        overlay_film(str(film), [wrong], str(out))


def test_heatmaps_tint_the_film(film: Path, tmp_path: Path) -> None:
    maps = np.zeros((30, 17, 16, 12))
    maps[:, :, 8, 6] = 1.0
    told = {0: Heatmaps(maps, np.tile([400.0, 20.0, 120.0, 160.0], (30, 1)))}
    out = tmp_path / "overlay.mp4"
    overlay_film(str(film), [PEOPLE[0]], str(out), heatmaps=told, side=False)
    red = next(decode(str(out))).pixels.astype(int)
    red = red[..., 0] - red[..., 2]
    assert red[105, 465] > 60  # the cell's place in the crop
    assert abs(red[30, 405]) < 20


def test_frames_find_their_rows() -> None:
    thinned = replace(PEOPLE[0], **_rows(PEOPLE[0], slice(0, 30, 3)), fps=10.0)
    assert [row_at(thinned, t) for t in (0.0, 0.033, 0.067, 0.1)] == [0, 0, 1, 1]
    assert row_at(thinned, 1.5) is None


def test_a_recording_for_rerun_is_written(tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="the extra [viewer] is not installed")
    out = tmp_path / "answers.rrd"
    rerun_recording(PEOPLE, str(out))
    data = out.read_bytes()
    assert data[:3] == b"RRF"
    assert b"scene/person_1/bones" in data


def test_without_rerun_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def absent(name: str, *args: object, **kwargs: object) -> object:
        if name == "rerun":
            raise ImportError(name)
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match=r"\[viewer\]"):
        rerun_recording(PEOPLE, str(tmp_path / "answers.rrd"))


def test_people_come_by_film(film: Path) -> None:
    other = replace(PEOPLE[0], source="other.mp4")
    assert {k: len(v) for k, v in by_source([*PEOPLE, other]).items()} == {
        "other.mp4": 1, "two people.mp4": 2,
    }  # fmt: skip
    assert films_of(["renamed.mp4"], str(film)) == {"renamed.mp4": str(film)}
    with pytest.raises(SourceError, match=r"two people\.mp4; the answers belong to a\.mp4, b\.mp4"):
        films_of(["a.mp4", "b.mp4"], str(film))
