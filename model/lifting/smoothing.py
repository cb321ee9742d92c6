"""Poses smoothed over time, by what is known of their errors and of how people move.

Per joint a Kalman filter (Kalman, J. Basic Eng. 82, 1960) and a smoother (Rauch, Tung & Striebel,
AIAA J. 3, 1965) over the state (p, v, b), each of three coordinates:

    dp = v dt,   dv = dw with spectral density q          constant velocity, white acceleration
    b  = exp(-dt / tau) b + e,   cov b = (1 - a) C        what the model errs by, slowly
    z  = p + b + n,              cov n = a C              C: the covariance predicted of z

A model errs alike in neighbouring frames (the same depth is misread). White errors of covariance C
would have the mean of n frames be sqrt(n) times as sure, which it is not: a, the white share, and
tau, how long the rest lasts, are of a run's errors on known motion. q is of real motion. b follows
C slowly: C is told by a few hypotheses, and were b to jump with it, its jumps would tell what b is.

Axis legend: T frames, J joints. mm, s, root-relative, camera frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from diffpose.model.geometry.constant_bones import with_bone_lengths
from diffpose.model.geometry.skeleton import JOINT_NAMES, MIRROR, N_JOINTS
from diffpose.model.lifting.prediction import Lifted
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.refinement.map_refinement import LENGTH_QUANTILE, bone_lengths
from diffpose.model.uncertainty.covariances import MOVING, joint_blocks, sample_covariance
from diffpose.model.uncertainty.familiarity import Regions
from diffpose.model.uncertainty.kalman import smoothed_track
from diffpose.model.uncertainty.transport import matched, shrinking

Array = NDArray[np.float64]

# q in mm^2/s^3 per joint, left as right: what second differences of 38 motions of the CMU library
# say at 30 Hz, the upper quartile over motions (lively ones should not be cut; some files jump).
# `python benchmarks/motion_density.py motion=FOLDER` prints them.
MOTION_DENSITY: dict[str, float] = {
    "RHip": 1.6e5,
    "RKnee": 4.2e6,
    "RFoot": 8.1e6,
    "LHip": 1.6e5,
    "LKnee": 4.2e6,
    "LFoot": 8.1e6,
    "Spine": 3.1e5,
    "Thorax": 5e5,
    "Nose": 5.5e5,
    "Head": 5.8e5,
    "LShoulder": 7.2e5,
    "LElbow": 1.5e6,
    "LWrist": 2.5e6,
    "RShoulder": 7.2e5,
    "RElbow": 1.5e6,
    "RWrist": 2.5e6,
}
# a and tau: of the errors of a run on frames of motion capture; the same command with run= and
# store= prints them.
WHITE_SHARE = 0.15
ERROR_TIME_S = 1.7

_LEAST_MM2 = 1.0


def motion_density() -> Array:
    """Return q of each joint, (J,), mm^2/s^3; 0 for the root, which does not move."""
    return np.array([MOTION_DENSITY.get(name, 0.0) for name in JOINT_NAMES])


def smooth(
    pose_mm: NDArray[np.floating],
    covariance_mm2: NDArray[np.floating],
    time_s: NDArray[np.floating],
    *,
    causal: bool = False,
    lengths: Sequence[int] | None = None,
    density: Array | None = None,
    white_share: float = WHITE_SHARE,
    error_time_s: float = ERROR_TIME_S,
) -> tuple[Array, Array]:
    """Smooth poses of sequences, each by itself.

    Args:
        pose_mm: (T, J, 3); frames with NaN are filled in from those around them.
        covariance_mm2: (T, J, 3, 3), of each joint's error; the root's is not looked at.
        time_s: (T,), rising within a sequence; frames may be apart as they like.
        causal: each frame by those before it alone, as a stream must.
        lengths: frames of each sequence, adding up to T; default: one sequence.
        density: (J,), q in mm^2/s^3; default: MOTION_DENSITY.
        white_share: a, above 0 and at most 1.
        error_time_s: tau.

    Returns:
        Poses (T, J, 3) and their covariances (T, J, 3, 3).

    Raises:
        ValueError: shapes do not fit, or times are not known or do not rise.
    """
    poses = np.ascontiguousarray(pose_mm, dtype=np.float64)
    spread = np.ascontiguousarray(covariance_mm2, dtype=np.float64)
    times = np.asarray(time_s, dtype=np.float64)
    n = len(poses)
    lengths = [n] if lengths is None else lengths
    if poses.shape != (n, N_JOINTS, 3) or spread.shape != (n, N_JOINTS, 3, 3):
        raise ValueError(
            f"Expected poses (T, {N_JOINTS}, 3) and covariances (T, {N_JOINTS}, 3, 3), got "
            f"{poses.shape} and {spread.shape}."
        )
    if not 0 < white_share <= 1 or error_time_s <= 0:
        raise ValueError(
            f"white_share must lie in (0, 1] and error_time_s above 0, got {white_share} and "
            f"{error_time_s}."
        )
    q = motion_density() if density is None else density
    found, sure = poses.copy(), np.zeros_like(spread)
    first = 0
    for part in _sequences(lengths, times):
        stop = first + part
        apart = np.diff(times[first:stop], prepend=times[first])
        near = int(np.searchsorted(np.cumsum(apart), error_time_s))
        for j in MOVING:
            own = spread[first:stop, j] + _LEAST_MM2 * np.eye(3)
            begin = own[0] if causal else own[: max(near, 1)].mean(axis=0)
            found[first:stop, j], sure[first:stop, j] = smoothed_track(
                np.ascontiguousarray(poses[first:stop, j]), own, apart,
                q[j], white_share, error_time_s, begin, causal,
            )  # fmt: skip
        first = stop
    return found, sure


def _sequences(lengths: Sequence[int], times: Array) -> Sequence[int]:
    if sum(lengths) != len(times):
        raise ValueError(f"The sequences have {sum(lengths)} frames, there are {len(times)} times.")
    for part in np.split(times, np.cumsum(lengths)[:-1]):
        if not np.isfinite(part).all() or (np.diff(part) <= 0).any():
            raise ValueError(
                "Smoothing needs the time of every frame, rising within a sequence; give the "
                "frames per second (fps=), or leave smooth out."
            )
    return lengths


def left_as_right(density: Array) -> Array:
    """Return the mean of left and right joints' q, (J,)."""
    return (density + density[list(MIRROR)]) / 2


