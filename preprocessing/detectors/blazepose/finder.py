"""People in whole frames by BlazePose: circles at several scales, each confirmed by a look."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.detectors.blazepose.looking import (
    HIPS,
    LEAST_SCORE,
    TOP,
    Look,
    PersonLooker,
    networks_digest,
    person_looker,
)
from diffpose.preprocessing.detectors.blazepose.person_anchors import (
    Circles,
    merged,
    same_person,
)
from diffpose.preprocessing.detectors.blazepose.regions import region_of, upright_region
from diffpose.preprocessing.detectors.blazepose.weights import INSTALL, REPAIR, runtime_is_there

_EARS, _SHOULDERS, _N_LANDMARKS = (7, 8), (11, 12), 33
# The crown lies above the ears by this share of the way from the shoulders to the ears.
_CROWN = 0.65
# Two boxes that share more than this of the smaller one, and whose joints agree, are one person's.
_SAME_JOINTS = 0.15


class BlazePoseFinder:
    """Whole frames to person boxes."""

    def __init__(
        self, weights: str | None = None, threshold: float = 0.3, *, thorough: bool = False
    ) -> None:
        """Load the networks; the looks are those of the full one.

        Args:
            weights: folder of the networks; None for the downloaded ones.
            threshold: least score of a person.
            thorough: look at small parts of the frame even if somebody was found in larger ones.

        Raises:
            SourceError: a file or LiteRT is missing, or a file is another network.
        """
        if not runtime_is_there():
            raise SourceError(
                f"people.finder=blazepose needs LiteRT: {INSTALL}, then its networks: {REPAIR}"
            )
        self.version = f"blazepose-finder-{networks_digest('full', weights)}"
        self.threshold, self.thorough = threshold, thorough
        self.looker: PersonLooker = person_looker("full", weights)

    def find(self, frames: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Find people in B frames; see PersonFinder."""
        height, width = frames.shape[1:3]
        return [_boxes(self._people(frame), height, width) for frame in frames]

    def _people(self, frame: NDArray[np.uint8]) -> list[tuple[float, Look]]:
        """Return the people in a frame, each with a score; some perhaps twice."""
        found: list[tuple[float, Look]] = []
        for regions in levels(*frame.shape[:2]):
            if found and not self.thorough:
                break
            looks = [self.looker.person.look(frame, one, LEAST_SCORE) for one in regions]
            circles = merged(_joined(looks))
            known = [one.points[[HIPS, TOP]] for _, one in found]
            for middle, top, score in zip(*circles, strict=True):
                this = Circles(middle[None], top[None], score[None])
                if any(same_person(this, *other)[0] for other in known):
                    continue
                region = region_of(middle, top)
                first = Look(region, self.looker.quick.look(frame, region))
                if first.landmarks.score < LEAST_SCORE:
                    continue
                look = self.looker.closer(frame, first)
                sure = float(score) * look.landmarks.score
                if look.landmarks.score >= LEAST_SCORE and sure >= self.threshold:
                    found.append((sure, look))
        return found


def levels(rows: int, columns: int) -> list[list[NDArray[np.float64]]]:
    """Return regions of a frame, looked at together: all of it, squares of 1/2, 1/4 of its length.

    Who is too small for 224 px of the whole frame is found in the squares, which overlap by a third
    and more.
    """
    longer = max(rows, columns)
    squares = [_tiles(rows, columns, longer / 2), _tiles(rows, columns, longer / 4)]
    return [[upright_region(rows, columns)], *squares]


def _tiles(rows: int, columns: int, side: float) -> list[NDArray[np.float64]]:
    places = []
    for length in (columns, rows):
        n = 1 if length <= side else math.ceil((length - side) / (side * 2 / 3)) + 1
        middle = [length / 2] if n == 1 else np.linspace(side / 2, length - side / 2, n).tolist()
        places.append(middle)
    return [np.array([x, y, side, 0.0]) for y in places[1] for x in places[0]]


def _joined(parts: list[Circles]) -> Circles:
    return Circles(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _boxes(found: list[tuple[float, Look]], rows: int, columns: int) -> NDArray[np.float32]:
    """Return one box per person, best first, (n, 5)."""
    boxes: list[list[float]] = []
    kept: list[NDArray[np.float64]] = []
    for score, look in sorted(found, key=lambda one: -one[0]):
        points = look.points[:_N_LANDMARKS]
        size = float(np.ptp(points, axis=0).max())
        # looks at overlapping parts of the frame end on the same body
        if any(np.linalg.norm(points - other, axis=-1).mean() < _SAME_JOINTS * size
               for other in kept):  # fmt: skip
            continue
        kept.append(points)
        ears, shoulders = points[list(_EARS)].mean(axis=0), points[list(_SHOULDERS)].mean(axis=0)
        outline = np.vstack([points, ears + _CROWN * (ears - shoulders)])
        limit = [columns, rows]
        low, high = np.clip(outline.min(axis=0), 0, limit), np.clip(outline.max(axis=0), 0, limit)
        if (high - low).min() >= 2.0:
            boxes.append([*low.tolist(), *high.tolist(), score])
    return np.array(boxes, dtype=np.float32).reshape(-1, 5)
