"""What a user knows of a person besides the film: so far the standing height.

One camera does not see size: a person twice as tall at twice the distance looks the same. Poses,
hypotheses and the root's place are scaled together along the rays, so that nothing moves in the
picture, until the bones are those of a person of that height. Where the floor is could tell the
same; it is not asked for here.

The height comes from the bones by one factor. Of a person who stands upright the Head joint is
1 / BENT of thigh + shin + trunk + neck + head above the ankles: the chain hip, spine, thorax, nose,
head is not straight (median of 38 motions of the CMU library; within 2 % from motion to motion, and
of another library by 0.3 %). The ankle is at 0.039 of the height (Drillis & Contini, Body Segment
Parameters, 1966, after their 1964 report; Winter, Biomechanics and Motor Control of Human Movement,
ch. 4), and Human3.6M's Head some 0.015 below the crown.

Axis legend: T frames, J joints. mm, root-relative, camera frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import EDGES, JOINT_NAMES, MIRROR, bone_lengths

# Sum of the bones over the height of Head above the ankles, standing.
BENT = 1.046
ANKLE_SHARE, CROWN_SHARE = 0.039, 0.015
_LEG = ("RKnee", "RFoot")
_ABOVE = ("Spine", "Thorax", "Nose", "Head")


def stature_mm(pose_mm: NDArray[np.floating]) -> float:
    """Return the standing height of a person by the bones of poses (T, 17, 3): their medians.

    Raises:
        ValueError: there is no pose, or it is not finite.
    """
    if len(pose_mm) == 0 or not np.isfinite(pose_mm).all():
        raise ValueError("A height needs at least one pose, and finite ones.")
    bones = np.median(bone_lengths(pose_mm), axis=0)
    of_joint = {child: bones[i] for i, (_, child) in enumerate(EDGES)}

    def length(name: str) -> float:
        joint = JOINT_NAMES.index(name)
        return float((of_joint[joint] + of_joint[MIRROR[joint]]) / 2)

    ankle_to_head = sum(length(name) for name in (*_LEG, *_ABOVE)) / BENT
    return ankle_to_head / (1 - ANKLE_SHARE - CROWN_SHARE)


def scale_to_height(pose_mm: NDArray[np.floating], height_m: float) -> float:
    """Return the factor that makes a person's poses (T, 17, 3) those of somebody so tall.

    Raises:
        ValueError: the poses have no size.
    """
    own = stature_mm(pose_mm)
    if own <= 0:
        raise ValueError("The poses have no size: all joints are in one place.")
    return 1000.0 * height_m / own
