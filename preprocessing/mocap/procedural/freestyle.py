"""Whatever people do with their bodies: postures at random within joint limits, joined smoothly.

Not actions with a name, which a demonstration shows, but what a network that shall know people has
to have seen: one-legged, crouched, kneeling, lunging, leaning and twisted, arms anywhere. The
limits are those of procedural.body (REST), within Kapandji's, The Physiology of the Joints.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from diffpose.preprocessing.mocap.procedural.body import REST, SIDES
from diffpose.preprocessing.mocap.procedural.take import Take

Posture = NDArray[np.float64]
_LEG = ("thigh_flex", "thigh_out", "thigh_turn", "knee", "ankle")
# Standard deviations in degrees about rest; postures beyond the limits are drawn back to them.
_TRUNK = {
    "pelvis_pitch": 14.0, "pelvis_side": 7.0, "spine_pitch": 16.0, "spine_side": 11.0,
    "spine_twist": 17.0, "neck_pitch": 15.0, "neck_side": 9.0, "neck_twist": 28.0,
}  # fmt: skip


def freestyle(take: Take) -> None:
    """Go from any posture to any other, now slowly, now fast."""
    rng = take.rng
    legs = take.keyframes(lambda: _legs(rng), *_pace(rng))
    _set_legs(take, legs)
    _bend_trunk(take, rng.uniform(0.4, 1.2))
    take.tracks["yaw"] = take.yaw0 + np.cumsum(_turning(take)) * _step(take)
    take.random_arms(1.0)
    if rng.random() < 0.25:  # both arms alike, as in dances and exercises
        for name in ("arm_raise", "arm_front", "arm_twist", "elbow"):
            take.tracks[f"{name}_r"] = take.tracks[f"{name}_l"].copy()


def balancing(take: Take) -> None:
    """Keep the balance on one leg or a narrow line, arms out, with quick corrections."""
    rng = take.rng
    legs = take.keyframes(lambda: _on_one_leg(rng), *_pace(rng))
    _set_legs(take, legs)
    _bend_trunk(take, rng.uniform(0.2, 0.8))
    weight = take.pulses(0.6, 2.0)
    for side in SIDES:
        raised = take.keyframes(
            lambda: np.array([rng.uniform(35, 125), rng.uniform(-25, 60), rng.uniform(-70, 20),
                              rng.uniform(3, 90)]), 0.5, 1.8,
        )  # fmt: skip
        for column, name in enumerate(("arm_raise", "arm_front", "arm_twist", "elbow")):
            take.blend(f"{name}_{side}", raised[:, column], 0.5 + 0.5 * weight)
    for name, share in (("pelvis_side", 4), ("spine_side", 7), ("spine_pitch", 6)):
        take.add(name, take.wander(rng.uniform(0.3, 1.0) * share, 0.4, 2.0))
    for name in ("arm_raise_*", "arm_front_*"):
        take.add(name, take.wander(rng.uniform(2, 9), 0.5, 2.5))


FREE: dict[str, Callable[[Take], None]] = {"freestyle": freestyle, "balancing": balancing}


def _pace(rng: np.random.Generator) -> tuple[float, float]:
    """Return the shortest and longest time from posture to posture, s: a person's own."""
    shortest = float(np.exp(rng.uniform(np.log(0.35), np.log(1.5))))
    return shortest, shortest * rng.uniform(1.5, 3.0)


def _step(take: Take) -> float:
    return float(take.t[1] - take.t[0]) if len(take.t) > 1 else 0.0


def _turning(take: Take) -> Posture:
    """Return the speed of turning on the spot, degrees/s."""
    return take.wander(take.rng.uniform(5, 60), 0.05, 0.5)


def _bend_trunk(take: Take, amount: float) -> None:
    names = tuple(_TRUNK)
    spread = np.array([_TRUNK[name] for name in names]) * amount
    bent = take.keyframes(lambda: take.rng.normal(0, spread), *_pace(take.rng))
    for column, name in enumerate(names):
        take.add(name, bent[:, column])


def _set_legs(take: Take, legs: Posture) -> None:
    for s, side in enumerate(SIDES):
        for column, name in enumerate(_LEG):
            track = f"{name}_{side}"
            values = legs[:, s * len(_LEG) + column]
            take.tracks[track] = np.clip(values + take.wander(2.0), *REST[track][1:])


