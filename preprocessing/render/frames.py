"""Frames of a film: people before a scene, their shadows, and what a camera adds to the light."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from diffpose.preprocessing.render.person.body import body_parts
from diffpose.preprocessing.render.person.look import Look
from diffpose.preprocessing.render.scene.raster import Backdrop, rasterise_scene
from diffpose.preprocessing.render.scene.scene import Scene
from diffpose.preprocessing.render.surfaces.parts import MATERIAL, Array, Part, tables
from diffpose.preprocessing.render.surfaces.raster import SUB, rasterise, shade
from diffpose.preprocessing.render.surfaces.shadow import CELL_M, CELLS, cast, darken

_NOISE_SIDE = 512


@dataclass(frozen=True)
class RenderCamera:
    """A camera that stands still.

    Attributes:
        rotation: (3, 3), world -> camera; world frame z up, floor at 0, metres.
        position_m: (3,), world frame.
        intrinsics_px: (4,), fx, fy, cx, cy.
        size: rows, columns in px.
    """

    rotation: NDArray[np.float64]
    position_m: NDArray[np.float64]
    intrinsics_px: NDArray[np.float64]
    size: tuple[int, int]

    def to_world(self, points_m: Array) -> Array:
        """Return points (..., 3) of the camera frame in the world frame."""
        world: Array = points_m @ self.rotation + self.position_m
        return world


@dataclass(frozen=True)
class Lens:
    """What a camera adds: drawn once per film.

    Attributes:
        exposure: factor of the light.
        balance: (3,), factors of red, green, blue.
        gamma: of the tone curve, about 2.2.
        noise: standard deviation, 0 .. 255.
        blur: weight of the eight neighbours of a pixel against its own, 0 sharp.
        shutter_s: time in which the light of a picture is gathered.
    """

    exposure: float
    balance: NDArray[np.float64]
    gamma: float
    noise: float
    blur: float
    shutter_s: float


def random_lens(rng: np.random.Generator, variety: float) -> Lens:
    """Draw a camera; ``variety`` 0 gives a clean one."""
    return Lens(
        exposure=float(np.exp(rng.normal(0.0, 0.22 * variety))),
        balance=np.exp(rng.normal(0, 0.06 * variety, 3)),
        gamma=2.2 * float(np.exp(rng.normal(0, 0.08 * variety))),
        noise=float(rng.uniform(0.0, 6.0)) * variety,
        blur=float(rng.choice([0.0, 0.0, 0.3, 0.8])) * variety,
        shutter_s=float(rng.uniform(0.0, 0.025)) * variety,
    )


def render_frames(
    people_m: Sequence[Array],
    looks: Sequence[Look],
    scene: Scene,
    camera: RenderCamera,
    lens: Lens,
    fps: float,
    rng: np.random.Generator,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Draw a film.

    Args:
        people_m: per person (T, 17, 3), camera frame, metres.
        looks: per person.
        scene: around them.
        camera: where it stands, and its intrinsics.
        lens: what the camera adds.
        fps: frames per second.
        rng: of the sensor's noise.

    Yields:
        per frame the picture (rows, columns, 3) uint8 RGB and the people's silhouettes' boxes
        (P, 4: x0, y0, x1, y1) in px, cut to the picture; NaN for who is not in it.
    """
    backdrop = rasterise_scene(
        scene, camera.rotation, camera.position_m, camera.intrinsics_px, camera.size
    )
    up = camera.rotation @ np.array([0.0, 0.0, 1.0])
    parts: list[list[Part]] = []
    rows: list[Array] = []
    later: list[Array] = []
    materials: list[NDArray[np.float64]] = []
    for number, (joints, look) in enumerate(zip(people_m, looks, strict=True)):
        step = min(lens.shutter_s * fps, 1.0)
        moved = joints + step * np.diff(joints, axis=0, append=joints[-1:])
        for target, pose in ((rows, joints), (later, moved)):
            own = body_parts(pose, camera.to_world(pose)[..., 2], up, look)
            table = tables(own, number)
            table[..., MATERIAL] += number * len(look.materials)
            target.append(table)
            if target is rows:
                parts.append(own)
        materials.append(look.materials)
    now, then = np.concatenate(rows, axis=1), np.concatenate(later, axis=1)
    light = np.stack([camera.rotation @ scene.sun, scene.sun_colour, up, scene.sky, scene.ground])
    noise = rng.normal(0, 1, (_NOISE_SIDE, _NOISE_SIDE, 3)).astype(np.float32)
    palette = np.concatenate(materials)
    sheet = _Sheet(camera, backdrop, len(people_m))
    for t in range(len(now)):
        sheet.clear()
        sheet.shadows(t, parts, scene, camera)
        for moment, first in ((now[t], 0), (then[t], 1)):
            rasterise(
                moment, camera.intrinsics_px, first, SUB, sheet.depth, sheet.owner, sheet.boxes
            )
            shade(
                moment, palette, camera.intrinsics_px, light, first, SUB, sheet.depth, sheet.owner,
                sheet.region(), sheet.person, sheet.cover,
            )  # fmt: skip
        picture = np.empty((*camera.size, 3), dtype=np.uint8)
        shift = rng.integers(0, _NOISE_SIDE, 2)
        _develop(
            sheet.colour, sheet.person, sheet.cover, noise, shift, lens.exposure * lens.balance,
            1.0 / lens.gamma, lens.noise, lens.blur, sheet.light, picture,
        )  # fmt: skip
        yield picture, sheet.visible_boxes()


