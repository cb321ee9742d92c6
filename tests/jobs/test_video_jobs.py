"""Videos through preprocess, inspect and calibrate, as a user runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from processes import DIFFPOSE, Command, assert_equal_stores, run_command

from diffpose.jobs import calibrate
from diffpose.jobs import inspect_store as inspect
from diffpose.jobs.inspect_store import describe_store
from diffpose.model.geometry.pinhole import project
from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import SourceError, StoreError
from diffpose.platform.base.storage import list_names
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.synthesis.render import render
from diffpose.platform.workflows.preprocess import preprocess
from diffpose.preprocessing.render.settings import FilmSettings
from diffpose.preprocessing.settings import PreprocessSettings

pytestmark = pytest.mark.cluster


def settings(films: Path | str, store: Path | str, **changes: object) -> PreprocessSettings:
    recipe: dict[str, object] = {
        "source": {"kind": "videos", "uri": str(films)},
        "store": str(store),
        "stages": ["detect"],
        "workers": 2,
    }
    return validate(PreprocessSettings, {**recipe, **changes})


@pytest.fixture(scope="session")
def film_store(ray_local: None, film_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store of the films with detections of the bundled detector."""
    store = tmp_path_factory.mktemp("film_store") / "poses"
    assert preprocess(settings(film_folder, store)) == 0
    return str(store)


def test_store_holds_what_was_filmed(film_store: str, film_folder: Path) -> None:
    store = PoseStore.open(film_store)
    clips = store.clips()
    assert {clip.source for clip in clips} == {film.name for film in film_folder.glob("*.mp4")}
    assert {clip.split for clip in clips} == {"train", "validation", "test"}
    errors = []
    for clip in clips:
        rows = clip.first_row, clip.first_row + clip.n_rows
        times = store.read("timestamp_s", *rows)
        with av.open(str(film_folder / clip.source)) as container:
            true_times = [frame.time for frame in container.decode(video=0)]
        np.testing.assert_allclose(
            times, true_times[clip.first_frame : clip.first_frame + clip.n_rows], atol=1e-6
        )
        assert clip.subject.startswith(clip.split)
        assert store.read("heatmaps", *rows).max(axis=(2, 3)).min() == 255
        pose, root, camera = (
            store.read(name, *rows).astype(np.float64)
            for name in ("pose_3d", "root_position", "camera")
        )
        seen = project(pose + root[:, None], camera[:, None])
        height = np.ptp(seen[..., 1], axis=1)
        off = np.linalg.norm(seen - store.read("keypoints_2d", *rows), axis=-1) / height[:, None]
        errors.append(off)
    # the shipped weights, found people, true places: most joints are where they should be
    off = np.concatenate(errors)
    assert np.isfinite(off).mean() > 0.9  # whose true pose is known: the one who was followed
    assert np.nanmedian(off) < 0.05
    detector = store.attributes["detector"]
    assert detector["version"].startswith("bundled-")
    assert len(detector["temperature"]) == 17


def test_a_store_of_videos_trains_and_is_inspected(film_store: str, tmp_path: Path) -> None:
    found = describe_store(PoseStore.open(film_store))
    assert found["failed"] == found["unreadable"] == found["damaged"] == {}
    clip = PoseStore.open(film_store).clips("test")[0]
    sheet, film = tmp_path / "sheet.png", tmp_path / "film.mp4"
    arguments = [f"store={film_store}", "--clip", clip.clip[:13]]
    assert inspect.main([*arguments, "--out", str(sheet), "frames=5"]) == 0
    with Image.open(sheet) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[0] == 2 * 480  # five pictures in two rows
    tinted = (pixels[..., 0] - pixels[..., 2] > 60).mean()
    assert 0.001 < tinted < 0.5  # heatmaps are painted warm, and not everywhere
    assert inspect.main([*arguments, "--out", str(film)]) == 0
    with av.open(str(film)) as container:
        assert len(list(container.decode(video=0))) == clip.n_rows
    assert inspect.main([f"store={film_store}", "--clip", "zzz"]) == 2


def test_same_store_whatever_the_workers_do(
    ray_local: None, film_store: str, film_folder: Path, tmp_path: Path
) -> None:
    """One worker and a film looked at in several segments end in the same store."""
    source = {"kind": "videos", "uri": str(film_folder), "segment_frames": 16}
    other = settings(film_folder, tmp_path / "store", source=source, workers=1)
    assert preprocess(other) == 0
    assert_equal_stores(film_store, other.store)


