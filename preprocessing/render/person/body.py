"""A dressed body around 17 joints: trunk, limbs, hands, feet, clothes.

Every joint lies inside the surface near the middle of its limb, so that its projection is what a
detector should find. Left and right differ as people's do: by where the body faces.
"""

from __future__ import annotations

import numpy as np

from diffpose.preprocessing.render.person.axes import (
    Frame,
    chest_frame,
    foot_front,
    head_frame,
    pelvis_frame,
    thumb_side,
)
from diffpose.preprocessing.render.person.head import head_parts
from diffpose.preprocessing.render.person.look import (
    NAIL,
    SHIRT,
    SHOE,
    SKIN,
    SLEEVE,
    SOLE,
    TROUSERS,
    Look,
)
from diffpose.preprocessing.render.surfaces.parts import Array, Part, ellipsoid, unit

_LEGS = ((1, 2, 3), (4, 5, 6))
_ARMS = ((14, 15, 16), (11, 12, 13))
_USUAL_LEG_M = 0.87


def body_parts(joints: Array, height_m: Array, up: Array, look: Look) -> list[Part]:
    """Return all parts of a dressed person.

    Args:
        joints: (T, 17, 3), camera frame, metres.
        height_m: (T, 17), above the floor.
        up: (3,), the vertical, camera frame.
        look: of the person.
    """
    pelvis, chest = pelvis_frame(joints), chest_frame(joints)
    head = head_frame(joints, chest)
    thigh = np.linalg.norm(joints[:, 2] - joints[:, 1], axis=-1)
    shin = np.linalg.norm(joints[:, 3] - joints[:, 2], axis=-1)
    size = float(np.clip(np.median(thigh + shin) / _USUAL_LEG_M, 0.75, 1.25))
    parts = _trunk(joints, pelvis, chest, look, size)
    for leg in _LEGS:
        sole = float(np.clip(np.quantile(height_m[:, leg[2]], 0.02), 0.055, 0.125))
        ankle = np.concatenate([joints[:, leg[2]], height_m[:, leg[2], None]], axis=1)
        toes = foot_front(joints[:, leg[0]], joints[:, leg[1]], ankle, pelvis, up, sole)
        parts += _leg(joints[:, leg], pelvis, toes, sole, look, size)
    for sign, arm in zip((-1.0, 1.0), _ARMS, strict=True):
        shoulder, elbow, wrist = joints[:, arm].swapaxes(0, 1)
        thumb = thumb_side(shoulder, elbow, wrist, chest)
        parts += _arm(joints[:, arm], chest, thumb, look, size, sign)
    return parts + head_parts(joints, head, chest, look)


