"""A person in a window: found, looked at quickly, then closely; the same whatever came before."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffpose.model.heatmaps.grid import CROP_PADDING
from diffpose.preprocessing.detectors.blazepose.networks import (
    LandmarkNetwork,
    Landmarks,
    PersonNetwork,
)
from diffpose.preprocessing.detectors.blazepose.person_anchors import Circles
from diffpose.preprocessing.detectors.blazepose.regions import (
    region_of,
    to_picture,
    upright_region,
)
from diffpose.preprocessing.detectors.blazepose.weights import Size, digest_of, landmark_network

HIPS, TOP = 33, 34  # of Landmarks.points: the next region's hip middle and circle point
LEAST_SCORE = 0.5  # of a circle and of a region that is believed
_TURNS = tuple(i * math.pi / 2 for i in range(4))


class Look(NamedTuple):
    """What was found, and the region in which it lies, in px of the picture."""

    region: NDArray[np.float64]
    landmarks: Landmarks

    @property
    def points(self) -> NDArray[np.float64]:
        """Return the landmarks in px of the picture, (39, 2)."""
        return to_picture(self.region, self.landmarks.points)


def quick_size(size: Size) -> Size:
    """Return the network of the first look, which only has to aim the second."""
    return "lite" if size == "lite" else "full"


def networks_digest(size: Size, folder: str | None) -> str:
    """Return a short digest of all networks that looking with a size takes.

    Raises:
        SourceError: one is missing.
    """
    names = ("pose_detection", landmark_network(quick_size(size)), landmark_network(size))
    return "".join(digest_of(name, folder)[:4] for name in names)


class PersonLooker:
    """The three networks of one size."""

    def __init__(self, size: Size, folder: str | None) -> None:
        """Load them.

        Raises:
            SourceError: a file or LiteRT is missing, or a file is another network.
        """
        self.person = PersonNetwork(folder)
        self.quick = LandmarkNetwork(quick_size(size), folder)
        same = quick_size(size) == size
        self.close = self.quick if same else LandmarkNetwork(size, folder)

    def look(self, picture: NDArray[np.uint8]) -> Look:
        """Find the joints of the person in the middle of a window's picture (rows, columns, 3).

        The person's circle aims the quick network, whose landmarks aim the close one. Where no
        circle holds a person, the whole window is tried at four turns.
        """
        rows, columns = picture.shape[:2]
        whole = upright_region(rows, columns)
        first: Look | None = None
        circles = self.person.look(picture, whole, LEAST_SCORE)
        if len(circles.score):
            nearest = _meant(circles, rows, columns)
            first = self._glance(picture, region_of(circles.middle[nearest], circles.top[nearest]))
        if first is None or first.landmarks.score < LEAST_SCORE:
            turned = [self._glance(picture, upright_region(rows, columns, a)) for a in _TURNS]
            first = max([*turned, *([first] if first else [])], key=lambda one: one.landmarks.score)
        return self.closer(picture, first)

    def closer(self, picture: NDArray[np.uint8], first: Look) -> Look:
        """Look with the chosen network at the region that a first look's landmarks tell."""
        points = first.points
        region = region_of(points[HIPS], points[TOP])
        return Look(region, self.close.look(picture, region))

    def _glance(self, picture: NDArray[np.uint8], region: NDArray[np.float64]) -> Look:
        return Look(region, self.quick.look(picture, region))


def _meant(circles: Circles, rows: int, columns: int) -> int:
    """Return which circle is the person that the window was cut around.

    The nearest to the middle, and of the size that a window around a box leads to: the padded box
    just fits, and a circle around the body is about as high as the body.
    """
    offset = np.linalg.norm(circles.middle - [columns / 2, rows / 2], axis=-1) / rows
    expected = rows / CROP_PADDING / 2
    size = np.abs(np.log(np.maximum(circles.radius, 1e-6) / expected))
    return int(np.argmin(offset + 0.15 * size + 0.1 * (1.0 - circles.score)))


@functools.lru_cache(maxsize=2)  # the finder and the detector
def _kept(size: Size, folder: str | None, _digest: str) -> PersonLooker:
    return PersonLooker(size, folder)


def person_looker(size: Size, folder: str | None) -> PersonLooker:
    """Return the networks of a size; the last ones are kept ready in each process.

    Raises:
        SourceError: a file or LiteRT is missing, or a file is another network.
    """
    return _kept(size, folder, networks_digest(size, folder))
