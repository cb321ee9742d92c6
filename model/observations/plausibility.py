"""Do a detector's observations of one person hold together, as those of a body that it knows do?

A detector that never saw such pictures is rarely silent: it is unsure, its joints leap from frame
to frame, and with them the bones' lengths in the picture. No truth is needed to see that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import bone_lengths
from diffpose.model.heatmaps.grid import CROP_PADDING, HEIGHT, crop_middles

# Frames further apart say nothing: a body moves that much.
_NEAR_S = 0.15
# Bones shorter than this share of the person are seen end on, and may change by any factor.
_SHORTEST = 0.04
# A third of its length: what a bone of the picture does not gain or lose in one frame.
CHANGE = 1.0 / 3.0


@dataclass(frozen=True)
class Plausibility:
    """Figures of one person's track; NaN where there is nothing to judge by.

    Attributes:
        confidence: median over frames and joints of the heatmap's share around its peak, 0 .. 1.
        bones: share of bones whose length in the picture changes by more than a third of its
            median from one frame to the next, 0 .. 1.
        boxes: 90th percentile of the speed of the person's box, in its own heights per second.
    """

    confidence: float
    bones: float
    boxes: float

    def doubts(self) -> list[str]:
        """Return what speaks against the observations, each with its figure and limit."""
        found = []
        if self.confidence < LEAST_CONFIDENCE:
            found.append(f"median confidence {self.confidence:.2f} (rendered films: above "
                         f"{LEAST_CONFIDENCE:g})")  # fmt: skip
        if self.bones > MOST_BONES:
            found.append(f"{self.bones:.0%} of the bones change by a third from frame to frame "
                         f"(rendered films: below {MOST_BONES:.0%})")  # fmt: skip
        if self.boxes > MOST_SPEED:
            found.append(f"the person's box moves {self.boxes:.1f} of its heights per second "
                         f"(rendered films: below {MOST_SPEED:g})")  # fmt: skip
        return found


# The bundled detector on ten rendered films: confidence 1.00, bones 0.5 to 5.5 %, boxes 0.2 to 0.8;
# on four films of a real person: 0.32 to 0.38, 23 to 39 %, 0.1 to 0.8. Boxes tell only of a track
# that leaps from one thing to another.
LEAST_CONFIDENCE, MOST_BONES, MOST_SPEED = 0.6, 0.2, 2.5


def plausibility(
    keypoints_px: NDArray[np.floating],
    confidence: NDArray[np.floating],
    crops: NDArray[np.floating],
    timestamp_s: NDArray[np.floating],
) -> Plausibility:
    """Measure one person's observations.

    Args:
        keypoints_px: (T, 17, 2), in the order of time.
        confidence: (T, 17), share of the heatmap's mass around its peak.
        crops: (T, 4), of the heatmaps: cut around the person's box.
        timestamp_s: (T,).
    """
    boxes = np.asarray(crops, dtype=np.float64)
    height = boxes[:, 3] * HEIGHT / CROP_PADDING
    step_s = np.diff(np.asarray(timestamp_s, dtype=np.float64))
    near = (step_s > 0) & (step_s <= _NEAR_S)
    lengths = bone_lengths(keypoints_px) / height[:, None]
    typical = np.median(lengths, axis=0) if len(lengths) else np.zeros(lengths.shape[1])
    long_enough = typical > _SHORTEST
    changes = np.abs(np.diff(lengths, axis=0))[near][:, long_enough]
    moved = np.linalg.norm(np.diff(crop_middles(boxes), axis=0), axis=-1)[near] / height[1:][near]
    return Plausibility(
        confidence=float(np.median(confidence)) if np.size(confidence) else float("nan"),
        bones=float((changes > CHANGE * typical[long_enough]).mean())
        if changes.size
        else float("nan"),
        boxes=float(np.percentile(moved / step_s[near], 90)) if len(moved) else float("nan"),
    )
