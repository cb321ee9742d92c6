"""EM with full 51 x 51 covariances on a CPU, compiled: scope "pose", covariance "full" (eq. 6).

The algorithm is that of `mixture_em`. Of an iteration's arithmetic nearly all is in two loops, both
over the lower triangle alone (1326 multiply-adds a draw and kernel, where dense products do 2601):
`_whiten`, y = L^-1 (x - mu), and `_scatter`, sums of r x x^T. They work on tiles of 4 x 4
coefficients that stay in registers while a block of draws passes by.

Notation: S draws, M kernels, D = 51 dimensions, P = 52 (a multiple of the tile, the last coordinate
is 1); standardised units inside, mm outside.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from diffpose.model.compiled import compiled
from diffpose.model.mixture_fitting.numba_common import (
    BLOCK,
    TINY,
    begin,
    normalise_blocks,
)
from diffpose.model.mixtures.gaussian_mixture import POSE_DIMS, MixtureSpec, packed_size

_P = POSE_DIMS + 1
assert _P % 4 == 0


def fit(
    points_mm: NDArray[np.floating],
    uniforms: NDArray[np.float32],
    responsibilities: NDArray[np.float32] | None,
    spec: MixtureSpec,
    iterations: int,
    tol: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Fit I mixtures over whole poses.

    Args:
        points_mm: (I, 51, S), finite, S >= M.
        uniforms: (I, U) in [0, 1), for k-means.
        responsibilities: (I, M, S) to start from instead of k-means.
        spec: n_kernels, reg_covar_mm and n_init_lloyd.
        iterations: most EM iterations.
        tol: gain of the lower bound, nats, below which a mixture is done.

    Returns:
        weights (I, M), means (I, M, 51), packed factors (I, M, 1326) in mm, and the lower bound of
        each iteration (iterations, I) in mm, NaN after the last.
    """
    n_items, m = len(points_mm), spec.n_kernels
    weights = np.empty((n_items, m), np.float32)
    means = np.empty((n_items, m, POSE_DIMS), np.float32)
    packed = np.empty((n_items, m, packed_size(POSE_DIMS)), np.float32)
    bounds = np.full((iterations, n_items), np.nan)
    given = responsibilities is not None
    start = responsibilities if given else np.zeros((n_items, 0, 0), np.float32)
    _fit_all(
        points_mm, uniforms, given, start, spec.reg_covar_mm, tol, spec.n_init_lloyd,
        weights, means, packed, bounds,
    )  # fmt: skip
    return weights, means, packed, bounds


@compiled
def _fit_all(  # type: ignore[no-untyped-def]
    points, uniforms, given, start, reg_mm, tol, n_lloyd, weights, means, packed, bounds
):
    """Fit mixture after mixture: the result of one cannot depend on the others."""
    n_items, m = weights.shape
    dims, n_draws = points.shape[1:]
    n_blocks = (n_draws + BLOCK - 1) // BLOCK
    x = np.zeros((n_blocks, _P, BLOCK), np.float32)
    resp = np.empty((n_blocks, m, BLOCK), np.float32)
    shift, scale, reg = np.empty(dims), np.empty(dims), np.empty(dims)
    weight, mean = np.empty(m), np.empty((m, dims))
    factor = np.zeros((m, _P, _P))
    gram = np.empty((m, _P, _P))
    everything = np.empty((_P, _P))
    whitening = np.zeros((m, _P, _P), np.float32)
    offset = np.zeros((m, _P), np.float32)
    constant = np.empty(m)
    scratch = np.empty((3, BLOCK), np.float32)
    y = np.empty((4, BLOCK), np.float32)
    ones = np.ones((n_blocks, BLOCK), np.float32)
    for item in range(n_items):
        log_scale = begin(
            points[item], uniforms[item], given, start[item], reg_mm, n_lloyd,
            shift, scale, reg, x, resp,
        )  # fmt: skip
        everything[:] = 0.0
        for b in range(n_blocks):
            _scatter(x[b], ones[b], everything, y)
        _m_step(x, resp, reg, everything, gram, y, weight, mean, factor)
        last = -np.inf
        for iteration in range(len(bounds)):
            _prepare(weight, mean, factor, whitening, offset, constant)
            _whiten(x, whitening, offset, constant, resp, y)
            bound = normalise_blocks(resp, n_draws, scratch)
            bounds[iteration, item] = bound - log_scale
            _m_step(x, resp, reg, everything, gram, y, weight, mean, factor)
            if abs(bound - last) < tol:
                break
            last = bound
        for k in range(m):
            weights[item, k] = weight[k]
            at = 0
            for i in range(dims):
                means[item, k, i] = mean[k, i] * scale[i] + shift[i]
                for j in range(i + 1):
                    packed[item, k, at] = factor[k, i, j] * scale[i]
                    at += 1


