"""What the compiled mixture engines share: draws in blocks, k-means, exponentials.

The draws of one mixture of D = 51 dimensions lie as x (nb, 52, BLOCK): blocks of BLOCK draws, so
that every inner loop has a length known when it is compiled, becomes full vector registers, and its
data stays near. The last coordinate is 1 for a draw and 0 for the padding of the last block: the
padding then has no part in any sum. Loops take four coordinates at a time, because one at a time
would load and store more than it computes.

k-means is that of `mixture_torch`: greedy k-means++ (Arthur and Vassilvitskii, SODA 2007) and
Lloyd's iterations, from the same random numbers.

Notation: S draws, nb blocks, D dimensions, M kernels, U uniforms a mixture.
"""

from __future__ import annotations

import math

import numpy as np

from diffpose.model.compiled import compiled

BLOCK = 256  # draws; 52 coordinates of a block are 53 kB
TINY = 10 * 2.220446049250313e-16  # as scikit-learn: an empty kernel stays finite


@compiled
def mean_and_spread(line, least):  # type: ignore[no-untyped-def]
    """Return mean and standard deviation of draws (S,); a spread below ``least`` counts as that.

    So a coordinate that does not move (the root) stays 0.
    """
    total = 0.0
    for s in range(len(line)):
        total += line[s]
    mean = total / len(line)
    square = 0.0
    for s in range(len(line)):
        off = float(line[s]) - mean
        square += off * off
    return mean, max(np.sqrt(square / len(line)), least)


@compiled
def standardise(points, least, shift, scale, x):  # type: ignore[no-untyped-def]
    """Put draws points (D, S) into blocks x, each coordinate with mean 0 and spread 1."""
    dims, n_draws = points.shape
    for i in range(dims):
        line = points[i]
        mean, spread = mean_and_spread(line, least)
        shift[i], scale[i] = mean, spread
        factor = 1.0 / spread
        for b in range(len(x)):
            target = x[b, i]
            first = b * BLOCK
            n = min(n_draws - first, BLOCK)
            for s in range(n):
                target[s] = (float(line[first + s]) - mean) * factor
            for s in range(n, BLOCK):
                target[s] = 0.0
    for b in range(len(x)):
        target = x[b, dims]
        for s in range(BLOCK):
            target[s] = 1.0 if b * BLOCK + s < n_draws else 0.0


