"""What answers: the interface of every lifter, whichever networks it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.model.lifting.prediction import Lifted
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.lifting.smoothing import smoothed_as_asked
from diffpose.model.networks.context import Context
from diffpose.model.observations.detections import Detections
from diffpose.model.observations.initial_distribution import Observations
from diffpose.model.refinement.detected_pose import surer_by
from diffpose.model.refinement.map_refinement import refine
from diffpose.model.uncertainty.familiarity import Regions
from diffpose.model.uncertainty.transport import matched

# Activations of more leave a processor's cache; with many hypotheses they would fill the memory.
FRAMES_PER_PASS = 128


@dataclass(frozen=True)
class Pass:
    """What the networks see of B frames in one pass: as they are, or their mirror images.

    Attributes:
        detections: of the frames or their images.
        context: what the context encoder makes of them.
        mirrored: of their images.
    """

    detections: Detections
    context: Context
    mirrored: bool = False

    def rows(self, rows: slice) -> Pass:
        """Return the pass of some of the frames."""
        return Pass(self.detections.rows(rows), self.context.rows(rows), self.mirrored)


class Lifter(Protocol):
    """A trained run's networks, ready to answer."""

    errors_mm2: NDArray[np.float64] | None
    """S of map_refinement, (48, 48), where it was measured."""
    regions: Regions | None
    """From the hypotheses' covariances to those of the errors, where that was fitted."""
    runs_on: tuple[str, ...]
    """Kinds of devices that the networks can be moved to."""
    grid: tuple[int, ...]
    """Visited steps, the first one first, 0 last."""

    def to(self, device: torch.device) -> Lifter:
        """Move the networks; observations and answers stay arrays.

        Raises:
            ValueError: they do not run on such a device.
        """
        ...

    def lift(
        self,
        observations: Observations,
        sampling: SamplingSettings,
        seeds: NDArray[np.uint64],
        lengths: Sequence[int] | None = None,
        passes: Sequence[Pass] | None = None,
        chunk: int | None = None,
    ) -> Lifted:
        """Lift B frames.

        Args:
            observations: detections.
            sampling: what the lifter can take of it.
            seeds: (B,), one per frame; the answer does not depend on the batch a frame is in.
            lengths: frames of the sequences that these are, one after the other, for encoders of
                windows; default: one sequence.
            passes: what self.passes returned for these frames, where it was computed before.
            chunk: frames per pass.

        Raises:
            ValueError: there are no frames, or the numbers of frames do not agree.
        """
        ...

    def passes(
        self,
        observations: Observations,
        sampling: SamplingSettings,
        lengths: Sequence[int] | None = None,
    ) -> list[Pass]:
        """Return what the networks see of B frames; heatmaps may be left out."""
        ...

    def refined(
        self,
        lifted: Lifted,
        detections: Detections,
        sampling: SamplingSettings,
        lengths: Sequence[int] | None = None,
        time_s: NDArray[np.floating] | None = None,
    ) -> Lifted:
        """Move answers as ``sampling.refine`` and ``smooth`` say: see refined_as_asked."""
        ...


def refined_as_asked(
    lifted: Lifted,
    detections: Detections,
    sampling: SamplingSettings,
    errors_mm2: NDArray[np.float64] | None,
    lengths: Sequence[int] | None = None,
    *,
    regions: Regions | None = None,
    time_s: NDArray[np.floating] | None = None,
) -> Lifted:
    """Move answers to where heatmaps and bone lengths want them, and smooth them over time.

    Each only if ``sampling`` says.

    Args:
        lifted: B frames.
        detections: of these.
        sampling: ``refine`` and ``smooth`` count.
        errors_mm2: of the run on known poses.
        lengths: frames of the sequences that these are; default: one.
        regions: from the hypotheses' covariances to those of the errors.
        time_s: (B,), when the frames were taken.

    Raises:
        ValueError: the run's errors on known poses were not measured; or the frames' times are not
            known.
    """
    moved = _refined(lifted, detections, sampling, errors_mm2, lengths)
    if sampling.smooth == "none":
        return moved
    return smoothed_as_asked(moved, sampling, errors_mm2, regions, lengths, time_s)


def _refined(
    lifted: Lifted,
    detections: Detections,
    sampling: SamplingSettings,
    errors_mm2: NDArray[np.float64] | None,
    lengths: Sequence[int] | None,
) -> Lifted:
    if sampling.refine == "none":
        return lifted
    if errors_mm2 is None:
        raise ValueError(
            f"refine={sampling.refine} needs the errors of this run on known poses, which its "
            "recalibration holds (diffpose train fits it after the denoiser). Take refine=none."
        )
    whole = lengths if lengths is not None else [len(lifted.pose_mm)]
    detections = detections.to(torch.device("cpu"))
    if detections.detected_mm is not None:
        ratio = surer_by(errors_mm2, detections.detected_mm.numpy())
        same = lifted.pose_mm
        lifted = lifted.smoothed(same, matched(lifted.hypotheses_mm, same, same, ratio))
    pose_mm, root_mm = refine(
        lifted.pose_mm,
        lifted.root_mm,
        detections,
        errors_mm2,
        whole if sampling.refine == "clip" else None,
    )
    return lifted.moved(pose_mm, root_mm)