@compiled
def _prepare(weight, mean, factor, whitening, offset, constant):  # type: ignore[no-untyped-def]
    """From kernels to y = whitening x + offset, and log(weight x density) - |y|^2 / -2."""
    m, dims = mean.shape
    inverse = np.zeros((dims, _P))
    for k in range(m):
        log_det = 0.0
        for i in range(dims):  # row i of L^-1 from the rows before it
            row = inverse[i]
            row[:] = 0.0
            for j in range(i):
                value, other = -factor[k, i, j], inverse[j]
                for t in range(_P):  # a fixed length is faster than the j + 1 that count
                    row[t] += value * other[t]
            pivot = factor[k, i, i]
            log_det += math.log(pivot)
            shrink = 1.0 / pivot
            row[i] = 1.0
            moved = 0.0
            for t in range(dims):
                row[t] *= shrink
                whitening[k, i, t] = row[t]
                moved -= row[t] * mean[k, t]
            offset[k, i] = moved
        constant[k] = math.log(weight[k]) - log_det - 0.5 * dims * math.log(2.0 * math.pi)


@compiled
def _whiten(x, a, offset, constant, resp, y):  # type: ignore[no-untyped-def]
    """Fill resp (nb, M, BLOCK) with log(weight x density); y (4, BLOCK) is scratch."""
    y0, y1, y2, y3 = y[0], y[1], y[2], y[3]
    for b in range(len(x)):
        for k in range(len(a)):
            density = resp[b, k]
            for s in range(BLOCK):
                density[s] = 0.0
            for i in range(0, _P, 4):
                o0, o1, o2, o3 = offset[k, i], offset[k, i + 1], offset[k, i + 2], offset[k, i + 3]
                for s in range(BLOCK):
                    y0[s], y1[s], y2[s], y3[s] = o0, o1, o2, o3
                for j in range(0, i + 4, 4):
                    t = a[k, i : i + 4, j : j + 4]
                    a00, a01, a02, a03 = t[0, 0], t[0, 1], t[0, 2], t[0, 3]
                    a10, a11, a12, a13 = t[1, 0], t[1, 1], t[1, 2], t[1, 3]
                    a20, a21, a22, a23 = t[2, 0], t[2, 1], t[2, 2], t[2, 3]
                    a30, a31, a32, a33 = t[3, 0], t[3, 1], t[3, 2], t[3, 3]
                    x0, x1, x2, x3 = x[b, j], x[b, j + 1], x[b, j + 2], x[b, j + 3]
                    for s in range(BLOCK):
                        p0, p1, p2, p3 = x0[s], x1[s], x2[s], x3[s]
                        y0[s] += a00 * p0 + a01 * p1 + a02 * p2 + a03 * p3
                        y1[s] += a10 * p0 + a11 * p1 + a12 * p2 + a13 * p3
                        y2[s] += a20 * p0 + a21 * p1 + a22 * p2 + a23 * p3
                        y3[s] += a30 * p0 + a31 * p1 + a32 * p2 + a33 * p3
                for s in range(BLOCK):
                    density[s] += y0[s] * y0[s] + y1[s] * y1[s] + y2[s] * y2[s] + y3[s] * y3[s]
            c, half = np.float32(constant[k]), np.float32(0.5)
            for s in range(BLOCK):
                density[s] = c - half * density[s]


@compiled
def _scatter(x, r, g, y):  # type: ignore[no-untyped-def]
    """Add the sums of r x x^T over a block x (P, BLOCK) to the lower tiles of g; y is scratch."""
    y0, y1, y2, y3 = y[0], y[1], y[2], y[3]
    for i in range(0, _P, 4):
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        for s in range(BLOCK):
            q = r[s]
            y0[s], y1[s], y2[s], y3[s] = x0[s] * q, x1[s] * q, x2[s] * q, x3[s] * q
        for j in range(0, i + 4, 4):
            w0, w1, w2, w3 = x[j], x[j + 1], x[j + 2], x[j + 3]
            g00 = g01 = g02 = g03 = g10 = g11 = g12 = g13 = np.float32(0.0)
            g20 = g21 = g22 = g23 = g30 = g31 = g32 = g33 = np.float32(0.0)
            for s in range(BLOCK):
                p0, p1, p2, p3 = y0[s], y1[s], y2[s], y3[s]
                v0, v1, v2, v3 = w0[s], w1[s], w2[s], w3[s]
                g00 += p0 * v0
                g01 += p0 * v1
                g02 += p0 * v2
                g03 += p0 * v3
                g10 += p1 * v0
                g11 += p1 * v1
                g12 += p1 * v2
                g13 += p1 * v3
                g20 += p2 * v0
                g21 += p2 * v1
                g22 += p2 * v2
                g23 += p2 * v3
                g30 += p3 * v0
                g31 += p3 * v1
                g32 += p3 * v2
                g33 += p3 * v3
            t = g[i : i + 4, j : j + 4]
            t[0, 0] += g00
            t[0, 1] += g01
            t[0, 2] += g02
            t[0, 3] += g03
            t[1, 0] += g10
            t[1, 1] += g11
            t[1, 2] += g12
            t[1, 3] += g13
            t[2, 0] += g20
            t[2, 1] += g21
            t[2, 2] += g22
            t[2, 3] += g23
            t[3, 0] += g30
            t[3, 1] += g31
            t[3, 2] += g32
            t[3, 3] += g33


