"""Pseudo-subjects: one recorded skeleton becomes many bodies.

Motion libraries are often retargeted to a single skeleton; with one body only, the scale ambiguity
of a single view would vanish. Bone directions are kept, bone lengths are scaled, left and right
alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from diffpose.model.geometry.skeleton import EDGES, N_JOINTS
from diffpose.model.lifting.facts import stature_mm
from diffpose.platform.base.config import Settings
from diffpose.preprocessing.records.seeds import generator

# One factor per part of the body; bones that share a part scale together.
_PART_OF_BONE: dict[tuple[int, int], str] = {
    (0, 1): "hip",
    (1, 2): "thigh",
    (2, 3): "shin",
    (0, 4): "hip",
    (4, 5): "thigh",
    (5, 6): "shin",
    (0, 7): "lower_trunk",
    (7, 8): "upper_trunk",
    (8, 9): "neck",
    (9, 10): "head",
    (8, 11): "shoulder",
    (11, 12): "upper_arm",
    (12, 13): "forearm",
    (8, 14): "shoulder",
    (14, 15): "upper_arm",
    (15, 16): "forearm",
}
PARTS: tuple[str, ...] = tuple(sorted(set(_PART_OF_BONE.values())))


class BodySettings(Settings):
    """Pseudo-subjects; those of different splits are different bodies."""

    train: int = Field(10, ge=1, description="bodies of the training split")
    validation: int = Field(2, ge=1, description="bodies of the validation split")
    test: int = Field(4, ge=1, description="bodies of the test split")
    height_m: tuple[float, float] | None = Field(
        None,
        description="standing height from .. to, instead of smallest .. tallest: the middle is "
        "common, the ends are rare, as among people",
    )
    smallest: float = Field(0.95, gt=0.3, lt=3, description="smallest factor of the whole body")
    tallest: float = Field(1.12, gt=0.3, lt=3, description="largest factor of the whole body")
    limb_variation: float = Field(0.05, ge=0, lt=0.5, description="each part varies by +- this")
    hip_width: float = Field(
        1.0, gt=0.3, lt=4, description="widens the hips (1.5 suits Bandai-Namco's narrow skeleton)"
    )
    width_variation: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="hips and shoulders vary by +- this, each for itself, besides",
    )


def bone_factors(
    settings: BodySettings,
    split: str,
    body: int,
    seed: int,
    recorded_m: NDArray[np.float64] | None = None,
) -> dict[str, float]:
    """Return the length factor of each body part for one pseudo-subject.

    Args:
        settings: how much they differ.
        split: of the pseudo-subject.
        body: its number in the split.
        seed: of all of them.
        recorded_m: poses (T, 17, 3) of the recorded body; needed where ``height_m`` is set.

    Raises:
        ValueError: they are needed and not given.
    """
    rng = generator(seed, "body", split, body)
    whole = rng.uniform(settings.smallest, settings.tallest)
    spread = settings.limb_variation
    factors = {part: rng.uniform(1 - spread, 1 + spread) for part in PARTS}
    if settings.height_m is not None:
        if recorded_m is None:
            raise ValueError("A body of a given height needs the recorded one's poses.")
        low, high = settings.height_m
        # the sum of two: a triangle
        wanted = low + (high - low) * (rng.random() + rng.random()) / 2
        some = recorded_m[:: max(1, len(recorded_m) // 50)]
        whole = wanted * 1000.0 / stature_mm(1000.0 * reshape_body(some, factors))
    factors = {part: whole * factor for part, factor in factors.items()}
    factors["hip"] *= settings.hip_width
    if settings.width_variation:
        for part in ("hip", "shoulder"):
            factors[part] *= 1 + settings.width_variation * rng.uniform(-1, 1)
    return factors


def reshape_body(
    positions_m: NDArray[np.float64], factors: dict[str, float]
) -> NDArray[np.float64]:
    """Give recorded poses other proportions.

    Args:
        positions_m: (T, 17, 3), world frame, z up, floor at 0.
        factors: of bone_factors.

    Returns:
        (T, 17, 3); the root travels and rises as the legs do, so that the feet stay within 2 cm
        of the floor.
    """
    result = np.empty_like(positions_m)
    legs = (factors["thigh"] + factors["shin"]) / 2
    result[:, 0] = positions_m[:, 0] * legs
    # EDGES lists parents before children
    for parent, child in EDGES:
        bone = positions_m[:, child] - positions_m[:, parent]
        result[:, child] = result[:, parent] + factors[_PART_OF_BONE[parent, child]] * bone
    assert result.shape[1] == N_JOINTS
    return result
