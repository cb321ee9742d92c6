"""A pose that the detector gives itself, as one more observation with errors of its own.

Some detectors of 2D joints also say where the joints are in space (BlazePose's world landmarks,
Grishchenko et al., arXiv:2206.11678). Seen against triangulated films, such a pose b errs by a
whole turn (mostly a lean towards or away from the camera), by its size, and joint by joint. To
first order

    p - b = sum_a w_a (e_a x b) + s b + e
    w_a ~ N(0, turn_a^2),  s ~ N(0, size^2),  e ~ N(0, white^2)

which is a Gaussian of covariance S_b of rank four and a sphere. Together with the answer of the
reverse process, p ~ N(p^, S), the product of the two is N(m, (S^-1 + S_b^-1)^-1), the prior that
map_refinement then refines from.

Axis legend: n frames, J joints, 48 numbers: x, y, z of the moving joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.model.uncertainty.covariances import MOVING, N_VALUES, joint_blocks
from diffpose.model.uncertainty.transport import shrinking

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DetectedPoseErrors:
    """How far a detector's own poses are off, standard deviations.

    Attributes:
        turn_deg: about the camera's x, y and z axes.
        size: of the person, as a share.
        white_mm: of each joint and axis, besides.
    """

    turn_deg: tuple[float, float, float] = (8.0, 8.0, 4.0)
    size: float = 0.06
    white_mm: float = 120.0

    def precision(self, pose_mm: Array) -> Array:
        """Return S_b^-1, (n, 48, 48), of poses (n, J, 3), by Woodbury's identity."""
        moving = pose_mm[:, MOVING]
        turns = [
            np.cross(axis, moving) * np.deg2rad(turn)
            for axis, turn in zip(np.eye(3), self.turn_deg, strict=True)
        ]
        directions = np.stack([*turns, self.size * moving], axis=-1)
        low = directions.reshape(len(moving), N_VALUES, 4) / self.white_mm
        inner = np.eye(4) + low.swapaxes(1, 2) @ low
        outer = low @ np.linalg.solve(inner, low.swapaxes(1, 2))
        precision: Array = (np.eye(N_VALUES) - outer) / self.white_mm**2
        return precision


# Chosen on four calibrated films of one person (benchmarks/real_people.py) among 50, 80, 120 and
# 200 mm; its table has what the run answers with and without. With joints that uncertain, it is
# the body's size and lean that a detected pose tells most of.
BLAZEPOSE = DetectedPoseErrors()


def combined_prior(
    answer_mm: Array, precision: Array, detected_mm: NDArray[np.floating]
) -> tuple[Array, Array]:
    """Return the mean (n, J, 3) and the precision (n, 48, 48) of answer and detected pose together.

    Args:
        answer_mm: (n, J, 3), p^.
        precision: (48, 48), S^-1.
        detected_mm: (n, J, 3), root-relative, camera frame; NaN in frames that have none.
    """
    n = len(answer_mm)
    detected = np.asarray(detected_mm, dtype=np.float64)
    known = np.isfinite(detected).all(axis=(1, 2))
    together = np.broadcast_to(precision, (n, N_VALUES, N_VALUES)).copy()
    mean = answer_mm.copy()
    if known.any():
        own = BLAZEPOSE.precision(detected[known])
        away = (detected[known] - answer_mm[known])[:, MOVING].reshape(-1, N_VALUES, 1)
        together[known] += own
        step = np.linalg.solve(together[known], own @ away)
        mean[np.ix_(known, MOVING)] += step.reshape(-1, N_JOINTS - 1, 3)
    return mean, together


def surer_by(errors_mm2: Array, detected_mm: NDArray[np.floating]) -> Array:
    """Return by what the hypotheses' ways from their mean are turned and shortened, (n, J, 3, 3).

    It is the map that takes each joint's covariance before, its block of S, to that of the two
    together; 1 for the root and in frames without a detected pose.

    Args:
        errors_mm2: (48, 48), S.
        detected_mm: (n, J, 3), as in combined_prior.
    """
    n = len(detected_mm)
    detected = np.asarray(detected_mm, dtype=np.float64)
    known = np.isfinite(detected).all(axis=(1, 2))
    ratio = np.tile(np.eye(3), (n, N_JOINTS, 1, 1))
    if known.any():
        own = BLAZEPOSE.precision(detected[known])
        after = np.asarray(np.linalg.inv(np.linalg.inv(errors_mm2) + own), np.float64)
        before = np.broadcast_to(errors_mm2, after.shape)
        ratio[known] = shrinking(joint_blocks(before), joint_blocks(after))
    return ratio
