"""Key postures that people take freely, drawn at random: of the body, then of its arms.

A posture of the body sets trunk and legs; one of the arms places the wrists, by the closed form of
joint_angles.py, where this body's face, hips or knees are. Angles in degrees, lengths in cm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from diffpose.preprocessing.mocap.freestyle import joint_angles as ja
from diffpose.preprocessing.mocap.freestyle.figure import Figure

Rng = np.random.Generator
Array = ja.Array
SIDES = ja.SIDES
_OTHER = {"l": "r", "r": "l"}


def posed(base: Array, values: Mapping[str, float]) -> Array:
    """Return a posture with some angles set; a name ending in '*' means both sides."""
    result = base.copy()
    for name, value in values.items():
        for each in [name[:-1] + side for side in SIDES] if name.endswith("*") else [name]:
            result[ja.AT[each]] = value
    return result


def _side(rng: Rng) -> tuple[str, str]:
    side = SIDES[int(rng.integers(2))]
    return side, _OTHER[side]


def leg(side: str, thigh: float, knee: float, pitch: float, out: float = 3.0, turn: float = 8.0,
         level: float = 1.0) -> dict[str, float]:  # fmt: skip
    """Return a leg whose thigh is so far forward of the vertical under a pitched pelvis."""
    return {
        f"hip_flex_{side}": thigh + pitch,
        f"hip_out_{side}": out,
        f"hip_turn_{side}": turn,
        f"knee_{side}": knee,
        f"level_{side}": level,
    }


def trunk(rng: Rng, pitch: float, share: float = 1.0) -> Array:
    """Return the resting posture with a pelvis pitch and a random trunk and gaze."""
    base = ja.REST.copy()
    return posed(
        base,
        {
            "pitch": pitch,
            "roll": share * rng.normal(0, 3),
            "spine_flex": share * rng.normal(6, 10),
            "spine_side": share * rng.normal(0, 7),
            "spine_twist": share * rng.normal(0, 12),
            "neck_flex": rng.normal(4, 13),
            "neck_side": rng.normal(0, 8),
            "neck_twist": rng.normal(0, 24),
        },
    )


def standing(rng: Rng, figure: Figure) -> Array:
    """Stand on both legs: straddled, staggered or with one leg at ease."""
    pitch = rng.normal(2, 4)
    base = trunk(rng, pitch)
    apart, stagger = rng.gamma(1.5, 4.0), rng.normal(0, 7)
    one, other = _side(rng)
    ease = rng.uniform(15, 40) if rng.random() < 0.35 else rng.uniform(0, 10)
    legs = leg(one, stagger, rng.uniform(1, 9), pitch, apart, rng.uniform(-5, 25))
    legs |= leg(other, -stagger + 0.5 * ease, ease, pitch, apart, rng.uniform(-5, 25))
    return figure.on_both_feet(posed(base, legs))


def striding(rng: Rng, figure: Figure) -> Array:
    """Stand in a step, as in walking, the rear heel up."""
    pitch = rng.uniform(0, 10)
    front, rear = _side(rng)
    step = rng.uniform(12, 32)
    legs = leg(front, step, rng.uniform(2, 15), pitch, rng.uniform(-3, 5))
    legs |= leg(rear, -step, rng.uniform(5, 30), pitch, rng.uniform(-3, 5))
    return figure.on_both_feet(posed(trunk(rng, pitch), legs), 0.5)


def one_legged(rng: Rng, figure: Figure) -> Array:
    """Stand on one leg, the other drawn up, stretched, behind, aside or against the shin."""
    stand, free = _side(rng)
    pitch = rng.normal(3, 6)
    kind = int(rng.integers(5))
    lifted = (
        leg(free, rng.uniform(25, 105), rng.uniform(45, 125), pitch, rng.uniform(-5, 15), 5, 0.3),
        leg(free, rng.uniform(15, 85), rng.uniform(0, 25), pitch, rng.uniform(-5, 25), 5, 0.0),
        leg(free, -rng.uniform(5, 28), rng.uniform(20, 125), pitch, 2, 5, 0.0),
        leg(free, rng.uniform(-5, 15), rng.uniform(0, 50), pitch, rng.uniform(18, 45), 10, 0.2),
        leg(free, rng.uniform(35, 60), rng.uniform(95, 130), pitch, rng.uniform(25, 42), 42, 0.0),
    )[kind]
    if kind == 2 and rng.random() < 0.4:  # a scale: trunk forward, leg stretched behind
        pitch = rng.uniform(35, 75)
        lifted = leg(free, 0, rng.uniform(0, 30), 0, 3, 5, 0.0) | {f"hip_flex_{free}": -15.0}
    legs = lifted | leg(stand, rng.uniform(-3, 12), rng.uniform(2, 25), pitch, 0, 8)
    base = posed(trunk(rng, pitch, 0.7), legs)
    base[ja.AT["roll"]] += rng.normal(0, 4)
    return figure.balanced(base)


def heel_to_toe(rng: Rng, figure: Figure) -> Array:
    """Stand as on a beam, one foot before the other."""
    front, rear = _side(rng)
    pitch = rng.normal(2, 3)
    legs = leg(front, rng.uniform(6, 16), rng.uniform(2, 15), pitch, -rng.uniform(2, 5), 4)
    legs |= leg(rear, -rng.uniform(4, 14), rng.uniform(3, 18), pitch, -rng.uniform(2, 5), 4)
    return figure.on_both_feet(posed(trunk(rng, pitch, 0.8), legs))


def lunging(rng: Rng, figure: Figure) -> Array:
    """Lunge to the front or to the side."""
    bent, straight = _side(rng)
    pitch = rng.uniform(-3, 30)
    if rng.random() < 0.65:
        deep = rng.uniform(30, 85)
        legs = leg(bent, deep, deep * rng.uniform(0.85, 1.2), pitch, rng.uniform(0, 10))
        rear = -rng.uniform(5, 30) if pitch < 20 else -rng.uniform(0, 20)
        legs |= leg(straight, max(rear, -28 - pitch), rng.uniform(8, 75), pitch, rng.uniform(0, 8))
    else:
        deep, pitch = rng.uniform(35, 90), rng.uniform(10, 40)
        legs = leg(bent, deep, deep * rng.uniform(1.05, 1.3), pitch, rng.uniform(15, 32), 25)
        legs |= leg(straight, 10, rng.uniform(0, 12), pitch, rng.uniform(30, 45), 5)
    return figure.on_both_feet(posed(trunk(rng, pitch), legs), 0.8)


def squatting(rng: Rng, figure: Figure) -> Array:
    """Squat or crouch, from a bend of the knees to deep, on level feet or on the toes."""
    thigh = rng.uniform(12, 98)
    pitch = rng.uniform(0.05, 0.4) * thigh
    out, turn = rng.uniform(3, 30), rng.uniform(5, 30)
    skew = rng.normal(0, 8)
    level = 1.0 if rng.random() < 0.7 else rng.uniform(0.3, 1)
    legs: dict[str, float] = {}
    for side, sign in (("l", 1), ("r", -1)):
        mine = thigh + sign * skew
        legs |= leg(side, mine, mine * rng.uniform(1.25, 1.5), pitch, out, turn, level)
    return figure.on_both_feet(posed(trunk(rng, pitch), legs))


def bending(rng: Rng, figure: Figure) -> Array:
    """Bend over from the hips and the back, with straight or bent knees."""
    pitch, knee = rng.uniform(15, 85), rng.uniform(0, 45)
    apart = rng.uniform(2, 20)
    legs: dict[str, float] = {}
    for side in SIDES:
        own = knee + rng.normal(0, 5)
        legs |= leg(side, 0.45 * own - 6 + rng.normal(0, 5), own, pitch, apart)
    base = posed(trunk(rng, pitch), legs)
    base[ja.AT["spine_flex"]] += rng.uniform(0, 45)
    base[ja.AT["neck_flex"]] -= rng.uniform(0, 30)
    return figure.on_both_feet(base)


def kneeling(rng: Rng, figure: Figure) -> Array:
    """Kneel on both knees, upright or sitting on the heels, or on one knee."""
    pitch = rng.uniform(-5, 25)
    kind = rng.random()
    down, up = _side(rng)
    if kind < 0.4:
        deep = rng.uniform(0, 78)
        legs: dict[str, float] = {}
        for side in SIDES:
            own = deep + rng.normal(0, 2)
            legs |= leg(side, own, min(92 + 0.7 * own, 148), pitch, rng.uniform(0, 12), 5, 0.0)
        ankles = {"ankle_*": -rng.uniform(20, 50)}
    else:
        legs = leg(down, rng.uniform(-10, 15), rng.uniform(80, 105), pitch, 4, 5, 0.2)
        legs |= leg(up, rng.uniform(70, 95), rng.uniform(75, 110), pitch, rng.uniform(0, 20))
        ankles = {f"ankle_{down}": -rng.uniform(0, 50)}
    base = posed(trunk(rng, pitch), legs | ankles)
    if kind < 0.4:
        return ja.clipped(base)
    return figure.settled(base, (f"hip_flex_{up}",), "Leg", f"{ja.SIDE_NAMES[up]}Foot")


def on_all_fours(rng: Rng, figure: Figure) -> Array:
    """Go on hands and knees."""
    pitch = rng.uniform(78, 100)
    base = trunk(rng, pitch, 0.6)
    for side in SIDES:
        thigh = rng.uniform(-15, 25)
        legs = leg(side, thigh, 90 + thigh, pitch, rng.uniform(0, 12), 3, 0.0)
        base = posed(base, legs | {f"ankle_{side}": -45.0})
    base = _propped(base, rng, figure, elbow=rng.uniform(0, 30), spread=rng.uniform(5, 25))
    base[ja.AT["neck_flex"]] -= rng.uniform(0, 30)
    return figure.settled(base, ("pitch", "hip_flex_l", "hip_flex_r"), "Hand", "Leg")


def push_up(rng: Rng, figure: Figure) -> Array:
    """Hold the body straight on hands and toes."""
    base = trunk(rng, 72, 0.3)
    legs = {"hip_flex_*": rng.uniform(-3, 10), "knee_*": rng.uniform(0, 8), "level_*": 0.0}
    base = posed(base, legs | {"ankle_*": 10.0, "hip_out_*": rng.uniform(0, 12)})
    base = _propped(base, rng, figure, elbow=rng.uniform(0, 95), spread=rng.uniform(8, 35))
    base[ja.AT["neck_flex"]] -= rng.uniform(5, 35)
    return figure.settled(base, ("pitch",), "Hand", "ToeBase")


def _propped(base: Array, rng: Rng, figure: Figure, elbow: float, spread: float) -> Array:
    """Put the hands below the shoulders of a trunk that is level."""
    far = np.sqrt(
        figure.upper**2
        + figure.fore**2
        + 2 * figure.upper * figure.fore * np.cos(np.radians(max(elbow, 4.0)))
    )
    for side in SIDES:
        shoulder = figure.place(base).at(f"{ja.SIDE_NAMES[side]}Arm")[0]
        slant = np.radians(spread + rng.normal(0, 3))
        down = np.array([ja.SIGN[side] * np.sin(slant), -np.cos(slant), rng.normal(0, 0.08)])
        base, _ = figure.reach(base, side, shoulder + far * down, rng, -50.0)
    return base


def sitting_on_chair(rng: Rng, figure: Figure) -> Array:  # noqa: ARG001 - as all draws
    """Sit on something of a chair's height; legs side by side, apart, crossed or stretched."""
    pitch = rng.uniform(-22, 30)
    one, _ = _side(rng)
    thigh, out = rng.uniform(78, 96), rng.uniform(0, 22)
    legs: dict[str, float] = {}
    for side in SIDES:
        own = thigh + rng.normal(0, 3)
        knee = own + (rng.uniform(-60, 20) if rng.random() < 0.4 else rng.uniform(-15, 12))
        legs |= leg(side, own, knee, pitch, out + rng.normal(0, 3), rng.uniform(0, 15))
    kind = rng.random()
    if kind < 0.15:  # one thigh over the other
        legs |= leg(one, thigh + 14, rng.uniform(70, 95), pitch, -12, -5, 0.0)
    elif kind < 0.25:  # an ankle on the other knee
        legs |= leg(one, thigh + 8, rng.uniform(95, 112), pitch, 30, 45, 0.0)
    legs |= {f"hip_flex_{side}": float(min(legs[f"hip_flex_{side}"], 120)) for side in SIDES}
    base = posed(trunk(rng, pitch), legs)
    base[ja.AT["spine_flex"]] += rng.uniform(0, 15)
    return ja.clipped(base)


