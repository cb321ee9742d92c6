"""The similarity that moves one pose onto another, in closed form (protocol 2's alignment).

The best rotation is the unit quaternion that belongs to the largest eigenvalue of a symmetric 4 x 4
matrix (Horn, J. Opt. Soc. Am. A 4, 1987); the eigenvalue is the largest root of a quartic, found
by Newton's iteration from above, the quaternion a column of the adjugate (Theobald, Acta Cryst. A
61, 2005). The eigenvalue is also the trace that gives the best scale. A quaternion is always a
rotation, never a reflection.

Where two eigenvalues nearly coincide (joints on a line, mirror images of symmetric poses) the
adjugate vanishes; such poses are left to a singular value decomposition (Umeyama, TPAMI 1991).
Everything is float64. Axis legend: n poses, J joints.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from diffpose.model.compiled import compiled

Poses = NDArray[np.float64]

# Poses that are worked on side by side, one in each lane of vector registers (a multiple of 8, no
# power of 2: lines of cache that are a power of 2 apart push each other out).
_LANES = 72
# Of Newton's iteration from 1. Poses that are alike take 6; what still moves after these lies near
# another root, and is unclear.
_STEPS = 16
_SETTLED = 1e-12
# Of sizes scaled to 1. The adjugate's columns are about the gap between the two largest
# eigenvalues; the quaternion's error is about 1e-15 over the gap.
_SMALLEST_GAP = 1e-5
_NO_SIZE = 1e-12  # squared size, in the poses' unit, of a pose whose joints coincide


def align(predicted: Poses, target: Poses) -> Poses:
    """Move, turn and scale each predicted pose (n, J, 3) onto its target; no reflection.

    A prediction whose joints coincide has no scale or orientation; it is moved to the target's
    centre. Float64 arrays are expected.
    """
    aligned = np.empty_like(predicted)
    unclear = np.zeros(len(predicted), dtype=np.bool_)
    _align_all(predicted, target, aligned, unclear)
    for i in _decomposed(predicted, target, unclear, aligned):
        aligned[i] = align_by_svd(predicted[i], target[i])
    return aligned


def aligned_errors(predicted: Poses, target: Poses) -> NDArray[np.float64]:
    """Return the mean distance of the joints after `align`, (n,)."""
    errors = np.empty(len(predicted))
    unclear = np.zeros(len(predicted), dtype=np.bool_)
    _errors_all(predicted, target, errors, unclear)
    for i in _decomposed(predicted, target, unclear, errors):
        moved = align_by_svd(predicted[i], target[i])
        errors[i] = np.linalg.norm(moved - target[i], axis=-1).mean(axis=-1)
    return errors


def _decomposed(
    predicted: Poses, target: Poses, unclear: NDArray[np.bool_], result: NDArray[np.float64]
) -> list[NDArray[np.int64]]:
    """Return, as one index or none, the unclear poses that are known; the others become NaN.

    Unknown poses are unclear ones, since no comparison holds for NaN.
    """
    at = np.flatnonzero(unclear)
    finite = np.isfinite(predicted[at]) & np.isfinite(target[at])
    known = finite.all(axis=(1, 2))
    result[at[~known]] = np.nan
    return [at[known]] if known.any() else []


def align_by_svd(predicted: Poses, target: Poses) -> Poses:
    """Do what `align` does by singular value decomposition: slower, sure of itself everywhere."""
    p_mean = predicted.mean(axis=1, keepdims=True)
    t_mean = target.mean(axis=1, keepdims=True)
    p0, t0 = predicted - p_mean, target - t_mean
    u, s, vt = np.linalg.svd(np.einsum("nji,njk->nik", p0, t0))
    sign = np.where(np.linalg.det(u) * np.linalg.det(vt) < 0, -1.0, 1.0)
    s[:, -1] *= sign
    u[:, :, -1] *= sign[:, None]
    size = (p0**2).sum(axis=(1, 2))
    scale = np.divide(s.sum(axis=1), size, out=np.zeros_like(size), where=size > _NO_SIZE)
    aligned: Poses = scale[:, None, None] * (p0 @ (u @ vt)) + t_mean
    return aligned


@compiled
def _align_all(predicted, target, aligned, unclear):  # type: ignore[no-untyped-def]
    """Fill aligned (n, J, 3), and unclear (n,) where it is left to others."""
    n, n_joints, _ = predicted.shape
    x, y, turn = _scratch(n_joints)
    for first in range(0, n, _LANES):
        count = min(_LANES, n - first)
        _load(predicted, target, first, count, x, y)
        _similarities(x, y, turn)
        for a in range(count):
            i = first + a
            unclear[i] = turn[9, a] != 0.0
            for j in range(n_joints):
                p0, p1, p2 = x[j, 0, a], x[j, 1, a], x[j, 2, a]
                for k in range(3):
                    moved = turn[3 * k, a] * p0 + turn[3 * k + 1, a] * p1 + turn[3 * k + 2, a] * p2
                    aligned[i, j, k] = moved + y[n_joints, k, a]


@compiled
def _errors_all(predicted, target, errors, unclear):  # type: ignore[no-untyped-def]
    """Fill errors (n,), and unclear (n,) where it is left to others."""
    n, n_joints, _ = predicted.shape
    x, y, turn = _scratch(n_joints)
    total = np.empty(_LANES)
    for first in range(0, n, _LANES):
        count = min(_LANES, n - first)
        _load(predicted, target, first, count, x, y)
        _similarities(x, y, turn)
        total[:] = 0.0
        r00, r01, r02, r10, r11 = turn[0], turn[1], turn[2], turn[3], turn[4]
        r12, r20, r21, r22 = turn[5], turn[6], turn[7], turn[8]
        for j in range(n_joints):
            x0, x1, x2, y0, y1, y2 = x[j, 0], x[j, 1], x[j, 2], y[j, 0], y[j, 1], y[j, 2]
            for a in range(_LANES):
                u = r00[a] * x0[a] + r01[a] * x1[a] + r02[a] * x2[a] - y0[a]
                v = r10[a] * x0[a] + r11[a] * x1[a] + r12[a] * x2[a] - y1[a]
                w = r20[a] * x0[a] + r21[a] * x1[a] + r22[a] * x2[a] - y2[a]
                total[a] += math.sqrt(u * u + v * v + w * w)
        for a in range(count):
            errors[first + a] = total[a] / n_joints
            unclear[first + a] = turn[9, a] != 0.0


@compiled
def _scratch(n_joints):  # type: ignore[no-untyped-def]
    """Return room for poses, whose last row is their mean, and for turns and marks."""
    x = np.zeros((n_joints + 1, 3, _LANES))
    return x, np.zeros_like(x), np.empty((10, _LANES))


@compiled
def _load(predicted, target, first, count, x, y):  # type: ignore[no-untyped-def]
    """Put poses into lanes, centred; lanes without one keep an earlier pose."""
    n_joints = predicted.shape[1]
    for part, poses in ((x, predicted), (y, target)):
        for a in range(count):  # scalar copies: gathering loads are slower
            pose = poses[first + a]
            for j in range(n_joints):
                lines = part[j]
                lines[0, a], lines[1, a], lines[2, a] = pose[j, 0], pose[j, 1], pose[j, 2]
        for k in range(3):
            mean = part[n_joints, k]
            for a in range(_LANES):
                mean[a] = 0.0
            for j in range(n_joints):
                line = part[j, k]
                for a in range(_LANES):
                    mean[a] += line[a]
            for a in range(_LANES):
                mean[a] /= n_joints
            for j in range(n_joints):
                line = part[j, k]
                for a in range(_LANES):
                    line[a] -= mean[a]


@compiled
def _similarities(x, y, turn):  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915
    """Fill turn with scale x rotation (9 rows) and a mark where that is unclear (the last row).

    Notation: s = sum of p t^T over sqrt(|p|^2 |t|^2), both centred; c0, c1, c2 the quartic's
    coefficients, x^4 + c2 x^2 + c1 x + c0; k the 4 x 4 matrix.
    """
    n_joints = len(x) - 1
    s, size = np.zeros((9, _LANES)), np.zeros((2, _LANES))
    size_p, size_t = size[0], size[1]
    sxx, sxy, sxz, syx, syy = s[0], s[1], s[2], s[3], s[4]
    syz, szx, szy, szz = s[5], s[6], s[7], s[8]
    for j in range(n_joints):
        x0, x1, x2, y0, y1, y2 = x[j, 0], x[j, 1], x[j, 2], y[j, 0], y[j, 1], y[j, 2]
        for a in range(_LANES):
            size_p[a] += x0[a] * x0[a] + x1[a] * x1[a] + x2[a] * x2[a]
            size_t[a] += y0[a] * y0[a] + y1[a] * y1[a] + y2[a] * y2[a]
        for a in range(_LANES):
            sxx[a] += x0[a] * y0[a]
            sxy[a] += x0[a] * y1[a]
            sxz[a] += x0[a] * y2[a]
        for a in range(_LANES):
            syx[a] += x1[a] * y0[a]
            syy[a] += x1[a] * y1[a]
            syz[a] += x1[a] * y2[a]
        for a in range(_LANES):
            szx[a] += x2[a] * y0[a]
            szy[a] += x2[a] * y1[a]
            szz[a] += x2[a] * y2[a]
    k = np.empty((10, _LANES))
    k00, k01, k02, k03, k11 = k[0], k[1], k[2], k[3], k[4]
    k12, k13, k22, k23, k33 = k[5], k[6], k[7], k[8], k[9]
    coefficients, largest = np.empty((3, _LANES)), np.ones(_LANES)
    c0, c1, c2 = coefficients[0], coefficients[1], coefficients[2]
    unit, step = np.empty(_LANES), np.empty(_LANES)
    for a in range(_LANES):
        unit[a] = 1.0 / math.sqrt(max(size_p[a] * size_t[a], 1e-300))
        c2[a] = 0.0
    for i in range(9):
        line = s[i]
        for a in range(_LANES):
            line[a] *= unit[a]
            c2[a] -= 2.0 * line[a] * line[a]
    for a in range(_LANES):
        k00[a], k11[a] = sxx[a] + syy[a] + szz[a], sxx[a] - syy[a] - szz[a]
        k22[a], k33[a] = syy[a] - sxx[a] - szz[a], szz[a] - sxx[a] - syy[a]
        k01[a], k02[a], k03[a] = syz[a] - szy[a], szx[a] - sxz[a], sxy[a] - syx[a]
        k12[a], k13[a], k23[a] = sxy[a] + syx[a], szx[a] + sxz[a], syz[a] + szy[a]
        c1[a] = -8.0 * (
            sxx[a] * (syy[a] * szz[a] - syz[a] * szy[a])
            - sxy[a] * (syx[a] * szz[a] - syz[a] * szx[a])
            + sxz[a] * (syx[a] * szy[a] - syy[a] * szx[a])
        )
    for a in range(_LANES):
        c0[a] = _determinant(
            k00[a], k01[a], k02[a], k03[a], k11[a], k12[a], k13[a], k22[a], k23[a], k33[a]
        )
    # no eigenvalue is larger than 1 (Cauchy and Schwarz)
    for _ in range(_STEPS):
        for a in range(_LANES):
            root = largest[a]
            square = root * root
            value = (square + c2[a]) * square + c1[a] * root + c0[a]
            slope = (4.0 * square + 2.0 * c2[a]) * root + c1[a]
            step[a] = value / max(slope, 1e-30)
            largest[a] = root - step[a]
    for a in range(_LANES):
        s[0, a], s[1, a], s[2, a], s[3, a] = _null_vector(
            k00[a] - largest[a], k01[a], k02[a], k03[a], k11[a] - largest[a],
            k12[a], k13[a], k22[a] - largest[a], k23[a], k33[a] - largest[a],
        )  # fmt: skip
    for a in range(_LANES):
        q0, q1, q2, q3 = s[0, a], s[1, a], s[2, a], s[3, a]
        best = q0 * q0 + q1 * q1 + q2 * q2 + q3 * q3
        small = 1.0 if size_p[a] <= _NO_SIZE or size_t[a] <= _NO_SIZE else 0.0
        # comparisons that are false for NaN
        clear = 1.0 if best > _SMALLEST_GAP * _SMALLEST_GAP and abs(step[a]) < _SETTLED else 0.0
        turn[9, a] = (1.0 - clear) * (1.0 - small)
        scale = largest[a] * math.sqrt(size_t[a] / max(size_p[a], _NO_SIZE))
        scale /= max(best, _SMALLEST_GAP * _SMALLEST_GAP)
        scale *= 1.0 - small
        turn[0, a] = scale * (q0 * q0 + q1 * q1 - q2 * q2 - q3 * q3)
        turn[1, a] = scale * 2.0 * (q1 * q2 - q0 * q3)
        turn[2, a] = scale * 2.0 * (q1 * q3 + q0 * q2)
        turn[3, a] = scale * 2.0 * (q1 * q2 + q0 * q3)
        turn[4, a] = scale * (q0 * q0 - q1 * q1 + q2 * q2 - q3 * q3)
        turn[5, a] = scale * 2.0 * (q2 * q3 - q0 * q1)
        turn[6, a] = scale * 2.0 * (q1 * q3 - q0 * q2)
        turn[7, a] = scale * 2.0 * (q2 * q3 + q0 * q1)
        turn[8, a] = scale * (q0 * q0 - q1 * q1 - q2 * q2 + q3 * q3)


@njit(cache=True, inline="always")
def _determinant(a00, a01, a02, a03, a11, a12, a13, a22, a23, a33):  # type: ignore[no-untyped-def]
    """Determinant of a symmetric 4 x 4 matrix, by the 2 x 2 minors of its halves (Laplace)."""
    s0, s1, s2 = a00 * a11 - a01 * a01, a00 * a12 - a01 * a02, a00 * a13 - a01 * a03
    s3, s4, s5 = a01 * a12 - a11 * a02, a01 * a13 - a11 * a03, a02 * a13 - a12 * a03
    c0, c1, c2 = a02 * a13 - a03 * a12, a02 * a23 - a03 * a22, a02 * a33 - a03 * a23
    c3, c4, c5 = a12 * a23 - a13 * a22, a12 * a33 - a13 * a23, a22 * a33 - a23 * a23
    return s0 * c5 - s1 * c4 + s2 * c3 + s3 * c2 - s4 * c1 + s5 * c0


@njit(cache=True, inline="always")
def _null_vector(a00, a01, a02, a03, a11, a12, a13, a22, a23, a33):  # type: ignore[no-untyped-def]
    """The longest column of the adjugate: along the vector that the singular matrix sends to 0."""
    s0, s1, s2 = a00 * a11 - a01 * a01, a00 * a12 - a01 * a02, a00 * a13 - a01 * a03
    s3, s4, s5 = a01 * a12 - a11 * a02, a01 * a13 - a11 * a03, a02 * a13 - a12 * a03
    c1, c2 = a02 * a23 - a03 * a22, a02 * a33 - a03 * a23
    c3, c4, c5 = a12 * a23 - a13 * a22, a12 * a33 - a13 * a23, a22 * a33 - a23 * a23
    d0 = a11 * c5 - a12 * c4 + a13 * c3
    d1 = a00 * c5 - a02 * c2 + a03 * c1
    d2 = a03 * s4 - a13 * s2 + a33 * s0
    d3 = a02 * s3 - a12 * s1 + a22 * s0
    off01 = -a01 * c5 + a02 * c4 - a03 * c3
    off02 = a13 * s5 - a23 * s4 + a33 * s3
    off03 = -a12 * s5 + a22 * s4 - a23 * s3
    off12 = -a03 * s5 + a23 * s2 - a33 * s1
    off13 = a02 * s5 - a22 * s2 + a23 * s1
    off23 = -a02 * s4 + a12 * s2 - a23 * s0
    # the adjugate is a multiple of q q^T: its largest diagonal entry is in its longest column,
    # picked by weights of 0 and 1, which vector code can do
    m0, m1, m2, m3 = abs(d0), abs(d1), abs(d2), abs(d3)
    upper, lower = max(m0, m1), max(m2, m3)
    w0 = 1.0 if upper >= lower and m0 >= m1 else 0.0
    w1 = 1.0 if upper >= lower and m0 < m1 else 0.0
    w2 = 1.0 if upper < lower and m2 >= m3 else 0.0
    w3 = 1.0 - w0 - w1 - w2
    return (
        w0 * d0 + w1 * off01 + w2 * off02 + w3 * off03,
        w0 * off01 + w1 * d1 + w2 * off12 + w3 * off13,
        w0 * off02 + w1 * off12 + w2 * d2 + w3 * off23,
        w0 * off03 + w1 * off13 + w2 * off23 + w3 * d3,
    )
