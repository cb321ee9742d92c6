"""EM for the 3-D mixtures of scope "joint" on a CPU: one compiled loop for each mixture.

The algorithm, the start and the random numbers are those of `mixture_torch` and `mixture_em`
(paper, eq. 6; Dempster, Laird and Rubin 1977; Arthur and Vassilvitskii 2007): they differ by
rounding.
Second moments are summed about the kernel's last mean, which float32 holds without cancellation.
Each mixture is worked on alone, so its result cannot depend on the batch. The draws of one joint
(12 kB at S = 1000) stay in the first cache, hence no blocks as in `mixture_numba`.

Notation: I mixtures, S draws, M kernels, U uniforms a mixture; standardised units inside, mm
outside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffpose.model.compiled import compiled
from diffpose.model.mixture_fitting.numba_common import (
    mean_and_spread,
    moments_3d,
    normalise,
    quadratic_3d,
    sums_3d,
    whitening_3d,
)
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec


def fit(
    points_mm: NDArray[np.floating],
    uniforms: NDArray[np.float32],
    responsibilities: NDArray[np.float32] | None,
    spec: MixtureSpec,
    iterations: int,
    tol: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Fit I mixtures of three dimensions; arguments and results as `mixture_numba_full.fit`.

    Points are (I, 3, S); packed factors (I, M, 6), or (I, M, 3) standard deviations with "diag".
    """
    n_items, m = len(points_mm), spec.n_kernels
    diagonal = spec.covariance == "diag"
    weights = np.empty((n_items, m), np.float32)
    means = np.empty((n_items, m, 3), np.float32)
    packed = np.empty((n_items, m, 3 if diagonal else 6), np.float32)
    bounds = np.full((iterations, n_items), np.nan)
    given = responsibilities is not None
    start = responsibilities if given else np.zeros((n_items, 0, 0), np.float32)
    _fit_all(
        points_mm, uniforms, given, start, diagonal, spec.reg_covar_mm, tol, spec.n_init_lloyd,
        weights, means, packed, bounds,
    )  # fmt: skip
    return weights, means, packed, bounds


@compiled
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


@compiled
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


@compiled
def _m_step(x, resp, reg, diagonal, sums, weight, mean, factor):  # type: ignore[no-untyped-def]
    """Update the kernels from responsibilities resp (M, S)."""
    for k in range(len(resp)):
        o = mean[k, 0], mean[k, 1], mean[k, 2]
        sums[:] = 0.0
        sums_3d(x[0], x[1], x[2], resp[k], o, sums)
        weight[k] = moments_3d(sums, o, reg, diagonal, mean[k], factor[k])
    weight /= weight.sum()


@compiled
def _e_step(x, weight, mean, factor, resp):  # type: ignore[no-untyped-def]
    """Fill resp (M, S) with log(weight x density)."""
    half = np.float32(0.5)
    for k in range(len(resp)):
        f, density = factor[k], resp[k]
        log_scale = np.log(weight[k]) - np.log(f[0] * f[2] * f[5]) - 1.5 * np.log(2.0 * np.pi)
        constant = np.float32(log_scale)
        for s in range(len(density)):
            density[s] = 0.0
        o = mean[k, 0], mean[k, 1], mean[k, 2]
        quadratic_3d(x[0], x[1], x[2], o, whitening_3d(f), density)
        for s in range(len(density)):
            density[s] = constant - half * density[s]


@compiled
def _fit_all(  # type: ignore[no-untyped-def]  # noqa: PLR0912
    points, uniforms, given, start, diagonal, reg_mm, tol, n_lloyd, weights, means, packed, bounds
):
    """Fit mixture after mixture into weights, means and packed factors."""
    n_items, _, n_draws = points.shape
    m = weights.shape[1]
    x = np.empty((3, n_draws), np.float32)
    resp = np.empty((m, n_draws), np.float32)
    scratch = np.empty((3, n_draws), np.float32)
    label = np.empty(n_draws, np.int32)
    centres = np.zeros((m, 3), np.float32)
    shift, scale, reg, sums = np.empty(3), np.empty(3), np.empty(3), np.empty(10)
    weight, mean, factor = np.empty(m), np.empty((m, 3)), np.empty((m, 6))
    for item in range(n_items):
        for i in range(3):
            line = points[item, i]
            centre, spread = mean_and_spread(line, reg_mm)
            shift[i], scale[i], reg[i] = centre, spread, (reg_mm / spread) ** 2
            inverse = 1.0 / spread
            for s in range(n_draws):
                x[i, s] = (float(line[s]) - centre) * inverse
        if given:
            resp[:] = start[item]
            mean[:] = 0.0
            _m_step(x, resp, reg, diagonal, sums, weight, mean, factor)  # for its means alone
        else:
            _kmeans_plus_plus(x, uniforms[item], centres, scratch[0], scratch[1], scratch[2])
            _lloyd(x, centres, n_lloyd, scratch[0], label)
            for k in range(m):
                for s in range(n_draws):
                    resp[k, s] = np.float32(1.0) if label[s] == k else np.float32(0.0)
            mean[:] = centres
        _m_step(x, resp, reg, diagonal, sums, weight, mean, factor)
        log_scale = np.log(scale[0] * scale[1] * scale[2])
        last = -np.inf
        for iteration in range(len(bounds)):
            _e_step(x, weight, mean, factor, resp)
            bound = normalise(resp, n_draws, scratch) / n_draws
            bounds[iteration, item] = bound - log_scale
            _m_step(x, resp, reg, diagonal, sums, weight, mean, factor)
            if abs(bound - last) < tol:
                break
            last = bound
        for k in range(m):
            weights[item, k] = weight[k]
            f, out = factor[k], packed[item, k]
            for i in range(3):
                means[item, k, i] = mean[k, i] * scale[i] + shift[i]
            if diagonal:
                out[0], out[1], out[2] = f[0] * scale[0], f[2] * scale[1], f[5] * scale[2]
            else:
                out[0], out[1], out[2] = f[0] * scale[0], f[1] * scale[1], f[2] * scale[1]
                out[3], out[4], out[5] = f[3] * scale[2], f[4] * scale[2], f[5] * scale[2]
