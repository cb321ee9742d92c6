"""Postures of the arms, drawn at random for a posture of the body: where the wrists go.

Targets are places on or about this body (hips, face, knees, the floor), so that hands rest on what
they touch whatever the proportions. Lengths in shares of the body's height.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffpose.preprocessing.mocap.freestyle import joint_angles as ja
from diffpose.preprocessing.mocap.freestyle.figure import Figure, J, Placed
from diffpose.preprocessing.mocap.freestyle.postures import posed

Rng = np.random.Generator
Array = ja.Array
Wrists = dict[str, Array]  # side to place, cm
Draw = Callable[[Rng, Figure, Placed], Wrists]


def _local(placed: Placed, joint: str, share: tuple[float, float, float], height: float) -> Array:
    """Return a place given in a joint's frame, in shares of the height."""
    turned = placed.rotations[0, J[joint]] @ (np.array(share) * height)
    return np.asarray(placed.at(joint)[0] + turned, dtype=np.float64)


def _both(place: Callable[[float], Array]) -> Wrists:
    """Return both wrists from a function of the side's sign, 1 on the left."""
    return {side: place(ja.SIGN[side]) for side in ja.SIDES}


def _name(sign: float) -> str:
    return "Left" if sign > 0 else "Right"


def _direction(rng: Rng) -> Array:
    """Return where a hand goes from its shoulder, left: to the front and the side, seldom back."""
    while True:
        way = rng.normal(size=3) * [0.9, 1.0, 0.8] + [0.25, -0.1, 0.45]
        way /= np.linalg.norm(way)
        if way[2] > -0.45 and way[0] > -0.75:
            return np.asarray(way, dtype=np.float64)


def anywhere(rng: Rng, figure: Figure, placed: Placed) -> Wrists:
    """Reach anywhere: alike, crosswise, each on its own, or one alone."""
    arm = figure.upper + figure.fore
    kind = rng.random()
    first, far = _direction(rng), rng.uniform(0.45, 1.0)
    ways = {"l": first * far, "r": first * far}
    if kind < 0.2:  # anti-symmetrical: one up where the other is down, one forward, one back
        ways["r"] = ways["r"] * [1.0, -1.0, 1.0]
    elif kind < 0.65:
        ways["r"] = _direction(rng) * rng.uniform(0.45, 1.0)
    elif kind < 0.85:
        del ways["l" if rng.random() < 0.5 else "r"]
    return {
        side: placed.at(f"{ja.SIDE_NAMES[side]}Arm")[0]
        + placed.rotations[0, J["Spine2"]] @ (way * [ja.SIGN[side], 1.0, 1.0] * arm)
        for side, way in ways.items()
    }


def held_out(rng: Rng, figure: Figure, placed: Placed) -> Wrists:
    """Hold both arms out for balance, level in space as far as the trunk is not."""
    arm = figure.upper + figure.fore
    high, front, far = rng.normal(-5, 22), rng.normal(12, 15), rng.uniform(0.85, 1.0)
    tilt = rng.normal(0, 14)

    def place(sign: float) -> Array:
        up, forward = np.radians([high + sign * tilt + rng.normal(0, 7), front + rng.normal(0, 7)])
        way = [sign * np.cos(up) * np.cos(forward), np.sin(up), np.cos(up) * np.sin(forward)]
        turned = placed.rotations[0, J["Spine2"]] @ way
        return np.asarray(placed.at(f"{_name(sign)}Arm")[0] + far * arm * turned)

    return _both(place)


def overhead(rng: Rng, figure: Figure, placed: Placed) -> Wrists:
    """Stretch both arms up, parallel or in a V."""
    arm = figure.upper + figure.fore
    wide, front, far = rng.uniform(-8, 45), rng.uniform(-5, 35), rng.uniform(0.8, 1.0)

    def place(sign: float) -> Array:
        out, forward = np.radians([wide + rng.normal(0, 4), front + rng.normal(0, 4)])
        way = np.array([sign * np.sin(out), np.cos(out) * np.cos(forward), np.sin(forward)])
        way = placed.rotations[0, J["Spine2"]] @ (way / np.linalg.norm(way))
        return np.asarray(placed.at(f"{_name(sign)}Arm")[0] + far * arm * way)

    return _both(place)


