"""The pose store: one Zarr v3 group at any fsspec URI. Rows are frames, spans are write units.

A span is a range of rows that one task writes alone. Spans begin and end on shard borders of every
array: two writers in one shard would lose data. Each clip lies whole within one span.
"""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.codecs import ZstdCodec
from zarr.core.sync import sync
from zarr.errors import ContainsArrayError

import diffpose
from diffpose.model.geometry.skeleton import EDGES, JOINT_LAYOUT, JOINT_NAMES, N_JOINTS
from diffpose.platform.base.errors import StoreError
from diffpose.platform.base.storage import absolute, is_local, join
from diffpose.platform.store.clips import Clip, read_clips
from diffpose.platform.store.fields import DETECTION_FIELDS, Field, StoredArray
from diffpose.platform.store.groups import ContextAttributes, MixtureAttributes
from diffpose.platform.store.mapped_array import MappedArray

SCHEMA_VERSION = 1
_closing: set[int] = set()  # file systems that are closed at exit
FRAMES_OF_REFERENCE = {
    "image": "pixels, origin at the top-left corner, x right, y down",
    "camera": "x right, y down, z forward; poses are relative to joint 0",
}


class PoseStore:
    """An open pose store; what it is kept in (zarr) shows nowhere outside this room."""

    def __init__(self, uri: str, group: zarr.Group) -> None:
        self.uri = uri
        self._group = group
        _close_at_exit(group.store)

    @staticmethod
    def open(uri: str, mode: str = "r") -> PoseStore:
        """Open an existing store.

        Args:
            uri: local path or fsspec URI.
            mode: ``r`` to read, ``r+`` to write into it.

        Raises:
            StoreError: there is no store, or it is of another schema version.
        """
        uri = absolute(uri)
        try:
            group = zarr.open_group(uri, mode=mode, zarr_format=3)  # type: ignore[arg-type]
        except (FileNotFoundError, FileExistsError, ContainsArrayError):
            raise StoreError(
                f"There is no pose store at {uri!r}. Make one: diffpose preprocess "
                f"--config configs/preprocess/mocap.yaml source.uri=FOLDER store={uri}"
            ) from None
        version = group.attrs.get("diffpose_schema")
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"The store at {uri!r} has schema version {version!r}; this code reads "
                f"{SCHEMA_VERSION}. Make it anew with this version's diffpose preprocess, or use "
                "the version that wrote it."
            )
        return PoseStore(uri, group)

    @staticmethod
    def create(uri: str, n_rows: int, span_rows: int, attributes: dict[str, Any]) -> PoseStore:
        """Create a store, or take the one that is there and make room for ``n_rows`` rows.

        Raises:
            StoreError: what is there has another schema version, or is no store.
        """
        uri = absolute(uri)
        if _group_exists(uri):
            store = PoseStore.open(uri, mode="r+")
        else:
            try:
                group = zarr.open_group(uri, mode="a", zarr_format=3)
            except (FileExistsError, ContainsArrayError):
                raise StoreError(
                    f"{uri!r} is something else than a pose store; give store= the name of a "
                    "folder to make."
                ) from None
            # The schema version goes in last: a store without it was never finished.
            group.attrs.update(
                {
                    **attributes,
                    "skeleton": {
                        "name": JOINT_LAYOUT,
                        "joints": list(JOINT_NAMES),
                        "edges": [list(edge) for edge in EDGES],
                    },
                    "frames_of_reference": FRAMES_OF_REFERENCE,
                    "code_version": diffpose.__version__,
                    "span_rows": span_rows,
                    "diffpose_schema": SCHEMA_VERSION,
                }
            )
            store = PoseStore(uri, group)
        for field in DETECTION_FIELDS:
            store.require_array("", field, n_rows)
        return store

    def require_array(self, folder: str, field: Field, n_rows: int) -> None:
        """Create the array of a field, or lengthen it to ``n_rows``."""
        name = f"{folder}/{field.name}" if folder else field.name
        existing = self._group.get(name)
        if isinstance(existing, zarr.Array):
            if existing.shape[0] < n_rows:
                existing.resize((n_rows, *field.shape))
            return
        span: int = self.span_rows
        self._group.create_array(
            name,
            shape=(n_rows, *field.shape),
            dtype=field.dtype,
            chunks=(min(field.chunk_rows, span), *field.shape),
            shards=(min(field.shard_rows, span), *field.shape),
            compressors=[ZstdCodec(level=1)] if field.compressed else None,
            fill_value=0 if field.dtype == "uint8" else float("nan"),
            attributes={
                "unit": field.unit,
                "description": field.description,
                **({"joint_layout": JOINT_LAYOUT} if N_JOINTS in field.shape else {}),
            },
            dimension_names=["row", *[f"axis_{i}" for i in range(len(field.shape))]],
        )

    @property
    def span_rows(self) -> int:
        """Rows of a span; every span is a whole number of these."""
        return int(self._group.attrs["span_rows"])  # type: ignore[arg-type]

    @property
    def attributes(self) -> dict[str, Any]:
        """The store's attributes."""
        return dict(self._group.attrs)

    def clips(self, split: str | None = None, *, done_only: bool = True) -> list[Clip]:
        """Return the clips in row order.

        Raises:
            StoreError: the store has no table of clips yet.
        """
        try:
            clips = read_clips(self.uri)
        except FileNotFoundError:
            raise StoreError(
                f"The store at {self.uri!r} has no clips.parquet: preprocessing has not come so "
                "far. Run the same diffpose preprocess command again."
            ) from None
        chosen = [
            clip
            for clip in clips
            if (split is None or clip.split == split) and (not done_only or clip.status == "done")
        ]
        return sorted(chosen, key=lambda clip: clip.first_row)

    def update_attributes(self, values: Mapping[str, Any]) -> None:
        """Set some of the store's attributes."""
        self._group.attrs.update(dict(values))

    def update_group(self, kind: str, name: str, values: Mapping[str, Any]) -> None:
        """Set some attributes of a named group of ``mixtures`` or ``contexts``.

        Raises:
            StoreError: there is no such group.
        """
        self._named_group(kind, name).attrs.update(dict(values))

    def arrays(self) -> dict[str, StoredArray]:
        """Return the arrays of the store and of its groups, by their path within it."""
        return {
            name: _described(array)
            for name, array in sorted(self._group.members(max_depth=None))
            if isinstance(array, zarr.Array)
        }

    def stored(self, name: str) -> StoredArray:
        """Return how one array is stored, for example ``pose_3d``.

        Raises:
            StoreError: there is none of that name.
        """
        return _described(self._array(name))

    def _array(self, name: str) -> zarr.Array[Any]:
        """Return one array, for example ``pose_3d`` or ``mixtures/encoder/weights``."""
        found = self._group.get(name)
        if not isinstance(found, zarr.Array):
            known = ", ".join(sorted(str(key) for key, _ in self._group.arrays()))
            raise StoreError(f"The store at {self.uri!r} has no array {name!r}; it has {known}.")
        return found

    def read(self, name: str, first: int, stop: int) -> NDArray[Any]:
        """Read rows first..stop of one array."""
        return np.asarray(self._array(name)[first:stop])

    def reader(self, name: str) -> Callable[[int, int], NDArray[Any]]:
        """Return a function of (first, stop) for many reads of a finished array.

        Its results are read-only where they are mapped from a local file; rows that are written
        later may not be seen.

        Raises:
            StoreError: there is no array of that name.
        """
        array = self._array(name)
        mapped = MappedArray.open(join(self.uri, name)) if is_local(self.uri) else None
        if mapped is not None:
            return mapped.read
        return lambda first, stop: np.asarray(array[first:stop])

    def write(self, name: str, first: int, values: NDArray[Any]) -> None:
        """Write rows from ``first`` on; the caller owns all shards that they touch."""
        self._array(name)[first : first + len(values)] = values

    def mixture_names(self) -> list[str]:
        """Return the names of the mixture groups."""
        found = self._group.get("mixtures")
        return sorted(found.group_keys()) if isinstance(found, zarr.Group) else []

    def mixture_attributes(self, name: str) -> MixtureAttributes:
        """Return what a mixture group was fitted with, and how far that went.

        Raises:
            StoreError: there is no such group, or it was only just begun.
        """
        return MixtureAttributes.of(name, self.group_attributes("mixtures", name))

    def context_attributes(self, name: str) -> ContextAttributes:
        """Return whose contexts a group holds, and which.

        Raises:
            StoreError: there is no such group.
        """
        return ContextAttributes.model_validate(self.group_attributes("contexts", name))

    def group_attributes(self, kind: str, name: str) -> dict[str, Any]:
        """Return the attributes of a named group of ``mixtures`` or ``contexts``.

        Raises:
            StoreError: there is no such group.
        """
        return dict(self._named_group(kind, name).attrs)

    def _named_group(self, kind: str, name: str) -> zarr.Group:
        found = self._group.get(f"{kind}/{name}")
        if not isinstance(found, zarr.Group):
            parent = self._group.get(kind)
            there = sorted(parent.group_keys()) if isinstance(parent, zarr.Group) else []
            raise StoreError(
                f"The store at {self.uri!r} has no {kind} {name!r} (there are: "
                f"{', '.join(there) or 'none'}). Make them with stage={kind} of diffpose train"
                f"{', or stages=mixtures of preprocess' if kind == 'mixtures' else ''}."
            )
        return found

    def log_uri(self, *parts: str) -> str:
        """Return the URI of a log file of the store."""
        return join(self.uri, "log", *parts)


