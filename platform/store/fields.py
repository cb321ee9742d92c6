"""What the arrays of a pose store are: fields, their units, how their rows are grouped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# A task holds a span in memory: 4096 rows of heatmaps are 214 MB.
SMALLEST_SPAN, LARGEST_SPAN = 64, 4096


@dataclass(frozen=True)
class Field:
    """One array of the store; ``shape`` is without the row axis.

    Chunks and shards are upper bounds in rows, cut to the span where that is smaller. They were
    chosen by measurement: uncompressed 1024-row chunks read fastest for small fields, factors want
    at least 256-row chunks, and only heatmaps shrink much under a codec (to a sixteenth).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    unit: str
    description: str
    chunk_rows: int = 1024
    shard_rows: int = 4096
    compressed: bool = False


DETECTION_FIELDS: tuple[Field, ...] = (
    Field("keypoints_2d", (17, 2), "float32", "px", "detected joints, image frame"),
    Field("confidence", (17,), "float32", "1", "share of the heatmap's mass around its peak"),
    Field(
        "heatmap_modes",
        (17, 7),
        "float32",
        "px",
        "x, y, sigma of the first mode, x, y, sigma of the second, weight (0..1) of the second",
    ),
    Field("heatmap_crop", (4,), "float32", "px", "corner x, y and cell width, height of the crop"),
    Field(
        "heatmaps",
        (17, 64, 48),
        "uint8",
        "1",
        "probability, peak at 255",
        64,
        1024,
        compressed=True,
    ),
    Field("pose_3d", (17, 3), "float32", "mm", "root-relative, camera frame; NaN where unknown"),
    Field("root_position", (3,), "float32", "mm", "camera frame; NaN where unknown"),
    Field("camera", (4,), "float32", "px", "fx, fy, cx, cy"),
    Field("timestamp_s", (), "float64", "s", "time within the recording"),
)

# Only in stores whose detector gives poses itself.
DETECTED_POSE = Field(
    "detected_pose", (17, 3), "float32", "mm", "the detector's own, root-relative, camera frame"
)


def span_rows_for(total_rows: int) -> int:
    """Return the rows of a span: a power of two, some 64 spans, within 64 and 4096 rows."""
    rows = SMALLEST_SPAN
    while rows < LARGEST_SPAN and rows * 64 < total_rows:
        rows *= 2
    return rows


@dataclass(frozen=True)
class StoredArray:
    """How an array lies in the store; shapes are with the row axis.

    Attributes:
        shape: of all rows.
        chunks: shape of what is compressed together.
        shards: shape of what is one file; None where each chunk is.
        dtype: of the numbers.
        unit: of the numbers.
        description: of their meaning.
    """

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    dtype: np.dtype[Any]
    unit: str
    description: str

    @property
    def row_bytes(self) -> int:
        """Return the size of a row in memory."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
