"""The table of clips: what each range of rows in a pose store is, and how its making went."""

from __future__ import annotations

import io
import uuid
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from diffpose.platform.base.storage import join, read_bytes, write_bytes

Split = Literal["train", "validation", "test"]
Status = Literal["pending", "done", "failed"]
FILE_NAME = "clips.parquet"


class Clip(BaseModel, frozen=True, extra="forbid"):
    """One person's motion seen by one camera: contiguous rows of the store.

    Clips of one source, camera and track follow each other where ``first_frame`` does.
    """

    clip: str  # uuid5 of source, range and camera: the same in every run
    source: str  # path below the source folder
    subject: str
    action: str
    camera: str
    track: int = 0  # the person within the source; stable over its clips
    split: Split
    fps: float
    width: int
    height: int
    first_frame: int  # within the source, at the store's frame rate
    first_row: int
    n_rows: int
    status: Status = "pending"
    error: str = ""


_SCHEMA = pa.schema(
    [
        ("clip", pa.string()),
        ("source", pa.string()),
        ("subject", pa.string()),
        ("action", pa.string()),
        ("camera", pa.string()),
        ("track", pa.int32()),
        ("split", pa.string()),
        ("fps", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("first_frame", pa.int64()),
        ("first_row", pa.int64()),
        ("n_rows", pa.int64()),
        ("status", pa.string()),
        ("error", pa.string()),
    ]
)


def clip_id(source: str, first_frame: int, n_rows: int, camera: str) -> str:
    """Return the clip's id, a uuid5: a rerun overwrites instead of duplicating."""
    name = f"{source}#{first_frame}+{n_rows}@{camera}"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def write_clips(store_uri: str, clips: list[Clip]) -> None:
    """Write clips.parquet atomically."""
    table = pa.Table.from_pylist([clip.model_dump() for clip in clips], schema=_SCHEMA)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_bytes(join(store_uri, FILE_NAME), buffer.getvalue())


def read_clips(store_uri: str) -> list[Clip]:
    """Read clips.parquet.

    Raises:
        FileNotFoundError: the store has none yet.
    """
    table = pq.read_table(io.BytesIO(read_bytes(join(store_uri, FILE_NAME))))
    return [Clip.model_validate(row) for row in table.to_pylist()]
