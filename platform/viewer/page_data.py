"""What the viewer page knows of the answers, as JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import EDGES, JOINT_NAMES, LEFT, RIGHT
from diffpose.platform.answers.answer import Answer
from diffpose.platform.base.errors import SourceError
from diffpose.platform.viewer.geometry import cholesky_factors, scene_of
from diffpose.platform.viewer.packing import packed_flags, packed_floats, packed_steps

# Ghosts beside an answer: more than that is a cloud, and most of the page's size.
MOST_HYPOTHESES = 8
_HYPOTHESES_BYTES = 8_000_000
# Keys of Answer.quality whose texts are warnings; all others are figures.
_WARNINGS = ("warnings", "warning", "doubts", "doubt")


class AngleSeries(NamedTuple):
    """An angle over the frames of an answer.

    Attributes:
        value: (T,); NaN: unknown.
        low, high: (T,), ends of its error bar.
        unit: of all three.
    """

    value: NDArray[np.floating]
    low: NDArray[np.floating]
    high: NDArray[np.floating]
    unit: str = "deg"


Angles = Mapping[str, AngleSeries]


def page_data(answers: Sequence[Answer], angles: Sequence[Angles]) -> dict[str, Any]:
    """Return everything that the page shows but the film.

    Args:
        answers: of one film, at least one.
        angles: of each answer, by name.

    Raises:
        SourceError: there is no answer, one has no frames, or angles are of another length.
    """
    if not answers:
        raise SourceError("There is no answer to look at; give at least one.")
    first = answers[0]
    scene = scene_of(answers)
    budget = _HYPOTHESES_BYTES // len(answers)
    return {
        "joints": list(JOINT_NAMES),
        "edges": [list(edge) for edge in EDGES],
        "left": list(LEFT),
        "right": list(RIGHT),
        "width": first.width,
        "height": first.height,
        "fps": first.fps,
        "scene": {
            "rotation": np.round(scene.frame.rotation, 7).ravel().tolist(),
            "origin_mm": np.round(scene.frame.origin_mm, 2).tolist(),
            "floor": scene.has_floor,
            "name": scene.name,
            "axes": scene.frame.axes,
        },
        "camera_px": np.round(np.median(first.camera_px, axis=0), 2).tolist(),
        "people": [
            _person(answer, own, budget) for answer, own in zip(answers, angles, strict=True)
        ],
    }


def _person(answer: Answer, angles: Angles, budget: int) -> dict[str, Any]:
    if len(answer) == 0:
        raise SourceError(f"The answer of {answer.source!r}, person {answer.person}, has no frame.")
    values: dict[str, Any] = {
        "name": f"person {answer.person}",
        "calibrated": answer.calibrated,
        "note": answer.note,
        "warnings": quality_warnings(answer.quality),
        "figures": quality_figures(answer.quality),
        # a page counts in binary64, and a frame is found by its time
        "time_s": np.round(answer.timestamp_s.astype(np.float64), 5).tolist(),
        "frame": answer.frame.astype(int).tolist(),
        "poses_mm": packed_steps(answer.poses_mm, 0.1),
        "root_mm": packed_floats(answer.root_mm),
        "std_mm": packed_steps(answer.std_mm, 0.1),
        "keypoints_px": packed_steps(answer.keypoints_px, 0.1),
        "confidence": packed_steps(answer.confidence, 1e-3),
        "seen": packed_flags(answer.seen),
        "camera_px": packed_floats(answer.camera_px),
        "radius": {k: float(v) for k, v in (answer.ellipsoid_radius or {}).items()},
        "angles": [_angle(answer, name, series) for name, series in angles.items()],
    }
    if answer.covariance_mm2 is not None:
        values["factor_mm"] = packed_steps(cholesky_factors(answer.covariance_mm2), 0.1)
    if answer.hypotheses_mm is not None:
        fitting = budget // max(answer.hypotheses_mm[:, :1].size * 2, 1)
        kept = min(answer.hypotheses_mm.shape[1], MOST_HYPOTHESES, fitting)
        if kept:  # they are drawn alike: the first ones are as good as any
            values["hypotheses_mm"] = packed_steps(answer.hypotheses_mm[:, :kept], 1.0)
    return values


def _angle(answer: Answer, name: str, series: AngleSeries) -> dict[str, Any]:
    arrays = [np.asarray(part, dtype=np.float64) for part in series[:3]]
    for part in arrays:
        if part.shape != (len(answer),):
            raise SourceError(
                f"The angle {name!r} has values of shape {part.shape} for {len(answer)} frames of "
                f"{answer.source!r}, person {answer.person}; give one value a frame."
            )
    packed = [packed_steps(part, 0.01) for part in arrays]
    return {
        "name": name, "unit": series.unit, "value": packed[0], "low": packed[1], "high": packed[2],
    }  # fmt: skip


def quality_warnings(quality: Mapping[str, Any]) -> list[str]:
    """Return the warnings among an answer's quality, as sentences."""
    found: list[str] = []
    for key in _WARNINGS:
        value = quality.get(key)
        if isinstance(value, str):
            found += [value] if value else []
        elif isinstance(value, Sequence):
            found += [str(one) for one in value]
    return found


def quality_figures(quality: Mapping[str, Any]) -> dict[str, str]:
    """Return the numbers among an answer's quality as texts."""
    figures = {}
    for key, value in quality.items():
        if isinstance(value, bool):
            figures[key] = "yes" if value else "no"
        elif isinstance(value, int | float) and math.isfinite(value):
            figures[key] = f"{value:.4g}"
    return {key.replace("_", " "): text for key, text in figures.items() if key not in _WARNINGS}