def sitting_on_floor(rng: Rng, figure: Figure) -> Array:
    """Sit on the floor: legs stretched, drawn up, crossed, or to one side."""
    pitch = rng.uniform(-32, 8)
    kind = int(rng.integers(4))
    base = trunk(rng, pitch)
    if kind == 0:
        legs = {"hip_flex_*": 88 + pitch, "knee_*": rng.uniform(0, 20), "level_*": 0.0}
        legs |= {"hip_out_*": rng.uniform(0, 30)}
    elif kind == 1:
        legs = {}
        for side in SIDES:
            legs |= leg(
                side, rng.uniform(105, 135), rng.uniform(75, 125), pitch, rng.uniform(0, 15)
            )
    elif kind == 2:
        legs = {"hip_flex_*": 95 + pitch, "hip_out_*": rng.uniform(32, 45), "hip_turn_*": 45.0}
        legs |= {"knee_*": rng.uniform(115, 138), "level_*": 0.0}
    else:
        one, other = _side(rng)
        legs = leg(one, 90, rng.uniform(90, 125), pitch, 40, 35, 0.0)
        legs |= leg(other, 90, rng.uniform(90, 120), pitch, 25, -35, 0.0)
    base = posed(base, legs)
    base[ja.AT["spine_flex"]] += rng.uniform(0, 25)
    for side in SIDES:
        foot = f"{ja.SIDE_NAMES[side]}Foot"
        if kind == 3:
            base = figure.settled(base, (f"hip_turn_{side}",), foot, "Hips")
        base = figure.settled(base, (f"hip_flex_{side}",), foot, "Hips")
        base = figure.settled(base, (f"hip_flex_{side}",), foot, "Hips")
    return base