def _leg(flex: float, knee: float, out: float, turn: float, ankle: float = 0.0) -> Posture:
    return np.array([flex, out, turn, knee, ankle])


def _support(rng: np.random.Generator, bend: float = 25.0) -> Posture:
    """Return a leg that carries, more or less bent."""
    knee = bend * rng.beta(0.8, 1.6)
    return _leg(0.5 * knee + rng.normal(3, 5), knee, rng.uniform(-5, 14), rng.uniform(-8, 25))


def _both(rng: np.random.Generator, carrying: Posture, other: Posture) -> Posture:
    pair = (carrying, other) if rng.random() < 0.5 else (other, carrying)
    return np.concatenate(pair)


def _on_one_leg(rng: np.random.Generator) -> Posture:
    """Return one carrying leg, the other raised, behind, or just before it."""
    carrying = _support(rng, 45.0)
    kind = rng.random()
    if kind < 0.4:  # raised in front or aside
        other = _leg(rng.uniform(10, 100), rng.uniform(0, 120), rng.uniform(-5, 40),
                     rng.uniform(-10, 35), rng.uniform(-20, 10))  # fmt: skip
    elif kind < 0.65:  # behind
        other = _leg(-rng.uniform(0, 33), rng.uniform(0, 100), rng.uniform(-5, 20),
                     rng.uniform(-10, 25), rng.uniform(-25, 5))  # fmt: skip
    else:  # one foot before the other
        lead = rng.uniform(5, 25)
        carrying[0] += lead
        other = _leg(-lead + rng.normal(0, 4), rng.uniform(2, 30), rng.uniform(-8, 3),
                     rng.uniform(-5, 15))  # fmt: skip
    return _both(rng, carrying, other)


def _standing(rng: np.random.Generator) -> Posture:
    return np.concatenate([_support(rng), _support(rng)])


def _crouched(rng: np.random.Generator) -> Posture:
    """From hardly to deep, feet apart or not."""
    depth, apart = rng.uniform(15, 103), rng.uniform(0, 40)
    pair = [
        _leg(depth + rng.normal(0, 6), 1.3 * depth + rng.normal(0, 8), apart + rng.normal(0, 4),
             rng.uniform(0, 35))
        for _ in SIDES
    ]  # fmt: skip
    return np.concatenate(pair)


def _stepping(rng: np.random.Generator) -> Posture:
    """A step or a lunge."""
    front = _leg(rng.uniform(20, 90), rng.uniform(5, 100), rng.uniform(-5, 30), rng.uniform(-5, 30))
    rear = _leg(-rng.uniform(0, 33), rng.uniform(0, 80), rng.uniform(-5, 25), rng.uniform(-5, 35),
                rng.uniform(-25, 0))  # fmt: skip
    return _both(rng, front, rear)


def _kneeling(rng: np.random.Generator) -> Posture:
    """On one knee or both."""
    down = _leg(rng.uniform(-15, 30), rng.uniform(85, 130), rng.uniform(-5, 15),
                rng.uniform(-5, 15), -25.0)  # fmt: skip
    one = rng.random() < 0.5
    up = _leg(rng.uniform(60, 103), rng.uniform(70, 110), rng.uniform(0, 25), rng.uniform(0, 25))
    return _both(rng, down, up if one else down + rng.normal(0, 5, 5))


def _seated(rng: np.random.Generator) -> Posture:
    pair = [
        _leg(rng.uniform(75, 103), rng.uniform(10, 110), rng.uniform(-5, 35), rng.uniform(-10, 35))
        for _ in SIDES
    ]
    return np.concatenate(pair)


def _astride(rng: np.random.Generator) -> Posture:
    apart = rng.uniform(15, 44)
    pair = [_leg(rng.normal(5, 12), rng.uniform(2, 30), apart, rng.uniform(0, 38)) for _ in SIDES]
    return np.concatenate(pair)


# How often each posture is taken.
_POSTURES: tuple[tuple[float, Callable[[np.random.Generator], Posture]], ...] = (
    (0.25, _standing), (0.20, _on_one_leg), (0.17, _crouched), (0.15, _stepping),
    (0.10, _kneeling), (0.08, _seated), (0.05, _astride),
)  # fmt: skip


def _legs(rng: np.random.Generator) -> Posture:
    """Return both legs of any posture."""
    kind = int(rng.choice(len(_POSTURES), p=[share for share, _ in _POSTURES]))
    return _POSTURES[kind][1](rng)
