"""Mapped shards hold what Zarr reads; whatever is not plain is left to Zarr."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import ZstdCodec

from diffpose.platform.store.mapped_array import MappedArray
from diffpose.platform.store.pose_store import PoseStore


def make(folder: Path, dtype: str = "float32", **changes: object) -> zarr.Array:
    options: dict[str, object] = {
        "shape": (50, 3, 2), "dtype": dtype, "chunks": (4, 3, 2), "shards": (16, 3, 2),
        "compressors": None, "fill_value": 0 if dtype == "uint8" else float("nan"), **changes,
    }  # fmt: skip
    return zarr.open_group(str(folder), mode="a", zarr_format=3).create_array("a", **options)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int64"])
def test_rows_are_those_that_zarr_reads(tmp_path: Path, dtype: str) -> None:
    array = make(tmp_path, dtype, fill_value=7)
    values = np.random.default_rng(0).integers(0, 100, (50, 3, 2)).astype(dtype)
    array[:20] = values[:20]  # the second shard has chunks that were never written
    array[48:] = values[48:]  # and the third shard none at all
    mapped = MappedArray.open(str(tmp_path / "a"))
    assert mapped is not None
    for first, stop in ((0, 50), (3, 4), (4, 8), (2, 30), (15, 17), (31, 50), (49, 50), (9, 9)):
        found = mapped.read(first, stop)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array[first:stop])
    assert (mapped.read(33, 40) == 7).all()
    with pytest.raises(ValueError, match="read-only"):
        mapped.read(0, 2)[:] = 0


def test_unknown_rows_are_nan(tmp_path: Path) -> None:
    make(tmp_path)
    mapped = MappedArray.open(str(tmp_path / "a"))
    assert mapped is not None
    assert np.isnan(mapped.read(10, 30)).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"compressors": [ZstdCodec(level=1)]},
        {"shards": None},
        {"chunks": (4, 3, 1)},
        {"chunk_key_encoding": {"name": "v2", "separator": "."}},
    ],
    ids=["codec", "no-shards", "split-rows", "other-names"],
)
def test_other_layouts_are_left_to_zarr(tmp_path: Path, changes: dict[str, object]) -> None:
    make(tmp_path, **changes)
    assert MappedArray.open(str(tmp_path / "a")) is None


def test_other_bytes_and_no_array_are_left_to_zarr(tmp_path: Path) -> None:
    make(tmp_path)
    path = tmp_path / "a" / "zarr.json"
    text = path.read_text()
    path.write_text(text.replace('"little"', '"big"'))
    assert MappedArray.open(str(tmp_path / "a")) is None
    path.write_text(text.replace('"end"', '"start"'))
    assert MappedArray.open(str(tmp_path / "a")) is None
    path.write_text(text[:100])
    assert MappedArray.open(str(tmp_path / "a")) is None
    assert MappedArray.open(str(tmp_path)) is None
    assert MappedArray.open(str(tmp_path / "none")) is None


def test_the_store_maps_its_small_fields_and_reads_the_rest(tmp_path: Path) -> None:
    store = PoseStore.create(str(tmp_path / "store"), 128, 64, {})
    poses = np.random.default_rng(1).normal(size=(128, 17, 3)).astype(np.float32)
    maps = np.random.default_rng(2).integers(0, 255, (128, 17, 64, 48), dtype=np.uint8)
    store.write("pose_3d", 0, poses)
    store.write("heatmaps", 0, maps)
    np.testing.assert_array_equal(store.reader("pose_3d")(5, 99), poses[5:99])
    np.testing.assert_array_equal(store.reader("heatmaps")(60, 70), maps[60:70])
    layout = json.loads((tmp_path / "store" / "pose_3d" / "zarr.json").read_text())
    assert layout["codecs"][0]["name"] == "sharding_indexed"
    assert not store.reader("pose_3d")(0, 4).flags.writeable  # mapped, as the loader's speed needs
