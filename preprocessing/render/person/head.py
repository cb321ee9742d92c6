"""A head: face, hair and headgear, so that its front, back and sides cannot be mistaken."""

from __future__ import annotations

import numpy as np

from diffpose.preprocessing.render.person.axes import Frame
from diffpose.preprocessing.render.person.look import (
    BROW,
    HAIR,
    HEADGEAR,
    IRIS,
    LIPS,
    SKIN,
    SOCKET,
    WHITE,
    Look,
)
from diffpose.preprocessing.render.surfaces.parts import Array, Part, ellipsoid

# Height of an adult's head without hair; the other sizes below are of that head, in metres.
_NOSE_TO_TOP_M = 0.137


def head_parts(joints: Array, frame: Frame, chest: Frame, look: Look) -> list[Part]:
    """Return the parts of head and neck.

    The joints Nose and Head lie inside: Nose behind the tip of the nose, Head below the crown.

    Args:
        joints: (T, 17, 3), metres.
        frame: of the head.
        chest: of the chest.
        look: of the person.
    """
    nose_to_top = float(np.median(np.linalg.norm(joints[:, 10] - joints[:, 9], axis=-1)))
    size = float(np.clip(nose_to_top / _NOSE_TO_TOP_M, 0.82, 1.25))
    centre = joints[:, 10] - 0.095 * size * frame.up + 0.002 * size * frame.front

    def at(left: float, up: float, front: float) -> Array:
        result: Array = centre + size * (left * frame.left + up * frame.up + front * frame.front)
        return result

    def ball(
        place: tuple[float, float, float], radii: tuple[float, float, float], material: int
    ) -> Part:
        across, along, forward = (size * r for r in radii)
        return ellipsoid(at(*place), frame.up, frame.front, (across, along, forward), material)

    def rod(
        a: tuple[float, float, float], b: tuple[float, float, float], ra: float, rb: float, m: int
    ) -> Part:
        return Part(at(*a), at(*b), frame.front, size * ra, size * rb, m)

    girth = look.build.girth**0.6
    parts = [
        ball((0, 0, 0), (0.076 * girth**0.5, 0.114, 0.097), SKIN)._replace(shadow=True),
        ball((0, -0.05, 0.024), (0.058 * girth, 0.068, 0.066), SKIN),
        rod((0, 0.008, 0.094), (0, -0.026, 0.112), 0.009, 0.0145, SKIN),
        rod((-0.021, -0.056, 0.082), (0.021, -0.056, 0.082), 0.0085, 0.0085, LIPS),
    ]
    for side in (-1.0, 1.0):
        parts += [
            ball((side * 0.032, 0.012, 0.078), (0.019, 0.014, 0.013), SOCKET),
            ball((side * 0.032, 0.010, 0.0825), (0.0145, 0.0095, 0.0115), WHITE),
            ball((side * 0.031, 0.010, 0.0885), (0.0075, 0.0085, 0.0075), IRIS),
            rod((side * 0.016, 0.034, 0.0855), (side * 0.046, 0.034, 0.073), 0.0065, 0.0055, BROW),
            ball((side * 0.078, -0.004, -0.006), (0.012, 0.032, 0.020), SKIN),
        ]
        if look.glasses:
            rim = ((side * 0.012, -0.012, 0.098), (side * 0.05, -0.012, 0.090))
            top = ((side * 0.008, 0.026, 0.098), (side * 0.054, 0.026, 0.088))
            parts += [rod(*rim, 0.003, 0.003, IRIS), rod(*top, 0.0045, 0.0045, IRIS)]
            temple = ((side * 0.055, 0.024, 0.088), (side * 0.084, 0.014, -0.01))
            parts.append(rod(*temple, 0.0035, 0.0035, IRIS))
    if look.beard:
        parts.append(ball((0, -0.074, 0.028), (0.062 * girth, 0.05, 0.07), BROW))
    neck = joints[:, 8] - 0.03 * chest.up - 0.005 * chest.front
    radius = 0.056 * size * girth * look.build.muscle**0.5
    parts.append(Part(neck, at(0, -0.05, -0.018), frame.front, radius * 1.1, radius, SKIN))
    return parts + _hair(ball, rod, at, look, chest, size)


def _hair(  # type: ignore[no-untyped-def]  # noqa: PLR0911
    ball, rod, at, look: Look, chest: Frame, size: float
) -> list[Part]:
    style = look.hair
    cap = ball((0, 0.017, -0.016), (0.085, 0.112, 0.098), HAIR)
    nape = ball((0, -0.035, -0.04), (0.074, 0.075, 0.062), HAIR)
    if style == "bald":
        return []
    if style == "short":
        return [cap, nape]
    if style == "thick":
        return [
            ball((0, 0.03, -0.02), (0.102, 0.115, 0.108), HAIR),
            ball((0, -0.03, -0.045), (0.09, 0.085, 0.075), HAIR),
        ]
    if style in ("cap", "hat"):
        crown = ball((0, 0.032, -0.004), (0.09, 0.1, 0.106), HEADGEAR)
        # cut the crown above the brows: only its upper part is wider than the head
        crown = ball((0, 0.062, -0.006), (0.09, 0.068, 0.108), HEADGEAR)
        if style == "cap":
            return [cap, nape, crown, ball((0, 0.047, 0.105), (0.072, 0.008, 0.07), HEADGEAR)]
        return [cap, nape, crown, ball((0, 0.045, 0.0), (0.17, 0.01, 0.18), HEADGEAR)]
    wide = ball((0, 0.018, -0.018), (0.094, 0.115, 0.102), HAIR)
    if style == "bob":
        sides = [
            rod((s * 0.072, 0.02, -0.01), (s * 0.074, -0.09, 0.0), 0.026, 0.03, HAIR)
            for s in (-1.0, 1.0)
        ]
        return [wide, ball((0, -0.04, -0.045), (0.095, 0.1, 0.07), HAIR), *sides]
    if style == "long":
        down = at(0, -0.08, -0.05) - size * (0.16 * chest.up + 0.035 * chest.front)
        fall = Part(at(0, 0.0, -0.045), down, chest.front, 0.085 * size, 0.07 * size, HAIR)
        sides = [
            rod((s * 0.074, 0.02, -0.012), (s * 0.078, -0.11, -0.005), 0.022, 0.026, HAIR)
            for s in (-1.0, 1.0)
        ]
        return [wide, fall._replace(wide=1.0, deep=0.55), *sides]
    if style == "tail":
        end = at(0, 0.0, -0.14) - size * 0.24 * chest.up
        return [cap, nape, Part(at(0, 0.045, -0.115), end, chest.front, 0.034 * size, 0.016, HAIR)]
    return [cap, nape, ball((0, 0.075, -0.1), (0.046, 0.046, 0.046), HAIR)]
