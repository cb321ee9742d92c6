"""A body that takes postures: where its joints are, what touches what, how it keeps its balance.

Lengths in cm, axes as in body.py (y up), joints in the order of `body.NAMES`. Postures are arrays
(D,) or (N, D) of the angles of joint_angles.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from diffpose.preprocessing.mocap.freestyle import joint_angles as ja
from diffpose.preprocessing.mocap.procedural.body import NAMES, PARENT_OF, Body, random_body

Array = NDArray[np.float64]
J = {name: i for i, name in enumerate(NAMES)}
_PARENTS = [NAMES.index(parent) if parent else -1 for parent in PARENT_OF.values()]

# Least heights of joints above the floor over the body's height; those of the feet, knees and
# hips stand in body.py.
_FLOOR = {"Spine1": 0.05, "Spine2": 0.055, "Neck": 0.05, "Head": 0.055, "HeadTop_End": 0.02}
_FLOOR |= {f"{side}{joint}": low for side in ("Left", "Right") for joint, low in
           (("Arm", 0.035), ("ForeArm", 0.022), ("Hand", 0.02), ("UpLeg", 0.055))}  # fmt: skip
# Shares of the mass at the middle of segments (Winter, "Biomechanics", 4th ed., table 4.1).
_MASS: dict[tuple[str, str], float] = {("Hips", "Spine2"): 0.497, ("Neck", "HeadTop_End"): 0.081}
for _side in ("Left", "Right"):
    _MASS |= {(f"{_side}Arm", f"{_side}ForeArm"): 0.028, (f"{_side}ForeArm", f"{_side}Hand"): 0.022}
    _MASS |= {(f"{_side}UpLeg", f"{_side}Leg"): 0.1, (f"{_side}Leg", f"{_side}Foot"): 0.061}


def varied_body(rng: np.random.Generator) -> Body:
    """Return an adult of 1.45 to 2.05 m; hips and shoulders vary on their own by 15 %."""
    body = random_body(rng)
    height = rng.uniform(145.0, 205.0)
    scale = height / (body.floor_heights["Hips"] / 0.085)
    hips, shoulders, head = rng.uniform(0.85, 1.15), rng.uniform(0.85, 1.15), rng.uniform(0.9, 1.12)

    def varied(name: str, offset: tuple[float, float, float]) -> tuple[float, float, float]:
        x, y, z = (scale * value for value in offset)
        if name.endswith("UpLeg"):
            x *= hips
        elif name.endswith(("Shoulder", "Arm")) and "Fore" not in name:
            x *= shoulders
        elif name.startswith("Head"):
            y, z = y * head, z * head
        return x, y, z

    offsets = {name: varied(name, offset) for name, offset in body.offsets.items()}
    tips = {name: varied(name, offset) for name, offset in body.tips.items()}
    floor = {name: scale * low for name, low in body.floor_heights.items()}
    floor["Hips"] = 0.075 * height
    return Body(offsets, tips, floor | {name: low * height for name, low in _FLOOR.items()})


@dataclass(frozen=True)
class Placed:
    """Postures put into space with the hips at the origin: (N, J, 3) cm and (N, J, 3, 3)."""

    positions: Array
    rotations: Array

    def at(self, name: str) -> Array:
        """Return the places (N, 3) of a joint."""
        return self.positions[:, J[name]]


class Figure:
    """One person who takes postures."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.height = body.floor_heights["Spine2"] / _FLOOR["Spine2"]
        self._offsets = np.array([body.offsets[name] for name in NAMES])
        self._floor = [(J[name], low) for name, low in body.floor_heights.items()]
        self.upper = float(np.linalg.norm(body.offsets["LeftForeArm"]))
        self.fore = float(np.linalg.norm(body.offsets["LeftHand"]))

    def place(self, angles: Array, yaw: Array | None = None) -> Placed:
        """Return the joints of postures (N, D) or (D,); headings (N,) in degrees, default 0."""
        angles = np.atleast_2d(angles)
        turns = ja.local_turns(angles, np.zeros(len(angles)) if yaw is None else yaw)
        positions = np.zeros((len(angles), len(NAMES), 3))
        rotations = np.tile(np.eye(3), (len(angles), len(NAMES), 1, 1))
        for joint, name in enumerate(NAMES):
            own = turns.get(name, np.eye(3))
            parent = _PARENTS[joint]
            if parent < 0:
                rotations[:, joint] = own
                continue
            rotations[:, joint] = rotations[:, parent] @ own
            positions[:, joint] = positions[:, parent] + rotations[:, parent] @ self._offsets[joint]
        return Placed(positions, rotations)

    def clearances(self, placed: Placed) -> Array:
        """Return (N, J): height of each joint over the least it can have, infinite where free."""
        result = np.full(placed.positions.shape[:2], np.inf)
        for joint, low in self._floor:
            result[:, joint] = placed.positions[:, joint, 1] - low
        return result

    def settled(self, angles: Array, names: tuple[str, ...], one: str, other: str) -> Array:
        """Return the posture whose two contacts (ends of joint names) are equally high.

        The named angles are changed together by up to 40 degrees.
        """
        steps = np.linspace(-40, 40, 81)
        tried = np.tile(angles, (len(steps), 1))
        for name in names:
            tried[:, ja.AT[name]] += steps
        tried = ja.clipped(tried)
        clear = self.clearances(self.place(tried))
        ends = [
            clear[:, [i for name, i in J.items() if name.endswith(end)]].min(axis=1)
            for end in (one, other)
        ]
        cost = np.abs(ends[0] - ends[1]) + 0.02 * np.abs(steps)
        return np.asarray(tried[int(cost.argmin())], dtype=np.float64)

    def balanced(self, angles: Array, share: float = 1.0, both_feet: bool = False) -> Array:
        """Return the posture leant as a whole so that its mass is above what it stands on.

        Args:
            angles: (D,).
            share: how much of what is missing, 0 to 1.
            both_feet: stands on the middle between the feet, else on the joints that are lowest.
        """
        result = angles.copy()
        for _ in range(3):
            placed = self.place(result)
            if both_feet:
                support = (placed.at("LeftFoot")[0] + placed.at("RightFoot")[0]) / 2
            else:
                clear = self.clearances(placed)[0]
                touching = np.exp(-np.clip(clear - clear.min(), 0, 50) / 2.0)
                support = touching @ placed.positions[0] / touching.sum()
            mass = sum(
                (m * (placed.at(a)[0] + placed.at(b)[0]) / 2 for (a, b), m in _MASS.items()),
                np.zeros(3),
            ) / sum(_MASS.values())
            off = mass - support
            up = max(float(off[1]), 0.15 * self.height)
            result[ja.AT["pitch"]] -= share * np.degrees(np.arctan2(off[2], up))
            result[ja.AT["roll"]] -= share * np.degrees(np.arctan2(off[0], up))
        # the hips take what would be too much for the ankles
        return ja.clipped(angles + np.clip(result - angles, -25, 25))

    def on_both_feet(self, angles: Array, share: float = 1.0) -> Array:
        """Return the balanced posture with both feet on the floor: the longer leg bends."""
        result = self.balanced(angles, share, both_feet=True)
        bends = np.linspace(0, 80, 41)
        for _ in range(2):
            clear = self.clearances(self.place(result))[0]
            feet = {side: min(clear[_SOLES[side]]) for side in ja.SIDES}
            side = min(feet, key=feet.__getitem__)
            tried = np.tile(result, (len(bends), 1))
            tried[:, ja.AT[f"knee_{side}"]] += bends
            # forward legs bend forward, a leg behind lowers its knee
            forward = 0.5 if result[ja.AT[f"hip_flex_{side}"]] > result[ja.AT["pitch"]] else 0.15
            tried[:, ja.AT[f"hip_flex_{side}"]] += forward * bends
            tried = ja.clipped(tried)
            clear = self.clearances(self.place(tried))
            soles = {each: clear[:, _SOLES[each]].min(axis=1) for each in ja.SIDES}
            result = tried[int(np.abs(soles["l"] - soles["r"]).argmin())]
            result = self.balanced(result, 0.5 * share, both_feet=True)
        return self.feet_levelled(result)

    def feet_levelled(self, angles: Array) -> Array:
        """Return the posture rolled, or its higher foot lowered, until both feet touch."""
        steps = np.linspace(-6, 6, 25)
        tried = np.tile(angles, (len(steps), 1))
        tried[:, ja.AT["roll"]] += steps
        tried = ja.clipped(tried)
        clear = self.clearances(self.place(tried))
        soles = [clear[:, _SOLES[side]].min(axis=1) for side in ja.SIDES]
        cost = np.abs(soles[0] - soles[1]) + 0.1 * np.abs(steps)
        return np.asarray(tried[int(cost.argmin())], dtype=np.float64)

    def obstacles(self, placed: Placed) -> list[tuple[Array, Array, float]]:
        """Return capsules (from (N, 3), to (N, 3), radius) that arms stay out of."""
        h = self.height
        chest = placed.rotations[:, J["Spine2"]]
        top = placed.at("Spine2") + chest @ np.array([0, 0.03 * h, 0])
        capsules = [(placed.at("Hips"), top, 0.07 * h)]
        for side in ("Left", "Right"):
            aside = chest @ np.array([(0.06 if side == "Left" else -0.06) * h, 0, 0])
            capsules.append((placed.at(f"{side}UpLeg"), top + aside, 0.05 * h))
            capsules.append((placed.at(f"{side}UpLeg"), placed.at(f"{side}Leg"), 0.038 * h))
            capsules.append((placed.at(f"{side}Leg"), placed.at(f"{side}Foot"), 0.028 * h))
        head = placed.rotations[:, J["Head"]]
        crown = placed.at("Head") + head @ np.array([0, 0.075 * h, 0.01 * h])
        return [
            *capsules,
            (placed.at("Head") + head @ np.array([0, 0.02 * h, 0.0]), crown, 0.05 * h),
        ]

    def arm_room(self, placed: Placed, side: str) -> Array:
        """Return (N,): least distance of an elbow, forearm and hand from the rest, cm."""
        name = ja.SIDE_NAMES[side]
        elbow, wrist = placed.at(f"{name}ForeArm"), placed.at(f"{name}Hand")
        points = np.stack([elbow, (elbow + wrist) / 2, wrist, wrist + 0.25 * (wrist - elbow)])
        room = [_distance(points, a, b) - radius for a, b, radius in self.obstacles(placed)]
        return np.asarray(np.min(room, axis=(0, 1)) - 0.02 * self.height, dtype=np.float64)

    def arms_apart(self, angles: Array, fps: float, room: float = -1.0) -> Array:
        """Return a motion (T, D) whose arms pass around the body where they went through it.

        Each arm moves along the gradient of its room, evened out over some tenths of a second.
        """
        result = angles.copy()
        step = 2.0  # degrees
        for side in ja.SIDES:
            columns = [ja.AT[f"{name}_{side}"] for name in ("arm_out", "arm_flex", "elbow")]
            for _ in range(3):
                now = self.arm_room(self.place(result), side)
                short = np.clip(room - now, 0.0, 12.0)
                if not short.any():
                    break
                gradient = np.zeros((len(result), len(columns)))
                for i, column in enumerate(columns):
                    moved = result.copy()
                    moved[:, column] += step
                    gradient[:, i] = (self.arm_room(self.place(moved), side) - now) / step
                length = np.maximum((gradient**2).sum(axis=1, keepdims=True), 0.02)
                push = np.clip(short[:, None] * gradient / length, -30.0, 30.0)
                # evened out, a short push loses most of its height
                result[:, columns] += 1.6 * gaussian_filter1d(push, 0.12 * fps, axis=0)
                result = ja.clipped(result)
        return result

    def reach(
        self, angles: Array, side: str, target: Array, rng: np.random.Generator, room: float = -2.0
    ) -> tuple[Array, float]:
        """Return the posture with one wrist at a place, and how much room its arm has, cm.

        Args:
            angles: (D,).
            side: "l" or "r".
            target: (3,), in the frame of the body with the hips at the origin.
            rng: chooses among the places where the elbow may be.
            room: least distance that will do, cm; otherwise the arm with most room is taken.
        """
        placed = self.place(angles)
        name = ja.SIDE_NAMES[side]
        chest = placed.rotations[0, J["Spine2"]]
        local = chest.T @ (target - placed.at(f"{name}Arm")[0])
        arms = ja.reaching_arms(local, self.upper, self.fore, side, 36)
        if not len(arms):
            return angles, -np.inf
        tried = np.tile(angles, (len(arms), 1))
        for column, part in enumerate(("arm_out", "arm_flex", "arm_turn", "elbow")):
            tried[:, ja.AT[f"{part}_{side}"]] = arms[:, column]
        after = self.place(tried)
        rooms = self.arm_room(after, side)
        floor = self.clearances(after)
        bones = [J[f"{name}ForeArm"], J[f"{name}Hand"]]
        rooms = np.minimum(rooms, floor[:, bones].min(axis=1) - floor[:, _LEGS].min(axis=1) + 3.0)
        good = np.flatnonzero(rooms >= room)
        if not len(good):
            best = int(rooms.argmax())
            return np.asarray(tried[best]), float(rooms[best])
        # people carry elbows low, and seldom turn the arm far
        high = after.at(f"{name}ForeArm")[good] @ chest[:, 1] / self.upper
        ease = -2.0 * high - np.abs(arms[good, 2] - 10.0) / 40.0
        weights = np.exp(ease - ease.max())
        chosen = good[int(rng.choice(len(good), p=weights / weights.sum()))]
        return np.asarray(tried[chosen]), float(rooms[chosen])


_SOLES = {side: [J[f"{name}Foot"], J[f"{name}ToeBase"]] for side, name in ja.SIDE_NAMES.items()}
_LEGS = [J[f"{side}{joint}"] for side in ("Left", "Right") for joint in ("Foot", "ToeBase", "Leg")]
_LEGS.append(J["Hips"])


def _distance(points: Array, start: Array, end: Array) -> Array:
    """Return the distances (P, N) of points (P, N, 3) from segments (N, 3) to (N, 3)."""
    along = end - start
    share = ((points - start) * along).sum(-1) / np.maximum((along * along).sum(-1), 1e-9)
    nearest = start + np.clip(share, 0, 1)[..., None] * along
    return np.asarray(np.linalg.norm(points - nearest, axis=-1), dtype=np.float64)