def _trunk(joints: Array, pelvis: Frame, chest: Frame, look: Look, size: float) -> list[Part]:
    build, g = look.build, look.build.girth
    shoulders = float(np.median(np.linalg.norm(joints[:, 11] - joints[:, 14], axis=-1)))
    hips = float(np.median(np.linalg.norm(joints[:, 4] - joints[:, 1], axis=-1)))
    loose = look.loose_m
    broad = float(np.clip(0.36 * shoulders + 0.035, 0.105, 0.18)) * g**0.7 + loose
    waist = 0.128 * size * g * build.waist + loose
    hip = float(np.clip(0.32 * hips + 0.095, 0.12, 0.18)) * size * g**0.7 * build.hips + loose
    root, spine, thorax = joints[:, 0], joints[:, 7], joints[:, 8]
    low = float(np.median(np.linalg.norm(spine - root, axis=-1)))
    high = float(np.median(np.linalg.norm(thorax - spine, axis=-1)))
    front = unit(pelvis.front + chest.front)
    ribs = spine + 0.55 * (thorax - spine) - 0.012 * chest.front
    top = spine + 0.74 * (thorax - spine) - 0.015 * chest.front
    belt = root + 0.28 * (spine - root)
    parts = [
        # from the crotch to the belt, in trousers
        Part(
            root - 0.035 * size * pelvis.up,
            belt,
            pelvis.front,
            hip * 0.96,
            hip * 0.97,
            TROUSERS,
            1.0,
            0.70,
            shadow=True,
        ),
        Part(belt, spine, front, hip * 0.99, waist, SHIRT, 1.0, 0.72, 0.28 * low, True),
        Part(spine, ribs, chest.front, waist, broad, SHIRT, 1.0, 0.70, low, True),
        Part(ribs, top, chest.front, broad, broad * 0.93, SHIRT, 1.0, 0.66, low + 0.55 * high),
    ]
    for side in (-1.0, 1.0):
        hip_joint = joints[:, 4 if side > 0 else 1]
        seat = hip_joint - 0.055 * size * pelvis.front - 0.02 * size * pelvis.up
        radii = (0.085 * size * g, 0.1 * size * g, 0.085 * size * g)
        parts.append(ellipsoid(seat, pelvis.up, pelvis.front, radii, TROUSERS))
        shoulder = joints[:, 11 if side > 0 else 14]
        inner = thorax - 0.045 * chest.up - 0.012 * chest.front + side * 0.025 * chest.left
        radius = 0.056 * g**0.6 * build.muscle + loose * 0.5
        yoke = Part(inner, shoulder, chest.front, radius * 1.02, radius, SHIRT)
        parts.append(yoke._replace(v_start=low + high - 0.05, shadow=True))
        nape = thorax + 0.02 * chest.up - 0.012 * chest.front
        trap = Part(nape, shoulder, chest.front, 0.05 * g**0.6, 0.036, SHIRT)
        parts.append(trap._replace(v_start=low + high))
        if build.bust > 0:
            place = ribs + side * 0.45 * broad * chest.left + 0.52 * broad * chest.front
            swell = (0.058 + 0.016 * build.bust) * g**0.7
            shape = (swell, swell, swell * (0.55 + 0.5 * build.bust))
            bust = ellipsoid(place, chest.up, chest.front, shape, SHIRT, low + 0.55 * high)
            parts.append(bust._replace(u_start=side * 0.45 * broad))
        else:
            place = ribs + side * 0.42 * broad * chest.left + 0.40 * broad * chest.front
            place = place + 0.02 * chest.up
            shape = (0.45 * broad, 0.36 * broad, 0.38 * broad)
            pec = ellipsoid(place, chest.up, chest.front, shape, SHIRT, low + 0.6 * high)
            parts.append(pec._replace(u_start=side * 0.42 * broad))
    if build.belly > 0.15:
        place = root + 0.72 * (spine - root) + 0.35 * waist * front
        shape = (0.9 * waist, 0.8 * waist, (0.35 + 0.5 * build.belly) * waist)
        parts.append(ellipsoid(place, pelvis.up, front, shape, SHIRT, 0.72 * low))
    if look.collar:
        neck = thorax + 0.012 * chest.up
        ring = ellipsoid(neck, chest.up, chest.front, (0.072 * g, 0.024, 0.07 * g), SLEEVE)
        parts.append(ring)
    if look.skirt > 0:
        parts.append(_skirt(joints, pelvis, look, hip, belt))
    return parts


def _skirt(joints: Array, pelvis: Frame, look: Look, hip: float, belt: Array) -> Part:
    """Return a cone around both legs, from the belt to the share of the legs that it covers."""
    down = 0.5 * (joints[:, 2] + joints[:, 5])
    if look.skirt > 1.0:
        ankles = 0.5 * (joints[:, 3] + joints[:, 6])
        hem = down + (look.skirt - 1.0) * (ankles - down)
    else:
        hem = joints[:, 0] + look.skirt * (down - joints[:, 0])
    flare = hip * (1.05 + 0.25 * look.skirt)
    return Part(belt, hem, pelvis.front, hip, flare, TROUSERS, 1.0, 0.8, shadow=True)


def _leg(
    leg: Array, pelvis: Frame, toes: Array, sole: float, look: Look, size: float
) -> list[Part]:
    g, m = size * look.build.girth**0.8, look.build.muscle
    hip, knee, ankle = leg.swapaxes(0, 1)
    down = unit(ankle - knee)
    calf = knee + 0.3 * (ankle - knee) - 0.012 * size * toes
    r_hip, r_knee, r_ankle = 0.083 * g, 0.054 * g, 0.037 * size
    parts = [
        Part(hip, knee, pelvis.front, r_hip, r_knee, SKIN, shadow=True),
        Part(knee, calf, toes, r_knee, 0.053 * g * m, SKIN, shadow=True),
        Part(calf, ankle, toes, 0.053 * g * m, r_ankle, SKIN, shadow=True),
        ellipsoid(knee + 0.012 * toes, -down, toes, (0.048 * g, 0.056 * g, 0.05 * g), SKIN),
    ]
    loose = look.loose_m
    upper = min(look.trouser, 1.0)
    if upper > 0:
        radius = r_hip + upper * (r_knee - r_hip)
        hem = hip + upper * (knee - hip)
        parts.append(
            Part(hip, hem, pelvis.front, r_hip + loose, radius + loose, TROUSERS, v_start=1.0)
        )
    lower = look.trouser - 1.0
    if lower > 0:
        hem = knee + min(lower, 0.97) * (ankle - knee)
        leg_end = (0.058 + (1 - lower) * 0.01) * g**0.5 * size + loose
        parts.append(Part(knee, hem, toes, r_knee + loose, leg_end, TROUSERS, v_start=1.45))
    return parts + _foot(ankle, down, toes, sole, look, size)


