"""Directions of a body's parts from 17 joints: where trunk, head, feet and hands face.

Right-handed frames of left, up and front: left x up = front. Joints are (T, 17, 3) in metres, in
any frame; ``up`` is the world's vertical in it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diffpose.preprocessing.render.surfaces.parts import Array, across, unit

# Nose to head top leans back by 30 degrees (28 to 32 in the built-in joint maps).
_HEAD_LEAN_RAD = np.deg2rad(30.0)


class Frame(NamedTuple):
    """Unit vectors (T, 3)."""

    left: Array
    up: Array
    front: Array


def pelvis_frame(joints: Array) -> Frame:
    """Return the frame of hips and lower spine."""
    return _frame(joints[:, 4] - joints[:, 1], joints[:, 7] - joints[:, 0])


def chest_frame(joints: Array) -> Frame:
    """Return the frame of shoulders and upper spine."""
    return _frame(joints[:, 11] - joints[:, 14], joints[:, 8] - joints[:, 7])


def head_frame(joints: Array, chest: Frame) -> Frame:
    """Return the frame of the head.

    Thorax, nose and head top lie in the plane that halves the face, unless the neck leans to a
    side; where they lie on a line, the chest tells left.
    """
    to_nose = joints[:, 9] - joints[:, 8]
    to_top = joints[:, 10] - joints[:, 9]
    normal = np.cross(to_top, to_nose)
    size = np.linalg.norm(to_top, axis=-1) * np.linalg.norm(to_nose, axis=-1)
    left = unit(normal / np.maximum(size, 1e-9)[:, None] + 0.05 * chest.left)
    top = across(to_top, left)
    up = np.cos(_HEAD_LEAN_RAD) * top + np.sin(_HEAD_LEAN_RAD) * np.cross(left, top)
    return _frame(left, up)


def foot_front(
    hip: Array, knee: Array, ankle: Array, pelvis: Frame, up: Array, sole: float
) -> Array:
    """Return where a foot points, (T, 3).

    A bent knee tells the leg's left; the foot is at right angles to the shin in the air and flat
    near the floor, and its tip stays above the floor.

    Args:
        hip: (T, 3).
        knee: (T, 3).
        ankle: (T, 4), position and height above the floor.
        pelvis: its frame.
        up: (3,).
        sole: height of the ankle above a flat sole, m.
    """
    place, height = ankle[:, :3], ankle[:, 3]
    thigh, shin = unit(knee - hip), unit(place - knee)
    left = unit(2.0 * np.cross(thigh, shin) + 0.5 * pelvis.left)
    in_air = unit(np.cross(left, -shin))
    flat = in_air - (in_air @ up)[:, None] * up
    steep = np.linalg.norm(flat, axis=-1) < 0.3
    flat = np.where(steep[:, None], in_air, unit(flat))
    lifted = np.clip((height - sole - 0.02) / 0.14, 0.0, 1.0)[:, None]
    front = unit((1.0 - lifted) * flat + lifted * in_air)
    # 0.17 m ahead of the ankle, the tip must not be below the floor
    deepest = -np.clip((height - sole) / 0.17, 0.0, 0.95)
    rise = front @ up
    level = unit(front - rise[:, None] * up)
    kept = np.sqrt(np.maximum(1.0 - deepest**2, 0.0))[:, None] * level + deepest[:, None] * up
    return np.where((rise < deepest)[:, None], kept, front)


def thumb_side(shoulder: Array, elbow: Array, wrist: Array, chest: Frame) -> Array:
    """Return the direction of the thumb, (T, 3): to where the elbow bends."""
    forearm = unit(wrist - elbow)
    bend = unit(shoulder - elbow)
    bend = bend - (bend * forearm).sum(-1, keepdims=True) * forearm
    return across(bend + 0.35 * chest.front, forearm)


def _frame(left: Array, up: Array) -> Frame:
    up = unit(up)
    left = across(left, up)
    return Frame(left, up, np.cross(left, up))
