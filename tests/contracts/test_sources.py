"""What every source promises (preprocessing/sources/interface.py), kept by every kind there is."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from human36m_files import write_human36m
from human36m_pickle import write_pickle
from mpi_inf_3dhp_files import write_npz

from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import SourceError
from diffpose.platform.execution.ray_stages import ActorStage
from diffpose.platform.store.fields import DETECTION_FIELDS
from diffpose.preprocessing.planning.plan import extend_plan
from diffpose.preprocessing.planning.span_row import SpanRow
from diffpose.preprocessing.settings import SOURCE_KINDS, PreprocessSettings
from diffpose.preprocessing.sources.interface import Source, SourceFile
from diffpose.preprocessing.sources.registry import SOURCES, source_alone, source_of

FEW = 2  # recordings that are planned and detected here


def keypoint_file(path: Path) -> None:
    points = np.random.default_rng(0).uniform(200, 400, (17, 2))
    rows = [
        {"image_id": f"{t}.jpg", "category_id": 1, "score": 2.5, "idx": 1,
         "keypoints": np.column_stack([points + t, np.full(17, 0.9)]).ravel().tolist()}
        for t in range(12)
    ]  # fmt: skip
    path.write_text(json.dumps(rows))


def example(kind: str, folder: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A small source of each kind; a kind that is added needs one here."""
    if kind == "mocap":
        return {"source": {"uri": str(request.getfixturevalue("motion_folder"))}}
    if kind in ("videos", "videos, recorded"):
        films = str(request.getfixturevalue("film_folder"))
        recipe = {"source": {"kind": "videos", "uri": films}, "people": {"finder": "sidecar"}}
        if kind == "videos":
            return recipe
        for film in Path(films).rglob("*.mp4"):
            keypoint_file(folder / f"{film.stem}.json")
        return {**recipe, "detector": {"kind": "recorded", "uri": str(folder)}}
    if kind == "keypoints":
        for name in ("one.json", "two.json"):
            keypoint_file(folder / name)
        return {"source": {"kind": kind, "uri": str(folder), "width": 800, "height": 600}}
    if kind == "human36m":
        write_human36m(folder, 24)
        return {"source": {"kind": kind, "uri": str(folder)}}
    if kind == "human36m, pickle":
        write_pickle(folder / "h36m_sh_conf_cam_source_final.pkl")
        uri = str(folder / "h36m_sh_conf_cam_source_final.pkl")
        return {"source": {"kind": "human36m", "uri": uri}}
    assert kind == "mpi_inf_3dhp", f"no example of source.kind={kind}"
    write_npz(folder)
    return {"source": {"kind": kind, "uri": str(folder)}}


KINDS = [*SOURCES, "videos, recorded", "human36m, pickle"]


@pytest.fixture(params=KINDS, scope="module")
def settings(
    request: pytest.FixtureRequest, ray_local: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PreprocessSettings]:
    folder = tmp_path_factory.mktemp("source")
    recipe = example(request.param, folder, request)
    store = tmp_path_factory.mktemp("store")
    yield validate(PreprocessSettings, {**recipe, "store": str(store), "workers": 2})


@pytest.fixture(scope="module")
def source(settings: PreprocessSettings) -> Source:
    return source_of(settings)


@pytest.fixture(scope="module")
def span(settings: PreprocessSettings, source: Source) -> SpanRow:
    """The first span of a plan of a few recordings."""
    names = sorted(source.recordings())[:FEW]
    splits = source.splits(names, [])
    probes = source.probe([SourceFile(name, splits[name]) for name in names])
    assert [probe.error for probe in probes] == [""] * len(names)
    plan = extend_plan(None, settings, probes, 256)
    return SpanRow(plan.spans[0])


def through(stages: list[Any], row: SpanRow) -> Any:
    """A row's way through stages, in this process."""
    record: Any = pickle.loads(pickle.dumps(row))  # as it travels
    for stage in stages:
        record = (stage.stage if isinstance(stage, ActorStage) else stage)(record)
    return record


def test_every_kind_of_settings_has_a_source() -> None:
    assert set(SOURCES) == set(SOURCE_KINDS)


def test_recordings_are_named_and_split(source: Source) -> None:
    names = source.recordings()
    assert names
    assert source.recordings() == names
    assert set(source.splits(sorted(names), [])) == set(names)
    assert source.longest_span & (source.longest_span - 1) == 0
    json.dumps(source.attributes())