def contiguous_ranges(clips: Sequence[Clip], longest: int) -> Iterator[tuple[int, int]]:
    """Join the rows of neighbouring clips and cut them into ranges of at most ``longest`` rows."""
    start = stop = -1
    for clip in [*clips, None]:
        if clip is not None and clip.first_row == stop:
            stop += clip.n_rows
            continue
        for first in range(start, stop, longest):
            yield first, min(first + longest, stop)
        if clip is not None:
            start, stop = clip.first_row, clip.first_row + clip.n_rows


def whole_clips(clips: Sequence[Clip], longest: int) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Join neighbouring clips to ranges of about ``longest`` rows without cutting one.

    Yields:
        First row, row after the last, and the rows of each clip between them. A clip longer than
        ``longest`` stands alone.
    """
    group: list[Clip] = []
    for clip in clips:
        rows = sum(c.n_rows for c in group)
        if group and (
            clip.first_row != group[-1].first_row + group[-1].n_rows or rows + clip.n_rows > longest
        ):
            yield group[0].first_row, group[0].first_row + rows, tuple(c.n_rows for c in group)
            group = []
        group.append(clip)
    if group:
        lengths = tuple(c.n_rows for c in group)
        yield group[0].first_row, group[0].first_row + sum(lengths), lengths


def _close_at_exit(store: Store) -> None:
    """Have an object store's connections closed, or aiohttp complains when the process ends."""
    fs = getattr(store, "fs", None)
    if fs is None or id(fs) in _closing:
        return
    _closing.add(id(fs))

    def close() -> None:
        client = getattr(fs, "_s3", None)
        if client is not None:
            with contextlib.suppress(Exception):  # the process ends either way
                sync(client.close(), timeout=5)

    atexit.register(close)


def _group_exists(uri: str) -> bool:
    try:
        return "diffpose_schema" in zarr.open_group(uri, mode="r", zarr_format=3).attrs
    except (FileNotFoundError, ContainsArrayError):
        return False


def _described(array: zarr.Array[Any]) -> StoredArray:
    return StoredArray(
        array.shape,
        array.chunks,
        array.shards,
        np.dtype(array.dtype),
        str(array.attrs.get("unit", "")),
        str(array.attrs.get("description", "")),
    )
