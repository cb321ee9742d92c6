"""The frames of a film: people and their shadows before a still backdrop, through a lens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from diffpose.preprocessing.render import shadow
from diffpose.preprocessing.render.body import body_parts
from diffpose.preprocessing.render.look import Look
from diffpose.preprocessing.render.parts import MATERIAL, PERSON, Array, Part, tables
from diffpose.preprocessing.render.raster import SUB, draw, shade
from diffpose.preprocessing.render.scene import Scene
from diffpose.preprocessing.render.scene_raster import Backdrop, draw_scene

_NOBODY = 1e9
_BRIGHTEST = 2.5  # linear light at the end of the table of tones
_N_TONES = 2048
_GRAIN = 257  # side of the tile of noise, odd so that shifted tiles do not repeat in blocks


@dataclass(frozen=True)
class View:
    """Where the camera stands and how it sees.

    Attributes:
        rotation: (3, 3), world -> camera.
        position_m: (3,), world.
        intrinsics_px: (4,), fx, fy, cx, cy.
        size: rows, columns in px.
    """

    rotation: Array
    position_m: Array
    intrinsics_px: Array
    size: tuple[int, int]

    def to_camera(self, points_m: Array) -> Array:
        """Return points (..., 3) of the world in the camera frame, m."""
        result: Array = (points_m - self.position_m) @ self.rotation.T
        return result

    def to_world(self, points_m: Array) -> Array:
        """Return points (..., 3) of the camera frame in the world, m."""
        result: Array = points_m @ self.rotation + self.position_m
        return result


@dataclass(frozen=True)
class Lens:
    """What a camera does to light besides geometry.

    Attributes:
        key: mean linear light that the exposure aims at.
        balance: (3,), gain of the channels.
        gamma: of the tones.
        shutter_s: how long light is gathered; 0: no motion blur.
        focus: weight of the 3 x 3 binomial against the sharp picture.
        far_blur: passes of 3 x 3 blur over the backdrop.
        noise: standard deviation in grey levels.
    """

    key: float
    balance: Array
    gamma: float
    shutter_s: float
    focus: float
    far_blur: int
    noise: float


def random_lens(rng: np.random.Generator, variety: float) -> Lens:
    """Draw a lens; with variety 0 it is sharp, neutral and free of noise."""
    return Lens(
        key=0.3 + 0.11 * variety * rng.uniform(-1, 1),
        balance=np.clip(1.0 + 0.05 * variety * rng.normal(size=3), 0.85, 1.15),
        gamma=2.2 + 0.25 * variety * rng.uniform(-1, 1),
        shutter_s=rng.uniform(0.004, 0.02) * float(rng.random() < 0.4 * variety),
        focus=rng.uniform(0.1, 0.5) * float(rng.random() < 0.4 * variety),
        far_blur=int(rng.choice([0, 0, 1, 2, 4]) * variety),
        noise=5.0 * variety * rng.random() ** 2,
    )


@dataclass(frozen=True)
class _Drawn:
    """People as the rasteriser wants them: (T, N, N_COLUMNS) and their materials."""

    table: Array
    materials: Array


@dataclass(frozen=True)
class _Caster:
    """What casts one person's shadow: (T, n, 2, 3) ends in the world, (n, 2) radii."""

    ends_m: Array
    radii_m: Array