def _foot(
    ankle: Array, down: Array, toes: Array, sole: float, look: Look, size: float
) -> list[Part]:
    """Return a shoe or bare foot; its sole lies ``sole`` below the ankle, square to the toes."""
    below = across_down(down, toes)
    material = SHOE if look.shoes else SKIN
    grow = size * (1.08 if look.shoes else 1.0)
    r_heel, r_ball, r_toe = 0.036 * grow, 0.033 * grow, 0.024 * grow
    heel = ankle + (sole - r_heel) * below - 0.045 * size * toes
    ball = ankle + (sole - r_ball) * below + 0.10 * size * toes
    tip = ankle + (sole - r_toe) * below + 0.165 * grow * toes
    parts = [
        Part(heel, ball, -below, r_heel, r_ball, material, 1.15, 1.0, shadow=True),
        Part(ball, tip, -below, r_ball, r_toe, material, 1.4, 1.0),
        Part(ankle, heel, toes, 0.038 * grow, r_heel, material, 1.0, 1.1),
        Part(ankle + 0.01 * below, ball, toes, 0.036 * grow, r_ball, material, 1.0, 1.0),
    ]
    if look.shoes:
        parts.append(
            Part(
                heel + (r_heel - 0.008) * below,
                tip + (r_toe - 0.010) * below,
                -below,
                0.014,
                0.014,
                SOLE,
                3.0 * size,
            )
        )
    else:
        parts.append(
            Part(
                tip + 0.006 * toes - 0.02 * size * np.cross(toes, below),
                tip + 0.006 * toes + 0.02 * size * np.cross(toes, below),
                toes,
                0.017 * size,
                0.017 * size,
                NAIL,
            )
        )
    return parts


def across_down(down: Array, toes: Array) -> Array:
    """Return the downward direction that is square to the toes, (T, 3)."""
    return unit(down - (down * toes).sum(-1, keepdims=True) * toes + 1e-6 * down)


def _arm(
    arm: Array, chest: Frame, thumb: Array, look: Look, size: float, side: float
) -> list[Part]:
    g, m = size * look.build.girth**0.7, look.build.muscle
    shoulder, elbow, wrist = arm.swapaxes(0, 1)
    r_shoulder, r_elbow, r_wrist = 0.050 * g * m, 0.039 * g, 0.027 * size
    forearm = unit(wrist - elbow)
    swell = elbow + 0.25 * (wrist - elbow)
    parts = [
        Part(shoulder, elbow, chest.front, r_shoulder, r_elbow, SKIN, shadow=True),
        Part(elbow, swell, thumb, r_elbow, 0.040 * g * m, SKIN, shadow=True),
        Part(swell, wrist, thumb, 0.040 * g * m, r_wrist, SKIN, 0.92, shadow=True),
    ]
    palm = wrist + 0.052 * size * forearm
    knuckles = wrist + 0.085 * size * forearm
    tips = wrist + 0.165 * size * forearm
    inner = np.cross(thumb, forearm) * side
    parts += [
        ellipsoid(palm, forearm, thumb, (0.019 * size, 0.058 * size, 0.042 * size), SKIN),
        Part(knuckles, tips + 0.02 * inner, thumb, 0.014 * size, 0.009 * size, SKIN, 1.0, 2.6),
        Part(
            wrist + size * (0.035 * forearm + 0.025 * thumb),
            wrist + size * (0.085 * forearm + 0.062 * thumb + 0.01 * inner),
            thumb,
            0.014 * size,
            0.010 * size,
            SKIN,
        ),
    ]
    loose = look.loose_m
    upper = min(look.sleeve, 1.0)
    if upper > 0:
        radius = r_shoulder + upper * (r_elbow - r_shoulder) + loose
        hem = shoulder + upper * (elbow - shoulder)
        start = r_shoulder * 1.04 + loose
        parts.append(Part(shoulder, hem, chest.front, start, radius, SLEEVE, v_start=2.0))
    lower = look.sleeve - 1.0
    if lower > 0:
        hem = elbow + min(lower, 0.98) * (wrist - elbow)
        end = r_elbow + lower * (r_wrist + 0.004 - r_elbow)
        parts.append(Part(elbow, hem, thumb, r_elbow + loose, end + loose, SLEEVE, v_start=2.3))
    return parts
