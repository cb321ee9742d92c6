"""The pose that answer, heatmaps and bone lengths agree on: a MAP estimate after the walk.

The answer p^ of the reverse process errs by e ~ N(0, S), S measured on known poses (all joints
together: an elbow that is pulled takes the wrist along). Given p^, the refined pose p and its root
position T maximise

    log N(p - p^; 0, S)
      + sum_j log sum_m pi_jm N(project(p_j + T); u_jm, s_jm^2)        the heatmaps' modes
      - sum_b (|p_b - p_parent(b)| - l_b)^2 / (2 r^2)                   bone lengths

by Gauss-Newton steps, the modes' shares renewed at each (EM). Beside its two modes a heatmap has a
third, wide one of a small share, so that what a detector got wrong altogether pulls little. The
first steps see all modes as wide as the answer is uncertain (deterministic annealing), lest a sharp
mode that the answer misses by more than its width be taken for a wrong one. l_b is the mean of left
and right in the answer itself or, over a sequence of one person, an upper quantile of it: a mean of
hypotheses has short bones. Where the detector gives a pose of its own, N(p - p^; 0, S) is joined by
what that says (detected_pose.py). Using both at inference without training is StarPose's idea
(arXiv:2508.02056).

Axis legend: n frames, J joints. Everything is in mm, root-relative, camera frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

from diffpose.model.geometry.skeleton import MIRROR, N_JOINTS, PARENTS, ROOT
from diffpose.model.observations.detections import Detections
from diffpose.model.refinement.detected_pose import combined_prior
from diffpose.model.uncertainty.covariances import MOVING, N_VALUES

Array = NDArray[np.float64]

# Chosen on the open benchmark's validation split (docs/experiments.md).
BONE_SPREAD_MM = 15.0
LENGTH_QUANTILE = 0.7
# Share of the answer's own variance that each step adds to the modes'.
ANNEALING = (1.0, 0.1, 0.0, 0.0, 0.0)
# How often both modes of a detector miss, and how far off the joint then is: 300 mm at 5 m.
MISS_SHARE = 0.01
MISS_SPREAD = 0.06

_FRAMES_AT_ONCE = 256
_STEP_LENGTHS = (1.0, 0.5, 0.25)
_NEAREST_MM = 100.0


def second_moment(errors_mm: NDArray[np.floating]) -> Array:
    """Return S (48, 48), mm^2, of errors (n, J, 3) of known poses, of the joints but the root.

    Shrunk towards a sphere as far as n is small (Ledoit & Wolf, J. Multivariate Anal. 88, 2004).
    """
    flat = np.asarray(errors_mm, dtype=np.float64)[:, MOVING].reshape(len(errors_mm), N_VALUES)
    moment: Array = ledoit_wolf(flat, assume_centered=True)[0]
    return moment


def bone_lengths(pose_mm: Array, lengths: Sequence[int] | None) -> Array:
    """Return what each frame's bones should measure, (n, 16), mm, left as right.

    Args:
        pose_mm: (n, J, 3).
        lengths: frames of the sequences that these are, each of one person; None: every frame for
            itself.
    """
    parents = np.array(PARENTS)[MOVING]
    own: Array = np.linalg.norm(pose_mm[:, MOVING] - pose_mm[:, parents], axis=-1)
    across = np.searchsorted(MOVING, np.array(MIRROR)[MOVING])
    own = (own + own[:, across]) / 2
    if lengths is None:
        return own
    parts = np.split(own, np.cumsum(lengths)[:-1])
    return np.concatenate(
        [np.broadcast_to(np.quantile(p, LENGTH_QUANTILE, axis=0), p.shape) for p in parts]
    )


@dataclass(frozen=True)
class _Evidence:
    """What n frames are refined by: modes in rays (n, J, 3, ...), lengths (n, 16).

    The precision is that of all frames, (48, 48), or of each, (n, 48, 48).
    """

    answer: Array
    places: Array
    variances: Array
    shares: Array
    lengths: Array
    precision: Array
    own_mm2: Array  # (J,), the answer's variance per coordinate

    def rows(self, part: slice) -> _Evidence:
        return _Evidence(
            self.answer[part], self.places[part], self.variances[part], self.shares[part],
            self.lengths[part],
            self.precision if self.precision.ndim == 2 else self.precision[part], self.own_mm2,
        )  # fmt: skip

    def widened(self, share: float, root: Array) -> _Evidence:
        """Return the same with a share of the answer's variance added to the modes'."""
        if share == 0.0:
            return self
        own = self.own_mm2 / root[:, None, 2].clip(_NEAREST_MM) ** 2
        return replace(self, variances=self.variances + share * own[..., None])


def refine(
    pose_mm: NDArray[np.floating],
    root_mm: NDArray[np.floating],
    detections: Detections,
    errors_mm2: Array,
    lengths: Sequence[int] | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the refined poses (n, J, 3) and where their roots stand, (n, 3).

    Args:
        pose_mm: (n, J, 3), the answer.
        root_mm: (n, 3), where its root stands.
        detections: n frames.
        errors_mm2: (48, 48), second_moment of the answer's errors on known poses.
        lengths: frames of the sequences, each of one person, whose bones have one length; None:
            every frame for itself.

    Raises:
        ValueError: S is not positive definite, or shapes do not fit.
    """
    answer = np.asarray(pose_mm, dtype=np.float64)
    if errors_mm2.shape != (N_VALUES, N_VALUES):
        raise ValueError(f"errors_mm2 must be {N_VALUES} x {N_VALUES}, got {errors_mm2.shape}.")
    # 1 mm^2: a joint that was never wrong would be held for ever
    spread = errors_mm2 + np.eye(N_VALUES)
    if np.linalg.eigvalsh(spread)[0] <= 0:
        raise ValueError("errors_mm2 is not positive definite: no second moment of errors.")
    first = detections.first_mode.double().numpy()
    modes = np.stack([first, detections.second_mode.double().numpy(), first], axis=2)
    modes[..., 2, 2] = MISS_SPREAD
    second = detections.second_weight.double().numpy()
    own_mm2 = np.zeros(N_JOINTS)
    own_mm2[MOVING] = np.diag(spread).reshape(-1, 3).mean(axis=1)
    precision = np.linalg.inv(spread).astype(np.float64)
    if detections.detected_mm is not None:
        answer, precision = combined_prior(answer, precision, detections.detected_mm.numpy())
    known = _Evidence(
        answer,
        modes[..., :2],
        modes[..., 2] ** 2,
        np.stack([1 - second, second, np.full_like(second, MISS_SHARE)], axis=-1).clip(1e-3),
        bone_lengths(answer, lengths),
        precision,
        own_mm2,
    )
    start = np.asarray(root_mm, dtype=np.float64)
    parts = [
        _refine(known.rows(slice(i, i + _FRAMES_AT_ONCE)), start[i : i + _FRAMES_AT_ONCE])
        for i in range(0, len(answer), _FRAMES_AT_ONCE)
    ]
    poses, roots = zip(*parts, strict=True)
    return np.concatenate(poses).astype(np.float32), np.concatenate(roots).astype(np.float32)