def lying(rng: Rng, figure: Figure) -> Array:  # noqa: ARG001 - as all draws
    """Lie on the back, the front or a side."""
    kind = rng.random()
    base = trunk(rng, 0.0, 0.4)
    legs: dict[str, float] = {"level_*": 0.0, "ankle_*": -rng.uniform(10, 45)}
    for side in SIDES:
        bent = rng.uniform(0, 1) if rng.random() < 0.5 else 0.0
        if kind < 0.5:
            legs |= {f"hip_flex_{side}": 60 * bent, f"knee_{side}": rng.uniform(85, 120) * bent}
        elif kind < 0.75:
            legs |= {f"hip_flex_{side}": -5.0, f"knee_{side}": 90 * bent}
        else:
            legs |= {f"hip_flex_{side}": 95 * bent, f"knee_{side}": 5 + 110 * bent}
        legs |= {f"hip_out_{side}": rng.uniform(0, 14)}
    if kind < 0.5:
        legs |= {"pitch": -90.0 + rng.normal(0, 3), "spine_flex": rng.uniform(-3, 12)}
    elif kind < 0.75:
        legs |= {"pitch": 90.0 + rng.normal(0, 3), "spine_flex": -rng.uniform(0, 18)}
        legs |= {"neck_flex": -rng.uniform(0, 30)}
    else:
        legs |= {"roll": rng.choice([-1.0, 1.0]) * 88.0, "pitch": rng.normal(0, 6)}
        legs |= {"hip_out_l": 2.0, "hip_out_r": 2.0}
    return ja.clipped(posed(base, legs))


