"""The pose store: round trips, attributes, errors, growth, whole shards per span."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_clips import made_clip

import diffpose
from diffpose.model.geometry.skeleton import EDGES, JOINT_NAMES
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec
from diffpose.platform.base.errors import StoreError
from diffpose.platform.store.clips import clip_id, read_clips, write_clips
from diffpose.platform.store.fields import (
    DETECTION_FIELDS,
    LARGEST_SPAN,
    SMALLEST_SPAN,
    span_rows_for,
)
from diffpose.platform.store.groups import MixtureAttributes
from diffpose.platform.store.pose_store import (
    SCHEMA_VERSION,
    PoseStore,
    contiguous_ranges,
    whole_clips,
)
from diffpose.preprocessing.derived.mixture_stages import mixture_fields


def make_store(folder: Path, n_rows: int = 128, span_rows: int = 64) -> PoseStore:
    return PoseStore.create(str(folder / "store"), n_rows, span_rows, {"detector": {"version": 3}})


def some_values(field, n_rows: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if field.dtype == "uint8":
        return rng.integers(0, 256, (n_rows, *field.shape), dtype=np.uint8)
    return rng.normal(size=(n_rows, *field.shape)).astype(field.dtype)


@pytest.mark.parametrize("field", DETECTION_FIELDS, ids=lambda field: field.name)
def test_round_trip_of_every_field(tmp_path: Path, field) -> None:
    store = make_store(tmp_path)
    values = some_values(field, 64)
    store.write(field.name, 64, values)
    again = PoseStore.open(store.uri)
    array = again.stored(field.name)
    assert array.shape == (128, *field.shape)
    assert array.dtype == np.dtype(field.dtype)
    assert array.unit == field.unit
    assert array.description == field.description
    np.testing.assert_array_equal(again.read(field.name, 64, 128), values)
    np.testing.assert_array_equal(again.read(field.name, 70, 75), values[6:11])
    empty = again.read(field.name, 0, 64)  # never written: unknown
    assert (empty == 0).all() if field.dtype == "uint8" else np.isnan(empty).all()


def test_attributes(tmp_path: Path) -> None:
    make_store(tmp_path)
    attributes = PoseStore.open(str(tmp_path / "store")).attributes
    assert attributes["diffpose_schema"] == SCHEMA_VERSION
    assert attributes["code_version"] == diffpose.__version__
    assert attributes["detector"] == {"version": 3}
    assert attributes["span_rows"] == 64
    assert attributes["skeleton"]["joints"] == list(JOINT_NAMES)
    assert [tuple(edge) for edge in attributes["skeleton"]["edges"]] == list(EDGES)
    assert "top-left" in attributes["frames_of_reference"]["image"]
    assert "z forward" in attributes["frames_of_reference"]["camera"]
    units = {field.name: field.unit for field in DETECTION_FIELDS}
    assert (units["keypoints_2d"], units["pose_3d"], units["timestamp_s"]) == ("px", "mm", "s")


def test_reading_mode_does_not_write(tmp_path: Path) -> None:
    make_store(tmp_path)
    store = PoseStore.open(str(tmp_path / "store"))
    with pytest.raises(ValueError, match="read-only"):
        store.write("camera", 0, np.zeros((64, 4), np.float32))
    assert np.isnan(store.read("camera", 0, 64)).all()


def test_relative_and_file_uris_mean_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    for uri in ("store", (tmp_path / "store").as_uri()):
        assert PoseStore.open(uri).uri == str(tmp_path / "store")


@pytest.mark.parametrize("how", ["open", "create"])
def test_another_schema_version(tmp_path: Path, how: str) -> None:
    store = make_store(tmp_path)
    store.update_attributes({"diffpose_schema": 77})
    with pytest.raises(StoreError) as caught:
        if how == "open":
            PoseStore.open(store.uri)
        else:
            make_store(tmp_path)
    text = str(caught.value)
    assert repr(store.uri) in text
    assert "schema version 77" in text
    assert f"this code reads {SCHEMA_VERSION}" in text
    assert "Make it anew" in text
    assert zarr.open_group(store.uri, mode="r").attrs["diffpose_schema"] == 77


@pytest.mark.parametrize("what", ["nothing", "folder", "array"])
def test_no_store(tmp_path: Path, what: str) -> None:
    uri = tmp_path / "none"
    if what == "folder":
        uri.mkdir()
    if what == "array":
        zarr.create_array(str(uri), shape=(3,), dtype="f4")
    with pytest.raises(StoreError) as caught:
        PoseStore.open(str(uri))
    text = str(caught.value)
    assert f"There is no pose store at {str(uri)!r}" in text
    assert "diffpose preprocess --config configs/preprocess/mocap.yaml" in text
    assert f"store={uri}" in text


@pytest.mark.parametrize("what", ["file", "array"])
def test_something_else_is_no_place_for_a_store(tmp_path: Path, what: str) -> None:
    uri = tmp_path / "store"
    if what == "file":
        uri.write_text("mine", encoding="utf-8")
    else:
        zarr.create_array(str(uri), shape=(3,), dtype="f4")
    with pytest.raises(StoreError) as caught:
        make_store(tmp_path)
    assert f"{str(uri)!r} is something else than a pose store" in str(caught.value)
    assert "give store= the name of a folder" in str(caught.value)
    with pytest.raises(StoreError, match="There is no pose store at"):
        PoseStore.open(str(uri), mode="r+")
    if what == "file":
        assert uri.read_text(encoding="utf-8") == "mine"
    else:
        assert zarr.open_array(str(uri), mode="r").shape == (3,)


def test_creation_that_was_interrupted_is_taken_up(tmp_path: Path) -> None:
    zarr.open_group(str(tmp_path / "store"), mode="a")  # a group without attributes
    store = make_store(tmp_path)
    assert store.attributes["diffpose_schema"] == SCHEMA_VERSION
    assert store.stored("camera").shape == (128, 4)


def test_missing_array_lists_arrays(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(StoreError) as caught:
        store.read("pose_4d", 0, 1)
    text = str(caught.value)
    assert "no array 'pose_4d'" in text
    assert all(field.name in text for field in DETECTION_FIELDS)


def test_growing_keeps_rows_and_settings(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    values = {field.name: some_values(field, 128) for field in DETECTION_FIELDS}
    for name, rows in values.items():
        store.write(name, 0, rows)
    grown = PoseStore.create(store.uri, 320, 4096, {"detector": {"version": 4}})
    assert (grown.span_rows, grown.attributes["detector"]) == (64, {"version": 3})
    for field in DETECTION_FIELDS:
        assert grown.stored(field.name).shape == (320, *field.shape)
        np.testing.assert_array_equal(grown.read(field.name, 0, 128), values[field.name])
    grown.write("camera", 256, np.ones((64, 4), np.float32))
    assert np.isnan(grown.read("camera", 128, 256)).all()
    np.testing.assert_array_equal(PoseStore.open(store.uri).read("camera", 256, 320), 1)
    # Asking for fewer rows never cuts.
    assert PoseStore.create(store.uri, 64, 64, {}).stored("camera").shape == (320, 4)


def test_clips_round_trip(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    clips = [
        made_clip(64, 10, split="test", source="b/ü.bvh"),
        made_clip(0, 64),
        made_clip(74, 5, split="test", status="failed", error="no floor"),
        made_clip(80, 5, split="validation", status="pending"),
    ]
    write_clips(store.uri, clips)
    assert read_clips(store.uri) == clips
    assert [clip.first_row for clip in store.clips(done_only=False)] == [0, 64, 74, 80]
    assert [clip.first_row for clip in store.clips()] == [0, 64]
    assert store.clips("test") == [clips[0]]
    assert store.clips("test", done_only=False) == [clips[0], clips[2]]
    write_clips(store.uri, [])
    assert store.clips(done_only=False) == []


def test_no_clips_yet(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(StoreError) as caught:
        store.clips()
    assert repr(store.uri) in str(caught.value)
    assert "has no clips.parquet" in str(caught.value)
    assert "Run the same diffpose preprocess command again" in str(caught.value)


def test_clip_ids_tell_clips_apart() -> None:
    base = ("a.bvh", 0, 10, "camera_0")
    others = [("b.bvh", 0, 10, "camera_0"), ("a.bvh", 1, 10, "camera_0")]
    others += [("a.bvh", 0, 11, "camera_0"), ("a.bvh", 0, 10, "camera_1")]
    assert len({clip_id(*base), *(clip_id(*other) for other in others)}) == 5
    assert clip_id(*base) == clip_id(*base)


def test_mixture_groups(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    assert store.mixture_names() == []
    with pytest.raises(StoreError, match=r"no mixtures 'encoder' \(there are: none\)"):
        store.mixture_attributes("encoder")
    for field in mixture_fields(MixtureSpec(n_kernels=2)):
        store.require_array("mixtures/histogram", field, 128)
    assert store.mixture_names() == ["histogram"]
    with pytest.raises(StoreError, match=r"'histogram' do not say .*\(spec, seed, depth\)"):
        store.mixture_attributes("histogram")
    fitted = MixtureAttributes(spec=MixtureSpec(n_kernels=2), seed=3, depth={"kind": "histogram"})
    store.update_group("mixtures", "histogram", fitted.fitted_with())
    assert store.mixture_attributes("histogram") == fitted
    assert not fitted.holds("train")
    store.update_group("mixtures", "histogram", {"complete_splits": ["train"]})
    half = store.mixture_attributes("histogram")
    assert half.holds("train")
    assert not half.holds("test")
    with pytest.raises(StoreError, match=r"\(there are: histogram\).*stage=mixtures"):
        store.mixture_attributes("encoder")
    weights = np.full((64, 17, 2), 0.5, np.float32)
    store.write("mixtures/histogram/weights", 64, weights)
    np.testing.assert_array_equal(store.read("mixtures/histogram/weights", 64, 128), weights)


@settings(deadline=None, database=None)
@given(
    parts=st.lists(st.tuples(st.sampled_from([0, 0, 1, 7]), st.integers(1, 30)), max_size=12),
    longest=st.integers(1, 40),
)
def test_contiguous_ranges(parts: list[tuple[int, int]], longest: int) -> None:
    clips, row = [], 0
    for gap, n_rows in parts:
        clips.append(made_clip(row + gap, n_rows))
        row += gap + n_rows
    reference: list[list[int]] = []
    for r in (r for clip in clips for r in range(clip.first_row, clip.first_row + clip.n_rows)):
        joins = reference and reference[-1][-1] == r - 1 and len(reference[-1]) < longest
        if joins:
            reference[-1].append(r)
        else:
            reference.append([r])
    ranges = list(contiguous_ranges(clips, longest))
    assert ranges == [(rows[0], rows[-1] + 1) for rows in reference]


@settings(deadline=None, database=None)
@given(
    parts=st.lists(st.tuples(st.sampled_from([0, 0, 1, 7]), st.integers(1, 30)), max_size=12),
    longest=st.integers(1, 40),
)
def test_whole_clips(parts: list[tuple[int, int]], longest: int) -> None:
    clips, row = [], 0
    for gap, n_rows in parts:
        clips.append(made_clip(row + gap, n_rows))
        row += gap + n_rows
    found = list(whole_clips(clips, longest))
    rows = [
        (first + sum(lengths[:i]), n) for first, _, lengths in found for i, n in enumerate(lengths)
    ]
    assert rows == [(clip.first_row, clip.n_rows) for clip in clips]
    for first, stop, lengths in found:
        assert stop - first == sum(lengths)
        assert sum(lengths) <= longest or len(lengths) == 1
    for (_, stop, lengths), (first, _, others) in itertools.pairwise(found):
        assert stop < first or sum(lengths) + others[0] > longest  # nothing was cut early


@settings(deadline=None, database=None)
@given(total=st.integers(0, 10**9))
def test_span_rows(total: int) -> None:
    rows = span_rows_for(total)
    assert SMALLEST_SPAN <= rows <= LARGEST_SPAN
    assert rows & (rows - 1) == 0
    if rows < LARGEST_SPAN:
        assert total <= 64 * rows, "more than 64 spans though larger ones are allowed"
    if rows > SMALLEST_SPAN:
        assert total > 32 * rows, "fewer than 32 spans though smaller ones are allowed"


@pytest.mark.parametrize("span_rows", [2**k for k in range(6, 13)])
def test_spans_are_whole_shards_and_shards_whole_chunks(tmp_path: Path, span_rows: int) -> None:
    assert SMALLEST_SPAN <= span_rows <= LARGEST_SPAN
    store = make_store(tmp_path, n_rows=2 * span_rows, span_rows=span_rows)
    specs = {
        "joint": MixtureSpec(scope="joint"),
        "pose": MixtureSpec(scope="pose"),
        "many": MixtureSpec(scope="pose", n_kernels=50),
    }
    for name, spec in specs.items():
        for field in mixture_fields(spec):
            store.require_array(f"mixtures/{name}", field, 2 * span_rows)
    arrays = store.arrays()
    assert len(arrays) == len(DETECTION_FIELDS) + 9
    for name, array in arrays.items():
        assert array.shards is not None
        assert span_rows % array.shards[0] == 0, name
        assert array.shards[0] % array.chunks[0] == 0, name
        assert array.shards[1:] == array.chunks[1:] == array.shape[1:], name


WRITER = """
import sys
import numpy as np
from diffpose.platform.store.groups import MixtureAttributes
from diffpose.platform.store.fields import DETECTION_FIELDS
from diffpose.platform.store.pose_store import PoseStore
uri, mine, n_spans = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = PoseStore.open(uri, mode="r+")
print("ready", flush=True)
sys.stdin.readline()
for span in range(mine, n_spans, 2):
    for field in DETECTION_FIELDS:
        if field.name != "heatmaps" or span < 4:
            store.write(field.name, span * 64, np.full((64, *field.shape), span + 1, field.dtype))
"""


def test_two_processes_on_neighbouring_spans_lose_nothing(tmp_path: Path) -> None:
    n_spans = 8
    store = make_store(tmp_path, n_rows=64 * n_spans)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, store.uri, str(mine), str(n_spans)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for mine in (0, 1)
    ]
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 2
    for writer in writers:  # both start writing at the same moment
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    for field in DETECTION_FIELDS:
        spans = 4 if field.name == "heatmaps" else n_spans
        read = store.read(field.name, 0, 64 * spans).reshape(64 * spans, -1)
        expected = np.repeat(np.arange(spans) + 1, 64)
        assert (read == expected[:, None]).all(), f"rows of {field.name} are lost"
