"""A film with the poses drawn in, and beside it the same people from another side.

Frame by frame: what a long film needs in memory is what a short one needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.answers.answer import Answer
from diffpose.platform.base.errors import SourceError
from diffpose.platform.viewer.drawing import colour_of, draw_dots, draw_ellipses, draw_pose
from diffpose.platform.viewer.geometry import (
    Array,
    half_axes,
    projected_covariances_px2,
    projected_px,
)
from diffpose.platform.viewer.mp4 import even, written_film
from diffpose.platform.viewer.side_view import SideView

Picture = NDArray[np.uint8]
LEVEL = "50"


@dataclass(frozen=True)
class Heatmaps:
    """What a detector saw of one person.

    Attributes:
        values: (T, J, H, W), any scale; one row a frame of the answer.
        crop_px: (T, 4), left, top, width, height of the maps in the picture.
    """

    values: NDArray[np.floating]
    crop_px: NDArray[np.floating]


@dataclass(frozen=True)
class OverlayFilm:
    """What was written.

    Attributes:
        frames: how many.
        with_people: in how many somebody was drawn.
        damage: where and why the film ended before its end, or "".
    """

    frames: int
    with_people: int
    damage: str


def overlay_film(
    film_uri: str,
    answers: Sequence[Answer],
    out_uri: str,
    *,
    heatmaps: Mapping[int, Heatmaps] | None = None,
    ellipses: bool = True,
    side: bool = True,
) -> OverlayFilm:
    """Write an mp4 (H.264) of a film's own frames and times with its answers drawn in.

    Args:
        film_uri: the film; one that lies on its side is set upright, as it was for detection.
        answers: its people.
        out_uri: of the mp4.
        heatmaps: of answers, by their place in ``answers``.
        ellipses: whether to draw the outlines of the 50 % ellipsoids.
        side: whether to add the view from another side.

    Raises:
        SourceError: the film cannot be read, has another size than the answers say, or there is
            no answer.
    """
    from diffpose.preprocessing.videos.decode import DamagedVideoError, decode, inspect_video

    if not answers:
        raise SourceError(f"There is no answer to draw into {film_uri}; give at least one.")
    info = inspect_video(film_uri)
    for answer in answers:
        if (answer.width, answer.height) != (info.width, info.height):
            raise SourceError(
                f"{film_uri} is {info.width} x {info.height} px, the answer of {answer.source!r} "
                f"belongs to {answer.width} x {answer.height} px; give the film that it came from."
            )
    view = None
    if side:
        view = SideView(answers, (even(0.8 * info.height), even(info.height)))
    frames = with_people = 0
    damage = ""

    def pictures() -> Iterator[tuple[float, Picture]]:
        nonlocal frames, with_people, damage
        try:
            for frame in decode(film_uri):
                rows = [row_at(answer, frame.time_s) for answer in answers]
                picture = frame.pixels.copy()
                for person, row in enumerate(rows):
                    if row is not None and heatmaps and person in heatmaps:
                        lay_heatmaps(picture, heatmaps[person], row)
                _draw_people(picture, answers, rows, ellipses)
                frames += 1
                with_people += any(row is not None for row in rows)
                yield frame.time_s, _beside(picture, view, answers, rows, ellipses)
        except DamagedVideoError as error:
            damage = str(error)

    written_film(out_uri, pictures(), info.average_fps or answers[0].fps)
    return OverlayFilm(frames, with_people, damage)


def row_at(answer: Answer, time_s: float) -> int | None:
    """Return the row of an answer that belongs to a moment: the nearest within its frame's time.

    None where the person was not there.
    """
    times = answer.timestamp_s
    after = int(np.searchsorted(times, time_s))
    near = [row for row in (after - 1, after) if 0 <= row < len(times)]
    if not near:
        return None
    best = min(near, key=lambda row: abs(float(times[row]) - time_s))
    # half a frame, and a millisecond for the rounding of time stamps
    return best if abs(float(times[best]) - time_s) <= 0.5 / answer.fps + 1e-3 else None


def lay_heatmaps(picture: Picture, heatmaps: Heatmaps, row: int) -> None:
    """Tint a picture (H, W, 3) by the highest of a person's heatmaps, in place."""
    from PIL import Image

    left, top, width, height = (float(value) for value in heatmaps.crop_px[row])
    highest = np.asarray(heatmaps.values[row], dtype=np.float64)
    peaks = highest.max(axis=(-2, -1), keepdims=True)
    highest = (highest / np.where(peaks > 0, peaks, 1.0)).max(axis=0)
    size = (max(round(width), 1), max(round(height), 1))
    small = Image.fromarray(np.round(255 * highest).astype(np.uint8))
    large = np.asarray(small.resize(size, Image.Resampling.BILINEAR), dtype=np.float64)
    x0, y0 = round(left), round(top)
    x1, y1 = min(x0 + size[0], picture.shape[1]), min(y0 + size[1], picture.shape[0])
    xs, ys = max(x0, 0), max(y0, 0)
    if xs >= x1 or ys >= y1:
        return
    share = 0.6 * large[ys - y0 : y1 - y0, xs - x0 : x1 - x0, None] / 255
    part = picture[ys:y1, xs:x1]
    part[:] = np.round((1 - share) * part + share * np.array([255.0, 90.0, 30.0]))


def _draw_people(
    picture: Picture, answers: Sequence[Answer], rows: Sequence[int | None], spread: bool
) -> None:
    width = max(min(picture.shape[:2]) / 180, 2.0)
    for person, (answer, row) in enumerate(zip(answers, rows, strict=True)):
        if row is None:
            continue
        points = np.asarray(answer.positions_mm[row], dtype=np.float64)
        camera = answer.camera_px[row]
        at = projected_px(points, camera)
        colours = [colour_of(person, len(answers), j) for j in range(len(points))]
        covariances, radius = _spread(answer, row)
        if spread and covariances is not None:
            flat = projected_covariances_px2(covariances, points, camera)
            draw_ellipses(picture, at, *half_axes(flat, radius), colours)
        draw_pose(picture, at, colours, width=width, depth_mm=points[:, 2])
        seen = np.where(answer.seen[row][:, None], answer.keypoints_px[row], np.nan)
        draw_dots(picture, seen.astype(np.float64), 0.45 * width)


def _spread(answer: Answer, row: int) -> tuple[Array | None, float]:
    """Return a frame's covariances and the radius of the ellipsoids that are drawn."""
    radius = (answer.ellipsoid_radius or {}).get(LEVEL)
    if answer.covariance_mm2 is None or radius is None:
        return None, 0.0
    return np.asarray(answer.covariance_mm2[row], dtype=np.float64), float(radius)


def _beside(
    picture: Picture,
    view: SideView | None,
    answers: Sequence[Answer],
    rows: Sequence[int | None],
    spread: bool,
) -> Picture:
    """Return the film's picture with the view at its right, both of even sizes."""
    height, width = even(picture.shape[0]), even(picture.shape[1])
    picture = np.pad(
        picture,
        ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0)),
        mode="edge",
    )
    if view is None:
        return picture
    there = [
        None if row is None else np.asarray(answer.positions_mm[row], dtype=np.float64)
        for answer, row in zip(answers, rows, strict=True)
    ]
    spreads = [
        (None, 0.0) if row is None or not spread else _spread(answer, row)
        for answer, row in zip(answers, rows, strict=True)
    ]
    own = view.picture(there, [one for one, _ in spreads], [radius for _, radius in spreads])
    return np.ascontiguousarray(np.concatenate([picture, own], axis=1))
