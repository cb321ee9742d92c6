"""Reading an uncompressed Zarr array of this machine by mapping its shards into memory.

Zarr's own way through a shard costs about a millisecond a read, whatever its size: for blocks of
1024 small rows that is several times the reading itself (benchmarks/RESULTS.md). The format is
plain: a shard is its chunks one after the other and, at the end, their offsets and lengths as
little-endian uint64 (Zarr v3 specification, codec sharding_indexed). Whatever is not exactly so is
left to Zarr.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
_NOWHERE = np.uint64(2**64 - 1)  # the offset of a chunk that was never written
_CHECKSUM_BYTES = 4
_DTYPES = frozenset(("uint8", "float16", "float32", "float64", "int32", "int64"))


class MappedArray:
    """Rows of one array, read-only. Shards are mapped when they are first read, and stay so."""

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        self.shape: tuple[int, ...] = tuple(meta["shape"])
        self.dtype = np.dtype(meta["data_type"])
        self._folder = folder
        self._fill = float(meta["fill_value"])
        self._shard_rows: int = meta["chunk_grid"]["configuration"]["chunk_shape"][0]
        self._chunk_rows: int = meta["codecs"][0]["configuration"]["chunk_shape"][0]
        self._shards: dict[int, list[NDArray[Any] | None]] = {}

    @staticmethod
    def open(folder: str) -> MappedArray | None:
        """Return the array of a local folder, or None where it has to be read through Zarr."""
        path = Path(folder)
        try:
            meta = json.loads((path / "zarr.json").read_bytes())
        except (OSError, ValueError):
            return None
        return MappedArray(path, meta) if sys.byteorder == "little" and _is_plain(meta) else None

    def read(self, first: int, stop: int) -> NDArray[Any]:
        """Return rows first..stop; a view where they lie in one chunk, else a copy."""
        pieces = []
        at = first
        while at < stop:
            chunk, offset = divmod(at, self._chunk_rows)
            count = min(self._chunk_rows - offset, stop - at)
            rows = self._chunk(chunk)
            if rows is None:
                pieces.append(np.full((count, *self.shape[1:]), self._fill, dtype=self.dtype))
            else:
                pieces.append(rows[offset : offset + count])
            at += count
        if len(pieces) == 1:
            return pieces[0]
        empty = np.empty((0, *self.shape[1:]), dtype=self.dtype)
        return np.concatenate(pieces) if pieces else empty

    def _chunk(self, number: int) -> NDArray[Any] | None:
        shard, within = divmod(number, self._shard_rows // self._chunk_rows)
        if shard not in self._shards:
            self._shards[shard] = self._map(shard)
        return self._shards[shard][within]

    def _map(self, shard: int) -> list[NDArray[Any] | None]:
        """Map a shard; returns its chunks."""
        n_chunks = self._shard_rows // self._chunk_rows
        path = self._folder.joinpath("c", str(shard), *["0"] * (len(self.shape) - 1))
        if not path.exists():
            return [None] * n_chunks
        whole = np.memmap(path, dtype=np.uint8, mode="r")
        index = whole[-16 * n_chunks - _CHECKSUM_BYTES : -_CHECKSUM_BYTES].view("<u8")
        chunks: list[NDArray[Any] | None] = []
        for offset, length in index.reshape(n_chunks, 2):
            if offset == _NOWHERE:
                chunks.append(None)
                continue
            rows = whole[int(offset) : int(offset + length)].view(self.dtype)
            chunks.append(np.asarray(rows.reshape(self._chunk_rows, *self.shape[1:])))
        return chunks


def _is_plain(meta: dict[str, Any]) -> bool:
    """Tell whether an array's metadata describe whole rows in uncompressed shards."""
    try:
        (codec,) = meta["codecs"]
        inner = codec["configuration"]
        grid = meta["chunk_grid"]
        rest = list(meta["shape"][1:])
        shard, chunk = grid["configuration"]["chunk_shape"], inner["chunk_shape"]
        index_names = [part["name"] for part in inner["index_codecs"]]
        return bool(
            meta["node_type"] == "array"
            and meta["data_type"] in _DTYPES
            and grid["name"] == "regular"
            and codec["name"] == "sharding_indexed"
            and (inner["codecs"] == [_BYTES] or _single_bytes(meta, inner))
            and index_names == ["bytes", "crc32c"]
            and inner["index_codecs"][0] == _BYTES
            and inner.get("index_location", "end") == "end"
            and meta["chunk_key_encoding"]
            == {"name": "default", "configuration": {"separator": "/"}}
            and shard[1:] == rest
            and chunk[1:] == rest
            and shard[0] % chunk[0] == 0
            and not meta.get("storage_transformers")
            and isinstance(float(meta["fill_value"]), float)
        )
    except (KeyError, TypeError, ValueError):
        return False


def _single_bytes(meta: dict[str, Any], inner: dict[str, Any]) -> bool:
    """Tell whether these are bytes without an order of bytes."""
    return bool(meta["data_type"] == "uint8" and inner["codecs"] == [{"name": "bytes"}])
