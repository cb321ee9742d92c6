"""EM for the 3-D mixtures of scope "joint" on a CPU: one compiled loop for each mixture.

The algorithm, the start and the random numbers are those of `mixture_fit` (paper, eq. 6; Dempster,
Laird and Rubin 1977; Arthur and Vassilvitskii 2007), so the two differ by rounding. Second moments
are summed about the kernel's last mean, which float32 holds without cancellation. Each mixture is
worked on alone, so its result cannot depend on the batch.

Notation: I mixtures, S draws, M kernels, U uniforms a mixture; standardised units throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from diffpose.model.mixture import MixtureSpec

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_compile: Callable[[Callable[..., Any]], Callable[..., Any]] = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"}
)


def fit_standardised(
    points: Float32, reg: Float64, uniforms: Float32, spec: MixtureSpec
) -> tuple[Float64, Float64, Float64]:
    """Fit I mixtures of three dimensions.

    Args:
        points: (I, 3, S) standardised, finite draws, S >= M.
        reg: (I, 3) variance added to each coordinate.
        uniforms: (I, U) in [0, 1), as `mixture_fit` makes them.
        spec: n_kernels, covariance, tol, max_iterations and n_init_lloyd.

    Returns:
        weights (I, M), means (I, M, 3), lower factors (I, M, 3, 3).
    """
    n_items, m = len(points), spec.n_kernels
    weights = np.empty((n_items, m))
    means = np.empty((n_items, m, 3))
    factors = np.zeros((n_items, m, 3, 3))
    _fit_all(
        points,
        reg,
        uniforms,
        spec.covariance == "diag",
        spec.tol,
        spec.max_iterations,
        spec.n_init_lloyd,
        weights,
        means,
        factors,
    )
    return weights, means, factors


@_compile
def _kmeans_plus_plus(x, uniforms, centres, nearest, trial, best):  # type: ignore[no-untyped-def]
    """Greedy k-means++ over x (3, S) into centres (M, 3); the rest is scratch (S,)."""
    n_draws = x.shape[1]
    m = len(centres)
    n_trials = (len(uniforms) - 1) // max(m - 1, 1)
    cumulative = np.empty(n_draws)
    first = min(int(uniforms[0] * np.float32(n_draws)), n_draws - 1)
    for i in range(3):
        centres[0, i] = x[i, first]
    for s in range(n_draws):
        a, b, c = x[0, s] - centres[0, 0], x[1, s] - centres[0, 1], x[2, s] - centres[0, 2]
        nearest[s] = a * a + b * b + c * c
    for k in range(1, m):
        total = 0.0
        for s in range(n_draws):
            total += nearest[s]
            cumulative[s] = total
        best_potential = np.float32(np.inf)
        for t in range(n_trials):
            target = uniforms[1 + (k - 1) * n_trials + t] * total
            chosen = min(np.searchsorted(cumulative, target, side="right"), n_draws - 1)
            x0, x1, x2 = x[0, chosen], x[1, chosen], x[2, chosen]
            potential = np.float32(0.0)
            for s in range(n_draws):
                a, b, c = x[0, s] - x0, x[1, s] - x1, x[2, s] - x2
                trial[s] = min(nearest[s], a * a + b * b + c * c)
                potential += trial[s]
            if potential < best_potential:
                best_potential = potential
                best[:] = trial
                centres[k, 0], centres[k, 1], centres[k, 2] = x0, x1, x2
        nearest[:] = best


@_compile
def _lloyd(x, centres, n_lloyd, best, label):  # type: ignore[no-untyped-def]
    """Move centres (M, 3) by Lloyd's iterations; label (S,) gets the clusters, best is scratch."""
    n_draws = x.shape[1]
    m = len(centres)
    variance = np.float32(0.0)
    for i in range(3):
        for s in range(n_draws):
            variance += x[i, s] * x[i, s]
    limit = np.float32(1e-4) * variance / np.float32(3 * n_draws)
    done = False
    for iteration in range(n_lloyd + 1):
        for k in range(m):
            c0, c1, c2 = centres[k, 0], centres[k, 1], centres[k, 2]
            half = np.float32(0.5) * (c0 * c0 + c1 * c1 + c2 * c2)
            if k == 0:
                for s in range(n_draws):
                    best[s] = c0 * x[0, s] + c1 * x[1, s] + c2 * x[2, s] - half
                    label[s] = 0
            else:
                for s in range(n_draws):
                    score = c0 * x[0, s] + c1 * x[1, s] + c2 * x[2, s] - half
                    label[s] = k if score > best[s] else label[s]
                    best[s] = max(score, best[s])
        if done or iteration == n_lloyd:
            break
        shift = np.float32(0.0)
        for k in range(m):
            count = t0 = t1 = t2 = np.float32(0.0)
            for s in range(n_draws):  # a masked sum: vectors, where a scatter would be scalar
                inside = np.float32(1.0) if label[s] == k else np.float32(0.0)
                count += inside
                t0 += inside * x[0, s]
                t1 += inside * x[1, s]
                t2 += inside * x[2, s]
            if count > 0.5:  # an empty cluster stays where it is
                a, b, c = t0 / count, t1 / count, t2 / count
                d0, d1, d2 = a - centres[k, 0], b - centres[k, 1], c - centres[k, 2]
                shift += d0 * d0 + d1 * d1 + d2 * d2
                centres[k, 0], centres[k, 1], centres[k, 2] = a, b, c
        done = bool(shift <= limit)


