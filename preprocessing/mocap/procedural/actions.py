"""What the people of the procedural generator do: one function per action.

Every action starts from a random standing posture (`own_posture`) and adds its own movement; the
arms leave it for random postures by the person's `arm_freedom`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffpose.preprocessing.mocap.procedural.body import SIDES
from diffpose.preprocessing.mocap.procedural.take import Take


def walking(take: Take) -> None:
    """Walk on a circle, with anything from a stroll to a fast march."""
    rng, t = take.rng, take.t
    cadence = rng.uniform(0.65, 1.1)  # strides per second
    phase = 2 * np.pi * (cadence * t + take.wander(0.03)) + rng.uniform(0, 2 * np.pi)
    stride, lift = rng.uniform(16, 32), rng.uniform(38, 68)
    swing, bend = rng.uniform(8, 32), rng.uniform(0, 30)
    for side, offset in (("l", 0.0), ("r", np.pi)):
        angle = phase + offset
        take.add(f"thigh_flex_{side}", stride * np.cos(angle) + 0.15 * stride)
        # The knee yields a little under load and folds while the leg swings forward.
        fold = np.exp(2.5 * (np.cos(angle - 1.5 * np.pi + 0.5) - 1))
        take.add(f"knee_{side}", lift * fold + 6 * np.exp(3 * (np.cos(angle - 0.7) - 1)))
        take.add(f"ankle_{side}", -12 * np.exp(4 * (np.cos(angle - 1.15 * np.pi) - 1)))
        take.add(f"arm_swing_{side}", -swing * np.cos(angle) - 3)
        take.add(f"elbow_{side}", bend * (1 - 0.4 * np.cos(angle)))
    take.add("spine_twist", 0.2 * swing * np.cos(phase))
    take.add("pelvis_side", rng.uniform(1, 4) * np.sin(phase))
    take.add("pelvis_pitch", rng.uniform(0, 6))
    radius = rng.uniform(90, 170)  # cm
    side = rng.choice([-1.0, 1.0])
    speed = 4 * 85 * np.sin(np.radians(stride)) * cadence * (1 + 0.1 * take.wander(1.0))  # cm/s
    step = np.diff(t, prepend=t[0])
    heading = np.radians(take.yaw0) + side * np.cumsum(speed * step) / radius
    take.tracks["yaw"] = np.degrees(heading) + take.wander(4.0)
    # On the circle the centre is to the left when yaw grows.
    around = radius + take.wander(10.0)
    take.tracks["x"] = -side * around * np.cos(heading) + take.tracks["x"] * 0.4
    take.tracks["z"] = side * around * np.sin(heading) + take.tracks["z"] * 0.4
    take.plant = None
    take.random_arms(0.7 * take.arm_freedom**2)


def reaching(take: Take) -> None:
    """Reach to places around the body with one or both hands, from the floor to overhead."""
    rng = take.rng
    take.random_arms(take.arm_freedom)
    sides = SIDES if rng.random() < 0.35 else (take.random_side(),)
    target = take.keyframes(
        lambda: np.array([rng.uniform(15, 160), rng.uniform(0, 95), rng.uniform(-80, 10)]), 1.0, 2.4
    )
    extend = take.pulses(0.7, 1.5)
    low = np.clip((70 - target[:, 0]) / 55, 0, 1) * extend
    for side in sides:
        for name, values in zip(("arm_raise", "arm_front", "arm_twist"), target.T, strict=True):
            take.blend(f"{name}_{side}", values + take.wander(6.0), 0.4 + 0.6 * extend)
        take.blend(f"elbow_{side}", 95 - 88 * extend, 0.9)
        take.add(f"shrug_{side}", 12 * extend * np.clip(target[:, 0] / 120, 0, 1))
    sign = 0.0 if len(sides) > 1 else (-1.0 if sides[0] == "l" else 1.0)
    take.add("spine_twist", sign * rng.uniform(5, 30) * extend)
    take.add("spine_side", -sign * rng.uniform(-5, 14) * extend)
    knees = rng.uniform(0, 1)
    take.squat(low * 75 * knees, 0.35)
    take.add("pelvis_pitch", 50 * (1 - 0.7 * knees) * low)
    take.add("spine_pitch", rng.uniform(5, 35) * low + rng.uniform(0, 12) * extend)
    take.add("neck_pitch", 15 * low - 10 * np.clip(target[:, 0] / 120 - 0.6, 0, 1) * extend)


def squatting(take: Take) -> None:
    """Squat and rise, from half to deep, with the arms in front, on the knees or anywhere."""
    rng = take.rng
    depth = rng.uniform(55, 98) * take.pulses(0.7, 1.8)
    take.add("thigh_out_*", rng.uniform(0, 20))
    take.add("thigh_turn_*", rng.uniform(0, 20))
    take.squat(depth, rng.uniform(0.2, 0.5))
    take.add("spine_pitch", rng.uniform(-0.05, 0.2) * depth)
    if rng.random() < 0.5:
        front, elbow = rng.uniform(60, 95), rng.uniform(5, 100)
        for side in SIDES:
            take.blend(f"arm_raise_{side}", rng.uniform(60, 95), depth / 100)
            take.blend(f"arm_front_{side}", front, depth / 100)
            take.blend(f"elbow_{side}", elbow, depth / 100)
    take.random_arms(take.arm_freedom)


def turning(take: Take) -> None:
    """Turn on the spot with small steps, the head and the shoulders ahead of the feet."""
    rng, t = take.rng, take.t
    yaw = take.keyframes(lambda: np.array([rng.uniform(-200, 200)]), 1.3, 3.0)[:, 0]
    rate = np.gradient(yaw, t) if len(t) > 1 else np.zeros_like(t)
    take.tracks["yaw"] = take.yaw0 + yaw
    busy = np.clip(np.abs(rate) / 80, 0, 1)
    phase = 2 * np.pi * rng.uniform(1.0, 1.5) * t
    for side, offset in (("l", 0.0), ("r", np.pi)):
        up = np.clip(np.sin(phase + offset), 0, None) ** 2 * busy
        take.add(f"thigh_flex_{side}", rng.uniform(15, 40) * up)
        take.add(f"knee_{side}", rng.uniform(35, 70) * up)
        take.add(f"thigh_turn_{side}", (1 if side == "l" else -1) * np.clip(rate / 10, -18, 18))
    take.add("neck_twist", np.clip(rate / 4, -45, 45))
    take.add("spine_twist", np.clip(rate / 6, -30, 30))
    take.random_arms(0.3 + 0.7 * take.arm_freedom)


def waving(take: Take) -> None:
    """Wave one or both raised hands; the rest of the body may sway."""
    rng, t = take.rng, take.t
    take.random_arms(take.arm_freedom)
    raised = np.clip(1.4 * take.pulses(1.0, 2.5), 0, 1)
    for side in SIDES if rng.random() < 0.3 else (take.random_side(),):
        beat = np.sin(2 * np.pi * rng.uniform(0.8, 2.2) * t + rng.uniform(0, 6) + take.wander(0.5))
        take.blend(f"arm_raise_{side}", rng.uniform(55, 150) + take.wander(10.0), raised)
        take.blend(f"arm_front_{side}", rng.uniform(-5, 60) + 12 * beat, raised)
        take.blend(f"arm_twist_{side}", -rng.uniform(60, 95) + rng.uniform(0, 30) * beat, raised)
        take.blend(f"elbow_{side}", rng.uniform(35, 85) + rng.uniform(8, 32) * beat, 0.95 * raised)
        take.add(f"wrist_{side}", 15 * beat)
    take.add("pelvis_side", take.wander(rng.uniform(0, 8)))
    take.add("spine_side", take.wander(rng.uniform(0, 8)))


def sitting(take: Take) -> None:
    """Sit on a chair or on the floor, legs shifting, often leaning or gesturing; may sit down."""
    rng = take.rng
    on_floor = rng.random() < 0.25
    sits = (
        np.ones_like(take.t) if rng.random() < 0.6 else np.clip(1.5 * take.pulses(1.0, 2.2), 0, 1)
    )
    if on_floor:
        sits = np.clip(sits, 0.75, 1)
    thigh = rng.uniform(84, 98)
    for side in SIDES:
        shin = take.keyframes(lambda: np.array([rng.uniform(-30, 14)]), 1.5, 4.0)[:, 0]
        # On the floor the legs lie in front, stretched or with the knees drawn up.
        knee = rng.uniform(3, 95) + shin if on_floor else thigh + shin
        flex = 88 + 0.5 * np.clip(knee, 0, 100) if on_floor else thigh + take.wander(3.0)
        take.blend(f"thigh_flex_{side}", np.clip(flex, 0, 105), sits)
        take.blend(f"knee_{side}", knee, sits)
        take.add(f"thigh_out_{side}", sits * rng.uniform(0, 22))
    # Between standing and sitting the trunk goes forward to keep the balance.
    take.add("pelvis_pitch", 140 * sits * (1 - sits) - sits * rng.uniform(0, 12))
    take.add("spine_pitch", sits * (rng.uniform(0, 15) + take.wander(rng.uniform(2, 18))))
    take.add("spine_twist", sits * take.wander(rng.uniform(0, 15)))
    lap = sits * rng.uniform(0.4, 1.0)
    for side in SIDES:
        take.blend(f"arm_raise_{side}", rng.uniform(15, 40), lap)
        take.blend(f"arm_front_{side}", rng.uniform(45, 85), lap)
        take.blend(f"elbow_{side}", rng.uniform(30, 75), lap)
    take.random_arms(take.arm_freedom)


def bowing(take: Take) -> None:
    """Bow from the hips and from the back, or pick something up with straight legs."""
    rng = take.rng
    bow = take.pulses(0.8, 2.0)
    take.add("pelvis_pitch", rng.uniform(15, 60) * bow)
    take.add("spine_pitch", rng.uniform(5, 45) * bow)
    take.add("neck_pitch", rng.uniform(-25, 20) * bow)
    take.add("thigh_flex_*", -rng.uniform(0, 10) * bow)
    take.add("arm_swing_*", rng.uniform(0, 60) * bow)
    take.random_arms(take.arm_freedom)


def kicking(take: Take) -> None:
    """Kick with one leg to the front or the side while standing on the other."""
    rng = take.rng
    side = take.random_side()
    kick = take.pulses(0.45, 1.0)
    chamber = np.clip(4 * kick * (1 - kick), 0, 1)
    height, out = rng.uniform(25, 90), rng.uniform(0, 35)
    take.add(f"thigh_flex_{side}", height * kick - 15 * (1 - kick))
    take.add(f"thigh_out_{side}", out * kick)
    take.add(f"knee_{side}", rng.uniform(40, 95) * chamber + 12)
    take.add(f"ankle_{side}", -18 * kick)
    standing = take.other(side)
    take.add(f"knee_{standing}", 12 * kick)
    take.add(f"thigh_flex_{standing}", 8 * kick)
    take.add("pelvis_pitch", -0.2 * height * kick)
    take.add("spine_pitch", rng.uniform(0, 20) * kick)
    take.add("pelvis_side", (1 if side == "r" else -1) * rng.uniform(0, 10) * kick)
    take.plant = {"LeftFoot" if standing == "l" else "RightFoot": 1.0}
    take.random_arms(0.25 + 0.75 * take.arm_freedom)


def lunging(take: Take) -> None:
    """Lunge with one leg in front, down to the rear knee."""
    rng = take.rng
    front = take.random_side()
    rear = take.other(front)
    deep = take.pulses(0.7, 1.6)
    take.add(f"thigh_flex_{front}", rng.uniform(45, 82) * deep)
    take.add(f"knee_{front}", rng.uniform(55, 88) * deep)
    take.add(f"thigh_flex_{rear}", -rng.uniform(5, 28) * deep)
    take.add(f"knee_{rear}", rng.uniform(35, 75) * deep)
    take.add(f"ankle_{rear}", -20 * deep)
    take.add("pelvis_pitch", rng.uniform(0, 20) * deep)
    take.add("spine_twist", rng.uniform(-30, 30) * deep)
    take.random_arms(take.arm_freedom)


ACTIONS: dict[str, Callable[[Take], None]] = {
    "walking": walking,
    "reaching": reaching,
    "squatting": squatting,
    "turning": turning,
    "waving": waving,
    "sitting": sitting,
    "bowing": bowing,
    "kicking": kicking,
    "lunging": lunging,
}
