"""The energy score, a proper score of predicted distributions (Gneiting & Raftery, JASA 102, 2007).

    ES(P, y) = E |X - y| - 1/2 E |X - X'|,     X, X' ~ P independent,

in the unit of y (mm), smaller is better; for a point prediction it is the distance, and in
expectation no P scores better than the truth's own distribution. It weighs being near and being
honest together.

Of N hypotheses: means over the hypotheses, and over the N (N - 1) pairs of different ones, which
is unbiased for independent draws (Ferro, Q. J. R. Meteorol. Soc. 140, 2014: the fair score); means
over all N^2 pairs would favour narrow ensembles of few members. Draws whose mean was moved onto
that of P are not independent (covariances.Draws). With s = sqrt(N/(N-1)) and e_i independent,

    centred:  x_i - m = s (e_i - mean e),   x_i - x_j = s (e_i - e_j):   pairs are divided by s
    held:     x_i - m = e_i - mean e,       x_i - x_j = e_i - e_j:       x_i - m is multiplied by s

m being the mean of all x. The pairs' term is then exactly that of independent draws, whatever P is;
the first one has P's covariance, and is exact where P is Gaussian.

Of a Gaussian N(m, C): no draws. For any random Q >= 0

    E sqrt(Q) = 1/(2 sqrt(pi)) integral_0^inf t^(-3/2) (1 - E exp(-t Q)) dt,

and for Q = |X - y|^2 with r = y - m, u = 2 t

    E exp(-t Q) = det(I + u C)^(-1/2) exp(-t r^T (I + u C)^-1 r),

which needs no eigenvectors in three dimensions: with the invariants e1 = tr C, e2 = tr adj C,
e3 = det C,

    det(I + u C) = 1 + u e1 + u^2 e2 + u^3 e3,   adj(I + u C) = I + u (e1 I - C) + u^2 adj C.

With t = exp(x) the integrand is analytic and decays exponentially: the trapezoidal rule is right to
about 1e-6 of the value (its two tails are geometric series). E |X - X'| is the same with 2 C and
r = 0; for a pose whose joints are independent E exp(-t Q) is the product of theirs.

Axis legend: n poses, N hypotheses, J joints.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from diffpose.model.compiled import compiled
from diffpose.model.uncertainty.covariances import MOVING, Draws, stretch

Array = NDArray[np.float64]

# The trapezoidal rule's nodes in x = log t, t in units of 1 / E Q.
_STEP = 0.75
_X = _STEP * np.arange(-12, 18)
_T = np.exp(_X)
_WEIGHTS = _STEP * np.exp(-_X / 2)
# The integrand beyond the last node is exp(-x/2), before the first exp(x/2), as E Q = 1.
_TAILS = (math.exp(-_X[-1] / 2) + math.exp(_X[0] / 2)) * _STEP / math.expm1(_STEP / 2)


def hypotheses_score(
    hypotheses_mm: NDArray[np.floating],
    truth_mm: NDArray[np.floating],
    draws: Draws = "independent",
) -> tuple[Array, Array]:
    """Return the unbiased energy score of N hypotheses, of each joint and of the whole pose.

    One hypothesis is scored as what it is, a point prediction: its distance.

    Args:
        hypotheses_mm: (n, N, J, 3).
        truth_mm: (n, J, 3).
        draws: how the hypotheses hang together.

    Returns:
        (n, J) mm, the root's as it comes (0); (n,) mm, of the root-less pose as one vector; NaN for
        draws that are partly centred, whose score no factor mends.
    """
    x = np.ascontiguousarray(hypotheses_mm, dtype=np.float64)
    y = np.ascontiguousarray(truth_mm, dtype=np.float64)
    if x.ndim != 4 or y.shape != (len(x), *x.shape[2:]) or x.shape[1] == 0:
        raise ValueError(
            f"Expected hypotheses (n, N, J, 3) and truth (n, J, 3), got {x.shape} and {y.shape}."
        )
    joints, poses = np.empty(y.shape[:2]), np.empty(len(y))
    pairs = 1.0
    if x.shape[1] > 1 and draws == "partly centred":
        return np.full(y.shape[:2], np.nan), np.full(len(y), np.nan)
    if x.shape[1] > 1 and draws == "centred":
        pairs = 1 / stretch(x.shape[1])
    elif x.shape[1] > 1 and draws == "held":
        # stretched about their mean, their differences grow as well
        pairs = 1 / stretch(x.shape[1])
        mean = x.mean(axis=1, keepdims=True)
        x = mean + stretch(x.shape[1]) * (x - mean)
    _score_all(x, y, MOVING, pairs, joints, poses)
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
    residual = np.asarray(truth_mm, np.float64) - np.asarray(mean_mm, np.float64)
    given = np.asarray(covariance, np.float64).reshape(-1, *residual.shape[1:], 3)
    joints, poses = np.zeros(residual.shape[:2]), np.empty(len(residual))
    half_joints, half_poses = np.zeros(given.shape[:2]), np.empty(len(given))
    nodes = _T, _WEIGHTS, _TAILS, MOVING
    _distances(residual, given, *nodes, joints, poses)
    _distances(np.zeros(given.shape[:3]), 2 * given, *nodes, half_joints, half_poses)
    return joints - half_joints / 2, poses - half_poses / 2


def best_of_n_mpjpe(hypotheses_mm: NDArray[np.floating], truth_mm: NDArray[np.floating]) -> Array:
    """Return the MPJPE of each pose's best hypothesis, (n,): an oracle's, who knows the truth.

    Args:
        hypotheses_mm: (n, N, J, 3).
        truth_mm: (n, J, 3).
    """
    difference = np.asarray(hypotheses_mm, np.float64) - np.asarray(truth_mm, np.float64)[:, None]
    best: Array = np.sqrt((difference**2).sum(axis=-1)).mean(axis=-1).min(axis=1)
    return best


@compiled
def _score_all(x, y, moving, pair_factor, joints, poses):  # type: ignore[no-untyped-def]
    """Fill joints (n, J) and poses (n,); distances of two hypotheses count ``pair_factor``."""
    n, n_hypotheses, n_joints, _ = x.shape
    # half of the pairs are visited, twice 1/2 counts one
    pairs = n_hypotheses * (n_hypotheses - 1) / pair_factor
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


@compiled
def _invariants(c, r, term):  # type: ignore[no-untyped-def]
    """Fill term with e1, e2, e3 of C, r^T r, r^T (e1 I - C) r, r^T adj(C) r."""
    x, y, z = r[0], r[1], r[2]
    a00 = c[1, 1] * c[2, 2] - c[1, 2] * c[1, 2]
    a11 = c[0, 0] * c[2, 2] - c[0, 2] * c[0, 2]
    a22 = c[0, 0] * c[1, 1] - c[0, 1] * c[0, 1]
    a01 = c[0, 2] * c[1, 2] - c[0, 1] * c[2, 2]
    a02 = c[0, 1] * c[1, 2] - c[0, 2] * c[1, 1]
    a12 = c[0, 1] * c[0, 2] - c[0, 0] * c[1, 2]
    term[0] = c[0, 0] + c[1, 1] + c[2, 2]
    term[1] = max(a00 + a11 + a22, 0.0)
    term[2] = max(c[0, 0] * a00 + c[0, 1] * a01 + c[0, 2] * a02, 0.0)
    term[3] = x * x + y * y + z * z
    across = 2.0 * (c[0, 1] * x * y + c[0, 2] * x * z + c[1, 2] * y * z)
    along = c[0, 0] * x * x + c[1, 1] * y * y + c[2, 2] * z * z
    term[4] = term[0] * term[3] - along - across
    across = 2.0 * (a01 * x * y + a02 * x * z + a12 * y * z)
    term[5] = max(a00 * x * x + a11 * y * y + a22 * z * z + across, 0.0)


@compiled
def _distances(residual, covariance, nodes, weights, tails, moving, joints, poses):  # type: ignore[no-untyped-def]
    """Fill joints (n, J) and poses (n,) with E |X - y|; covariance (n or 1, J, 3, 3)."""
    n, n_joints, _ = residual.shape
    terms = np.zeros((n_joints, 6))
    for i in range(n):
        own = covariance[i if len(covariance) > 1 else 0]
        pose_mean = 0.0
        for j in moving:
            term = terms[j]
            _invariants(own[j], residual[i, j], term)
            mean = term[0] + term[3]  # E Q
            pose_mean += mean
            if not mean > 0.0:
                joints[i, j] = mean  # 0, or NaN
                continue
            total = tails
            for k in range(len(nodes)):
                t = nodes[k] / mean
                u = 2.0 * t
                det = 1.0 + u * (term[0] + u * (term[1] + u * term[2]))
                exponent = t * (term[3] + u * (term[4] + u * term[5])) / det
                total += weights[k] * (1.0 - math.exp(-exponent) / math.sqrt(det))
            joints[i, j] = total * math.sqrt(mean / math.pi) / 2.0
        if not pose_mean > 0.0:
            poses[i] = pose_mean
            continue
        total = tails
        for k in range(len(nodes)):
            t = nodes[k] / pose_mean
            u = 2.0 * t
            exponent, product, logarithm = 0.0, 1.0, 0.0
            for j in moving:
                term = terms[j]
                det = 1.0 + u * (term[0] + u * (term[1] + u * term[2]))
                exponent += t * (term[3] + u * (term[4] + u * term[5])) / det
                product *= det
                if product > 1e200:
                    logarithm += math.log(product)
                    product = 1.0
            logarithm += math.log(product)
            total += weights[k] * (1.0 - math.exp(-exponent - 0.5 * logarithm))
        poses[i] = total * math.sqrt(pose_mean / math.pi) / 2.0
