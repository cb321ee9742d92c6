"""From what a lifter returned to an answer: claims, what was not seen, known facts, doubts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.model.lifting.facts import scale_to_height
from diffpose.model.lifting.prediction import Lifted
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.observations.plausibility import plausibility
from diffpose.platform.answers.answer import Answer
from diffpose.platform.answers.files import claimed_std_mm
from diffpose.platform.answers.quality import quality
from diffpose.platform.prediction.unseen import covering_unseen, spread_mm
from diffpose.platform.runs.uncertainty_file import Recalibration, predict_uncertainty

# A joint that was not detected has a heatmap as wide as a quarter of the person: some 2 % of its
# mass lie around its peak; of a detected one 10 % and more.
LEAST_SEEN = 0.05


@dataclass(frozen=True)
class Film:
    """Of whom an answer is.

    Attributes:
        source: name of the film or keypoint file.
        person: number among its people.
        width, height: of its images, px.
        fps: frames per second.
        model: run that answers.
    """

    source: str
    person: int
    width: int
    height: int
    fps: float
    model: str


def assembled(
    lifted: Lifted,
    seen: Mapping[str, NDArray[Any]],
    film: Film,
    sampling: SamplingSettings,
    recalibration: Recalibration | None,
    *,
    crops: NDArray[np.floating],
    height_m: float | None = None,
    when_in_doubt: str | None = None,
) -> Answer:
    """Return the answer of one person's T frames.

    Args:
        lifted: T frames.
        seen: keypoints_px (T, 17, 2), confidence (T, 17), camera_px (T, 4), timestamp_s (T,) and
            frame (T,).
        film: whose.
        sampling: how it was lifted.
        recalibration: of the run.
        crops: (T, 4), of the heatmaps.
        height_m: standing height of the person, where it is known.
        when_in_doubt: what to say where the observations do not hold together; such answers do not
            claim to be calibrated. None: not asked.
    """
    arrays: dict[str, Any] = dict(seen)
    arrays["seen"] = arrays["confidence"] >= LEAST_SEEN
    hypotheses = covering_unseen(lifted.hypotheses_mm, arrays["seen"])
    arrays |= {
        "poses_mm": lifted.pose_mm,
        "spread_mm": spread_mm(hypotheses).astype(np.float32),
        "root_mm": lifted.root_mm,
        "hypotheses_mm": hypotheses,
    }
    uncertainty = predict_uncertainty(hypotheses, sampling, recalibration)
    if uncertainty.covariance_mm2 is not None:
        arrays["covariance_mm2"] = uncertainty.covariance_mm2.astype(np.float32)
    if height_m is not None:
        arrays |= scaled(arrays, scale_to_height(lifted.pose_mm, height_m))
    arrays["std_mm"] = claimed_std_mm(arrays.get("covariance_mm2"), arrays["spread_mm"])
    figures = plausibility(
        arrays["keypoints_px"], arrays["confidence"], crops, arrays["timestamp_s"]
    )
    warning = ""
    if when_in_doubt is not None and (found := figures.doubts()):
        warning = f"the detections do not hold together: {'; '.join(found)}. {when_in_doubt}"
        # what was fitted to observations that hold together says nothing here
        note = ". ".join([warning, *([uncertainty.note] if uncertainty.note else [])])
        uncertainty = dataclasses.replace(uncertainty, calibrated=False, note=note)
    return Answer(
        **arrays,
        **{name: getattr(film, name) for name in ("source", "person", "width", "height", "fps")},
        model=film.model,
        calibrated=uncertainty.calibrated,
        note=uncertainty.note,
        ellipsoid_radius=uncertainty.claims()["ellipsoid_radius"],
        quality=quality(arrays["poses_mm"], arrays["confidence"], arrays["seen"], figures, warning),
    )


def scaled(arrays: dict[str, NDArray[Any]], factor: float) -> dict[str, NDArray[Any]]:
    """Return poses, places and covariances of a person who is ``factor`` times as tall.

    Along the rays: nothing moves in the picture.
    """
    powers = dict.fromkeys(("poses_mm", "spread_mm", "root_mm", "hypotheses_mm"), 1)
    powers["covariance_mm2"] = 2
    return {
        name: (arrays[name] * factor**power).astype(np.float32)
        for name, power in powers.items()
        if name in arrays
    }