def render_frames(
    people: Sequence[Array],
    looks: Sequence[Look],
    scene: Scene,
    view: View,
    lens: Lens,
    fps: float,
    rng: np.random.Generator,
) -> Iterator[tuple[NDArray[np.uint8], Array]]:
    """Render a film frame by frame.

    Args:
        people: per person (T, 17, 3), camera frame, m; all with the same number of moments.
        looks: of the people.
        scene: what stands still.
        view: of the camera.
        lens: of the camera.
        fps: frames per second.
        rng: of the noise.

    Yields:
        per frame (rows, columns, 3) RGB, and boxes (P, 4): x0, y0, x1, y1 in px around each
        person's whole silhouette within the image, whoever stands before it; NaN where nothing of
        the person is seen.
    """
    backdrop = draw_scene(scene, view.rotation, view.position_m, view.intrinsics_px, view.size)
    tones, grain = _tones(lens, backdrop), _grain(lens, rng)
    moments = _moments(people, looks, view, lens.shutter_s * fps)
    casters = [_caster(joints, look, view) for joints, look in zip(people, looks, strict=True)]
    light = _light_in_camera(scene, view)
    ground = _blurred(backdrop.colour, lens.far_blur)
    rows, columns = view.size
    still = np.empty((rows, columns, 3), dtype=np.uint8)
    sums = np.zeros((rows, columns, 3), dtype=np.float32)
    cover = np.zeros((rows, columns), dtype=np.float32)
    everything = np.array([0, 0, rows, columns])
    _develop(ground, sums, cover, tones, everything, still)
    owner = np.empty(backdrop.depth.shape, dtype=np.int16)
    for t in range(len(people[0])):
        frame, behind = still.copy(), ground.copy()
        region = np.array([rows, columns, 0, 0])
        for caster in casters:
            _shade_floor(caster, t, scene, view, backdrop, behind, region)
        depth = backdrop.depth.copy()
        owner.fill(-1)
        sums.fill(0.0)
        cover.fill(0.0)
        boxes = np.full((len(people), 4), _NOBODY)
        boxes[:, 2:] = -_NOBODY
        for first, drawn in enumerate(moments):
            draw(drawn.table[t], view.intrinsics_px, first, len(moments), depth, owner, boxes)
        there = boxes[:, 2] > boxes[:, 0]
        body = _pixels(boxes[there], rows, columns)
        for first, drawn in enumerate(moments):
            shade(
                drawn.table[t],
                drawn.materials,
                view.intrinsics_px,
                light,
                first,
                len(moments),
                depth,
                owner,
                body,
                sums,
                cover,
            )
        region[:2] = np.minimum(region[:2], body[:2])
        region[2:] = np.maximum(region[2:], body[2:])
        _develop(behind, sums, cover, tones, region, frame)
        result = np.empty_like(frame)
        dy, dx = rng.integers(0, len(grain), 2)
        _finish(frame, lens.focus, grain, dy, dx, result)
        seen = _seen_people(drawn.table[t], owner, body, len(people))
        boxes[~(there & seen)] = np.nan
        boxes[:, 3] = np.minimum(boxes[:, 3], rows)
        yield result, boxes


def _moments(
    people: Sequence[Array], looks: Sequence[Look], view: View, shutter: float
) -> list[_Drawn]:
    """Return the people in the middle of the shutter, or early and late in it.

    The two moments are drawn on every other row of samples, so that a pixel shows half of each.

    Args:
        people: as for render_frames.
        looks: of the people.
        view: of the camera.
        shutter: how long light is gathered, in frames.
    """
    materials = np.concatenate([look.materials for look in looks])
    drawn = []
    for shift in (-shutter / 4, shutter / 4) if shutter > 0 else (0.0,):
        rows, first_material = [], 0
        for number, (joints, look) in enumerate(zip(people, looks, strict=True)):
            table = tables(_parts(_shifted(joints, shift), look, view), number)
            table[..., MATERIAL] += first_material
            first_material += len(look.materials)
            rows.append(table)
        drawn.append(_Drawn(np.ascontiguousarray(np.concatenate(rows, axis=1)), materials))
    return drawn


def _parts(joints: Array, look: Look, view: View) -> list[Part]:
    up = view.rotation[:, 2]  # the world's z in the camera frame
    return body_parts(joints, view.to_world(joints)[..., 2], up, look)


def _shifted(joints: Array, shift: float) -> Array:
    """Return joints a share of a frame later (or earlier, below 0), along straight lines."""
    if shift == 0:
        return joints
    step = 1 if shift > 0 else -1
    order = np.clip(np.arange(len(joints)) + step, 0, len(joints) - 1)
    result: Array = joints + abs(shift) * (joints[order] - joints)
    return result


