"""EM with block-diagonal covariances on a CPU, compiled: scope "pose", covariance "block", "diag".

One mixture over the 51 coordinates whose kernels are 17 blocks of 3 x 3, the joints (with "diag"
their off-diagonals are 0). The algorithm is that of `mixture_em`; second moments are summed about
the kernel's last mean, which float32 holds without cancellation.

Notation: S draws, M kernels, nb blocks of draws; standardised units inside, mm outside.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from diffpose.model.compiled import compiled
from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.model.mixture_fitting.numba_common import (
    BLOCK,
    begin,
    moments_3d,
    normalise_blocks,
    quadratic_3d,
    sums_3d,
    whitening_3d,
)
from diffpose.model.mixtures.gaussian_mixture import POSE_DIMS, MixtureSpec


def fit(
    points_mm: NDArray[np.floating],
    uniforms: NDArray[np.float32],
    responsibilities: NDArray[np.float32] | None,
    spec: MixtureSpec,
    iterations: int,
    tol: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Fit I mixtures over whole poses; arguments and results as `mixture_numba_full.fit`.

    Packed factors are (I, M, 102), or (I, M, 51) standard deviations with "diag".
    """
    n_items, m = len(points_mm), spec.n_kernels
    diagonal = spec.covariance == "diag"
    weights = np.empty((n_items, m), np.float32)
    means = np.empty((n_items, m, POSE_DIMS), np.float32)
    packed = np.empty((n_items, m, N_JOINTS, 3 if diagonal else 6), np.float32)
    bounds = np.full((iterations, n_items), np.nan)
    given = responsibilities is not None
    start = responsibilities if given else np.zeros((n_items, 0, 0), np.float32)
    _fit_all(
        points_mm, uniforms, given, start, diagonal, spec.reg_covar_mm, tol, spec.n_init_lloyd,
        weights, means, packed, bounds,
    )  # fmt: skip
    return weights, means, packed.reshape(n_items, m, -1), bounds


@compiled
def _fit_all(  # type: ignore[no-untyped-def]
    points, uniforms, given, start, diagonal, reg_mm, tol, n_lloyd, weights, means, packed, bounds
):
    """Fit mixture after mixture: the result of one cannot depend on the others."""
    n_items, m = weights.shape
    dims, n_draws = points.shape[1:]
    n_blocks = (n_draws + BLOCK - 1) // BLOCK
    x = np.zeros((n_blocks, dims + 1, BLOCK), np.float32)
    resp = np.empty((n_blocks, m, BLOCK), np.float32)
    shift, scale, reg = np.empty(dims), np.empty(dims), np.empty(dims)
    weight, mean = np.empty(m), np.zeros((m, dims))
    factor = np.empty((m, dims // 3, 6))
    scratch = np.empty((3, BLOCK), np.float32)
    for item in range(n_items):
        log_scale = begin(
            points[item], uniforms[item], given, start[item], reg_mm, n_lloyd,
            shift, scale, reg, x, resp,
        )  # fmt: skip
        mean[:] = 0.0
        _means(x, resp, mean)
        _m_step(x, resp, reg, diagonal, weight, mean, factor)
        last = -np.inf
        for iteration in range(len(bounds)):
            _e_step(x, weight, mean, factor, resp)
            bound = normalise_blocks(resp, n_draws, scratch)
            bounds[iteration, item] = bound - log_scale
            _m_step(x, resp, reg, diagonal, weight, mean, factor)
            if abs(bound - last) < tol:
                break
            last = bound
        for k in range(m):
            weights[item, k] = weight[k]
            for i in range(dims):
                means[item, k, i] = mean[k, i] * scale[i] + shift[i]
            for c in range(dims // 3):
                a, b, d = scale[3 * c], scale[3 * c + 1], scale[3 * c + 2]
                out, f = packed[item, k, c], factor[k, c]
                if diagonal:
                    out[0], out[1], out[2] = f[0] * a, f[2] * b, f[5] * d
                else:
                    out[0], out[1], out[2] = f[0] * a, f[1] * b, f[2] * b
                    out[3], out[4], out[5] = f[3] * d, f[4] * d, f[5] * d


@compiled
def _means(x, resp, mean):  # type: ignore[no-untyped-def]
    """Set mean to the kernels' means: what second moments are first summed about."""
    m, dims = mean.shape
    for k in range(m):
        count = 1e-30
        for b in range(len(x)):
            r = resp[b, k]
            for s in range(BLOCK):
                count += r[s]
        for i in range(dims):
            total = 0.0
            for b in range(len(x)):
                r, line, part = resp[b, k], x[b, i], np.float32(0.0)
                for s in range(BLOCK):
                    part += r[s] * line[s]
                total += float(part)
            mean[k, i] = total / count


@compiled
def _e_step(x, weight, mean, factor, resp):  # type: ignore[no-untyped-def]
    """Fill resp (nb, M, BLOCK) with log(weight x density)."""
    m, dims = mean.shape
    half = np.float32(0.5)
    for k in range(m):
        constant = math.log(weight[k]) - 0.5 * dims * math.log(2.0 * math.pi)
        for c in range(dims // 3):
            f = factor[k, c]
            constant -= math.log(f[0] * f[2] * f[5])
        start = np.float32(constant)
        for b in range(len(x)):
            density = resp[b, k]
            for s in range(BLOCK):
                density[s] = 0.0
            for c in range(dims // 3):
                w = whitening_3d(factor[k, c])
                o = mean[k, 3 * c], mean[k, 3 * c + 1], mean[k, 3 * c + 2]
                quadratic_3d(x[b, 3 * c], x[b, 3 * c + 1], x[b, 3 * c + 2], o, w, density)
            for s in range(BLOCK):
                density[s] = start - half * density[s]


@compiled
def _m_step(x, resp, reg, diagonal, weight, mean, factor):  # type: ignore[no-untyped-def]
    """Update the kernels from responsibilities resp (nb, M, BLOCK)."""
    m, dims = mean.shape
    sums = np.empty(10)
    for k in range(m):
        for c in range(dims // 3):
            first = 3 * c
            sums[:] = 0.0
            o = mean[k, first], mean[k, first + 1], mean[k, first + 2]
            for b in range(len(x)):
                sums_3d(x[b, first], x[b, first + 1], x[b, first + 2], resp[b, k], o, sums)
            weight[k] = moments_3d(
                sums, o, reg[first : first + 3], diagonal, mean[k, first : first + 3], factor[k, c]
            )
    weight /= weight.sum()
