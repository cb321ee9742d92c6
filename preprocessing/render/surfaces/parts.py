"""The pieces of which bodies are made: round cones, flattened where the body is flat.

A round cone is what a ball sweeps that moves from one point to another while its radius changes
evenly. Each piece has axes of its own: along (from its first to its second end), front, and across;
its radius is stretched by ``wide`` across and by ``deep`` to the front. A linear map takes it to a
plain round cone and rays to rays, so that one formula serves limbs, heads and trunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Columns of a part's row in the tables that the rasteriser reads.
TO_LOCAL, EYE, LENGTH, RADIUS_A, RADIUS_B, MATERIAL, V_START, PERSON = 0, 9, 12, 13, 14, 15, 16, 17
END_A, END_B, REACH, TURN = 18, 21, 24, 25
U_START = 26
N_COLUMNS = 27


class Part(NamedTuple):
    """One piece along T moments, camera frame, metres.

    Attributes:
        a: (T, 3), first end.
        b: (T, 3), second end.
        front: (T, 3), roughly to the front; need not be perpendicular.
        radius_a: at the first end.
        radius_b: at the second end.
        material: row of the material table.
        wide: stretch of the radius across.
        deep: stretch of the radius to the front.
        v_start: pattern coordinate along, at the first end.
        shadow: whether it casts a shadow on the floor.
        u_start: pattern coordinate across, in the middle of the front.
    """

    a: Array
    b: Array
    front: Array
    radius_a: float
    radius_b: float
    material: int
    wide: float = 1.0
    deep: float = 1.0
    v_start: float = 0.0
    shadow: bool = False
    u_start: float = 0.0


def ellipsoid(
    centre: Array,
    up: Array,
    front: Array,
    radii: tuple[float, float, float],
    material: int,
    v_start: float = 0.0,
    shadow: bool = False,
) -> Part:
    """Return an ellipsoid; radii are across, up, front."""
    across, along, forward = radii
    wide, deep = across / along, forward / along
    end = centre + 1e-4 * up
    return Part(centre, end, front, along, along, material, wide, deep, v_start, shadow)


def unit(vectors: Array) -> Array:
    """Return vectors (..., 3) of length 1; null vectors stay."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: Array = vectors / np.maximum(length, 1e-12)
    return result


def across(vectors: Array, axis: Array) -> Array:
    """Return the unit vectors of what is perpendicular to unit axes (..., 3)."""
    return unit(vectors - (vectors * axis).sum(-1, keepdims=True) * axis)


def tables(parts: Sequence[Part], person: int) -> Array:
    """Return the rows that the rasteriser reads, (T, parts, N_COLUMNS)."""
    n_moments = len(parts[0].a)
    result = np.empty((n_moments, len(parts), N_COLUMNS))
    for part, rows in zip(parts, result.swapaxes(0, 1), strict=True):
        axis = part.b - part.a
        length = np.linalg.norm(axis, axis=-1)
        y = unit(axis)
        z = across(part.front, y)
        lost = np.linalg.norm(z, axis=-1) < 0.5  # front lies along the axis: any direction will do
        z[lost] = across(np.roll(y[lost], 1, axis=-1), y[lost])
        x = np.cross(y, z)
        to_local = np.stack([x / part.wide, y, z / part.deep], axis=1)
        rows[:, TO_LOCAL:EYE] = to_local.reshape(-1, 9)
        rows[:, EYE:LENGTH] = -np.einsum("tij,tj->ti", to_local, part.a)
        rows[:, LENGTH] = length
        rows[:, RADIUS_A] = part.radius_a
        rows[:, RADIUS_B] = part.radius_b
        rows[:, MATERIAL] = part.material
        rows[:, V_START] = part.v_start
        rows[:, U_START] = part.u_start
        rows[:, PERSON] = person
        rows[:, END_A:END_B] = part.a
        rows[:, END_B:REACH] = part.b
        rows[:, REACH] = max(part.wide, part.deep, 1.0)
        rows[:, TURN] = 0.5 * (part.wide + part.deep) * max(part.radius_a, part.radius_b)
    return result