def test_clips_say_whose_they_are(source: Source, span: SpanRow) -> None:
    clips = span.span.clips
    assert clips
    assert len({clip.clip for clip in clips}) == len(clips)
    for clip in clips:
        assert clip.source in source.recordings()
        assert min(clip.n_rows, clip.width, clip.height, clip.fps) > 0
        assert clip.subject
        assert clip.action
        assert clip.camera


def test_a_probe_of_what_is_gone_is_an_error_with_words(source: Source) -> None:
    name = f"{min(source.recordings())}_gone"
    (probe,) = source.probe([SourceFile(name, "test")])
    assert probe.error
    assert not probe.clips


def test_stages_fill_every_field(source: Source, span: SpanRow) -> None:
    done = through(source.stages(np.ones(17)), span)
    assert isinstance(done, SpanRow)
    assert done.errors == {}
    for field in DETECTION_FIELDS:
        values = done.arrays[field.name]
        assert values.shape == (span.span.n_rows, *field.shape)
        assert values.dtype == field.dtype
    for clip in span.span.clips:
        rows = done.rows_of(clip)
        assert (done.arrays["heatmaps"][rows].max(axis=(2, 3)) == 255).all()
        for name in ("keypoints_2d", "confidence", "heatmap_modes", "heatmap_crop", "camera"):
            assert np.isfinite(done.arrays[name][rows]).all(), name
        assert (np.diff(done.arrays["timestamp_s"][rows]) > 0).all()
        crops, points = done.arrays["heatmap_crop"][rows], done.arrays["keypoints_2d"][rows]
        inside = (points - crops[:, None, :2]) / crops[:, None, 2:]
        assert ((inside > -0.01) & (inside < [48.01, 64.01])).all()
        known = done.arrays["pose_3d"][rows]
        known = known[np.isfinite(known).all(axis=(1, 2))]
        np.testing.assert_allclose(known[:, 0], 0, atol=1e-3)  # relative to the root
    again = through(source.stages(np.ones(17)), span)
    for name, values in done.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], values, err_msg=name)


def test_the_detectors_own_words_before_any_temperature(source: Source, span: SpanRow) -> None:
    row = through(source.stages(None), span)
    clip = span.span.clips[0]
    chosen = np.arange(row.rows_of(clip).start, row.rows_of(clip).stop)[:3]
    heatmaps, crops, poses_mm = source.heatmaps(row, clip, chosen)
    assert poses_mm is None or poses_mm.shape == (len(chosen), 17, 3)
    assert heatmaps.shape == (len(chosen), 17, 64, 48)
    assert crops.shape == (len(chosen), 4)
    assert (heatmaps >= 0).all()
    assert (heatmaps.max(axis=(2, 3)) > 0).all()


def test_frames_and_boxes(settings: PreprocessSettings, source: Source, span: SpanRow) -> None:
    clip = span.span.clips[0]
    offsets = [0, clip.n_rows - 1]
    frames = list(source.frames(settings.store, clip, offsets))
    assert [frame.shape for frame in frames] == [(clip.height, clip.width, 3)] * 2
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
    joints = np.random.default_rng(0).uniform(0, 100, (2, 17, 2))
    heights = source.box_heights_px(clip, joints, np.array([0.0, 0.1]))
    assert heights.shape == (2,)
    assert (heights >= 1).all()


def test_a_check_finds_nothing_wrong(settings: PreprocessSettings) -> None:
    report = source_alone(settings.source).check()
    assert report.title
    assert report.found
    assert not report.problems
    assert json.loads(json.dumps(report.values))["problems"] == []


def test_a_source_travels(source: Source, span: SpanRow) -> None:
    moved = pickle.loads(pickle.dumps(source))
    first = through(moved.stages(np.ones(17)), span)
    second = through(source.stages(np.ones(17)), span)
    np.testing.assert_array_equal(first.arrays["heatmaps"], second.arrays["heatmaps"])


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_a_source_that_is_not_there_says_so(kind: str, tmp_path: Path) -> None:
    more = {"width": 8, "height": 8} if kind == "keypoints" else {}
    values = {"kind": kind, "uri": str(tmp_path / "none"), **more}
    settings = validate(PreprocessSettings, {"source": values, "store": str(tmp_path)})
    with pytest.raises(SourceError, match="none"):
        source_of(settings).recordings()
