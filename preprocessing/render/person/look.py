"""What a person looks like, drawn at random: build, skin, hair and clothes.

Build belongs to the body (the same in all its films), everything else to the film.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diffpose.preprocessing.render.surfaces import patterns
from diffpose.preprocessing.render.surfaces.raster import (
    BACK_PRINT,
    BAND,
    BUTTONS,
    N_MATERIAL,
    NONE,
    PRINT,
    STRIP,
    V_NECK,
)

Colour = tuple[float, float, float]
Hair = Literal["bald", "short", "thick", "bob", "long", "tail", "bun", "cap", "hat"]

# Rows of a person's material table.
SKIN, LIPS, WHITE, IRIS, HAIR, BROW, SHIRT, SLEEVE, TROUSERS, SHOE, SOLE, HEADGEAR, SOCKET, NAIL = (
    range(14)
)
N_MATERIALS = 14
_SKINS = (
    (255, 220, 190),
    (240, 192, 154),
    (222, 170, 124),
    (196, 134, 92),
    (142, 88, 54),
    (88, 54, 36),
)
_HAIRS = ((18, 14, 12), (42, 28, 20), (84, 54, 34), (120, 60, 30), (188, 148, 88), (226, 196, 130),
          (120, 118, 116), (206, 204, 200))  # fmt: skip


@dataclass(frozen=True)
class Build:
    """How thick a body is, whatever its bones' lengths; factors around 1.

    Attributes:
        girth: of trunk and limbs.
        muscle: of shoulders, upper arms, calves.
        hips: width of the pelvis.
        waist: width of the waist.
        bust: 0 .. 1.
        belly: 0 .. 1.
    """

    girth: float
    muscle: float
    hips: float
    waist: float
    bust: float
    belly: float


@dataclass(frozen=True)
class Look:
    """One person's appearance in a film.

    Attributes:
        build: of the body.
        materials: (N_MATERIALS, N_MATERIAL), linear light.
        hair: style.
        sleeve: share of the arm that is covered, 0 .. 2 (1: to the elbow).
        trouser: share of the leg that is covered, 0.3 .. 2 (1: to the knee).
        skirt: share of the leg that a skirt covers, 0 none.
        loose_m: how far clothes stand off the body.
        shoes: whether shoes are worn.
        collar: whether the shirt has a collar.
        beard: whether there is a beard.
        glasses: whether glasses are worn.
    """

    build: Build
    materials: NDArray[np.float64]
    hair: Hair
    sleeve: float
    trouser: float
    skirt: float
    loose_m: float
    shoes: bool
    collar: bool
    beard: bool
    glasses: bool


def random_build(rng: np.random.Generator) -> Build:
    """Draw a build, slim to stout."""
    curved = rng.random() < 0.5
    girth = float(np.clip(np.exp(rng.normal(0.02, 0.12)), 0.82, 1.4))
    stout = float(np.clip((girth - 1.0) / 0.3, 0.0, 1.0))
    return Build(
        girth=girth,
        muscle=rng.uniform(0.92, 1.02) if curved else rng.uniform(0.98, 1.15),
        hips=rng.uniform(1.02, 1.16) if curved else rng.uniform(0.92, 1.04),
        waist=rng.uniform(0.84, 0.98) if curved else rng.uniform(0.95, 1.08),
        bust=rng.uniform(0.35, 1.0) if curved else 0.0,
        belly=float(np.clip(rng.normal(0.15 + 0.6 * stout, 0.2), 0.0, 1.0)),
    )


def random_look(rng: np.random.Generator, build: Build, variety: float) -> Look:
    """Draw an appearance.

    Args:
        rng: of the film and person.
        build: of the body.
        variety: 0 plain clothes .. 1 all patterns and details.
    """
    skin = _skin(rng)
    hair_colour = _hair(rng, skin)
    sleeve = float(rng.choice([0.0, 0.35, 0.55, 0.8, 1.4, 2.0, 2.0]))
    dressed = build.bust > 0 and rng.random() < 0.3
    skirt = float(rng.uniform(0.55, 1.5)) if dressed else 0.0
    trouser = float(rng.choice([0.45, 0.75, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0]))
    materials = np.zeros((N_MATERIALS, N_MATERIAL))
    for row, colour, shine in (
        (SKIN, skin, 0.06),
        (NAIL, _mixed(skin, (0.9, 0.6, 0.6), 0.1), 0.1),
        (LIPS, _mixed(skin, (0.45, 0.04, 0.05), rng.uniform(0.35, 0.8)), 0.1),
        (SOCKET, tuple(0.45 * c for c in skin), 0.0),
        (WHITE, (0.78, 0.76, 0.74), 0.2),
        (IRIS, tuple(rng.uniform(0.005, 0.05) for _ in range(3)), 0.5),
        (HAIR, hair_colour, 0.10),
        (BROW, tuple(0.6 * c for c in hair_colour), 0.0),
        (SOLE, _linear((rng.choice([30, 60, 200]),) * 3), 0.0),
    ):
        materials[row, :3] = colour
        materials[row, 8] = shine
    materials[HAIR, 3:6] = [0.55 * c for c in hair_colour]
    materials[HAIR, 6:8] = patterns.STRIPES, 0.012
    materials[SHIRT] = _cloth(rng, variety)
    materials[SLEEVE] = materials[SHIRT]
    if rng.random() < 0.15:  # raglan: sleeves of another colour
        materials[SLEEVE] = _cloth(rng, 0.3 * variety)
    one_piece = skirt > 0 and rng.random() < 0.5
    materials[TROUSERS] = materials[SHIRT] if one_piece else _cloth(rng, 0.45 * variety)
    materials[SHOE] = _cloth(rng, 0.0)
    materials[SHOE, 8:10] = rng.uniform(0, 0.4), 0.0
    materials[HEADGEAR] = _cloth(rng, 0.3 * variety)
    _front_detail(rng, materials, skin, variety)
    return Look(
        build=build,
        materials=materials,
        hair=_hair_style(rng, build.bust > 0),
        sleeve=sleeve,
        trouser=trouser if skirt == 0 else (2.0 if rng.random() < 0.2 else 0.0),
        skirt=skirt,
        loose_m=float(rng.choice([0.004, 0.008, 0.014, 0.022])),
        shoes=bool(rng.random() < 0.88),
        collar=bool(rng.random() < 0.4),
        beard=bool(build.bust == 0 and rng.random() < 0.2),
        glasses=bool(rng.random() < 0.15),
    )


def random_colour(rng: np.random.Generator) -> Colour:
    """Draw a colour of cloth, paint or furniture: a third grey, a third muted, a third strong."""
    kind = rng.random()
    saturation = rng.uniform(0, 0.08) if kind < 0.35 else rng.uniform(0.15, 0.5)
    if kind > 0.67:
        saturation = rng.uniform(0.5, 0.95)
    value = rng.uniform(0.08, 0.95) if kind < 0.35 else rng.uniform(0.2, 0.95)
    rgb = colorsys.hsv_to_rgb(rng.random(), saturation, value)
    return _linear(tuple(255 * c for c in rgb))


def _cloth(rng: np.random.Generator, variety: float) -> NDArray[np.float64]:
    row = np.zeros(N_MATERIAL)
    first = random_colour(rng)
    second = random_colour(rng)
    if rng.random() < 0.5:  # a tone of the same colour
        second = _mixed(first, (1.0, 1.0, 1.0) if sum(first) < 0.8 else (0.0, 0.0, 0.0), 0.4)
    row[0:3], row[3:6] = first, second
    if rng.random() < 0.55 * variety:
        row[6] = rng.choice(patterns.CLOTH[1:])
    row[7] = rng.uniform(0.035, 0.16)
    row[8] = rng.choice([0.0, 0.0, 0.03, 0.12])
    row[9] = rng.uniform(0.1, 0.6)
    return row


def _front_detail(
    rng: np.random.Generator, materials: NDArray[np.float64], skin: Colour, variety: float
) -> None:
    """Give the shirt something that only its front (or back) shows."""
    shirt = materials[SHIRT]
    shirt[13:16] = random_colour(rng)
    if rng.random() > 0.15 + 0.65 * variety:
        shirt[10] = NONE
        return
    shirt[10] = rng.choice(
        [STRIP, PRINT, V_NECK, BUTTONS, BAND, BACK_PRINT], p=[0.18, 0.27, 0.23, 0.12, 0.1, 0.1]
    )
    kind = int(shirt[10])
    if kind == STRIP:
        shirt[11] = rng.uniform(0.02, 0.08)
    elif kind in (PRINT, BACK_PRINT):
        shirt[11], shirt[12] = rng.uniform(0.05, 0.1), rng.uniform(0.3, 0.38)
    elif kind == V_NECK:
        shirt[12] = rng.uniform(0.3, 0.42)
        if rng.random() < 0.7:
            shirt[13:16] = skin
    elif kind == BUTTONS:
        shirt[11] = 0.012
    else:
        shirt[11], shirt[12] = rng.uniform(0.02, 0.06), rng.uniform(0.2, 0.4)


def _skin(rng: np.random.Generator) -> Colour:
    place = rng.uniform(0, len(_SKINS) - 1)
    low = int(place)
    high = min(low + 1, len(_SKINS) - 1)
    colour = _mixed(_linear(_SKINS[low]), _linear(_SKINS[high]), place - low)
    return tuple(c * f for c, f in zip(colour, rng.uniform(0.92, 1.08, 3), strict=True))


def _hair(rng: np.random.Generator, skin: Colour) -> Colour:
    if rng.random() < 0.06:
        return random_colour(rng)
    dark = sum(skin) < 0.6
    colour = _linear(_HAIRS[int(rng.integers(0, 3 if dark else len(_HAIRS)))])
    # hair as bright as the face would hide which side of the head is seen
    if not dark and 0.55 < sum(colour) / sum(skin) < 1.3:
        colour = tuple(0.4 * c for c in colour)  # type: ignore[assignment]
    return colour


def _hair_style(rng: np.random.Generator, curved: bool) -> Hair:
    styles: tuple[Hair, ...] = (
        "bald",
        "short",
        "thick",
        "bob",
        "long",
        "tail",
        "bun",
        "cap",
        "hat",
    )
    odds = (
        [0.01, 0.12, 0.10, 0.2, 0.22, 0.14, 0.1, 0.07, 0.04]
        if curved
        else [0.08, 0.48, 0.17, 0.04, 0.04, 0.02, 0.02, 0.11, 0.04]
    )
    return styles[int(rng.choice(len(styles), p=odds))]


def _linear(srgb: tuple[float, ...]) -> Colour:
    r, g, b = ((c / 255.0) ** 2.2 for c in srgb)
    return r, g, b


def _mixed(a: Colour, b: Colour, share: float) -> Colour:
    r, g, b_ = (x + share * (y - x) for x, y in zip(a, b, strict=True))
    return r, g, b_
