"""Fitting `Ellipsoids` to known poses by maximum likelihood.

Under the model of model.uncertainty a joint's residual r = truth - m is multivariate t with
covariance C and nu degrees of freedom; with its scale matrix (nu - 2)/nu C the density (Kotz &
Nadarajah, Multivariate t Distributions and Their Applications, 2004, eq. 1.1, p = 3) is

    log p = lgamma((nu + 3)/2) - lgamma(nu/2) - 3/2 log(pi (nu - 2)) - 1/2 log det C
            - (nu + 3)/2 log(1 + d^2 / (nu - 2)),        d^2 = r^T C^-1 r.

C = s ((1 - w) S + (w tr(S)/3 + f) I) has the eigenvectors of S whatever w, f and s are. With
S = U diag(l) U^T and z = U^T r, both computed once,

    c_i = s ((1 - w) l_i + w tr(S)/3) + b,  b = s f,   d^2 = sum z_i^2/c_i,  log det C = sum log c_i
    d(-log p)/dc_i = (1 - kappa z_i^2/c_i) / (2 c_i),  kappa = (nu + 3) / (nu - 2 + d^2),

so that one evaluation with its gradient is one pass over n x J x 3 numbers. (kappa is the weight
that a residual gets: far ones count less.) All parameters, w and nu common, s and b per joint, are
fitted together by L-BFGS-B on their logarithms (logit of w). Maximum likelihood with nu unknown:
Lange, Little & Taylor, JASA 84, 1989. One factor per joint fitted on held-out data is for
ellipsoids what temperature scaling (Guo et al., ICML 2017) is for classes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from diffpose.model.compiled import compiled
from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.model.uncertainty.covariances import MOVING, Array, Ellipsoids, uncalibrated

MIN_POSES = 10
# A covariance exists above 2; t with 300 degrees of freedom is a Gaussian to 3 digits.
_DOF = (2.1, 300.0)
_FLOOR_MM2 = (1e-2, 1e6)  # of b
_SCALE = (1e-3, 1e4)
_LOGIT = 9.0
_MOST_POSES = 20_000  # evenly spaced of more: 60,000 numbers for each joint's two parameters


def fit_ellipsoids(
    sample: NDArray[np.floating], residual_mm: NDArray[np.floating], n_hypotheses: int
) -> Ellipsoids:
    """Fit w, f, s and nu to known poses.

    Args:
        sample: (n, J, 3, 3), sample covariances of the hypotheses, mm^2.
        residual_mm: (n, J, 3), truth minus the hypotheses' mean.
        n_hypotheses: N, where the search begins.

    Raises:
        ValueError: too few poses, values that are not finite, or shapes that do not fit.
    """
    if len(sample) < MIN_POSES:
        raise ValueError(
            f"A recalibration needs at least {MIN_POSES} known poses, got {len(sample)}."
        )
    step = -(-len(sample) // _MOST_POSES)
    values, z_squared = _rotated(sample[::step], residual_mm[::step])
    size, square = values.mean(axis=(0, 2)), z_squared.mean(axis=(0, 2))
    weight = uncalibrated(n_hypotheses).weight
    begin = np.concatenate(
        [
            [math.log(weight / (1 - weight)), math.log(8.0 - 2)],
            np.log(np.clip(0.1 * square, *_FLOOR_MM2)),
            np.log(np.clip(square / np.maximum(size, 1.0), *_SCALE)),
        ]
    )
    bounds = [
        (-_LOGIT, _LOGIT),
        (math.log(_DOF[0] - 2), math.log(_DOF[1] - 2)),
        *[(math.log(_FLOOR_MM2[0]), math.log(_FLOOR_MM2[1]))] * len(MOVING),
        *[(math.log(_SCALE[0]), math.log(_SCALE[1]))] * len(MOVING),
    ]
    found = optimize.minimize(
        _loss, begin, args=(values, z_squared), jac=True, method="L-BFGS-B", bounds=bounds
    )
    logit, log_excess = found.x[:2]
    floors, scales = np.ones(N_JOINTS), np.ones(N_JOINTS)
    floors[MOVING], scales[MOVING] = np.exp(found.x[2:].reshape(2, -1))
    floors[MOVING] /= scales[MOVING]
    return Ellipsoids(1 / (1 + math.exp(-logit)), floors, scales, 2 + math.exp(log_excess))


def _rotated(
    sample: NDArray[np.floating], residual_mm: NDArray[np.floating]
) -> tuple[Array, Array]:
    """Return l and z^2, both (n, j, 3), of the j joints that move."""
    if sample.shape != (*residual_mm.shape, 3) or residual_mm.shape[1:] != (N_JOINTS, 3):
        raise ValueError(
            f"Expected residuals (n, {N_JOINTS}, 3) and covariances (n, {N_JOINTS}, 3, 3), got "
            f"{residual_mm.shape} and {sample.shape}."
        )
    if not (np.isfinite(sample).all() and np.isfinite(residual_mm).all()):
        raise ValueError("Covariances and residuals must be finite; leave unknown poses out.")
    values, vectors = np.linalg.eigh(np.asarray(sample, dtype=np.float64)[:, MOVING])
    residual = np.asarray(residual_mm, dtype=np.float64)[:, MOVING]
    z_squared = (residual[..., None, :] @ vectors)[..., 0, :] ** 2
    return np.maximum(values, 0.0), z_squared  # 0: rounding


def _loss(parameters: Array, values: Array, z_squared: Array) -> tuple[float, Array]:
    """Return the mean of -log p, and its gradient by (logit w, log(nu - 2), log b, log s)."""
    w, excess = float(special.expit(parameters[0])), math.exp(parameters[1])
    floor, scale = np.exp(parameters[2:]).reshape(2, -1)
    nu = excess + 2
    gradient = np.zeros_like(parameters)
    total = _pass(values, z_squared, w, excess, floor, scale, gradient)
    count = values.shape[0] * values.shape[1]
    constant = (
        special.gammaln((nu + 3) / 2) - special.gammaln(nu / 2) - 1.5 * math.log(math.pi * excess)
    )
    slope = (special.digamma((nu + 3) / 2) - special.digamma(nu / 2)) / 2 - 1.5 / excess
    gradient /= count
    gradient[0] *= w * (1 - w)
    gradient[1] = excess * (gradient[1] - slope)
    gradient[2:] *= np.concatenate([floor, scale])
    return total / count - float(constant), gradient


@compiled
def _pass(values, z_squared, w, excess, floor, scale, gradient):  # type: ignore[no-untyped-def]
    """Return the sum of -log p but its constant; add its derivatives by w, nu, b and s."""
    n, n_joints, _ = values.shape
    total = 0.0
    for i in range(n):
        for j in range(n_joints):
            sphere = w * (values[i, j, 0] + values[i, j, 1] + values[i, j, 2]) / 3.0
            size = sphere / w
            squared, determinant = 0.0, 1.0
            for k in range(3):
                c = scale[j] * ((1.0 - w) * values[i, j, k] + sphere) + floor[j]
                squared += z_squared[i, j, k] / c
                determinant *= c
            logarithm = math.log1p(squared / excess)
            kappa = (excess + 5.0) / (excess + squared)
            total += 0.5 * math.log(determinant) + 0.5 * (excess + 5.0) * logarithm
            gradient[1] += 0.5 * logarithm - 0.5 * kappa * squared / excess
            for k in range(3):
                shape = (1.0 - w) * values[i, j, k] + sphere
                c = scale[j] * shape + floor[j]
                by_c = 0.5 * (1.0 - kappa * z_squared[i, j, k] / c) / c
                gradient[0] += by_c * scale[j] * (size - values[i, j, k])
                gradient[2 + j] += by_c
                gradient[2 + n_joints + j] += by_c * shape
    return total