def _refine(known: _Evidence, root_mm: Array) -> tuple[Array, Array]:
    pose, root = known.answer.copy(), root_mm.copy()
    for share in ANNEALING:
        seen = known.widened(share, root)
        step = _step(seen, pose, root)
        # The best of some lengths: Gauss-Newton may overshoot where a bone is short.
        best = (_energy(seen, pose, root), pose, root)
        for length in _STEP_LENGTHS:
            tried = pose.copy()
            tried[:, MOVING] += length * step[:, MOVING]
            stands = root + length * step[:, ROOT]
            new = _energy(seen, tried, stands)
            better = new < best[0]
            best = (
                np.where(better, new, best[0]),
                np.where(better[:, None, None], tried, best[1]),
                np.where(better[:, None], stands, best[2]),
            )
        _, pose, root = best
    return pose, root


def _project(pose: Array, root: Array) -> tuple[Array, Array]:
    """Return where the joints stand, (n, J, 3), and their rays (n, J, 2)."""
    at = pose + root[:, None]
    at[..., 2] = at[..., 2].clip(_NEAREST_MM)
    return at, at[..., :2] / at[..., 2:]


def _mode_terms(known: _Evidence, rays: Array) -> tuple[Array, Array]:
    """Return the ways from the modes, (n, J, 3, 2), and the log terms of the modes, (n, J, 3)."""
    away = rays[:, :, None] - known.places
    squared = (away**2).sum(axis=-1)
    terms = np.log(known.shares / known.variances) - squared / (2 * known.variances)
    return away, terms


