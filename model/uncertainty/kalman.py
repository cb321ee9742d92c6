"""One joint's places, filtered and smoothed over time: the compiled kernel of lifting/smoothing.py.

State (p, v, b), each of three coordinates: place, speed, and what the measurements err by slowly.
dp = v dt with dv of spectral density q; b keeps exp(-dt / tau) of itself and gains variance, so
that on the whole it has the share 1 - a of the covariance C; measured z = p + b + n, cov n = a C.
Backward pass without inversions of the state's covariance (Bierman, Factorization Methods for
Discrete Sequential Estimation, 1977, ch. X).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffpose.model.compiled import compiled

Array = NDArray[np.float64]

# Before anything was seen: somewhere within 10 m, at up to some 3 m/s.
_PLACE_MM2, _SPEED_MM2_S2 = 1e8, 1e7


@compiled
def _measure() -> Array:
    """Return what is measured of the state: p + b."""
    measure = np.zeros((3, 9))
    for i in range(3):
        measure[i, i] = measure[i, 6 + i] = 1.0
    return measure


@compiled
def _filter(
    places: Array,
    covariances: Array,
    apart: Array,
    q: float,
    white: float,
    tau: float,
    first: Array,
    means: Array,
    spreads: Array,
    gains: Array,
    errors: Array,
    inverses: Array,
    moves: Array,
) -> None:
    """Filter forwards; fills the arrays that come last, what the way back needs."""
    mean, spread = np.zeros(9), np.zeros((9, 9))
    for i in range(3):
        spread[i, i], spread[3 + i, 3 + i] = _PLACE_MM2, _SPEED_MM2_S2
    spread[6:, 6:] = (1.0 - white) * first
    measure = _measure()
    back = np.ascontiguousarray(measure.T)
    for t in range(len(places)):
        dt = apart[t]
        kept = np.exp(-dt / tau)
        move = moves[t]
        for i in range(3):
            move[i, i] = move[3 + i, 3 + i] = 1.0
            move[i, 3 + i] = dt
            move[6 + i, 6 + i] = kept
        mean = np.dot(move, mean)
        spread = np.dot(np.dot(move, spread), np.ascontiguousarray(move.T))
        for i in range(3):
            spread[i, i] += q * dt**3 / 3
            spread[i, 3 + i] += q * dt**2 / 2
            spread[3 + i, i] += q * dt**2 / 2
            spread[3 + i, 3 + i] += q * dt
        spread[6:, 6:] += (1.0 - kept * kept) * (1.0 - white) * covariances[t]
        z = places[t]
        if np.isfinite(z).all():
            noise = white * covariances[t]
            turned = np.dot(spread, back)
            inverse = np.linalg.inv(np.dot(measure, turned) + noise)
            gain = np.dot(turned, inverse)
            error = z - np.dot(measure, mean)
            # Joseph's form stays symmetric and positive
            left = np.eye(9) - np.dot(gain, measure)
            spread = np.dot(np.dot(left, spread), np.ascontiguousarray(left.T))
            spread += np.dot(np.dot(gain, noise), np.ascontiguousarray(gain.T))
            mean = mean + np.dot(gain, error)
            gains[t], errors[t], inverses[t] = gain, error, inverse
        means[t], spreads[t] = mean, spread


@compiled
def smoothed_track(
    places: Array,
    covariances: Array,
    apart: Array,
    q: float,
    white: float,
    tau: float,
    first: Array,
    causal: bool,
) -> tuple[Array, Array]:
    """Filter and, unless ``causal``, smooth one joint.

    Args:
        places: (T, 3), z; frames with NaN are not measured.
        covariances: (T, 3, 3), C.
        apart: (T,), time since the frame before; 0 for the first.
        q, white, tau: density, a, and how long b lasts.
        first: (3, 3), C of what b begins with.
        causal: each frame by those before it.

    Returns:
        Places (T, 3) and covariances (T, 3, 3).
    """
    n = len(places)
    means, spreads = np.zeros((n, 9)), np.zeros((n, 9, 9))
    gains, errors = np.zeros((n, 9, 3)), np.zeros((n, 3))
    inverses, moves = np.zeros((n, 3, 3)), np.zeros((n, 9, 9))
    _filter(
        places, covariances, apart, q, white, tau, first,
        means, spreads, gains, errors, inverses, moves,
    )  # fmt: skip
    measure = _measure()
    back = np.ascontiguousarray(measure.T)
    found, sure = np.zeros((n, 3)), np.zeros((n, 3, 3))
    pull, hold = np.zeros(9), np.zeros((9, 9))
    for t in range(n - 1, -1, -1):
        here = spreads[t]
        found[t] = means[t, :3] - np.dot(here, pull)[:3]
        sure[t] = (here - np.dot(np.dot(here, hold), here))[:3, :3]
        if causal:
            continue
        if np.isfinite(places[t]).all():
            left = np.eye(9) - np.dot(gains[t], measure)
            turned = np.ascontiguousarray(left.T)
            pull = np.dot(turned, pull) - np.dot(back, np.dot(inverses[t], errors[t]))
            hold = np.dot(np.dot(turned, hold), left)
            hold += np.dot(np.dot(back, inverses[t]), measure)
        turned = np.ascontiguousarray(moves[t].T)
        pull = np.dot(turned, pull)
        hold = np.dot(np.dot(turned, hold), moves[t])
    return found, sure
