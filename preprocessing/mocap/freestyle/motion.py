"""What people do freely: a smooth walk from key posture to key posture inside human joint limits.

Keys are held and joined by minimum jerk (Flash and Hogan, J. Neurosci. 5, 1985); trunk, legs, neck
and each arm run a little apart; slow sway, tremor and beats (waving, dancing) lie over them. The
lowest joint is on the floor but in jumps, and what touches the floor does not slide.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from diffpose.preprocessing.mocap.bvh import BvhMotion
from diffpose.preprocessing.mocap.freestyle import joint_angles as ja
from diffpose.preprocessing.mocap.freestyle.arms import with_arms
from diffpose.preprocessing.mocap.freestyle.figure import Figure, varied_body
from diffpose.preprocessing.mocap.freestyle.gait import blended_gait
from diffpose.preprocessing.mocap.freestyle.postures import BODY, ON_HANDS
from diffpose.preprocessing.mocap.procedural.body import motion_of

Rng = np.random.Generator
Array = ja.Array
_GRAVITY_CM = 981.0
# Degrees per second that postures change at most, by what moves.
_FASTEST = {"pitch": 110.0, "roll": 110.0, "neck": 220.0, "spine": 150.0, "hip": 300.0}
_FASTEST |= {"knee": 380.0, "arm": 420.0, "elbow": 480.0}
_GROUPS = {
    "trunk": ("pitch", "roll", "spine"),
    "neck": ("neck",),
    "legs": ("hip", "knee", "ankle", "level"),
    "left arm": ("arm_out_l", "arm_flex_l", "arm_turn_l", "elbow_l", "wrist_l"),
    "right arm": ("arm_out_r", "arm_flex_r", "arm_turn_r", "elbow_r", "wrist_r"),
}
_COLUMNS = {
    group: [i for name, i in ja.AT.items() if name.startswith(parts)]
    for group, parts in _GROUPS.items()
}


@dataclass
class Score:
    """A motion while it is written: keys, then what lies over them.

    Attributes:
        keys: seconds when a posture begins and ends, and the posture (D,).
        turns: seconds (from, to) and degrees by which the heading changes.
        jumps: seconds of take-off and in the air.
        walks: seconds (from, to) in which the person goes about.
    """

    keys: list[tuple[float, float, Array]] = field(default_factory=list)
    turns: list[tuple[float, float, float]] = field(default_factory=list)
    jumps: list[tuple[float, float]] = field(default_factory=list)
    walks: list[tuple[float, float]] = field(default_factory=list)

    @property
    def end(self) -> float:
        """Seconds when the last posture ends."""
        return self.keys[-1][1]

    def then(self, posture: Array, seconds: float, hold: float) -> None:
        """Go on to a posture and hold it; no faster than people move."""
        if not self.keys:
            self.keys.append((-hold, 0.0, posture))
            return
        change = np.abs(posture - self.keys[-1][2])
        # minimum jerk is 1.9 times as fast in the middle as on average
        needed = [
            1.9 * change[i] / speed
            for name, i in ja.AT.items()
            for part, speed in _FASTEST.items()
            if name.startswith(part)
        ]
        start = self.end + max(seconds, *needed)
        self.keys.append((start, start + hold, posture))


def minimum_jerk(share: Array) -> Array:
    """Return the way from 0 to 1 of least jerk at shares of the time, clipped to 0 .. 1."""
    s = np.clip(share, 0.0, 1.0)
    return np.asarray(s**3 * (10.0 - 15.0 * s + 6.0 * s * s), dtype=np.float64)


def angles_of(score: Score, t: Array, rng: Rng) -> Array:
    """Return the angles (T, D) of a score at times t (T,); parts of the body lag a little."""
    angles = np.tile(score.keys[0][2], (len(t), 1))
    for columns in _COLUMNS.values():
        for (_, leave, before), (arrive, _, after) in zip(
            score.keys[:-1], score.keys[1:], strict=True
        ):
            lag, slower = rng.uniform(0.0, 0.18, 2) * (arrive - leave)
            share = minimum_jerk((t - leave - lag) / (arrive - leave - lag - slower))
            angles[:, columns] += share[:, None] * (after - before)[columns]
    return angles


def freestyle_score(figure: Figure, duration_s: float, rng: Rng) -> Score:
    """Return key postures drawn at random: bodies less often than arms, turns and jumps between."""
    score = Score()
    names = list(BODY)
    weights = np.array([BODY[name][1] for name in names])
    level, name = 0, "standing"
    body = BODY[name][0](rng, figure)
    pace = rng.uniform(0.75, 1.5)
    score.then(with_arms(name, body, figure, rng), 0.0, 0.2)
    while score.end < duration_s:
        if rng.random() < 0.5:
            # no more than one step down or up at once
            near = [abs(BODY[n][2] - level) <= 1 for n in names]
            share = weights * near / (weights * near).sum()
            name = names[int(rng.choice(len(names), p=share))]
            level = BODY[name][2]
            body = BODY[name][0](rng, figure)
        posture = body
        if name not in ON_HANDS:
            posture = with_arms(name, body, figure, rng)
        hold = rng.exponential(0.35) if rng.random() < 0.6 else 0.0
        start = score.end
        if name == "standing" and rng.random() < 0.12:
            _jump(score, figure, posture, rng)
        elif level == 0 and rng.random() < 0.1:
            _kick(score, figure, rng)
        elif level == 0 and rng.random() < 0.2:
            name = "standing"
            body = BODY[name][0](rng, figure)
            _walk(score, figure, body, rng)
        score.then(posture, pace * np.exp(rng.uniform(np.log(0.2), np.log(1.8))), hold)
        if rng.random() < (0.35 if level == 0 else 0.15):
            size = 90.0 if level == 0 else 30.0
            score.turns.append((start, score.keys[-1][0], rng.normal(0, size)))
    return score


def _jump(score: Score, figure: Figure, posture: Array, rng: Rng) -> None:
    """Crouch, leave the floor and land."""
    crouch = BODY["squatting"][0](rng, figure)
    arms = [*_COLUMNS["left arm"], *_COLUMNS["right arm"]]
    crouch[arms] = posture[arms]
    score.then(crouch, 0.5, 0.0)
    air = posture.copy()
    air[arms] = with_arms("standing", posture, figure, rng)[arms]
    for side in ja.SIDES:
        air[[ja.AT[f"level_{side}"], ja.AT[f"ankle_{side}"]]] = 0.0, -35.0
        tuck = rng.uniform(0, 50)
        air[ja.AT[f"hip_flex_{side}"]] += 0.6 * tuck
        air[ja.AT[f"knee_{side}"]] += tuck
    seconds = rng.uniform(0.25, 0.55)
    score.then(ja.clipped(air), 0.3, 0.0)
    score.jumps.append((score.end - 0.1, seconds))
    landing = 0.5 * (crouch + posture)
    landing[arms] = posture[arms]
    score.then(landing, seconds, 0.0)


def _kick(score: Score, figure: Figure, rng: Rng) -> None:
    """Draw a leg back, kick as if at a ball, let the leg swing out."""
    kick = BODY["kicking"][0](rng, figure)
    free = max(ja.SIDES, key=lambda side: float(kick[ja.AT[f"hip_flex_{side}"]]))
    kick = with_arms("kicking", kick, figure, rng)
    back = kick.copy()
    back[ja.AT[f"hip_flex_{free}"]] = -rng.uniform(0, 28)
    back[ja.AT[f"knee_{free}"]] = rng.uniform(30, 105)
    back[ja.AT["pitch"]] += rng.uniform(0, 15)
    back[ja.AT["spine_twist"]] += (-1 if free == "l" else 1) * rng.uniform(-25, 10)
    score.then(ja.clipped(back), 0.4, 0.0)
    score.then(kick, 0.2, 0.0)
    after = kick.copy()
    after[ja.AT[f"hip_flex_{free}"]] *= 0.7
    after[ja.AT[f"knee_{free}"]] += rng.uniform(0, 40)
    score.then(ja.clipped(after), 0.25, 0.0)


def _walk(score: Score, figure: Figure, body: Array, rng: Rng) -> None:
    """Go about for some seconds; the arms may do what they like."""
    start, lasts = score.end, rng.uniform(2.0, 6.0)
    while score.end < start + lasts:
        score.then(with_arms("striding", body, figure, rng), rng.uniform(0.5, 2.0), 0.3)
    score.walks.append((start, score.end))


def overlays(t: Array, rng: Rng, restless: float = 1.0, beats: bool = True) -> Array:
    """Return (T, D) degrees of sway, tremor and now and then a beat of arms, hips and knees."""
    result = np.zeros((len(t), len(ja.NAMES)))
    fps = (len(t) - 1) / max(float(t[-1] - t[0]), 1e-9) if len(t) > 1 else 30.0
    for name, column in ja.AT.items():
        if name.startswith("level"):
            continue
        strength = 5.0 if name.startswith(("arm", "elbow", "neck")) else 1.8
        sway = gaussian_filter1d(rng.normal(size=len(t) + 200), 0.35 * fps)[100:-100]
        tremor = gaussian_filter1d(rng.normal(size=len(t) + 200), 0.06 * fps)[100:-100]
        result[:, column] = restless * strength * sway * np.sqrt(2 * 0.35 * fps * 1.77)
        result[:, column] += 0.25 * restless * tremor * np.sqrt(2 * 0.06 * fps * 1.77)
    at = rng.uniform(0.0, 4.0) if beats else np.inf
    while at < t[-1]:
        lasts = rng.uniform(1.5, 5.0)
        inside = minimum_jerk((t - at) / 0.5) * minimum_jerk((at + lasts - t) / 0.5)
        beat = 2 * np.pi * rng.uniform(0.7, 2.4) * t + rng.uniform(0, 6)
        crosswise = rng.choice([0.0, np.pi])
        strengths = rng.uniform(0, 22, 4) * (rng.random(4) < 0.6)
        for side, phase in zip(ja.SIDES, (0.0, crosswise), strict=True):
            wave = inside * np.sin(beat + phase)
            for part, strength in zip(
                ("arm_out", "arm_flex", "arm_turn", "elbow"), strengths, strict=True
            ):
                result[:, ja.AT[f"{part}_{side}"]] += strength * wave
        if rng.random() < 0.4:  # the whole body keeps time
            wave = inside * np.sin(beat)
            result[:, ja.AT["roll"]] += rng.uniform(0, 6) * wave
            result[:, ja.AT["spine_side"]] -= rng.uniform(0, 8) * wave
            dip = rng.uniform(0, 18) * inside * (0.5 + 0.5 * np.cos(2 * beat))
            for side in ja.SIDES:
                result[:, ja.AT[f"hip_flex_{side}"]] += dip
                result[:, ja.AT[f"knee_{side}"]] += 2 * dip
        at += lasts + rng.exponential(5.0)
    return result


def on_the_floor(figure: Figure, angles: Array, yaw: Array, t: Array, score: Score) -> BvhMotion:
    """Return the motion of angles (T, D) and headings (T,): what touches the floor stays there.

    Returns:
        The motion in cm, y up, floor at y = 0; the person's mean place is the origin.
    """
    fps = (len(t) - 1) / float(t[-1] - t[0]) if len(t) > 1 else 30.0
    placed = figure.place(angles, yaw)
    clear = figure.clearances(placed)
    lowest = clear.min(axis=1)
    # not sharply the lowest: weight goes over from foot to foot
    touching = np.exp(-np.clip(clear - lowest[:, None], 0.0, 60.0) / 1.2)
    touching /= touching.sum(axis=1, keepdims=True)
    step = np.diff(placed.positions, axis=0)
    between = 0.5 * (touching[1:] + touching[:-1])
    ground = -np.einsum("tj,tji->ti", between, step)[:, [0, 2]]
    path = np.concatenate([np.zeros((1, 2)), np.cumsum(ground, axis=0)])
    path -= path.mean(axis=0)
    height = -lowest
    # A light smoothing where the contact changes, never by more than 1 cm into the floor.
    height = np.maximum(gaussian_filter1d(height, 0.04 * fps, mode="nearest"), height - 1.0)
    for start, seconds in score.jumps:
        air = np.clip(t - start, 0.0, seconds)
        height = height + 0.5 * _GRAVITY_CM * air * (seconds - air)
    motion = motion_of(figure.body, ja.local_turns(angles, yaw), len(t), fps)
    root = np.stack([path[:, 0], height, path[:, 1]], axis=1)
    return replace(motion, values=np.round(np.hstack([root, motion.values[:, 3:]]), 4))


def freestyle(seed: int, duration_s: float = 20.0, fps: float = 30.0) -> BvhMotion:
    """Return one person moving freely.

    Args:
        seed: fixes the person and the motion; at least 0.
        duration_s: length in seconds.
        fps: frames per second.

    Returns:
        The motion, in cm and degrees, y up, floor at y = 0.
    """
    rng = np.random.default_rng([zlib.crc32(b"freestyle"), seed])
    figure = Figure(varied_body(rng))
    t = np.arange(max(2, round(duration_s * fps))) / fps
    score = freestyle_score(figure, duration_s, rng)
    angles = angles_of(score, t, rng)
    yaw = rng.uniform(-180, 180) + headings(score, t)
    for start, stop in score.walks:
        weight = minimum_jerk((t - start) / 0.6) * minimum_jerk((stop - t) / 0.6)
        angles, turned = blended_gait(angles, t, weight, rng)
        yaw = yaw + turned
    angles = ja.clipped(angles + overlays(t, rng, rng.uniform(0.3, 1.2)))
    angles = figure.arms_apart(angles, fps)
    return on_the_floor(figure, angles, yaw, t, score)


def headings(score: Score, t: Array) -> Array:
    """Return the changes of heading (T,) that a score asks for, degrees."""
    yaw = np.zeros_like(t)
    for start, stop, by in score.turns:
        yaw += by * minimum_jerk((t - start) / max(stop - start, abs(by) / 120.0))
    return yaw
