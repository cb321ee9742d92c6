"""A film's surroundings, drawn at random: a room or the open, things about, the light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.preprocessing.render.person.look import random_colour
from diffpose.preprocessing.render.surfaces import patterns
from diffpose.preprocessing.render.surfaces.raster import N_MATERIAL

# Rows of a scene's material table; things follow.
FLOOR, CEILING, WALL, OTHER_WALL = range(4)
N_ROOM = 4
# Columns of a box: centre, half size, cosine and sine of its turn, material.
BOX_COLUMNS = 9


@dataclass(frozen=True)
class Scene:
    """What stands still in a film; world frame in metres, z up, the floor at 0.

    Attributes:
        outdoors: no walls, a sky.
        room: (4,): half sizes, height, turn about the vertical.
        boxes: (n, BOX_COLUMNS).
        materials: (N_ROOM + n, N_MATERIAL), linear light.
        sun: (3,), direction to the light.
        sun_colour: (3,).
        sky: (3,), ambient light from above (and the sky itself).
        ground: (3,), ambient light from below.
        uneven: 0 .. 1, how unevenly floor and walls are lit.
        seed_offset: shifts all patterns.
    """

    outdoors: bool
    room: NDArray[np.float64]
    boxes: NDArray[np.float64]
    materials: NDArray[np.float64]
    sun: NDArray[np.float64]
    sun_colour: NDArray[np.float64]
    sky: NDArray[np.float64]
    ground: NDArray[np.float64]
    uneven: float
    seed_offset: float


def random_scene(
    rng: np.random.Generator,
    camera_m: NDArray[np.float64],
    reach_m: float,
    clutter: float,
    occluder: bool,
) -> Scene:
    """Draw a scene.

    Args:
        rng: of the film.
        camera_m: (3,), where the camera stands; the people are about the origin.
        reach_m: people stay within this distance of the origin; things stay out of it.
        clutter: how many things stand about, 0 none .. 1 many.
        occluder: put a thing between camera and people.
    """
    outdoors = bool(rng.random() < 0.25)
    away = float(np.hypot(camera_m[0], camera_m[1]))
    # the camera stands in the room, in front of its wall
    room = np.array(
        [
            max(rng.uniform(2.6, 6.0), away + 0.4),
            max(rng.uniform(2.6, 6.0), away + 0.4),
            rng.uniform(2.5, 4.0),
            rng.uniform(0, 2 * np.pi),
        ]
    )
    boxes = [
        _thing(rng, camera_m, reach_m, outdoors)
        for _ in range(rng.integers(0, 1 + int(14 * clutter)))
    ]
    if not outdoors and rng.random() < 0.7:
        boxes += [_backdrop(rng, camera_m, reach_m)]
    if occluder:
        boxes.append(_occluder(rng, camera_m, reach_m))
    boxes = [box for box in boxes if box is not None]
    materials = np.zeros((N_ROOM + len(boxes), N_MATERIAL))
    materials[FLOOR] = _surface(rng, patterns.FLOORS, (0.25, 1.1))
    materials[CEILING] = _surface(rng, (patterns.PLAIN,), (1.0, 2.0))
    materials[CEILING, :6] = np.maximum(materials[CEILING, :6], 0.4)
    for row in (WALL, OTHER_WALL):
        materials[row] = _surface(rng, patterns.WALLS, (0.15, 1.4))
    if rng.random() < 0.5:  # light walls are common
        materials[WALL:N_ROOM, :6] = 0.35 + 0.45 * materials[WALL:N_ROOM, :6]
    for number in range(len(boxes)):
        materials[N_ROOM + number] = _surface(rng, patterns.WALLS, (0.06, 0.5))
    elevation = rng.uniform(0.7, 1.35)
    azimuth = np.arctan2(camera_m[1], camera_m[0]) + rng.normal(0, 1.1)
    sun = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    warmth = rng.normal(0, 0.08)
    tint = np.array([1 + warmth, 1.0, 1 - warmth])
    direct = rng.uniform(0.35, 1.0)
    ambient = rng.uniform(0.35, 0.65)
    sky = ambient * (np.array([0.85, 0.95, 1.15]) if outdoors else 2 - tint)
    ground = 0.55 * ambient * (0.4 + 0.9 * materials[FLOOR, :3])
    return Scene(
        outdoors=outdoors,
        room=room,
        boxes=np.array(boxes).reshape(-1, BOX_COLUMNS),
        materials=materials,
        sun=sun,
        sun_colour=direct * tint,
        sky=sky,
        ground=ground,
        uneven=float(rng.uniform(0, 0.6)),
        seed_offset=float(rng.uniform(0, 1000)),
    )


def _surface(
    rng: np.random.Generator, kinds: tuple[int, ...], periods_m: tuple[float, float]
) -> NDArray[np.float64]:
    row = np.zeros(N_MATERIAL)
    row[0:3] = random_colour(rng)
    second = np.array(random_colour(rng))
    near = rng.uniform(0.2, 1.0)  # the second colour is often a tone of the first
    row[3:6] = row[0:3] * (1 - near) + near * second
    row[6] = rng.choice(kinds)
    row[7] = rng.uniform(*periods_m)
    return row


def _thing(
    rng: np.random.Generator, camera_m: NDArray[np.float64], reach_m: float, outdoors: bool
) -> list[float] | None:
    """Return a box on the floor, away from the people and not between them and the camera."""
    half = rng.uniform((0.1, 0.1, 0.1), (0.6, 0.6, 1.1))
    if rng.random() < 0.3:  # a pole
        half[:2] = rng.uniform(0.03, 0.08, 2)
        half[2] = rng.uniform(0.6, 1.3)
    distance = reach_m + 0.3 + float(np.hypot(half[0], half[1]))
    distance += rng.uniform(0, 12.0 if outdoors else 3.0)
    angle = rng.uniform(0, 2 * np.pi)
    place = distance * np.array([np.cos(angle), np.sin(angle)])
    towards = camera_m[:2] / np.hypot(*camera_m[:2])
    ahead = float(place @ towards)
    aside = abs(float(place @ np.array([-towards[1], towards[0]])))
    if ahead > 0 and aside < 0.9 + ahead * 0.2:
        return None
    raised = half[2] if rng.random() < 0.85 else rng.uniform(1.0, 2.2)
    turn = rng.uniform(0, np.pi)
    return [*place, raised, *half, np.cos(turn), np.sin(turn), 0.0]


def _backdrop(
    rng: np.random.Generator, camera_m: NDArray[np.float64], reach_m: float
) -> list[float]:
    """Return a wall behind the people, so that rooms are not all as deep as cameras stand far."""
    angle = np.arctan2(-camera_m[1], -camera_m[0]) + rng.normal(0, 0.3)
    distance = reach_m + rng.uniform(0.6, 2.2)
    turn = angle + rng.normal(0, 0.15)
    place = distance * np.array([np.cos(angle), np.sin(angle)])
    return [*place, 1.5, 0.05, 8.0, rng.uniform(1.5, 2.5), np.cos(turn), np.sin(turn), 0.0]


def _occluder(
    rng: np.random.Generator, camera_m: NDArray[np.float64], reach_m: float
) -> list[float]:
    """Return a low box or a pole between the camera and the people."""
    away = float(np.hypot(camera_m[0], camera_m[1]))
    towards = camera_m[:2] / away
    half = rng.uniform((0.15, 0.15, 0.15), (0.35, 0.5, 0.4))
    if rng.random() < 0.4:
        half = np.array([0.05, 0.05, 1.3])
    distance = min(reach_m + 0.55, away - 1.2)
    aside = rng.normal(0, 0.3) * np.array([-towards[1], towards[0]])
    turn = rng.uniform(0, np.pi)
    return [*(distance * towards + aside), half[2], *half, np.cos(turn), np.sin(turn), 0.0]
