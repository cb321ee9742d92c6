"""Surface patterns as functions of two surface coordinates, for cloth, floors and walls alike."""

from __future__ import annotations

import math

from numba import njit

PLAIN, RINGS, STRIPES, PLAID, DOTS, PATCHES, CHECKER, PLANKS, BRICKS, CLOUDS, COLLAGE = range(11)
CLOTH = (PLAIN, RINGS, STRIPES, PLAID, DOTS, PATCHES, CHECKER)
FLOORS = (PLAIN, CHECKER, PLANKS, CLOUDS, PATCHES, BRICKS, PLAID)
WALLS = (PLAIN, STRIPES, BRICKS, CLOUDS, COLLAGE, PLANKS, DOTS, CHECKER)


@njit(cache=True)
def lattice(i: int, j: int) -> float:
    """Return a fixed random number 0 .. 1 for each point (i, j) of the integer lattice."""
    h = (i * 374761393 + j * 668265263) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return float((h ^ (h >> 16)) & 0xFFFF) / 65535.0


@njit(cache=True)
def noise(u: float, v: float) -> float:
    """Return smooth noise 0 .. 1 whose features have size 1 (value noise, cubic blending)."""
    i, j = math.floor(u), math.floor(v)
    a, b = u - i, v - j
    a, b = a * a * (3.0 - 2.0 * a), b * b * (3.0 - 2.0 * b)
    i, j = int(i), int(j)
    low = lattice(i, j) * (1.0 - a) + lattice(i + 1, j) * a
    high = lattice(i, j + 1) * (1.0 - a) + lattice(i + 1, j + 1) * a
    return low * (1.0 - b) + high * b


@njit(cache=True)
def share_of_second(  # noqa: PLR0911, PLR0912 - one branch per pattern
    kind: int, u: float, v: float
) -> float:
    """Return how much of the second colour shows at (u, v), 0 .. 1.

    Args:
        kind: one of the patterns above.
        u: across, in periods of the pattern.
        v: along or up, in periods.
    """
    if kind == PLAIN:
        return 0.0
    if kind == CLOUDS:
        fine = 0.25 * noise(4.1 * u, 4.3 * v) + 0.15 * noise(9.7 * u, 9.1 * v)
        return 0.6 * noise(u, v) + fine
    if kind == PATCHES:
        value = 0.7 * noise(2.0 * u, 2.0 * v) + 0.3 * noise(5.0 * u + 7.0, 5.0 * v)
        return min(max((value - 0.47) * 12.0, 0.0), 1.0)
    i, j = math.floor(u), math.floor(v)
    a, b = u - i, v - j
    if kind == RINGS:
        return 1.0 if b < 0.45 else 0.0
    if kind == STRIPES:
        return 1.0 if a < 0.4 else 0.0
    if kind == PLAID:
        return 0.5 * (1.0 if a < 0.35 else 0.0) + 0.5 * (1.0 if b < 0.35 else 0.0)
    if kind == DOTS:
        return 1.0 if (a - 0.5) ** 2 + (b - 0.5) ** 2 < 0.08 else 0.0
    if kind == CHECKER:
        return float((int(i) + int(j)) % 2)
    if kind == PLANKS:
        plank = math.floor(u * 2.0)
        joint = v * 0.35 + lattice(plank, 3)
        if u * 2.0 - plank < 0.05 or joint - math.floor(joint) < 0.01:
            return 1.0
        return 0.55 * lattice(plank, math.floor(joint)) + 0.2 * noise(14.0 * u, 1.5 * v)
    if kind == BRICKS:
        shifted = u + 0.5 * (int(j) % 2)
        if b < 0.12 or shifted - math.floor(shifted) < 0.06:
            return 1.0
        return 0.4 * lattice(math.floor(shifted), int(j))
    # a collage of rectangles of random tones
    coarse = lattice(int(i) + 91, int(j) + 17)
    if coarse < 0.5:
        return coarse * 2.0
    return lattice(math.floor(3.0 * u), math.floor(2.0 * v) + 500)