@_compile
def _exp_in_place(values, power, scale):  # type: ignore[no-untyped-def]
    """Replace values (S,) <= 0 by their exponentials, to 2 ulp (Cephes expf), in vector code.

    power (S,) int32 is scratch, and scale the same memory as float32: 2^n is the bit pattern
    (n + 127) << 23. The C library's exp would be called draw by draw and be most of the run time.
    """
    for s in range(len(values)):
        v = max(values[s], np.float32(-87.0))
        n = np.floor(v * np.float32(1.44269504) + np.float32(0.5))
        power[s] = (np.int32(n) + np.int32(127)) << np.int32(23)
        r = v - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
        p = np.float32(1.9875691500e-4)
        p = p * r + np.float32(1.3981999507e-3)
        p = p * r + np.float32(8.3334519073e-3)
        p = p * r + np.float32(4.1665795894e-2)
        p = p * r + np.float32(1.6666665459e-1)
        p = p * r + np.float32(5.0000001201e-1)
        values[s] = p * r * r + r + np.float32(1.0)
    for s in range(len(values)):
        values[s] *= scale[s]


@_compile
def _m_step(x, resp, inverse, reg, diagonal, weights, means, factors):  # type: ignore[no-untyped-def]
    """Update the kernels from responsibilities resp (M, S) * inverse (S,)."""
    m, n_draws = resp.shape
    tiny = 10 * 2.220446049250313e-16  # as scikit-learn: an empty kernel stays finite
    for k in range(m):
        o0, o1, o2 = np.float32(means[k, 0]), np.float32(means[k, 1]), np.float32(means[k, 2])
        count = t0 = t1 = t2 = np.float32(0.0)
        q00 = q01 = q02 = q11 = q12 = q22 = np.float32(0.0)
        for s in range(n_draws):
            r = resp[k, s] * inverse[s]
            a, b, c = x[0, s] - o0, x[1, s] - o1, x[2, s] - o2
            ra, rb, rc = r * a, r * b, r * c
            count += r
            t0 += ra
            t1 += rb
            t2 += rc
            q00 += ra * a
            q01 += ra * b
            q02 += ra * c
            q11 += rb * b
            q12 += rb * c
            q22 += rc * c
        n = float(count) + tiny
        m0, m1, m2 = t0 / n, t1 / n, t2 / n
        weights[k] = n
        means[k, 0], means[k, 1], means[k, 2] = o0 + m0, o1 + m1, o2 + m2
        off = 0.0 if diagonal else 1.0
        c01, c02, c12 = (
            off * (q01 / n - m0 * m1),
            off * (q02 / n - m0 * m2),
            off * (q12 / n - m1 * m2),
        )
        # Scatter + reg has pivots of at least reg; less is rounding.
        l00 = math.sqrt(max(q00 / n - m0 * m0, 0.0) + reg[0])
        l10, l20 = c01 / l00, c02 / l00
        l11 = math.sqrt(max(q11 / n - m1 * m1 + reg[1] - l10 * l10, reg[1]))
        l21 = (c12 - l10 * l20) / l11
        l22 = math.sqrt(max(q22 / n - m2 * m2 + reg[2] - l20 * l20 - l21 * l21, reg[2]))
        factors[k, 0, 0], factors[k, 1, 0], factors[k, 1, 1] = l00, l10, l11
        factors[k, 2, 0], factors[k, 2, 1], factors[k, 2, 2] = l20, l21, l22
    weights /= weights.sum()