def _caster(joints: Array, look: Look, view: View) -> _Caster:
    parts = [part for part in _parts(joints, look, view) if part.shadow]
    ends = np.stack([np.stack([part.a, part.b], axis=1) for part in parts], axis=1)
    radii = np.array([[part.radius_a, part.radius_b] for part in parts])
    return _Caster(np.ascontiguousarray(view.to_world(ends)), radii)


def _shade_floor(
    caster: _Caster,
    t: int,
    scene: Scene,
    view: View,
    backdrop: Backdrop,
    colour: NDArray[np.float32],
    region: NDArray[np.int64],
) -> None:
    """Darken the floor in one person's shadow; widens the region by the pixels that may change."""
    ends = caster.ends_m[t]
    slope = scene.sun[:2] / scene.sun[2]
    thrown = ends[..., :2] - slope * ends[..., 2:]
    both = np.concatenate([thrown.reshape(-1, 2), ends[..., :2].reshape(-1, 2)])
    corner = 0.5 * (both.min(axis=0) + both.max(axis=0)) - 0.5 * shadow.CELLS * shadow.CELL_M
    sun = np.zeros((shadow.CELLS, shadow.CELLS), dtype=np.float32)
    sky = np.zeros_like(sun)
    shadow.cast(ends, caster.radii_m, scene.sun, 0.0, corner, sun)
    above = np.array([0.0, 0.0, 1.0])
    shadow.cast(ends, 1.6 * caster.radii_m, above, 4.0, corner, sky)
    direct = scene.sun_colour.mean() * scene.sun[2]
    shares = np.array([direct / (direct + scene.sky.mean()), 0.45])
    low, high = both.min(axis=0) - 0.3, both.max(axis=0) + 0.3
    x, y = np.array([low[0], high[0]] * 2), np.array([low[1]] * 2 + [high[1]] * 2)
    seen = view.to_camera(np.stack([x, y, np.zeros(4)], axis=1))
    fx, fy, cx, cy = view.intrinsics_px
    rows, columns = view.size
    if seen[:, 2].min() < 0.3:  # the shadow reaches the camera's feet
        area = np.array([0, 0, rows, columns])
    else:
        across, down = fx * seen[:, 0] / seen[:, 2] + cx, fy * seen[:, 1] / seen[:, 2] + cy
        box = np.array([[across.min(), down.min(), across.max(), down.max()]])
        area = _pixels(box, rows, columns)
    shadow.darken(backdrop.floor_m, corner, sun, sky, shares, area, colour)
    region[:2] = np.minimum(region[:2], area[:2])
    region[2:] = np.maximum(region[2:], area[2:])


def _pixels(boxes_px: Array, rows: int, columns: int) -> NDArray[np.int64]:
    """Return y0, x0, y1, x1 of the whole pixels around all boxes, within the image."""
    if len(boxes_px) == 0:
        return np.zeros(4, dtype=np.int64)
    x0, y0 = np.floor(boxes_px[:, :2].min(axis=0))
    x1, y1 = np.ceil(boxes_px[:, 2:].max(axis=0))
    limits = np.array([rows, columns, rows, columns])
    pixels: NDArray[np.int64] = np.clip(np.array([y0, x0, y1, x1]), 0, limits).astype(np.int64)
    return pixels


def _seen_people(
    table: Array, owner: NDArray[np.int16], region: NDArray[np.int64], n_people: int
) -> NDArray[np.bool_]:
    """Tell who has at least one sample that nothing hides."""
    y0, x0, y1, x1 = region * SUB
    seen = np.unique(owner[y0:y1, x0:x1])
    persons = table[seen[seen >= 0], PERSON].astype(int)
    return np.isin(np.arange(n_people), persons)


def _light_in_camera(scene: Scene, view: View) -> Array:
    return np.stack(
        [
            view.rotation @ scene.sun,
            scene.sun_colour,
            view.rotation[:, 2],
            scene.sky,
            scene.ground,
        ]
    )


