"""The tracks of one take, and the random pieces that all actions of the generator share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from diffpose.preprocessing.mocap.procedural.body import REST, SIDES, Tracks

Track = NDArray[np.float64]
_FEET = {"LeftFoot": 0.5, "RightFoot": 0.5}


class Take:
    """The tracks of one take while an action fills them.

    Attributes:
        rng: Source of all randomness.
        t: (T,) seconds.
        tracks: Angles in degrees and the floor path in cm, each (T,).
        plant: Point that follows the path, see `procedural_body.assemble`.
        arm_freedom: How far the arms leave the action for random postures, 0 to 1.
    """

    def __init__(self, rng: np.random.Generator, t: Track) -> None:
        self.rng = rng
        self.t = t
        self.tracks: Tracks = {name: np.full_like(t, rest[0]) for name, rest in REST.items()}
        self.plant: dict[str, float] | None = _FEET
        self.arm_freedom = float(rng.beta(0.8, 1.2))
        self.yaw0 = rng.uniform(-180.0, 180.0)
        self.tracks |= {"yaw": self.yaw0 + self.wander(15.0)}
        # Places of up to about one metre from the origin, around which the feet hardly move.
        angle, distance = rng.uniform(0, 2 * np.pi), 90.0 * np.sqrt(rng.random())
        self.tracks["x"] = distance * np.sin(angle) + self.wander(8.0)
        self.tracks["z"] = distance * np.cos(angle) + self.wander(8.0)

    def wander(self, amplitude: float, slowest: float = 0.07, fastest: float = 0.6) -> Track:
        """Return smooth noise (T,) of about `amplitude`, between two frequencies in Hz."""
        frequencies = np.exp(self.rng.uniform(np.log(slowest), np.log(fastest), 4))
        phases = self.rng.uniform(0, 2 * np.pi, 4)
        weights = self.rng.uniform(0.3, 1.0, 4)
        waves = np.sin(2 * np.pi * frequencies[:, None] * self.t + phases[:, None])
        return amplitude * (weights / np.linalg.norm(weights)) @ waves

    def keyframes(
        self, sample: Callable[[], NDArray[np.float64]], shortest: float, longest: float
    ) -> NDArray[np.float64]:
        """Return (T, K): values of `sample` (K,) at random times (s apart), joined smoothly."""
        times = [self.t[0] - self.rng.uniform(0, longest)]
        while len(times) < 2 or times[-1] < self.t[-1]:
            times.append(times[-1] + self.rng.uniform(shortest, longest))
        values = np.stack([sample() for _ in times])
        # Monotone between keys, so that samples inside a joint's range stay inside.
        return np.asarray(PchipInterpolator(times, values)(self.t), dtype=np.float64)

    def pulses(self, shortest: float, longest: float, hold: float = 0.3) -> Track:
        """Return (T,) between 0 and 1 that rises and falls again and again, never alike."""
        level = iter(range(10**6))

        def sample() -> NDArray[np.float64]:
            low, high = self.rng.uniform(0.0, 0.25), self.rng.uniform(0.55, 1.0)
            return np.array([high if next(level) % 2 else low])

        wave = self.keyframes(sample, shortest, longest)[:, 0]
        return wave if self.rng.random() < hold else wave * wave * (3 - 2 * wave)

    def add(self, name: str, values: Track | float) -> None:
        """Add degrees to an angle; a name ending in '*' means both sides."""
        for each in [name[:-1] + side for side in SIDES] if name.endswith("*") else [name]:
            self.tracks[each] = self.tracks[each] + values

    def blend(self, name: str, values: Track | float, weight: Track | float) -> None:
        """Move an angle towards `values` by a weight from 0 to 1."""
        self.tracks[name] = (1 - weight) * self.tracks[name] + weight * values

    def other(self, side: str) -> str:
        """Return the other side."""
        return SIDES[1 - SIDES.index(side)]

    def random_side(self) -> str:
        """Return one of the two sides."""
        return SIDES[int(self.rng.integers(2))]

    def arm_posture(self) -> NDArray[np.float64]:
        """Return a random (raise, front, twist, elbow) whose hand is not inside the trunk."""
        while True:
            lift = self.rng.uniform(5, 150) if self.rng.random() < 0.7 else self.rng.uniform(5, 40)
            posture = np.array(
                [
                    lift,
                    self.rng.uniform(-20, 100),
                    self.rng.uniform(-95, 20),
                    130.0 * self.rng.beta(0.9, 1.3) + 5.0,
                ]
            )
            raised, front, twist, elbow = np.radians(posture)
            upper = np.array([np.sin(raised) * np.cos(front), -np.cos(raised), 0.0])
            upper[2] = np.sin(raised) * np.sin(front)
            across = np.array([-np.sin(front), 0.0, np.cos(front)])
            bend = np.cos(twist) * across + np.sin(twist) * np.cross(across, upper)
            hand = upper + 0.9 * (np.cos(elbow) * upper + np.sin(elbow) * bend)
            # In upper-arm lengths from the shoulder: the trunk is medial, low and not far in front.
            if not (hand[0] < 0.1 and hand[1] < 0.35 and hand[2] < 0.75):
                return posture

    def random_arms(self, weight: float) -> None:
        """Blend both arms towards wandering random postures."""
        for side in SIDES:
            wanted = self.keyframes(self.arm_posture, 0.9, 2.6)
            for column, name in enumerate(("arm_raise", "arm_front", "arm_twist", "elbow")):
                self.blend(f"{name}_{side}", wanted[:, column], weight)

    def squat(self, depth: Track, lean: float) -> None:
        """Lower the hips over planted feet: thighs to `depth` degrees, trunk leaning to balance."""
        self.add("thigh_flex_*", depth)
        self.add("knee_*", 1.32 * depth)
        self.add("pelvis_pitch", lean * depth)
        self.add("neck_pitch", -0.3 * lean * depth)


def own_posture(take: Take) -> None:
    """Give the take its person's own stance, and slow sway of the trunk and the head."""
    rng = take.rng
    take.add("thigh_out_*", rng.uniform(-2, 12))
    take.add("thigh_turn_*", rng.uniform(-8, 12))
    stagger = rng.normal(0, 5)
    take.add("thigh_flex_l", stagger)
    take.add("thigh_flex_r", -stagger)
    take.add("pelvis_pitch", rng.normal(0, 3))
    take.add("spine_pitch", rng.normal(2, 6))
    take.add("arm_raise_*", rng.uniform(-2, 10))
    for name, share in (("spine_pitch", 6), ("spine_side", 6), ("spine_twist", 12)):
        take.add(name, take.wander(rng.uniform(0.3, 1.0) * share))
    take.add("neck_twist", take.wander(rng.uniform(5, 30)))
    take.add("neck_pitch", take.wander(rng.uniform(3, 13)))


def every_angle_noise(take: Take) -> None:
    """Add slow noise to every angle, after the action, so that no pose comes twice."""
    for name in REST:
        strength = 5.0 if name.startswith(("arm", "elbow", "wrist")) else 2.0
        take.add(name, take.wander(strength, 0.1, 0.9))
