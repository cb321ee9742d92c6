"""What every kind of recording offers, ready to be planned and detected.

    recordings -> splits -> probe -> (plan) -> stages -> detections

To add a kind: its settings (a SourceKind, listed in preprocessing/settings.py) and a class of this
shape (listed in registry.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.execution.ray_stages import ActorStage, Stage
from diffpose.platform.store.clips import Clip, Split
from diffpose.preprocessing.datasets.checks import Problem
from diffpose.preprocessing.planning.plan import Probe
from diffpose.preprocessing.planning.span_row import SpanRow
from diffpose.preprocessing.records.splits import SplitSettings, assign_splits, check_patterns

_GREY = 60


@dataclass(frozen=True)
class SourceFile:
    """A recording and what it is used for.

    Attributes:
        name: of the recording within the source.
        split: that the plan gives it; a sidecar may know better.
    """

    name: str
    split: Split


class Heatmaps(NamedTuple):
    """What a detector says before any temperature.

    Attributes:
        heatmaps: (R, 17, 64, 48), at least 0, finite, each with some cell above 0.
        crops: (R, 4), where they lie in the picture, px.
        poses_mm: (R, 17, 3), the detector's own, as if it looked straight at the person; or None.
    """

    heatmaps: NDArray[np.float32]
    crops: NDArray[np.float32]
    poses_mm: NDArray[np.float32] | None = None


@dataclass
class SourceReport:
    """What a look at a source's files found.

    Attributes:
        title: of the whole.
        found: what -> how much of it, to be printed.
        problems: failed checks.
        values: the same as plain JSON values.
    """

    title: str
    found: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """A kind of recording with its settings; travels to workers."""

    @property
    def longest_span(self) -> int:
        """Rows that a task may hold, a power of two."""
        ...

    def recordings(self) -> dict[str, str]:
        """Return the recordings: name in the store -> URI.

        Raises:
            SourceError: there are none.
        """
        ...

    def splits(self, names: Sequence[str], earlier: Collection[str]) -> dict[str, Split]:
        """Return what each recording is for.

        Args:
            names: of all recordings.
            earlier: names that the store was planned with; a pattern may mean these as well.

        Raises:
            SourceError: a pattern means none.
        """
        ...

    def probe(self, files: Sequence[SourceFile]) -> list[Probe]:
        """Take a first look: each recording's clips, or why it cannot be used."""
        ...

    def stages(self, temperature: NDArray[np.float64] | None) -> list[Stage | ActorStage]:
        """Return the way from a SpanRow without arrays to one with the detection fields.

        Without temperature (17,) pictures are cut and left for ``heatmaps``.
        """
        ...

    def heatmaps(self, row: SpanRow, clip: Clip, rows: NDArray[np.integer]) -> Heatmaps:
        """Return the detector's own words on some rows of a clip, after ``stages(None)``."""
        ...

    def attributes(self) -> dict[str, Any]:
        """Return what a store of it must say of its data set; {} where it is none."""
        ...

    def frames(
        self, store_uri: str, clip: Clip, offsets: Sequence[int]
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield frames of a clip, (height, width, 3) RGB; plain grey where there are no pictures.

        Raises:
            SourceError: the recording is no longer there.
        """
        ...

    def box_heights_px(
        self, clip: Clip, truth_px: NDArray[np.float64], times_s: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the height (R,) of the person's box at some times, where joints are (R, 17, 2)."""
        ...

    def check(self) -> SourceReport:
        """Look through all files.

        Raises:
            SourceError: there are none, or they are something else.
        """
        ...


def splits_by_rule(
    names: Sequence[str], earlier: Collection[str], rule: SplitSettings, seed: int
) -> dict[str, Split]:
    """Split recordings by ``split.*``; see Source.splits."""
    check_patterns({*names, *earlier}, rule)
    return assign_splits(names, rule, seed)


class WithoutPictures:
    """What sources have in common whose heatmaps are drawn from something else than pictures."""

    def heatmaps(self, row: SpanRow, clip: Clip, rows: NDArray[np.integer]) -> Heatmaps:
        """Return what was drawn."""
        del clip
        heatmaps = row.arrays["heatmaps"][rows].astype(np.float32)
        return Heatmaps(heatmaps, row.arrays["heatmap_crop"][rows])

    def attributes(self) -> dict[str, Any]:
        """Return nothing: it is no data set with rules of its own."""
        return {}

    def frames(
        self, store_uri: str, clip: Clip, offsets: Sequence[int]
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield plain grey."""
        del store_uri
        for _ in offsets:
            yield np.full((clip.height, clip.width, 3), _GREY, np.uint8)

    def box_heights_px(
        self, clip: Clip, truth_px: NDArray[np.float64], times_s: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return how high the joints reach."""
        del clip, times_s
        return joint_heights_px(truth_px)


def joint_heights_px(truth_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how high the joints (R, 17, 2) reach, (R,), at least 1."""
    return np.asarray(np.maximum(np.ptp(truth_px[..., 1], axis=1), 1.0))
