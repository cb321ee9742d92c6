"""What the denoiser is told of a frame besides h_k: computed once, whatever N and the steps are.

Axis legend: B frames, J = 17 joints, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from diffpose.model.networks.encoders import ContextEncoder
from diffpose.model.observations.detections import Detections, condition


@dataclass(frozen=True)
class Context:
    """What the denoiser knows of B frames besides h_k.

    Attributes:
        features: f_ST, (B, J, C).
        pose_mm: the context encoder's pose, (B, J, 3).
        translation_mm: root position that projects this pose onto the detections, (B, 3).
        conditions: detections.condition, (B, J, 9).
    """

    features: Tensor
    pose_mm: Tensor
    translation_mm: Tensor
    conditions: Tensor

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.pose_mm)

    def rows(self, part: slice) -> Context:
        """Return some of the frames."""
        return Context(
            self.features[part],
            self.pose_mm[part],
            self.translation_mm[part],
            self.conditions[part],
        )

    def repeated(self, n: int) -> Context:
        """Return the context with each frame n times in a row."""
        return Context(
            *(
                part.repeat_interleave(n, dim=0)
                for part in (self.features, self.pose_mm, self.translation_mm, self.conditions)
            )
        )


def encode_context(
    encoder: ContextEncoder,
    detections: Detections,
    lengths: Sequence[int] | None = None,
    steps_s: NDArray[np.floating] | None = None,
) -> Context:
    """Run the frozen context encoder and put the heatmaps' claims beside it.

    Args:
        encoder: of single frames or of windows.
        detections: B frames.
        lengths: frames of the sequences that they are, one after the other; default: one sequence.
            Encoders of single frames do not look at it.
        steps_s: time from frame to frame of each, in s, NaN where it is not known.
    """
    features, pose_mm = encoder.poses_mm(detections.rays, lengths, steps_s)
    return context_of(features, pose_mm, detections)


def context_of(features: Tensor, pose_mm: Tensor, detections: Detections) -> Context:
    """Put the heatmaps' claims beside what an encoder said before."""
    translation = detections.translation_mm(pose_mm)
    return Context(features, pose_mm, translation, condition(detections, pose_mm, translation))