def _bones(pose: Array) -> tuple[Array, Array]:
    """Return directions (n, 16, 3) and lengths (n, 16) of the bones."""
    along = pose[:, MOVING] - pose[:, np.array(PARENTS)[MOVING]]
    length = np.linalg.norm(along, axis=-1)
    return along / length.clip(1.0)[..., None], length


def _pulled(precision: Array, away: Array) -> Array:
    """Return the precision, common (48, 48) or each frame's own, times (n, 48)."""
    if precision.ndim == 2:
        return np.asarray(away @ precision)
    return np.asarray((precision @ away[..., None])[..., 0])


def _energy(known: _Evidence, pose: Array, root: Array) -> Array:
    """Return minus the logarithm that is maximised, (n,)."""
    away = (pose - known.answer)[:, MOVING].reshape(len(pose), N_VALUES)
    prior = 0.5 * (_pulled(known.precision, away) * away).sum(axis=-1)
    _, terms = _mode_terms(known, _project(pose, root)[1])
    seen = np.logaddexp.reduce(terms, axis=-1).sum(axis=-1)
    bones = ((_bones(pose)[1] - known.lengths) ** 2).sum(axis=-1) / (2 * BONE_SPREAD_MM**2)
    energy: Array = prior - seen + bones
    return energy


def _step(known: _Evidence, pose: Array, root: Array) -> Array:
    """Return the Gauss-Newton step (n, J, 3); that of the root is the step of its position."""
    n = len(pose)
    hessian = np.zeros((n, N_JOINTS, 3, N_JOINTS, 3))
    gradient = np.zeros((n, N_JOINTS, 3))

    # heatmaps: each joint moves with itself and with the root's position
    at, rays = _project(pose, root)
    away, terms = _mode_terms(known, rays)
    share = np.exp(terms - np.logaddexp.reduce(terms, axis=-1, keepdims=True))
    weight = share / known.variances
    slope = np.zeros((n, N_JOINTS, 2, 3))
    slope[..., 0, 0] = slope[..., 1, 1] = 1 / at[..., 2]
    slope[..., 2] = -rays / at[..., 2:]
    pull = np.einsum("njcx,njm,njmc->njx", slope, weight, away)
    stiff = np.einsum("njcx,nj,njcy->njxy", slope, weight.sum(axis=-1), slope)
    gradient[:, MOVING] = pull[:, MOVING]
    gradient[:, ROOT] = pull.sum(axis=1)
    for j in MOVING:
        hessian[:, j, :, j] = hessian[:, j, :, ROOT] = hessian[:, ROOT, :, j] = stiff[:, j]
    hessian[:, ROOT, :, ROOT] = stiff.sum(axis=1)

    # bones: of both ends, the root's being fixed
    along, length = _bones(pose)
    pull = along * ((length - known.lengths) / BONE_SPREAD_MM**2)[..., None]
    stiff = along[..., :, None] * along[..., None, :] / BONE_SPREAD_MM**2
    for b, j in enumerate(MOVING):
        gradient[:, j] += pull[:, b]
        hessian[:, j, :, j] += stiff[:, b]
        if (parent := PARENTS[j]) != ROOT:
            gradient[:, parent] -= pull[:, b]
            hessian[:, parent, :, parent] += stiff[:, b]
            hessian[:, j, :, parent] -= stiff[:, b]
            hessian[:, parent, :, j] -= stiff[:, b]

    # the answer
    away = (pose - known.answer)[:, MOVING].reshape(n, N_VALUES)
    gradient[:, MOVING] += _pulled(known.precision, away).reshape(n, len(MOVING), 3)
    values = (3 * MOVING[:, None] + np.arange(3)).ravel()
    flat = hessian.reshape(n, 3 * N_JOINTS, 3 * N_JOINTS)
    flat[:, values[:, None], values] += known.precision
    step = np.asarray(np.linalg.solve(flat, -gradient.reshape(n, -1, 1)), dtype=np.float64)
    return step.reshape(n, N_JOINTS, 3)