class _Sheet:
    """The buffers of a picture, used again for every frame."""

    def __init__(self, camera: RenderCamera, backdrop: Backdrop, n_people: int) -> None:
        rows, columns = camera.size
        self.backdrop = backdrop
        self.colour = np.empty((rows, columns, 3), np.float32)
        self.light = np.empty((rows, columns, 3), np.float32)
        self.person = np.empty((rows, columns, 3), np.float32)
        self.cover = np.empty((rows, columns), np.float32)
        self.depth = np.empty((rows * SUB, columns * SUB), np.float32)
        self.owner = np.empty((rows * SUB, columns * SUB), np.int16)
        self.boxes = np.empty((n_people, 4))

    def clear(self) -> None:
        """Take away the people."""
        self.colour[:] = self.backdrop.colour
        self.depth[:] = self.backdrop.depth
        self.person[:] = 0
        self.cover[:] = 0
        self.owner[:] = -1
        self.boxes[:] = [np.inf, np.inf, -np.inf, -np.inf]

    def shadows(
        self, t: int, parts: Sequence[Sequence[Part]], scene: Scene, camera: RenderCamera
    ) -> None:
        """Darken the floor under the people and where they stand in the light."""
        casting = [part for own in parts for part in own if part.shadow]
        ends = np.array([[part.a[t], part.b[t]] for part in casting])
        ends = camera.to_world(ends)
        radii = np.array([[part.radius_a, part.radius_b] for part in casting])
        corner = ends[..., :2].mean(axis=(0, 1)) - 0.5 * CELLS * CELL_M
        sun_grid, sky_grid = np.zeros((2, CELLS, CELLS), np.float32)
        cast(ends, radii, scene.sun, 0.0, corner, sun_grid)
        cast(ends, 1.6 * radii, np.array([0.0, 0.0, 1.0]), 3.5, corner, sky_grid)
        direct = float(scene.sun_colour.mean() * scene.sun[2])
        shares = np.array([direct / (direct + float(scene.sky.mean())), 0.55])
        region = np.array([0, 0, *self.cover.shape])
        darken(self.backdrop.floor_m, corner, sun_grid, sky_grid, shares, region, self.colour)

    def region(self) -> NDArray[np.int64]:
        """Return the part of the picture that holds all people: y0, x0, y1, x1."""
        rows, columns = self.cover.shape
        low = np.clip(np.floor(self.boxes[:, :2].min(axis=0)), 0, [columns, rows])
        high = np.clip(np.ceil(self.boxes[:, 2:].max(axis=0)), 0, [columns, rows])
        corners: NDArray[np.int64] = np.array([low[1], low[0], high[1], high[0]]).astype(np.int64)
        return corners

    def visible_boxes(self) -> NDArray[np.float64]:
        """Return the boxes cut to the picture; NaN for who is outside."""
        rows, columns = self.cover.shape
        boxes = np.clip(self.boxes, 0, [columns, rows, columns, rows])
        outside = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
        boxes[outside | ~np.isfinite(self.boxes).all(axis=1)] = np.nan
        return boxes


@njit(cache=True, fastmath=True, nogil=True)
def _develop(  # type: ignore[no-untyped-def]
    colour, person, cover, noise, shift, gain, power, grain, blur, light, picture
):
    """Put people before the backdrop, then blur, expose, curve and add noise."""
    n_rows, n_columns = cover.shape
    for i in range(n_rows):
        for j in range(n_columns):
            rest = np.float32(1.0) - cover[i, j]
            for c in range(3):
                light[i, j, c] = colour[i, j, c] * rest + person[i, j, c]
    # 1024 steps of the tone curve: a power per pixel would cost more than the drawing
    curve = np.empty(1025, dtype=np.float32)
    for k in range(1025):
        curve[k] = 255.0 * math.pow(k / 1024.0, power)
    norm = 1.0 / (1.0 + 8.0 * blur)
    for i in range(n_rows):
        up, down = max(i - 1, 0), min(i + 1, n_rows - 1)
        for j in range(n_columns):
            left, right = max(j - 1, 0), min(j + 1, n_columns - 1)
            for c in range(3):
                value = light[i, j, c]
                if blur > 0.0:
                    around = (
                        light[up, left, c] + light[up, j, c] + light[up, right, c]
                        + light[i, left, c] + light[i, right, c]
                        + light[down, left, c] + light[down, j, c] + light[down, right, c]
                    )  # fmt: skip
                    value = (value + blur * around) * norm
                value = min(max(value * gain[c], 0.0), 1.0)
                tone = curve[int(value * 1024.0)]
                tone += grain * noise[(i + shift[0]) % 512, (j + shift[1]) % 512, c]
                picture[i, j, c] = int(min(max(tone + 0.5, 0.0), 255.0))