def _tones(lens: Lens, backdrop: Backdrop) -> NDArray[np.uint8]:
    """Return grey levels (3, _N_TONES) of linear light; the exposure suits the backdrop."""
    exposure = float(np.clip(lens.key / max(float(backdrop.colour.mean()), 1e-3), 0.7, 1.9))
    value = np.linspace(0, _BRIGHTEST, _N_TONES) * exposure * lens.balance[:, None]
    soft = np.where(value > 0.7, 0.7 + 0.3 * np.tanh((value - 0.7) / 0.3), value)
    levels: NDArray[np.uint8] = np.round(255 * soft ** (1 / lens.gamma)).astype(np.uint8)
    return levels


def _grain(lens: Lens, rng: np.random.Generator) -> NDArray[np.int8]:
    """Return a tile of noise, (_GRAIN, _GRAIN, 3) grey levels."""
    grey = rng.normal(0, lens.noise, (_GRAIN, _GRAIN, 1))
    coloured = rng.normal(0, lens.noise, (_GRAIN, _GRAIN, 3))
    return np.clip(np.round(0.7 * grey + 0.5 * coloured), -127, 127).astype(np.int8)


def _blurred(colour: NDArray[np.float32], passes: int) -> NDArray[np.float32]:
    """Blur linear light (rows, columns, 3) by a 3 x 3 binomial, so many times."""
    for _ in range(passes):
        padded = np.pad(colour, ((1, 1), (0, 0), (0, 0)), mode="edge")
        colour = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
        padded = np.pad(colour, ((0, 0), (1, 1), (0, 0)), mode="edge")
        colour = 0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:]
    return colour.astype(np.float32)


@njit(cache=True, fastmath=True, nogil=True)
def _develop(ground, people, cover, tones, region, frame):  # type: ignore[no-untyped-def]
    """Lay people over what stands behind them and turn light into grey levels, within a region.

    Args:
        ground: (rows, columns, 3) float32, linear light behind them.
        people: (rows, columns, 3) float32, their light times their cover.
        cover: (rows, columns) float32, 0 .. 1.
        tones: (3, n) uint8.
        region: y0, x0, y1, x1 in px.
        frame: (rows, columns, 3) uint8, changed in place.
    """
    n = tones.shape[1]
    scale = np.float32((n - 1) / _BRIGHTEST)
    for i in range(region[0], region[2]):
        for j in range(region[1], region[3]):
            left = np.float32(1.0) - cover[i, j]
            for k in range(3):
                value = people[i, j, k] + left * ground[i, j, k]
                place = int(value * scale + np.float32(0.5))
                frame[i, j, k] = tones[k, min(max(place, 0), n - 1)]


@njit(cache=True, nogil=True)
def _finish(frame, focus, grain, dy, dx, out):  # type: ignore[no-untyped-def]
    """Put a frame out of focus a little and add noise.

    Args:
        frame: (rows, columns, 3) uint8.
        focus: weight of the 3 x 3 binomial against the sharp picture.
        grain: (n, n, 3) int8; the tile is shifted by dy, dx.
        dy: rows.
        dx: columns.
        out: (rows, columns, 3) uint8.
    """
    rows, columns = frame.shape[0], frame.shape[1]
    n = grain.shape[0]
    soft = int(focus * 256)
    for i in range(rows):
        above, below = max(i - 1, 0), min(i + 1, rows - 1)
        tile = grain[(i + dy) % n]
        q = dx % n
        for j in range(columns):
            left, right = max(j - 1, 0), min(j + 1, columns - 1)
            for k in range(3):
                value = int(frame[i, j, k])
                if soft > 0:
                    near = (
                        4 * value
                        + 2 * (int(frame[above, j, k]) + frame[below, j, k])
                        + 2 * (int(frame[i, left, k]) + frame[i, right, k])
                        + frame[above, left, k]
                        + frame[above, right, k]
                        + frame[below, left, k]
                        + frame[below, right, k]
                    )
                    value += (soft * (near - 16 * value)) >> 12
                value += tile[q, k]
                out[i, j, k] = min(max(value, 0), 255)
            q += 1
            if q == n:
                q = 0