def on_hips(rng: Rng, figure: Figure, placed: Placed) -> Wrists:
    """Rest both hands on the hips, or one."""
    high = rng.uniform(0.03, 0.1)

    def place(sign: float) -> Array:
        share = (sign * rng.uniform(0.085, 0.115), high, rng.uniform(-0.03, 0.04))
        return _local(placed, "Hips", share, figure.height)

    return _some(rng, _both(place), 0.75)


def crossed(rng: Rng, figure: Figure, placed: Placed) -> Wrists:
    """Cross the arms before the chest."""
    low, upper = rng.uniform(-0.06, 0.02), rng.choice([-1.0, 1.0])

    def place(sign: float) -> Array:
        share = (-sign * rng.uniform(0.03, 0.075), low + 0.015 * sign * upper, 0.0)
        depth = 0.115 + 0.025 * (sign == upper)
        return _local(placed, "Spine2", (share[0], share[1], depth), figure.height)

    return _both(place)


def at_head(rng: Rng, figure: Figure, placed: Placed) -> Wrists:
    """Bring hands to the face, the ear, the chin, the crown or behind the head."""
    spots = (
        (0.035, -0.035, 0.11),  # chin, mouth
        (0.075, 0.02, 0.095),  # eyes, brow
        (0.11, 0.0, 0.03),  # ear, telephone
        (0.09, 0.12, 0.02),  # crown
        (0.08, 0.05, -0.07),  # back of the head
    )
    spot = np.array(spots[int(rng.integers(len(spots)))])

    def place(sign: float) -> Array:
        x, y, z = spot + rng.normal(0, 0.012, 3)
        return _local(placed, "Head", (sign * x, y, z), figure.height)

    return _some(rng, _both(place), 0.45)


def together(rng: Rng, figure: Figure, placed: Placed) -> Wrists:
    """Hold the hands near each other in front: clapping, carrying, praying, pointing."""
    middle = np.array([rng.normal(0, 0.06), rng.uniform(-0.22, 0.18), rng.uniform(0.15, 0.34)])
    apart = rng.uniform(0.02, 0.11)

    def place(sign: float) -> Array:
        x, y, z = middle + np.array([sign * apart, 0, 0])
        return _local(placed, "Spine2", (x, y, z), figure.height)

    return _both(place)


def on_thighs(rng: Rng, figure: Figure, placed: Placed) -> Wrists:
    """Rest the hands on thighs, knees or shins."""
    along, above = rng.uniform(0.35, 1.1), rng.uniform(0.055, 0.075)

    def place(sign: float) -> Array:
        name = _name(sign)
        hip, knee = placed.at(f"{name}UpLeg")[0], placed.at(f"{name}Leg")[0]
        front = placed.rotations[0, J[f"{name}UpLeg"]][:, 2]
        share = along + rng.normal(0, 0.08)
        return np.asarray(hip + share * (knee - hip) + above * figure.height * front)

    return _some(rng, _both(place), 0.75)


def behind(rng: Rng, figure: Figure, placed: Placed) -> Wrists:
    """Hold the hands behind the back."""
    high = rng.uniform(-0.02, 0.08)

    def place(sign: float) -> Array:
        share = (sign * rng.uniform(0.02, 0.07), high + rng.normal(0, 0.01), -0.12)
        return _local(placed, "Hips", share, figure.height)

    return _both(place)


def to_floor(rng: Rng, figure: Figure, placed: Placed) -> Wrists:
    """Reach to the floor before or beside the feet, or lean on it."""
    floor = float(figure.clearances(placed)[0].min())
    chest = placed.at("Spine2")[0]
    back = chest[2] < -0.02 * figure.height  # leaning back: the hands are behind
    depth = -rng.uniform(0.05, 0.2) if back else rng.uniform(0.0, 0.2)
    wide = rng.uniform(0.05, 0.2)

    def place(sign: float) -> Array:
        x, z = chest[[0, 2]] + np.array([sign * (wide + 0.02), depth]) * figure.height
        return np.array([x, floor + 0.035 * figure.height, z])

    return _some(rng, _both(place), 0.6)