@compiled
def exponentials(values, power, scale):  # type: ignore[no-untyped-def]
    """Replace values <= 0 by their exponentials, to 2 ulp (Cephes expf), in vector code.

    power, int32, is scratch, and scale the same memory as float32: 2^n is the bit pattern
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


@compiled
def _distances(x, centre, target):  # type: ignore[no-untyped-def]
    """Fill target (nb, BLOCK) with squared distances to centre (D + 1,); 0 for the padding."""
    rows = x.shape[1]
    for b in range(len(x)):
        out, there = target[b], x[b, rows - 1]
        for s in range(BLOCK):
            out[s] = 0.0
        for i in range(0, rows, 4):
            c0, c1, c2, c3 = centre[i], centre[i + 1], centre[i + 2], centre[i + 3]
            x0, x1, x2, x3 = x[b, i], x[b, i + 1], x[b, i + 2], x[b, i + 3]
            for s in range(BLOCK):
                d0, d1, d2, d3 = x0[s] - c0, x1[s] - c1, x2[s] - c2, x3[s] - c3
                out[s] += d0 * d0 + d1 * d1 + d2 * d2 + d3 * d3
        for s in range(BLOCK):
            out[s] *= there[s]


@compiled
def _plus_plus(x, n_draws, uniforms, centres, nearest, trial, best):  # type: ignore[no-untyped-def]
    """Greedy k-means++ into centres (M, D + 1); the rest is scratch (nb, BLOCK)."""
    m, rows = centres.shape
    n_trials = (len(uniforms) - 1) // max(m - 1, 1)
    cumulative = np.empty(n_draws)
    chosen = min(int(uniforms[0] * np.float32(n_draws)), n_draws - 1)
    for i in range(rows):
        centres[0, i] = x[chosen // BLOCK, i, chosen % BLOCK]
    _distances(x, centres[0], nearest)
    candidate = np.empty(rows, np.float32)
    for k in range(1, m):
        total = 0.0
        for s in range(n_draws):
            total += nearest[s // BLOCK, s % BLOCK]
            cumulative[s] = total
        least = np.float32(np.inf)
        for t in range(n_trials):
            target = uniforms[1 + (k - 1) * n_trials + t] * total
            chosen = min(np.searchsorted(cumulative, target, side="right"), n_draws - 1)
            for i in range(rows):
                candidate[i] = x[chosen // BLOCK, i, chosen % BLOCK]
            _distances(x, candidate, trial)
            potential = np.float32(0.0)
            for b in range(len(x)):
                new, old = trial[b], nearest[b]
                for s in range(BLOCK):
                    new[s] = min(new[s], old[s])
                    potential += new[s]
            if potential < least:
                least = potential
                best[:] = trial
                centres[k] = candidate
        nearest[:] = best


@compiled
def kmeans(  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915
    x, n_draws, uniforms, n_lloyd, resp
):
    """Fill resp (nb, M, BLOCK) with the hard responsibilities of k-means."""
    n_blocks, rows, _ = x.shape
    dims, m = rows - 1, resp.shape[1]
    centres = np.zeros((m, rows), np.float32)
    nearest = np.empty((n_blocks, BLOCK), np.float32)
    trial, best = np.empty_like(nearest), np.empty_like(nearest)
    _plus_plus(x, n_draws, uniforms, centres, nearest, trial, best)
    variance = np.float32(0.0)
    for b in range(n_blocks):
        for i in range(dims):
            line = x[b, i]
            for s in range(BLOCK):
                variance += line[s] * line[s]
    # scikit-learn's stopping rule: squared moves below 1e-4 of the mean variance
    limit = np.float32(1e-4) * variance / np.float32(dims * n_draws)
    label = np.empty(BLOCK, np.int32)
    highest, score = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    sums = np.empty((m, rows), np.float32)
    done = False
    for iteration in range(n_lloyd + 1):
        for b in range(n_blocks):
            for k in range(m):
                c = centres[k]
                half = np.float32(0.0)
                for i in range(dims):
                    half += c[i] * c[i]
                c[dims] = np.float32(-0.5) * half  # the last coordinate is 1
                for s in range(BLOCK):
                    score[s] = 0.0
                for i in range(0, rows, 4):
                    c0, c1, c2, c3 = c[i], c[i + 1], c[i + 2], c[i + 3]
                    x0, x1, x2, x3 = x[b, i], x[b, i + 1], x[b, i + 2], x[b, i + 3]
                    for s in range(BLOCK):
                        score[s] += c0 * x0[s] + c1 * x1[s] + c2 * x2[s] + c3 * x3[s]
                if k == 0:
                    for s in range(BLOCK):
                        highest[s] = score[s]
                        label[s] = 0
                else:
                    for s in range(BLOCK):
                        label[s] = k if score[s] > highest[s] else label[s]
                        highest[s] = max(highest[s], score[s])
            there = x[b, dims]
            for k in range(m):
                own = resp[b, k]
                for s in range(BLOCK):
                    own[s] = there[s] if label[s] == k else np.float32(0.0)
        if done or iteration == n_lloyd:
            break
        sums[:] = 0.0
        for b in range(n_blocks):
            for k in range(m):
                own = resp[b, k]
                for i in range(0, rows, 4):
                    x0, x1, x2, x3 = x[b, i], x[b, i + 1], x[b, i + 2], x[b, i + 3]
                    t0 = t1 = t2 = t3 = np.float32(0.0)
                    for s in range(BLOCK):
                        t0 += own[s] * x0[s]
                        t1 += own[s] * x1[s]
                        t2 += own[s] * x2[s]
                        t3 += own[s] * x3[s]
                    sums[k, i] += t0
                    sums[k, i + 1] += t1
                    sums[k, i + 2] += t2
                    sums[k, i + 3] += t3
        moved = np.float32(0.0)
        for k in range(m):
            if sums[k, dims] > 0.5:  # an empty cluster stays where it is
                for i in range(dims):
                    new = sums[k, i] / sums[k, dims]
                    moved += (new - centres[k, i]) * (new - centres[k, i])
                    centres[k, i] = new
        done = bool(moved <= limit)


@compiled
def normalise(density, n_valid, scratch):  # type: ignore[no-untyped-def]
    """Turn log-densities (M, n) into responsibilities, 0 from draw n_valid on.

    scratch is (3, n) float32. Returns the sum of the draws' log-likelihoods.
    """
    m, n = density.shape
    top, total, scale = scratch[0], scratch[1], scratch[2]
    power = scale.view(np.int32)
    for s in range(n):
        top[s] = density[0, s]
        total[s] = 0.0
    for k in range(1, m):
        own = density[k]
        for s in range(n):
            top[s] = max(top[s], own[s])
    for k in range(m):
        own = density[k]
        for s in range(n):
            own[s] -= top[s]
        exponentials(own, power, scale)
        for s in range(n):
            total[s] += own[s]
    bound, product = 0.0, 1.0
    for s in range(n_valid):
        bound += top[s]
        # Each sum is in [1, M]: the product of 16 is far from overflow, and one log serves all.
        product *= float(total[s])
        if s % 16 == 15:
            bound += np.log(product)
            product = 1.0
        total[s] = np.float32(1.0) / total[s]
    for s in range(n_valid, n):
        total[s] = 0.0
    for k in range(m):
        own = density[k]
        for s in range(n):
            own[s] *= total[s]
    return bound + np.log(product)


@compiled
def normalise_blocks(resp, n_draws, scratch):  # type: ignore[no-untyped-def]
    """Do the same to all blocks, (nb, M, BLOCK); returns the lower bound: a draw's mean."""
    bound = 0.0
    for b in range(len(resp)):
        bound += normalise(resp[b], min(n_draws - b * BLOCK, BLOCK), scratch)
    return bound / n_draws