def smoothed_as_asked(
    lifted: Lifted,
    sampling: SamplingSettings,
    errors_mm2: Array | None,
    regions: Regions | None,
    lengths: Sequence[int] | None,
    time_s: NDArray[np.floating] | None,
) -> Lifted:
    """Smooth answers as ``sampling.smooth`` says; hypotheses follow mean and covariance.

    The covariance of an answer is that which the run predicts (the hypotheses', recalibrated where
    that was fitted; of a single hypothesis that of the run's errors). Hypotheses are moved and
    turned by the map that takes this covariance to the smoothed one. Bones then get the lengths
    that they had on the whole (map_refinement.bone_lengths), of a stream those that they had so
    far. Where the root stands is not smoothed.

    Args:
        lifted: B frames.
        sampling: ``smooth`` counts, and how hypotheses hang together.
        errors_mm2: (48, 48), of the run on known poses, where it was measured.
        regions: from the hypotheses' covariances to those of the errors.
        lengths: frames of the sequences that these are, each of one person; default: one.
        time_s: (B,), when the frames were taken.

    Raises:
        ValueError: times are not known, or there is neither a spread nor an error.
    """
    if time_s is None:
        raise ValueError(
            f"smooth={sampling.smooth} needs the time of every frame; give the frames per second "
            "(fps=), or leave smooth out."
        )
    whole = lengths if lengths is not None else [len(lifted.pose_mm)]
    before = predicted_covariance(
        lifted.hypotheses_mm, lifted.pose_mm, sampling, errors_mm2, regions
    )
    causal = sampling.smooth == "causal"
    pose, after = smooth(lifted.pose_mm, before, time_s, causal=causal, lengths=whole)
    answered = np.asarray(lifted.pose_mm, dtype=np.float64)
    wanted = bones_so_far(answered, whole) if causal else bone_lengths(answered, whole)
    pose = with_bone_lengths(pose, wanted)
    ratio = shrinking(before, after)
    return lifted.smoothed(pose, matched(lifted.hypotheses_mm, lifted.pose_mm, pose, ratio))


def bones_so_far(pose_mm: Array, lengths: Sequence[int]) -> Array:
    """Return what bones should measure by the frames up to each, (T, 16), mm, left as right.

    The quantile of map_refinement.bone_lengths, of a Gaussian of the lengths' mean and variance:
    these can be carried along.
    """
    score = float(stats.norm.ppf(LENGTH_QUANTILE))
    found = []
    for own in np.split(bone_lengths(pose_mm, None), np.cumsum(lengths)[:-1]):
        n = np.arange(1, len(own) + 1)[:, None]
        mean = np.cumsum(own, axis=0) / n
        square = np.cumsum((own - own[:1]) ** 2, axis=0) / n - (mean - own[:1]) ** 2
        found.append(mean + score * np.sqrt(square.clip(0)))
    return np.concatenate(found)


def predicted_covariance(
    hypotheses_mm: NDArray[np.floating],
    pose_mm: NDArray[np.floating],
    sampling: SamplingSettings,
    errors_mm2: Array | None,
    regions: Regions | None,
) -> Array:
    """Return what a run says of its errors, (B, J, 3, 3), mm^2.

    Raises:
        ValueError: one hypothesis, and errors that were never measured.
    """
    n, n_hypotheses = hypotheses_mm.shape[:2]
    if n_hypotheses > 1:
        sample = sample_covariance(hypotheses_mm, sampling.draws)
        return sample if regions is None else regions.covariance(sample, pose_mm)
    if errors_mm2 is None:
        raise ValueError(
            "Smoothing needs to know how wrong an answer may be; ask for n_hypotheses=2 or more, "
            "or measure the run's errors (diffpose recalibrate)."
        )
    return np.broadcast_to(joint_blocks(errors_mm2), (n, N_JOINTS, 3, 3)).copy()
