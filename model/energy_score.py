"""The energy score, a proper score of predicted distributions (Gneiting & Raftery, JASA 102, 2007).

    ES(P, y) = E |X - y| - 1/2 E |X - X'|,     X, X' ~ P independent,

in the unit of y (mm), smaller is better; for a point prediction it is the distance, and in
expectation no P scores better than the truth's own distribution. It weighs being near and being
honest together.

Of N hypotheses: means over the hypotheses, and over the N (N - 1) pairs of different ones, which is
unbiased (Ferro, Q. J. R. Meteorol. Soc. 140, 2014: the fair score); means over all N^2 pairs would
favour narrow ensembles of few members.

Of a Gaussian N(m, C): no draws. For any random Q >= 0

    E sqrt(Q) = 1/(2 sqrt(pi)) integral_0^inf t^(-3/2) (1 - E exp(-t Q)) dt,

and for Q = |X - y|^2 with eigenvalues c_i of C and z = U^T (m - y)

    E exp(-t Q) = prod_i (1 + 2 t c_i)^(-1/2) exp(-t z_i^2 / (1 + 2 t c_i)).

With t = exp(x) the integrand is analytic and decays exponentially: the trapezoidal rule is right to
about 1e-6 of the value (its two tails are geometric series). E |X - X'| is the same with 2 C and
z = 0.

Axis legend: n poses, N hypotheses, J joints, d coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from diffpose.model.uncertainty import MOVING

Array = NDArray[np.float64]
_compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(
    cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"}
)

# Of the trapezoidal rule, in log t, t in units of 1 / E Q.
_STEP = 0.75
_FIRST, _LAST = -12, 17


def hypotheses_score(
    hypotheses_mm: NDArray[np.floating], truth_mm: NDArray[np.floating]
) -> tuple[Array, Array]:
    """Return the unbiased energy score of N hypotheses, of each joint and of the whole pose.

    One hypothesis is scored as what it is, a point prediction: its distance.

    Args:
        hypotheses_mm: (n, N, J, 3).
        truth_mm: (n, J, 3).

    Returns:
        (n, J) mm, the root's as it comes (0); (n,) mm, of the root-less pose as one vector.
    """
    x = np.ascontiguousarray(hypotheses_mm, dtype=np.float64)
    y = np.ascontiguousarray(truth_mm, dtype=np.float64)
    if x.ndim != 4 or y.shape != (len(x), *x.shape[2:]) or x.shape[1] == 0:
        raise ValueError(
            f"Expected hypotheses (n, N, J, 3) and truth (n, J, 3), got {x.shape} and {y.shape}."
        )
    joints, poses = np.empty(y.shape[:2]), np.empty(len(y))
    _score_all(x, y, MOVING, joints, poses)
    return joints, poses


def gaussian_score(
    mean_mm: NDArray[np.floating], covariance: Array, truth_mm: NDArray[np.floating]
) -> tuple[Array, Array]:
    """Return the energy score of a Gaussian per joint, and of the pose with independent joints.

    Args:
        mean_mm: (n, J, 3).
        covariance: (n, J, 3, 3) or, the same for all poses, (J, 3, 3), mm^2.
        truth_mm: (n, J, 3).

    Returns:
        (n, J) mm, the root's 0; (n,) mm, of the root-less pose as one vector.
    """
    residual = (np.asarray(mean_mm, np.float64) - np.asarray(truth_mm, np.float64))[:, MOVING]
    values, vectors = np.linalg.eigh(covariance[..., MOVING, :, :])
    values = np.maximum(values, 0.0)
    z_squared = (residual[..., None, :] @ vectors)[..., 0, :] ** 2
    wide = np.broadcast_to(values, residual.shape)
    n, j, _ = residual.shape
    spread = expected_distance(2 * values.reshape(-1, 3), np.zeros((values.size // 3, 3)))
    own = expected_distance(wide.reshape(-1, 3), z_squared.reshape(-1, 3)).reshape(n, j)
    joints = np.zeros(np.shape(mean_mm)[:2])
    joints[:, MOVING] = own - spread.reshape(values.shape[:-1]) / 2
    flat = values.reshape(-1, 3 * j)
    whole = expected_distance(wide.reshape(n, -1), z_squared.reshape(n, -1))
    return joints, whole - expected_distance(2 * flat, np.zeros_like(flat)) / 2


def expected_distance(values: Array, z_squared: Array) -> Array:
    """Return E |X| of Gaussians: (n,), of eigenvalues and squared means along them, (n, d)."""
    found = np.empty(len(values))
    _expected_distance(np.ascontiguousarray(values), np.ascontiguousarray(z_squared), found)
    return found


def best_of_n_mpjpe(hypotheses_mm: NDArray[np.floating], truth_mm: NDArray[np.floating]) -> Array:
    """Return the MPJPE of each pose's best hypothesis, (n,): an oracle's, who knows the truth.

    Args:
        hypotheses_mm: (n, N, J, 3).
        truth_mm: (n, J, 3).
    """
    difference = np.asarray(hypotheses_mm, np.float64) - np.asarray(truth_mm, np.float64)[:, None]
    best: Array = np.sqrt((difference**2).sum(axis=-1)).mean(axis=-1).min(axis=1)
    return best


@_compiled
def _score_all(x, y, moving, joints, poses):  # type: ignore[no-untyped-def]
    """Fill joints (n, J) and poses (n,)."""
    n, n_hypotheses, n_joints, _ = x.shape
    pairs = n_hypotheses * (n_hypotheses - 1)  # half of them are visited, twice 1/2 counts one
    for i in range(n):
        joints[i] = 0.0
        total = 0.0
        for a in range(n_hypotheses):
            square = 0.0
            for j in range(n_joints):
                u, v = x[i, a, j, 0] - y[i, j, 0], x[i, a, j, 1] - y[i, j, 1]
                w = x[i, a, j, 2] - y[i, j, 2]
                joints[i, j] += math.sqrt(u * u + v * v + w * w) / n_hypotheses
            for j in moving:
                for k in range(3):
                    square += (x[i, a, j, k] - y[i, j, k]) ** 2
            total += math.sqrt(square) / n_hypotheses
            for b in range(a):
                square = 0.0
                for j in range(n_joints):
                    u, v = x[i, a, j, 0] - x[i, b, j, 0], x[i, a, j, 1] - x[i, b, j, 1]
                    w = x[i, a, j, 2] - x[i, b, j, 2]
                    joints[i, j] -= math.sqrt(u * u + v * v + w * w) / pairs
                for j in moving:
                    for k in range(3):
                        square += (x[i, a, j, k] - x[i, b, j, k]) ** 2
                total -= math.sqrt(square) / pairs
        poses[i] = total


@_compiled
def _expected_distance(values, z_squared, found):  # type: ignore[no-untyped-def]
    """Fill found (n,) with the integral, sizes scaled so that E Q = 1."""
    n, d = values.shape
    ratio = math.exp(-_STEP / 2)
    # the integrand beyond the last node is exp(-x/2), before the first exp(x/2), as E Q = 1
    tails = (
        _STEP * ratio / (1 - ratio) * (math.exp(-_STEP * _LAST / 2) + math.exp(_STEP * _FIRST / 2))
    )
    for i in range(n):
        mean = 0.0
        for k in range(d):
            mean += values[i, k] + z_squared[i, k]
        if not mean > 0.0:
            found[i] = mean  # 0, or NaN
            continue
        total = tails
        for node in range(_FIRST, _LAST + 1):
            x = _STEP * node
            t = math.exp(x) / mean
            exponent, product, logarithm = 0.0, 1.0, 0.0
            for k in range(d):
                width = 1.0 + 2.0 * t * values[i, k]
                exponent += t * z_squared[i, k] / width
                product *= width
                if product > 1e200:
                    logarithm += math.log(product)
                    product = 1.0
            logarithm += math.log(product)
            total += _STEP * math.exp(-x / 2) * -math.expm1(-exponent - logarithm / 2)
        found[i] = total * math.sqrt(mean / math.pi) / 2