@compiled
def take_start(given, n_draws, resp):  # type: ignore[no-untyped-def]
    """Put given responsibilities (M, S) into blocks resp (nb, M, BLOCK)."""
    resp[:] = 0.0
    for k in range(len(given)):
        for s in range(n_draws):
            resp[s // BLOCK, k, s % BLOCK] = given[k, s]


@compiled
def begin(points, uniforms, given, start, reg_mm, n_lloyd, shift, scale, reg, x, resp):  # type: ignore[no-untyped-def]
    """Standardise one mixture's draws and give them their first responsibilities.

    Args:
        points: (D, S), mm.
        uniforms: (U,), for k-means.
        given: start from ``start`` (M, S) instead of k-means.
        start: see given.
        reg_mm: least standard deviation.
        n_lloyd: iterations of k-means.
        shift, scale, reg: (D,), filled: mean, spread, and reg_mm^2 in standardised units.
        x: (blocks, D + 1, BLOCK), filled with standardised draws.
        resp: (blocks, M, BLOCK), filled.

    Returns:
        log of the volume of a standardised unit in mm.
    """
    standardise(points, reg_mm, shift, scale, x)
    log_scale = 0.0
    for i in range(len(scale)):
        reg[i] = (reg_mm / scale[i]) ** 2
        log_scale += math.log(scale[i])
    if given:
        take_start(start, points.shape[1], resp)
    else:
        kmeans(x, points.shape[1], uniforms, n_lloyd, resp)
    return log_scale


@compiled
def whitening_3d(f):  # type: ignore[no-untyped-def]
    """Return the inverse of a packed lower 3 x 3 factor, packed, float32."""
    i00, i11, i22 = 1.0 / f[0], 1.0 / f[2], 1.0 / f[5]
    i10 = -f[1] * i00 * i11
    i21 = -f[4] * i11 * i22
    i20 = -(f[3] * i00 + f[4] * i10) * i22
    return (
        np.float32(i00), np.float32(i10), np.float32(i11),
        np.float32(i20), np.float32(i21), np.float32(i22),
    )  # fmt: skip


@compiled
def quadratic_3d(x0, x1, x2, origin, w, target):  # type: ignore[no-untyped-def]
    """Add to target (n,) the squared whitened distances of points from origin."""
    o0, o1, o2 = np.float32(origin[0]), np.float32(origin[1]), np.float32(origin[2])
    w0, w1, w2, w3, w4, w5 = w
    for s in range(len(target)):
        a, b, c = x0[s] - o0, x1[s] - o1, x2[s] - o2
        y0, y1, y2 = w0 * a, w1 * a + w2 * b, w3 * a + w4 * b + w5 * c
        target[s] += y0 * y0 + y1 * y1 + y2 * y2


@compiled
def sums_3d(x0, x1, x2, resp, origin, sums):  # type: ignore[no-untyped-def]
    """Add to sums (10,) the zeroth, first and second moments of points about origin."""
    o0, o1, o2 = np.float32(origin[0]), np.float32(origin[1]), np.float32(origin[2])
    count = t0 = t1 = t2 = np.float32(0.0)
    q00 = q01 = q02 = q11 = q12 = q22 = np.float32(0.0)
    for s in range(len(resp)):
        r = resp[s]
        a, b, c = x0[s] - o0, x1[s] - o1, x2[s] - o2
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
    sums[0] += count
    sums[1] += t0
    sums[2] += t1
    sums[3] += t2
    sums[4] += q00
    sums[5] += q01
    sums[6] += q02
    sums[7] += q11
    sums[8] += q12
    sums[9] += q22


@compiled
def moments_3d(sums, origin, reg, diagonal, mean, factor):  # type: ignore[no-untyped-def]
    """From moments about origin to mean (3,) and packed factor (6,); returns the count."""
    n = sums[0] + TINY
    m0, m1, m2 = sums[1] / n, sums[2] / n, sums[3] / n
    # the origin as it was when the sums were made, in float32
    mean[0] = np.float32(origin[0]) + m0
    mean[1] = np.float32(origin[1]) + m1
    mean[2] = np.float32(origin[2]) + m2
    off = 0.0 if diagonal else 1.0
    c01, c02, c12 = (
        off * (sums[5] / n - m0 * m1),
        off * (sums[6] / n - m0 * m2),
        off * (sums[8] / n - m1 * m2),
    )
    # Scatter + reg has pivots of at least reg; less is rounding.
    l00 = np.sqrt(max(sums[4] / n - m0 * m0, 0.0) + reg[0])
    l10, l20 = c01 / l00, c02 / l00
    l11 = np.sqrt(max(sums[7] / n - m1 * m1 + reg[1] - l10 * l10, reg[1]))
    l21 = (c12 - l10 * l20) / l11
    l22 = np.sqrt(max(sums[9] / n - m2 * m2 + reg[2] - l20 * l20 - l21 * l21, reg[2]))
    factor[0], factor[1], factor[2] = l00, l10, l11
    factor[3], factor[4], factor[5] = l20, l21, l22
    return n