def kicking(rng: Rng, figure: Figure) -> Array:
    """Kick to the front or the side."""
    stand, free = _side(rng)
    high, out = rng.uniform(25, 100), rng.uniform(0, 42)
    pitch = -0.25 * high * rng.random()
    legs = leg(stand, rng.uniform(0, 12), rng.uniform(4, 25), pitch, 2)
    legs |= leg(free, min(high, 115 - pitch), rng.uniform(0, 45), pitch, out, 10, 0.0)
    return figure.balanced(posed(trunk(rng, pitch), legs), 0.7)


def tiptoe(rng: Rng, figure: Figure) -> Array:
    """Stretch on the toes, bent backwards or to a side."""
    base = posed(
        trunk(rng, rng.uniform(-12, 4)),
        {"level_*": 0.0, "ankle_*": -rng.uniform(0, 45), "knee_*": rng.uniform(0, 6)},
    )
    base[ja.AT["spine_flex"]] = -rng.uniform(0, 22)
    base[ja.AT["spine_side"]] = rng.normal(0, 18)
    base[ja.AT["neck_flex"]] = -rng.uniform(0, 40)
    return figure.balanced(base)


# Posture of the body, how often it is drawn, and how far down its hips are (0 stands, 1 sits on a
# chair or squats, 2 is on the floor): the way down and up leads over what lies between.
BODY: dict[str, tuple[Callable[[Rng, Figure], Array], float, int]] = {
    "standing": (standing, 5.0, 0),
    "striding": (striding, 2.0, 0),
    "one-legged": (one_legged, 2.0, 0),
    "heel-to-toe": (heel_to_toe, 0.7, 0),
    "lunging": (lunging, 1.5, 0),
    "squatting": (squatting, 2.0, 1),
    "bending": (bending, 1.7, 0),
    "kneeling": (kneeling, 1.2, 1),
    "on-all-fours": (on_all_fours, 0.6, 2),
    "push-up": (push_up, 0.4, 2),
    "sitting": (sitting_on_chair, 2.0, 1),
    "sitting-on-floor": (sitting_on_floor, 1.2, 2),
    "lying": (lying, 0.7, 2),
    "kicking": (kicking, 1.0, 0),
    "tiptoe": (tiptoe, 0.8, 0),
}
# What holds the body up with its hands keeps them there.
ON_HANDS = ("on-all-fours", "push-up")