def throwing(rng: Rng, figure: Figure, placed: Placed) -> Wrists:
    """Draw one arm back and up as to throw, the other points forward."""
    arm, h = figure.upper + figure.fore, figure.height
    side = ja.SIDES[int(rng.integers(2))]
    other = "r" if side == "l" else "l"
    chest = placed.rotations[0, J["Spine2"]]
    back = np.array([ja.SIGN[side] * rng.uniform(0.12, 0.2), rng.uniform(0.06, 0.2), -0.04]) * h
    ahead = np.array([ja.SIGN[other] * rng.uniform(0, 0.5), rng.uniform(-0.3, 0.4), 0.8]) * arm
    return {
        each: placed.at(f"{ja.SIDE_NAMES[each]}Arm")[0] + chest @ way
        for each, way in ((side, back), (other, ahead))
    }


def _some(rng: Rng, wrists: Wrists, both: float) -> Wrists:
    """Return both wrists, or one of them."""
    if rng.random() < both:
        return wrists
    side = ja.SIDES[int(rng.integers(2))]
    return {side: wrists[side]}


_ARMS: dict[Draw | None, float] = {
    None: 2.2,  # hanging
    anywhere: 5.0,
    held_out: 1.0,
    overhead: 0.9,
    on_hips: 0.7,
    crossed: 0.5,
    at_head: 1.2,
    together: 1.2,
    on_thighs: 0.15,
    behind: 0.3,
    to_floor: 0.1,
    throwing: 0.6,
}
# Where a posture of the body makes some arms likelier, by how much.
_LIKELIER: dict[str, dict[Draw | None, float]] = {
    "one-legged": {held_out: 8.0},
    "heel-to-toe": {held_out: 12.0},
    "sitting": {on_thighs: 30.0, None: 0.1},
    "sitting-on-floor": {on_thighs: 20.0, to_floor: 30.0, None: 0.1},
    "kneeling": {on_thighs: 15.0, to_floor: 8.0},
    "squatting": {on_thighs: 10.0, to_floor: 8.0, held_out: 2.0},
    "bending": {on_thighs: 12.0, to_floor: 20.0},
    "lunging": {on_thighs: 10.0, to_floor: 6.0, on_hips: 2.0},
    "lying": {held_out: 3.0, on_hips: 3.0, behind: 0.0},
    "tiptoe": {overhead: 8.0},
}


def hanging(rng: Rng, angles: Array) -> Array:
    """Return a posture whose arms hang, each a little in its own way."""
    result = angles
    for side in ja.SIDES:
        own = {"arm_out": rng.uniform(5, 16), "arm_flex": rng.normal(2, 8)}
        own |= {"arm_turn": rng.uniform(0, 45), "elbow": rng.uniform(5, 40)}
        result = posed(result, {f"{name}_{side}": value for name, value in own.items()})
    return result


def with_arms(name: str, angles: Array, figure: Figure, rng: Rng) -> Array:
    """Return a posture of the body, by its name, with arms that are not inside of it.

    Args:
        name: of `postures.BODY`; some arms go with some bodies.
        angles: (D,), degrees.
        figure: the person.
        rng: draws the arms.
    """
    kinds = list(_ARMS)
    likelier = _LIKELIER.get(name, {})
    weights = np.array([_ARMS[kind] * likelier.get(kind, 1.0) for kind in kinds])
    best, best_room = angles, -np.inf
    for _ in range(6):
        draw = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        tried = hanging(rng, angles)
        if name == "lying":  # hanging arms lie beside
            tried[[ja.AT["arm_flex_l"], ja.AT["arm_flex_r"]]] = rng.uniform(-5, 5, 2)
        placed = figure.place(tried)
        for side, target in (draw(rng, figure, placed) if draw else {}).items():
            tried, _ = figure.reach(tried, side, target, rng)
        tried = ja.clipped(tried)
        after = figure.place(tried)
        room = min(float(figure.arm_room(after, side)[0]) for side in ja.SIDES)
        heights = figure.clearances(after)[0]
        arms = [J[f"{s}{j}"] for s in ("Left", "Right") for j in ("ForeArm", "Hand")]
        legs = [i for i in range(len(heights)) if i not in arms]
        room = min(room, float(heights[arms].min() - heights[legs].min()) + 1.0)
        if room > best_room:
            best, best_room = tried, room
        if best_room > -3.0:
            break
    return best
