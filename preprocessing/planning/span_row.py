"""What travels between stages for one span: its plan, its arrays as they come to be, its failures.

A clip that fails is recorded in the row and its rows stay unknown; the span goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.model.heatmaps import grid as hm
from diffpose.platform.base.storage import write_json
from diffpose.platform.execution.ray_stages import Stage
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.fields import Field
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.planning.plan import Span, SpanMarker

Arrays = dict[str, NDArray[Any]]


@dataclass
class SpanRow:
    """A span on its way.

    Attributes:
        span: which rows and clips.
        arrays: name of a field -> (R, ...), R the span's rows.
        errors: clip -> why it could not be made.
        skipped: clips that an earlier stage could not make: nothing is known to work on.
    """

    span: Span
    arrays: Arrays = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    def with_blank(self, fields: Iterable[Field]) -> SpanRow:
        """Return the row with arrays in which nothing is known yet: NaN, or 0 in bytes."""
        n_rows = self.span.n_rows
        blank = {
            f.name: np.full((n_rows, *f.shape), 0 if f.dtype == "uint8" else np.nan, dtype=f.dtype)
            for f in fields
        }
        return SpanRow(self.span, blank, dict(self.errors), self.skipped)

    def rows_of(self, clip: Clip) -> slice:
        """Return where a clip's rows lie in the arrays."""
        first = clip.first_row - self.span.first_row
        return slice(first, first + clip.n_rows)

    def fill(self, clip: Clip, values: Mapping[str, NDArray[Any]]) -> None:
        """Put a clip's values into its rows."""
        for name, value in values.items():
            self.arrays[name][self.rows_of(clip)] = value

    def clear(self, clip: Clip, names: Iterable[str]) -> None:
        """Make a clip's rows unknown again."""
        for name in names:
            self.arrays[name][self.rows_of(clip)] = np.nan

    def good_clips(self) -> list[Clip]:
        """Return the clips that neither failed nor were skipped."""
        left_out = {*self.errors, *self.skipped}
        return [clip for clip in self.span.clips if clip.clip not in left_out]


@dataclass(frozen=True)
class SpanDone:
    """How a span ended.

    Attributes:
        rows: frames of the good clips.
        failed: clips that failed.
    """

    rows: int
    failed: int


def make_write_fn(store_uri: str, log_uri: str, group: str = "") -> Stage:
    """Return a stage that writes a span's shards, then its done marker.

    Args:
        store_uri: the store.
        log_uri: folder of the markers.
        group: path of the group within the store that holds the arrays; "": the store itself.
    """

    def write(row: SpanRow) -> SpanDone:
        span = row.span
        store = PoseStore.open(store_uri, mode="r+")
        for name, values in row.arrays.items():
            store.write(f"{group}/{name}" if group else name, span.first_row, values)
        # The marker comes last: a span without one is simply done again.
        marker = SpanMarker(span=span.span, errors=row.errors, skipped=list(row.skipped))
        write_json(f"{log_uri}/span_{span.span:06d}.json", marker.model_dump(mode="json"))
        return SpanDone(sum(clip.n_rows for clip in row.good_clips()), len(row.errors))

    return write


def summary_of(heatmaps: NDArray[np.uint8], crops: NDArray[np.float32]) -> Arrays:
    """Return the store's fields of a clip's heatmaps (R, 17, 64, 48) with their crops (R, 4)."""
    keypoints, confidence, modes = hm.summarise(heatmaps, crops)
    return {
        "keypoints_2d": keypoints,
        "confidence": confidence,
        "heatmap_modes": modes,
        "heatmap_crop": crops,
        "heatmaps": heatmaps,
    }
