"""Drawing poses with pillow: smooth lines by drawing larger and shrinking, patch by patch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import EDGES, LEFT, RIGHT

Array = NDArray[np.float64]
Colour = tuple[int, int, int]
# Colours of the people, those of the page; one person alone is drawn by sides.
PEOPLE: tuple[Colour, ...] = (
    (86, 180, 233), (240, 130, 58), (47, 199, 156),
    (208, 143, 198), (224, 189, 74), (163, 171, 181),
)  # fmt: skip
_SIDES: tuple[Colour, Colour, Colour] = ((47, 199, 156), (86, 180, 233), (240, 130, 58))
_FINER = 3  # each pixel is drawn as so many squared


def colour_of(person: int, n_people: int, joint: int) -> Colour:
    """Return a joint's colour: of its side where there is one person, else of the person."""
    if n_people == 1:
        return _SIDES[1 if joint in LEFT else 2 if joint in RIGHT else 0]
    own = PEOPLE[person % len(PEOPLE)]
    if joint not in RIGHT:
        return own
    return (own[0] * 7 // 10, own[1] * 7 // 10, own[2] * 7 // 10)


class Patch:
    """A part of a picture that is drawn on, then laid over it.

    Args:
        points: (N, 2), what is drawn about, px; NaN is passed over.
        margin: px around them.
        size: width and height of the picture.
    """

    def __init__(self, points: Array, margin: float, size: tuple[int, int]) -> None:
        from PIL import Image, ImageDraw

        known = points[np.isfinite(points).all(axis=-1)]
        low, high = (
            (known.min(axis=0) - margin, known.max(axis=0) + margin)
            if len(known)
            else (np.zeros(2), np.zeros(2))
        )
        self.left, self.top = (int(max(np.floor(value), 0)) for value in low)
        self.right = int(min(np.ceil(high[0]), size[0]))
        self.bottom = int(min(np.ceil(high[1]), size[1]))
        self.empty = self.right <= self.left or self.bottom <= self.top
        if self.empty:
            return
        extent = (_FINER * (self.right - self.left), _FINER * (self.bottom - self.top))
        self._image = Image.new("RGBA", extent, (0, 0, 0, 0))
        # "RGBA" on RGBA: what is drawn replaces; clouds are put together by their own layer
        self._draw: Any = ImageDraw.Draw(self._image)

    def _at(self, point: Array) -> tuple[float, float]:
        return _FINER * (float(point[0]) - self.left), _FINER * (float(point[1]) - self.top)

    def line(self, a: Array, b: Array, width: float, colour: tuple[int, ...]) -> None:
        """Draw a line with round ends; nothing where an end is unknown."""
        if self.empty or not (np.isfinite(a).all() and np.isfinite(b).all()):
            return
        self._draw.line(
            [self._at(a), self._at(b)], fill=colour, width=max(round(_FINER * width), 1)
        )
        for end in (a, b):
            self.dot(end, width / 2, colour)

    def dot(self, centre: Array, radius: float, colour: tuple[int, ...]) -> None:
        """Draw a disc; nothing where its place is unknown."""
        if self.empty or not np.isfinite(centre).all():
            return
        (x, y), r = self._at(centre), _FINER * radius
        self._draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)

    def ellipse(
        self, centre: Array, half: Array, angle: float, fill: tuple[int, ...], edge: tuple[int, ...]
    ) -> None:
        """Draw an ellipse from its half axes (2,), px, and the angle of the first, radians."""
        if self.empty or not (np.isfinite(centre).all() and np.isfinite(half).all()):
            return
        turn = np.linspace(0.0, 2 * np.pi, 48)
        c, s = np.cos(angle), np.sin(angle)
        across, along = half[0] * np.cos(turn), half[1] * np.sin(turn)
        ring = centre + np.stack([c * across - s * along, s * across + c * along], axis=-1)
        self._draw.polygon([self._at(p) for p in ring], fill=fill)
        self._draw.line([self._at(p) for p in ring], fill=edge, width=_FINER)

    def lay_over(self, picture: NDArray[np.uint8]) -> None:
        """Blend what was drawn into a picture (H, W, 3), in place."""
        if self.empty:
            return
        under = picture[self.top : self.bottom, self.left : self.right]
        # colours times their opacity, so that the empty parts' black does not bleed in
        large = np.asarray(self._image.convert("RGBa").reduce(_FINER))
        opacity = large[..., 3:].astype(np.uint16)
        under[:] = large[..., :3] + (under * (255 - opacity) // 255).astype(np.uint8)


def draw_pose(
    picture: NDArray[np.uint8],
    points_px: Array,
    colours: Sequence[Colour],
    *,
    width: float,
    depth_mm: Array | None = None,
) -> None:
    """Draw a skeleton into a picture, in place: a dark rim first, then the bones, far ones first.

    Args:
        picture: (H, W, 3) uint8.
        points_px: (J, 2); bones with an unknown end are left out.
        colours: of each joint; a bone has its outer joint's.
        width: of a bone, px.
        depth_mm: (J,), distance from the eye; None: in the skeleton's order.
    """
    patch = Patch(points_px, 2 * width + 2, (picture.shape[1], picture.shape[0]))
    depth = np.zeros(len(points_px)) if depth_mm is None else depth_mm
    order = sorted(EDGES, key=lambda edge: -float(depth[edge[0]] + depth[edge[1]]))
    for a, b in order:
        patch.line(points_px[a], points_px[b], width + 2, (10, 12, 15, 150))
    for a, b in order:
        patch.line(points_px[a], points_px[b], width, (*colours[b], 255))
    patch.lay_over(picture)


def draw_ellipses(
    picture: NDArray[np.uint8],
    points_px: Array,
    half_px: Array,
    angles: Array,
    colours: Sequence[Colour],
) -> None:
    """Draw ellipses (half axes (J, 2), angles (J,)) about points (J, 2), in place."""
    for point, half, angle, colour in zip(points_px, half_px, angles, colours, strict=True):
        if not (np.isfinite(point).all() and np.isfinite(half).all()):
            continue
        patch = Patch(point[None], float(half.max()) + 3, (picture.shape[1], picture.shape[0]))
        patch.ellipse(point, half, float(angle), (*colour, 50), (*colour, 190))
        patch.lay_over(picture)


def draw_dots(picture: NDArray[np.uint8], points_px: Array, radius: float) -> None:
    """Draw small white discs with a dark rim at points (N, 2), in place."""
    for point in points_px:
        patch = Patch(point[None], radius + 3, (picture.shape[1], picture.shape[0]))
        patch.dot(point, radius + 1, (10, 12, 15, 200))
        patch.dot(point, radius, (255, 255, 255, 255))
        patch.lay_over(picture)
