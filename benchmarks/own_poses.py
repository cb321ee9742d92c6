"""What a detector says of 3D by itself, where it does."""

from __future__ import annotations

from typing import Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.platform.base.progress import Progress
from diffpose.preprocessing.detectors.interface import PixelDetectorKind
from diffpose.preprocessing.detectors.registry import pixel_detector
from diffpose.preprocessing.pipeline import make_plan
from diffpose.preprocessing.planning.span_row import SpanRow
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.sources.registry import source_of
from diffpose.preprocessing.sources.video_detection import CutSpan


@runtime_checkable
class DetectsSpace(Protocol):
    """A detector of pictures that also answers 3D poses of its own."""

    def world_landmarks_mm(
        self, pixels: NDArray[np.uint8], windows: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Return (B, 17, 3), H36M-17 order, root-relative, mm; x right, y down, z away."""
        ...


def own_poses_mm(
    settings: PreprocessSettings, film: str, rows: NDArray[np.integer]
) -> NDArray[np.float64] | None:
    """Return the detector's own poses of rows of a film, (R, 17, 3); None where it has none.

    Pictures are cut as they were for the store.

    Args:
        settings: of the preprocessing that made the store.
        film: its name in the store.
        rows: of the store.
    """
    if settings.detector.reads != "pictures":
        return None
    detector = pixel_detector(cast(PixelDetectorKind, settings.detector), "cpu")
    if not isinstance(detector, DetectsSpace):
        return None
    source = source_of(settings)
    plan = make_plan(settings, source)
    found = np.full((len(rows), N_JOINTS, 3), np.nan)
    progress = Progress(f"own 3D, {film}", len(rows), "frames")
    for span in plan.spans:
        here = np.flatnonzero((rows >= span.first_row) & (rows < span.first_row + span.n_rows))
        if len(here) == 0 or all(clip.source != film for clip in span.clips):
            continue
        row = SpanRow(span)
        for stage in source.stages(None):
            row = stage(row)  # type: ignore[operator]  # without temperatures there are no actors
        cut = cast(CutSpan, row)
        at = rows[here] - span.first_row
        for first in range(0, len(here), 16):
            part = at[first : first + 16]
            found[here[first : first + 16]] = detector.world_landmarks_mm(
                cut.pixels[part], cut.windows[part]
            )
            progress.advance(len(part))
    return found
