"""What pose_detection's 2254 anchors say: where people's hips are, how large and which way up.

A single-shot detector (Liu et al., ECCV 2016) over 224 x 224: at strides 8, 16 and three times 32
two anchors a cell. An anchor's twelve numbers are px of the input relative to its cell's middle:
a box's centre and size, then four points, of which the first is the middle between the hips and
the second lies on the circle around the whole body, above the hips as the body has it
(Bazarevsky et al., "BlazePose", 2020).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

INPUT_SIDE = 224
_STRIDES = (8, 16, 32, 32, 32)
_PER_CELL = 2
# Two circles of people whose hips are nearer to each other than this share of the larger radius,
# and whose sizes are alike, are one person's.
_SAME_HIPS, _SAME_SIZE = 0.35, 1.8


class Circles(NamedTuple):
    """People as circles around them, best first.

    Attributes:
        middle: (P, 2), between the hips.
        top: (P, 2), on the circle.
        score: (P,), 0 .. 1.
    """

    middle: NDArray[np.float64]
    top: NDArray[np.float64]
    score: NDArray[np.float64]

    @property
    def radius(self) -> NDArray[np.float64]:
        """Return the circles' radii, (P,)."""
        return np.asarray(np.linalg.norm(self.top - self.middle, axis=-1))


def anchors() -> NDArray[np.float64]:
    """Return the middles of the anchors' cells, (2254, 2), x and y in 0 .. 1 of the input.

    Layers of one stride share their cells: the anchors of a cell stand together.
    """
    parts = []
    for stride in dict.fromkeys(_STRIDES):
        n = INPUT_SIDE // stride
        per_cell = _PER_CELL * _STRIDES.count(stride)
        middles = (np.arange(n) + 0.5) / n
        y, x = np.meshgrid(middles, middles, indexing="ij")
        parts.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_cell, axis=0))
    return np.concatenate(parts)


ANCHORS = anchors()


def decoded(raw: NDArray[np.floating], logits: NDArray[np.floating], least_score: float) -> Circles:
    """Turn one picture's anchors into people.

    Args:
        raw: (2254, 12).
        logits: (2254,).
        least_score: people of a lower score are left out.

    Returns:
        points in 0 .. 1 of the input, best first. Anchors that mean the same person are averaged
        by their scores.
    """
    scores = 1.0 / (1.0 + np.exp(-np.clip(np.asarray(logits, dtype=np.float64), -60.0, 60.0)))
    chosen = np.flatnonzero(scores >= least_score)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
    places = np.asarray(raw, dtype=np.float64)[chosen, 4:8].reshape(-1, 2, 2) / INPUT_SIDE
    places = places + ANCHORS[chosen, None]
    return merged(Circles(places[:, 0], places[:, 1], scores[chosen]))


def merged(circles: Circles) -> Circles:
    """Return one circle per person: those of the same person averaged by score, best score kept."""
    order = np.argsort(-circles.score, kind="stable")
    middle, top, score = (values[order] for values in circles)
    left = np.ones(len(order), dtype=bool)
    people = []
    for i in range(len(order)):
        if not left[i]:
            continue
        same = left & same_person(Circles(middle, top, score), middle[i], top[i])
        same[i] = True
        left &= ~same
        share = score[same] / score[same].sum()
        people.append((share @ middle[same], share @ top[same], score[i]))
    if not people:
        return Circles(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
    return Circles(*(np.array(values) for values in zip(*people, strict=True)))


def same_person(
    circles: Circles, middle: NDArray[np.floating], top: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Tell which of circles (P,) mean the same person as another circle does."""
    radius = float(np.linalg.norm(np.asarray(top) - middle))
    larger = np.maximum(circles.radius, radius)
    near = np.linalg.norm(circles.middle - middle, axis=-1) < _SAME_HIPS * larger
    alike = larger < _SAME_SIZE * np.maximum(np.minimum(circles.radius, radius), 1e-9)
    return np.asarray(near & alike)
