"""Balancing: heel to toe along a line with the arms out, wobbling, halts on one leg, turns."""

from __future__ import annotations

import zlib

import numpy as np

from diffpose.preprocessing.mocap.bvh import BvhMotion
from diffpose.preprocessing.mocap.freestyle import joint_angles as ja
from diffpose.preprocessing.mocap.freestyle.arms import with_arms
from diffpose.preprocessing.mocap.freestyle.figure import Figure, varied_body
from diffpose.preprocessing.mocap.freestyle.motion import (
    Score,
    angles_of,
    headings,
    on_the_floor,
    overlays,
)
from diffpose.preprocessing.mocap.freestyle.postures import BODY, leg, posed, trunk

Rng = np.random.Generator
Array = ja.Array
_OTHER = {"l": "r", "r": "l"}
# Some two and a half metres, so that a line fits before one camera.
_STEPS_PER_LINE = 7


def _step(figure: Figure, front: str, rng: Rng) -> Array:
    """Return a posture with one foot set down before the other."""
    pitch = rng.normal(2, 2.5)
    legs = leg(front, rng.uniform(7, 16), rng.uniform(1, 12), pitch, -rng.uniform(2, 5), 4)
    legs |= leg(_OTHER[front], -rng.uniform(5, 13), rng.uniform(3, 18), pitch, -3, 4)
    return figure.on_both_feet(posed(trunk(rng, pitch, 0.6), legs))


def _swing(figure: Figure, free: str, rng: Rng) -> Array:
    """Return a posture on one leg while the other passes."""
    pitch = rng.normal(3, 3)
    legs = leg(_OTHER[free], rng.uniform(-4, 8), rng.uniform(2, 22), pitch, 0, 6)
    out = rng.uniform(0, 14)
    legs |= leg(free, rng.uniform(8, 45), rng.uniform(20, 70), pitch, out, 6, 0.6)
    return figure.balanced(posed(trunk(rng, pitch, 0.7), legs))


def balancing_score(figure: Figure, duration_s: float, rng: Rng) -> Score:
    """Return steps along a line, with halts on one leg or low, and a turn at each end."""
    score = Score()
    free = ja.SIDES[int(rng.integers(2))]
    pace = rng.uniform(0.35, 1.0)

    def go(name: str, body: Array, seconds: float, hold: float) -> None:
        if not score.keys or rng.random() < 0.6:
            posture = with_arms(name, body, figure, rng)
        else:  # the arms stay about where they were
            posture = body.copy()
            for side in ja.SIDES:
                for part in ("arm_out", "arm_flex", "arm_turn", "elbow"):
                    column = ja.AT[f"{part}_{side}"]
                    posture[column] = score.keys[-1][2][column] + rng.normal(0, 8)
            posture = ja.clipped(posture)
        score.then(posture, seconds, hold)

    go("heel-to-toe", _step(figure, _OTHER[free], rng), 0.0, 0.3)
    steps = int(rng.integers(_STEPS_PER_LINE))
    while score.end < duration_s:
        halt = rng.random()
        go("one-legged", _swing(figure, free, rng), pace * rng.uniform(0.5, 1.0), 0.0)
        if halt < 0.22:
            go("one-legged", BODY["one-legged"][0](rng, figure), 0.8, rng.exponential(0.8))
            go("one-legged", _swing(figure, free, rng), 0.6, 0.0)
        elif halt < 0.28:
            go("squatting", BODY["squatting"][0](rng, figure), 0.8, rng.exponential(0.4))
        hold = rng.exponential(0.25) if rng.random() < 0.5 else 0.0
        go("heel-to-toe", _step(figure, free, rng), pace * rng.uniform(0.4, 1.0), hold)
        free = _OTHER[free]
        steps += 1
        if steps % _STEPS_PER_LINE == 0:
            begin = score.end
            go("heel-to-toe", _step(figure, free, rng), rng.uniform(1.0, 2.5), 0.2)
            half_turn = float(rng.choice([-1.0, 1.0])) * rng.normal(180, 8)
            score.turns.append((begin, score.end, half_turn))
    return score


def wobble(t: Array, rng: Rng) -> Array:
    """Return (T, D) degrees of catching one's balance: trunk one way, arms like a seesaw."""
    result = np.zeros((len(t), len(ja.NAMES)))
    at = rng.uniform(0, 1.5)
    while at < t[-1]:
        lasts = rng.uniform(0.8, 3.0)
        after = np.clip(t - at, 0.0, None)
        wave = np.sin(2 * np.pi * rng.uniform(0.5, 1.6) * after) * np.exp(-2.0 * after / lasts)
        wave *= rng.normal(0, 1.0) * (after > 0)
        result[:, ja.AT["roll"]] += 4.0 * wave
        result[:, ja.AT["spine_side"]] += 7.0 * wave
        result[:, ja.AT["neck_side"]] -= 5.0 * wave
        result[:, ja.AT["pitch"]] += rng.normal(0, 3.0) * wave
        result[:, ja.AT["spine_flex"]] += rng.normal(0, 6.0) * wave
        for side in ja.SIDES:
            result[:, ja.AT[f"arm_out_{side}"]] -= ja.SIGN[side] * 22.0 * wave
            result[:, ja.AT[f"arm_flex_{side}"]] += rng.normal(0, 10.0) * wave
            result[:, ja.AT[f"elbow_{side}"]] += rng.normal(0, 8.0) * wave
            result[:, ja.AT[f"hip_out_{side}"]] += ja.SIGN[side] * 3.0 * wave
        at += lasts
    return result


def balancing(seed: int, duration_s: float = 20.0, fps: float = 30.0) -> BvhMotion:
    """Return one person balancing along a line; arguments and result as `motion.freestyle`."""
    rng = np.random.default_rng([zlib.crc32(b"balancing"), seed])
    figure = Figure(varied_body(rng))
    t = np.arange(max(2, round(duration_s * fps))) / fps
    score = balancing_score(figure, duration_s, rng)
    free = overlays(t, rng, rng.uniform(0.3, 0.8), beats=False) + rng.uniform(0.4, 1.3) * wobble(
        t, rng
    )
    angles = ja.clipped(angles_of(score, t, rng) + free)
    angles = figure.arms_apart(angles, fps)
    yaw = rng.uniform(-180, 180) + headings(score, t)
    return on_the_floor(figure, angles, yaw, t, score)
