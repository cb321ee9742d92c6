"""Going about: walking, running, shuffling, forwards and backwards, upright or crouched.

Angles are sums of smooth functions of the stride's phase, whose sizes vary around those of gait
laboratories (Winter, "Biomechanics", 4th ed., chapter 3 for walking; Novacheck, Gait and Posture 7,
1998, for running). Runs have no flight: what a network sees is relative to the root.
"""

from __future__ import annotations

import numpy as np

from diffpose.preprocessing.mocap.freestyle import joint_angles as ja

Rng = np.random.Generator
Array = ja.Array


def blended_gait(angles: Array, t: Array, weight: Array, rng: Rng) -> tuple[Array, Array]:
    """Return angles of which legs, trunk and often the arms go about, and the heading's change.

    Args:
        angles: (T, D), degrees, of somebody who stands.
        t: (T,), seconds.
        weight: (T,), how far the person goes about, 0 to 1.
        rng: draws the gait.

    Returns:
        Angles (T, D), not clipped, and (T,) degrees to the left.
    """
    run = float(rng.random() < 0.3)
    sideways = float(rng.random() < 0.25)
    forth = 1.0 if rng.random() < 0.85 else -0.6
    cadence = rng.uniform(0.6, 1.05) + run * rng.uniform(0.3, 0.6)  # strides per second
    phase = forth * 2 * np.pi * cadence * t + rng.uniform(0, 6)
    stride = rng.uniform(12, 30) + run * rng.uniform(0, 14)
    lift = rng.uniform(38, 65) + run * rng.uniform(5, 50)
    crouch = rng.exponential(9.0) + run * rng.uniform(3, 14)
    swing, elbow = rng.uniform(4, 28) + 12 * run, rng.uniform(5, 40) + run * rng.uniform(25, 65)
    pitch = rng.uniform(-2, 8) + run * rng.uniform(0, 9) + 0.4 * crouch
    gait = angles.copy()
    own_arms = rng.random() < 0.55
    for side, offset in (("l", 0.0), ("r", np.pi)):
        at = phase + offset
        fold = np.exp(2.2 * (np.cos(at - 1.5 * np.pi + 0.5) - 1))
        load = np.exp(3 * (np.cos(at - 0.7) - 1))
        step = stride * (1 - 0.8 * sideways)
        own: dict[str, Array | float] = {
            "hip_flex": step * (np.cos(at) + 0.2) + 0.9 * crouch + pitch + 0.25 * lift * fold * run,
            "knee": 4 + 1.8 * crouch + lift * fold * (1 - 0.4 * sideways) + (6 + 14 * run) * load,
            "hip_out": 3 + sideways * stride * 0.5 * (1 + np.cos(phase)),
            "hip_turn": 6.0,
            "level": 0.75 - 0.4 * fold,
            "ankle": -35.0 * fold * run,
        }
        if own_arms:
            own |= {
                "arm_flex": -swing * np.cos(at) - 2 - 6 * run,
                "arm_out": 9 + 6 * run,
                "arm_turn": 18 + 12 * run,
                "elbow": elbow * (1 - 0.25 * np.cos(at)),
            }
        for name, value in own.items():
            gait[:, ja.AT[f"{name}_{side}"]] = value
    gait[:, ja.AT["pitch"]] = pitch
    gait[:, ja.AT["roll"]] = rng.uniform(1, 4) * np.sin(phase)
    gait[:, ja.AT["spine_side"]] -= rng.uniform(0, 4) * np.sin(phase)
    gait[:, ja.AT["spine_twist"]] += 0.25 * swing * np.cos(phase)
    # on a circle, so that a standing camera keeps the person
    turning = rng.choice([-1.0, 1.0]) * rng.uniform(15, 70) * (1 - 0.7 * sideways)
    yaw = np.concatenate([[0.0], np.cumsum(turning * weight[1:] * np.diff(t))])
    return angles + weight[:, None] * (gait - angles), yaw