def test_bad_films_are_recorded_and_frames_before_the_damage_kept(
    ray_local: None, film_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = tmp_path / "films"
    films.mkdir()
    good = sorted(film_folder.glob("*.mp4"))[:2]
    for film in good:
        for part in film_folder.glob(f"{film.stem}.*"):
            shutil.copy(part, films)
    (films / "text.mp4").write_text("this is no film")
    (films / "empty.mkv").write_bytes(b"")
    _without_people(films / "wall.mp4")
    chosen = settings(films, tmp_path / "store")
    assert preprocess(chosen) == 0
    printed = capsys.readouterr().out
    found = describe_store(PoseStore.open(chosen.store))
    assert sorted(found["unreadable"]) == ["empty.mkv", "text.mp4", "wall.mp4"]
    assert "no person" in found["unreadable"]["wall.mp4"]
    for name, reason in found["unreadable"].items():
        assert name in reason
        assert name in printed
    assert {c.source for c in PoseStore.open(chosen.store).clips()} == {f.name for f in good}


def test_videos_of_nobody_are_a_failure(
    ray_local: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _without_people(tmp_path / "wall.mp4")
    assert preprocess(settings(tmp_path, tmp_path / "store")) == 1
    assert "wall.mp4" in capsys.readouterr().out


def test_frames_are_thinned_out_by_time(
    ray_local: None, film_store: str, film_folder: Path, tmp_path: Path
) -> None:
    source = {"kind": "videos", "uri": str(film_folder), "fps": 5}
    assert preprocess(settings(film_folder, tmp_path / "thin", source=source)) == 0
    all_clips, thin = PoseStore.open(film_store).clips(), PoseStore.open(str(tmp_path / "thin"))
    for clip in thin.clips():
        times = thin.read("timestamp_s", clip.first_row, clip.first_row + clip.n_rows)
        assert np.all(np.diff(times) > 0.15)
        assert clip.fps == pytest.approx(5, rel=0.05)
    rows = sum(c.n_rows for c in all_clips)
    assert sum(c.n_rows for c in thin.clips()) == pytest.approx(rows / 2, rel=0.1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": {"kind": "videos", "uri": "nowhere"}}, ["nowhere"]),
        ({"seed": 99}, ["other settings", "seed: saved 0, now 99"]),
        ({"people": {"several": True}}, ["people.several: saved False, now True"]),
        ({"calibration": "none.json"}, ["none.json", "diffpose calibrate"]),
        ({"detector": {"kind": "bundled", "weights": "w.safetensors"}}, ["w.safetensors"]),
    ],
    ids=["no-folder", "other-seed", "other-people", "no-calibration", "no-weights"],
)
def test_wrong_input_is_explained(
    film_store: str, film_folder: Path, change: dict[str, object], words: list[str]
) -> None:
    with pytest.raises((SourceError, StoreError)) as caught:
        preprocess(settings(film_folder, film_store, **change))
    for word in words:
        assert word in str(caught.value)


def test_calibration_changes_the_heatmaps_and_says_what_it_did(
    ray_local: None, film_folder: Path, film_store: str, tmp_path: Path
) -> None:
    out = tmp_path / "calibration.json"
    arguments = ["source.kind=videos", f"source.uri={film_folder}", f"out={out}", "workers=2"]
    assert calibrate.main(arguments) == 0
    saved = json.loads(out.read_text())
    assert saved["detector"] == PoseStore.open(film_store).attributes["detector"]["version"]
    for level, wanted in (("50%", 0.5), ("90%", 0.9)):
        before, after = (np.array(saved["coverage"][level][k]) for k in ("before", "after"))
        assert ((after >= 0) & (after <= 1)).all()
        assert abs(after.mean() - wanted) <= abs(before.mean() - wanted) + 0.05
    assert 0 < np.mean(saved["pck"]) <= 1
    assert all(0 < share <= 1 for share in saved["share_in_sight"])
    assert 0 < np.mean(saved["pck_in_sight"]) <= 1
    saved["temperature"] = [3.0] * 17
    out.write_text(json.dumps(saved))
    wide = settings(film_folder, tmp_path / "wide", calibration=str(out))
    assert preprocess(wide) == 0
    widths = [
        np.median(PoseStore.open(store).read("heatmap_modes", 0, 40)[..., 2])
        for store in (film_store, wide.store)
    ]
    assert widths[1] > 1.2 * widths[0]
    saved["detector"] = "someone-else"
    out.write_text(json.dumps(saved))
    with pytest.raises(SourceError, match="someone-else"):
        preprocess(settings(film_folder, tmp_path / "never", calibration=str(out)))


def test_killed_decoder_detector_and_driver_leave_the_same_store(
    film_folder: Path, tmp_path: Path
) -> None:
    """Kill -9 of each in the middle; the same command again ends in the undisturbed store."""

    def arguments(store: Path) -> list[str]:
        recipe = ["source.kind=videos", "source.clip_frames=16", "source.segment_frames=20"]
        recipe += ["detector.kind=bundled", "detector_workers=1", "workers=1", "stages=detect"]
        return [*DIFFPOSE, "preprocess", *recipe, f"source.uri={film_folder}", f"store={store}"]

    calm, store = tmp_path / "calm", tmp_path / "killed"
    status, output = run_command(arguments(calm), tmp_path / "calm.log")
    assert status == 0, output
    n_spans = len(list_names(str(calm / "log" / "detect"), ".json"))
    assert n_spans >= 6

    def n_done() -> int:
        return len(list_names(str(store / "log" / "detect"), ".json"))

    def kill_one(command: Command, title: str) -> bool:
        for process in command.processes(title):
            process.kill()
            return True
        return False

    log = tmp_path / "killed.log"
    first = Command(arguments(store), log)
    try:
        first.wait_until(lambda: len(list_names(str(store / "people"), ".npz")) >= 1)
        assert kill_one(first, "ray::Map") or kill_one(first, "ray::")  # looking for people
        first.wait_until(lambda: n_done() >= 1)
        assert kill_one(first, "MapWorker"), "no detecting process was found"
        kill_one(first, "ray::Map(")  # a decoding task, if one runs at this moment
        first.wait_until(lambda: n_done() >= 2)
    finally:
        first.kill_driver()
    assert n_done() < n_spans, "the driver was killed too late to test anything"
    status, output = run_command(arguments(store), log)
    assert status == 0, output
    assert_equal_stores(str(calm), str(store))


def test_several_people_get_rows_of_their_own(
    ray_local: None, motion_folder: Path, tmp_path: Path
) -> None:
    few = tmp_path / "motion"
    few.mkdir()
    for path in sorted(motion_folder.glob("walking_00[01].bvh")):
        shutil.copy(path, few)
    recipe = {
        "source": {"uri": str(few)}, "out": str(tmp_path / "films"), "people": 2, "fps": 10,
        "cameras": {"count": 1}, "occluders": 0, "workers": 2,
    }  # fmt: skip
    assert render(validate(FilmSettings, recipe)) == 0
    everyone = settings(
        tmp_path / "films", tmp_path / "store", people={"several": True, "finder": "sidecar"}
    )
    assert preprocess(everyone) == 0
    store = PoseStore.open(everyone.store)
    for film in sorted((tmp_path / "films").glob("*.mp4")):
        clips = [clip for clip in store.clips() if clip.source == film.name]
        assert sorted({clip.track for clip in clips}) == [0, 1]
        roots = [
            store.read("root_position", clip.first_row, clip.first_row + clip.n_rows).mean(axis=0)
            for clip in clips
        ]
        assert np.linalg.norm(roots[0] - roots[1]) > 300  # mm: two persons, each with their truth
    alone = settings(tmp_path / "films", tmp_path / "one", people={"finder": "sidecar"})
    assert preprocess(alone) == 0
    clips = PoseStore.open(alone.store).clips()
    assert len(clips) == len({clip.source for clip in clips}) == 2


def _without_people(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for _ in range(10):
            pixels = np.full((120, 160, 3), 128, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def test_clips_of_any_length_and_films_that_went_away(
    ray_local: None, film_folder: Path, tmp_path: Path
) -> None:
    films = tmp_path / "films"
    shutil.copytree(film_folder, films)
    source = {"kind": "videos", "uri": str(films), "clip_frames": 23, "segment_frames": 16}
    chosen = settings(films, tmp_path / "store", source=source)
    assert preprocess(chosen) == 0
    clips = PoseStore.open(chosen.store).clips()
    assert max(clip.n_rows for clip in clips) <= 23
    gone = clips[0].source
    for path in films.glob(f"{Path(gone).stem}*"):
        path.unlink()
    for marker in (Path(chosen.store) / "log" / "detect").glob("*.json"):
        marker.unlink()
    assert preprocess(chosen) == 0
    found = describe_store(PoseStore.open(chosen.store))["failed"]
    assert any(gone in text and "no longer at source.uri" in text for text in found.values())