@compiled
def _m_step(x, resp, reg, everything, gram, y, weight, mean, factor):  # type: ignore[no-untyped-def]
    """Update the kernels from responsibilities resp (nb, M, BLOCK), which sum to 1 over M.

    everything is the scatter of all draws: what the other kernels leave of it is the heaviest one's
    (heaviest, because differences of large numbers are least exact where little is left).
    """
    m, dims = mean.shape
    heaviest, most = 0, -1.0
    for k in range(m):
        total = 0.0
        for b in range(len(x)):
            part = np.float32(0.0)
            for s in range(BLOCK):
                part += resp[b, k, s]
            total += float(part)
        if total > most:
            heaviest, most = k, total
    gram[:] = 0.0
    gram[heaviest] = everything
    for k in range(m):
        if k != heaviest:
            for b in range(len(x)):
                _scatter(x[b], resp[b, k], gram[k], y)
            gram[heaviest] -= gram[k]
    covariance = np.zeros((_P, _P))
    floor = np.empty(dims)
    for k in range(m):
        g = gram[k]
        n = g[dims, dims] + TINY
        weight[k] = n
        for i in range(dims):
            mean[k, i] = g[dims, i] / n
        for i in range(dims):
            for j in range(i + 1):
                covariance[i, j] = g[i, j] / n - mean[k, i] * mean[k, j]
            # A variance this small beside E[xx], whose rounding is about 1e-7 of it, has lost its
            # digits.
            floor[i] = max(0.5 * reg[i], 1e-5 * g[i, i] / n)
            covariance[i, i] += reg[i]
        if not _cholesky(covariance, floor, factor[k]):
            _centred_factor(x, resp, k, mean[k], n, reg, factor[k])
    weight /= weight.sum()


@compiled
def _cholesky(covariance, floor, factor):  # type: ignore[no-untyped-def]
    """Factor the lower triangle (P, P), used up; False where a pivot is below its floor."""
    dims = len(floor)
    column = np.zeros(_P)
    for j in range(dims):
        pivot = covariance[j, j]
        if not pivot >= floor[j]:
            return False
        shrink = 1.0 / math.sqrt(pivot)
        for i in range(j, dims):
            column[i] = covariance[i, j] * shrink
            factor[i, j] = column[i]
        for i in range(j + 1, dims):
            row, value = covariance[i], column[i]
            for t in range(_P):  # a fixed length is faster than the i - j entries that count
                row[t] -= value * column[t]
        column[j] = 0.0
    return True


@compiled
def _centred_factor(x, resp, k, mean, n, reg, factor):  # type: ignore[no-untyped-def]
    """One kernel's factor from centred float64 sums, raising reg if need be.

    E[xx] - E[x]E[x] of float32 sums can lose a kernel much narrower than its distance from the
    row's mean; this form cannot. Rare, hence plain.
    """
    dims = len(mean)
    scatter = np.zeros((dims, dims))
    off = np.empty(dims)
    for b in range(len(x)):
        for s in range(BLOCK):
            r = float(resp[b, k, s])
            if r == 0.0:
                continue
            for i in range(dims):
                off[i] = float(x[b, i, s]) - mean[i]
            for i in range(dims):
                value, row = r * off[i], scatter[i]
                for j in range(i + 1):
                    row[j] += value * off[j]
    covariance = np.zeros((_P, _P))
    raised = 1.0
    while True:
        for i in range(dims):
            for j in range(i + 1):
                covariance[i, j] = scatter[i, j] / n
            covariance[i, i] += raised * reg[i]
        if _cholesky(covariance, 0.5 * raised * reg, factor):
            return
        raised *= 10.0
