"""scikit-learn's GaussianMixture from our start: the reference that the other engines are held to.

It works in millimetres and float64; EM is affine-equivariant, so the standardised coordinates of
the other engines make no difference but rounding.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from diffpose.model.mixtures.gaussian_mixture import (
    GaussianMixture,
    MixtureSpec,
    field_shapes,
    layout,
    pack_tril,
)

Float64 = NDArray[np.float64]
_TINY = 10 * np.finfo(np.float64).eps  # as scikit-learn: an empty kernel stays finite


def fit(
    draws: Tensor, start: Tensor, spec: MixtureSpec, iterations: int, tol: float
) -> tuple[GaussianMixture, Tensor]:
    """Fit the mixtures of B rows, one after the other.

    Args:
        draws: (B, S, 17, 3) in mm, finite.
        start: (B, G, M, S) responsibilities.
        spec: the mixture to fit; not block-diagonal over poses, which scikit-learn has not.
        iterations: most EM iterations.
        tol: gain of the lower bound, nats, below which a mixture is done.

    Returns:
        The mixtures, and the lower bound of each iteration (iterations, B, G), NaN after the last.
    """
    size, m = layout(spec), spec.n_kernels
    n_rows, n_draws = draws.shape[:2]
    points = draws.double().numpy().reshape(n_rows, n_draws, size.groups, size.dims)
    diagonal = size.block_dims == 1
    weights = np.empty((n_rows, size.groups, m))
    means = np.empty((n_rows, size.groups, m, size.dims))
    factors = np.empty((n_rows, size.groups, m, size.dims, *(() if diagonal else (size.dims,))))
    bounds = np.full((iterations, n_rows, size.groups), np.nan)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stopping at the last iteration is no surprise here
        for row, group in np.ndindex(n_rows, size.groups):
            at = row, group
            weights[at], means[at], factors[at], history = _fit_one(
                points[row, :, group], start[row, group].double().numpy(), spec, iterations, tol
            )
            bounds[: len(history), row, group] = history
    stored = torch.from_numpy(factors)
    values = weights, means, stored if diagonal else pack_tril(stored)
    return GaussianMixture(
        *(
            torch.as_tensor(value).float().reshape(n_rows, *shape)
            for value, shape in zip(values, field_shapes(spec).values(), strict=True)
        )
    ), torch.from_numpy(bounds)


def _fit_one(
    points: Float64, start: Float64, spec: MixtureSpec, iterations: int, tol: float
) -> tuple[Float64, Float64, Float64, list[float]]:
    """Fit one mixture to points (S, D) from responsibilities (M, S)."""
    from sklearn.mixture import GaussianMixture as Reference

    diagonal = spec.covariance == "diag"
    counts = start.sum(axis=1) + _TINY
    means = start @ points / counts[:, None]
    off = points - means[:, None]  # (M, S, D)
    noise = spec.reg_covar_mm**2
    if diagonal:
        covariances = np.einsum("ms,msd->md", start, off**2) / counts[:, None] + noise
    else:
        covariances = np.einsum("ms,msd,mse->mde", start, off, off) / counts[:, None, None]
        covariances += noise * np.eye(points.shape[1])
    if iterations == 0:
        history: list[float] = []
        weights = counts / counts.sum()
    else:
        model = Reference(
            spec.n_kernels,
            covariance_type="diag" if diagonal else "full",
            tol=max(tol, 0.0),
            reg_covar=noise,
            max_iter=iterations,
            init_params="random_from_data",  # all parameters are given: the cheapest
            weights_init=counts / counts.sum(),
            means_init=means,
            precisions_init=1.0 / covariances if diagonal else np.linalg.inv(covariances),
            random_state=0,
        ).fit(points)
        weights, means, covariances = model.weights_, model.means_, model.covariances_
        history = list(model.lower_bounds_)
    return (
        weights,
        means,
        np.sqrt(covariances) if diagonal else np.linalg.cholesky(covariances),
        history,
    )