@_compile
def _e_step(x, weights, means, factors, resp, top, inverse, power, scale):  # type: ignore[no-untyped-def]
    """Fill resp (M, S) and inverse (S,), whose product is the responsibilities.

    Returns the lower bound: mean log-likelihood of a draw.
    """
    m, n_draws = resp.shape
    for k in range(m):
        o0, o1, o2 = np.float32(means[k, 0]), np.float32(means[k, 1]), np.float32(means[k, 2])
        l00, l11, l22 = factors[k, 0, 0], factors[k, 1, 1], factors[k, 2, 2]
        i00, i11, i22 = 1.0 / l00, 1.0 / l11, 1.0 / l22
        i10 = -factors[k, 1, 0] * i00 * i11
        i21 = -factors[k, 2, 1] * i11 * i22
        i20 = -(factors[k, 2, 0] * i00 + factors[k, 2, 1] * i10) * i22
        f00, f10, f11 = np.float32(i00), np.float32(i10), np.float32(i11)
        f20, f21, f22 = np.float32(i20), np.float32(i21), np.float32(i22)
        log_scale = math.log(weights[k]) - math.log(l00 * l11 * l22) - 1.5 * math.log(2 * math.pi)
        constant, half = np.float32(log_scale), np.float32(0.5)
        for s in range(n_draws):
            a, b, c = x[0, s] - o0, x[1, s] - o1, x[2, s] - o2
            y0, y1, y2 = f00 * a, f10 * a + f11 * b, f20 * a + f21 * b + f22 * c
            resp[k, s] = constant - half * (y0 * y0 + y1 * y1 + y2 * y2)
    top[:] = resp[0]
    for k in range(1, m):
        for s in range(n_draws):
            top[s] = max(top[s], resp[k, s])
    inverse[:] = 0.0
    for k in range(m):
        for s in range(n_draws):
            resp[k, s] -= top[s]
        _exp_in_place(resp[k], power, scale)
        for s in range(n_draws):
            inverse[s] += resp[k, s]
    bound, product = 0.0, 1.0
    for s in range(n_draws):
        bound += top[s]
        # Each sum is in [1, M]: the product of 16 is far from overflow, and one log serves all.
        product *= float(inverse[s])
        if s % 16 == 15:
            bound += math.log(product)
            product = 1.0
        inverse[s] = np.float32(1.0) / inverse[s]
    return (bound + math.log(product)) / n_draws


@_compile
def _fit_all(  # type: ignore[no-untyped-def]
    points, reg, uniforms, diagonal, tol, max_iterations, n_lloyd, weights, means, factors
):
    """Fit mixture after mixture into weights, means and factors."""
    n_items, _, n_draws = points.shape
    m = weights.shape[1]
    resp = np.empty((m, n_draws), np.float32)
    top, inverse = np.empty(n_draws, np.float32), np.empty(n_draws, np.float32)
    nearest, trial = np.empty(n_draws, np.float32), np.empty(n_draws, np.float32)
    label = np.empty(n_draws, np.int32)
    power = np.empty(n_draws, np.int32)
    scale = power.view(np.float32)
    centres = np.zeros((m, 3), np.float32)
    for i in range(n_items):
        x = points[i]
        _kmeans_plus_plus(x, uniforms[i], centres, nearest, trial, top)
        _lloyd(x, centres, n_lloyd, top, label)
        for k in range(m):
            for s in range(n_draws):
                resp[k, s] = np.float32(1.0) if label[s] == k else np.float32(0.0)
        inverse[:] = 1.0
        means[i] = centres
        _m_step(x, resp, inverse, reg[i], diagonal, weights[i], means[i], factors[i])
        last = -np.inf
        for _ in range(max_iterations):
            bound = _e_step(x, weights[i], means[i], factors[i], resp, top, inverse, power, scale)
            _m_step(x, resp, inverse, reg[i], diagonal, weights[i], means[i], factors[i])
            if abs(bound - last) < tol:
                break
            last = bound
