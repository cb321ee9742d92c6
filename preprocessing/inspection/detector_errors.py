"""Comparing a detector with known truth: coverage per temperature, keypoint errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.model.geometry.body import hidden_by_own_body
from diffpose.model.geometry.pinhole import project
from diffpose.model.heatmaps import grid as hm
from diffpose.model.heatmaps.temperature import TruthCounts, locate_truth, quantised
from diffpose.model.heatmaps.uncertain_truth import locate_uncertain_truth
from diffpose.platform.execution.ray_stages import Stage
from diffpose.platform.store.clips import Clip, Split
from diffpose.preprocessing.planning.span_row import SpanRow
from diffpose.preprocessing.sources.interface import Source

TEMPERATURES = np.geomspace(0.4, 4.0, 41)


@dataclass(frozen=True)
class DetectorErrors:
    """What was found on n frames with known truth.

    Attributes:
        counts: where the truth lies in the heatmaps, for each of TEMPERATURES.
        error_in_boxes: (n, 17), the keypoints' distance from the truth over the box's height.
        hidden: (n, 17), whether the person's own body is before the joint.
    """

    counts: TruthCounts
    error_in_boxes: NDArray[np.float64]
    hidden: NDArray[np.bool_]

    @staticmethod
    def joined(parts: Sequence[DetectorErrors]) -> DetectorErrors:
        """Put what was found in parts of the data together."""
        return DetectorErrors(
            TruthCounts.total([part.counts for part in parts]),
            np.concatenate([part.error_in_boxes for part in parts]),
            np.concatenate([part.hidden for part in parts]),
        )


class Compared(NamedTuple):
    """A span's errors, None where no truth is known in it, and its split."""

    split: Split
    errors: DetectorErrors | None


class TruthsOwnErrors(Protocol):
    """Of truths that were measured: how far off they may be themselves."""

    def __call__(self, clip: Clip, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return covariances (R, 17, 2, 2), px^2, of the true joints' places in the picture."""
        ...


def make_compare_fn(source: Source, every: int, own_errors: TruthsOwnErrors | None = None) -> Stage:
    """Return a stage that turns a span into errors on its frames with known truth.

    It follows ``source.stages(None)``.

    Args:
        source: whose detector is judged.
        every: take each such frame.
        own_errors: of the truth, where it was measured; None: it is exact.
    """

    def compare(row: SpanRow) -> Compared:
        torch.set_num_threads(1)
        parts: list[DetectorErrors] = []
        for clip in row.good_clips():
            place = row.rows_of(clip)
            rows = np.arange(place.start, place.stop, every)
            known = rows[np.isfinite(row.arrays["pose_3d"][rows]).all(axis=(1, 2))]
            if len(known) == 0:
                continue
            heatmaps, crops, _ = source.heatmaps(row, clip, known)
            joints_mm = row.arrays["pose_3d"][known] + row.arrays["root_position"][known, None]
            truth_px = project(joints_mm.astype(np.float64), row.arrays["camera"][known, None])
            keypoints, _, _ = hm.summarise(quantised(heatmaps, np.ones(17)), crops)
            times_s = row.arrays["timestamp_s"][known]
            height = source.box_heights_px(clip, truth_px, times_s)
            if own_errors is None:
                located = locate_truth(heatmaps, crops, truth_px, TEMPERATURES)
            else:
                spread = own_errors(clip, times_s)
                located = locate_uncertain_truth(heatmaps, crops, truth_px, spread, TEMPERATURES)
            off = np.linalg.norm(keypoints - truth_px, axis=-1) / height[:, None]
            hidden = hidden_by_own_body(joints_mm)
            parts.append(DetectorErrors(located.counted(), off, hidden))
        split = row.span.clips[0].split
        return Compared(split, DetectorErrors.joined(parts) if parts else None)

    return compare
