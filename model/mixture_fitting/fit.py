"""Fit Gaussian mixtures to pose draws by EM (paper, eq. 6; Dempster, Laird and Rubin 1977).

Three engines, one algorithm: draws are standardised per coordinate, k-means++ and Lloyd give hard
responsibilities, EM stops by the gain of the lower bound. They share the random numbers and the
start, so they differ by rounding.

    cpu      compiled, float32 (mixture_numba_joint, mixture_numba_full, mixture_numba_block)
    torch    batched, float32, for GPUs (mixture_torch, mixture_em)
    sklearn  scikit-learn's GaussianMixture, float64: the reference (mixture_sklearn)
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.model.mixture_fitting import torch_engine as mixture_torch
from diffpose.model.mixtures.gaussian_mixture import (
    GaussianMixture,
    MixtureSpec,
    field_shapes,
    layout,
)

Engine: TypeAlias = Literal["auto", "cpu", "torch", "sklearn"]


def fit_mixtures(
    draws_mm: Tensor | NDArray[np.floating],
    spec: MixtureSpec,
    seeds: NDArray[np.uint64],
    engine: Engine = "auto",
) -> GaussianMixture:
    """Fit a mixture to each row's draws (paper, eq. 6).

    A row's result depends on its draws and its seed, not on the other rows of the call.

    Args:
        draws_mm: (B, S, 17, 3) in mm; a tensor is worked on where it lies. Fastest where it is a
            view of coordinate-major memory (B, 17, 3, S), as `sample_poses` returns it.
        spec: the mixture to fit; S is that of `draws_mm`, whatever `spec.n_draws` says.
        seeds: (B,) uint64, one for each row's k-means++.
        engine: "auto" takes cpu for draws in main memory and torch for those on a GPU.

    Returns:
        Mixtures of B rows, float32, on the draws' device. Weights sum to 1, all is finite. Equal
        draws give kernels as wide as the regularisation; an empty kernel has weight ~ 0.

    Raises:
        ValueError: a shape is wrong, there are fewer draws than kernels, a draw is not finite, or
            the engine is asked for what it cannot do.
    """
    draws = _checked(draws_mm, spec)
    seeds = np.asarray(seeds, dtype=np.uint64)
    if seeds.shape != (len(draws),):
        raise ValueError(f"seeds has shape {seeds.shape}, not ({len(draws)},)")
    uniforms = _uniforms(seeds, layout(spec).groups, spec.n_kernels)
    return _fit(draws, uniforms, None, spec, spec.max_iterations, spec.tol, engine)[0]


def em_from_responsibilities(
    draws_mm: Tensor | NDArray[np.floating],
    responsibilities: Tensor,
    spec: MixtureSpec,
    iterations: int,
    engine: Engine = "auto",
) -> tuple[GaussianMixture, Tensor]:
    """Run a fixed number of EM iterations from given responsibilities (for tests and studies).

    Args:
        draws_mm: (B, S, 17, 3) in mm.
        responsibilities: (B, S, M) in scope "pose", (B, 17, S, M) in scope "joint", summing to 1.
        spec: the mixture to fit; `tol` and `max_iterations` are not used.
        iterations: EM iterations after the M-step that turns responsibilities into kernels.
        engine: as in `fit_mixtures`.

    Returns:
        The mixtures, and the lower bound at each E-step: mean log-likelihood of a draw in nats
        (mm), (iterations, B) or (iterations, B, 17).

    Raises:
        ValueError: as `fit_mixtures`.
    """
    draws = _checked(draws_mm, spec)
    groups, m, (n_rows, n_draws) = layout(spec).groups, spec.n_kernels, draws.shape[:2]
    start = responsibilities.reshape(n_rows, groups, n_draws, m).mT.float().contiguous()
    uniforms = np.zeros((n_rows, groups, 1), np.float32)
    # a gain is never below -1: no mixture is done before its time
    mixture, bounds = _fit(draws, uniforms, start, spec, iterations, -1.0, engine)
    return mixture, bounds[..., 0] if groups == 1 else bounds


def resolved(engine: Engine, device: torch.device, spec: MixtureSpec) -> Engine:
    """Return the engine that "auto" stands for, or the given one.

    Raises:
        ValueError: the engine cannot fit such a mixture there.
    """
    if engine == "auto":
        return "cpu" if device.type == "cpu" else "torch"
    if engine != "torch" and device.type != "cpu":
        raise ValueError(f"mixture engine {engine} needs draws in main memory, not on {device}")
    if engine == "sklearn" and spec.covariance == "block" and spec.scope == "pose":
        raise ValueError(
            "scikit-learn has no block-diagonal covariance; take engine=cpu or engine=torch for "
            "scope=pose covariance=block"
        )
    return engine


def _fit(
    draws: Tensor,
    uniforms: NDArray[np.float32],
    start: Tensor | None,
    spec: MixtureSpec,
    iterations: int,
    tol: float,
    engine: Engine,
) -> tuple[GaussianMixture, Tensor]:
    """Run an engine; bounds are (iterations, B, G)."""
    chosen = resolved(engine, draws.device, spec)
    if chosen == "torch":
        on_device = torch.from_numpy(uniforms).to(draws.device)
        return mixture_torch.fit(draws, on_device, start, spec, iterations, tol)
    groups, n_rows = layout(spec).groups, len(draws)
    if chosen == "sklearn":
        from diffpose.model.mixture_fitting import sklearn_engine as mixture_sklearn

        if start is None:
            start = mixture_torch.start_of(draws, torch.from_numpy(uniforms), spec)
        return mixture_sklearn.fit(draws, start, spec, iterations, tol)
    # Imported here so that a machine which fits on its GPU never compiles them.
    from diffpose.model.mixture_fitting import numba_block as mixture_numba_block
    from diffpose.model.mixture_fitting import numba_full as mixture_numba_full
    from diffpose.model.mixture_fitting import numba_joint as mixture_numba_joint

    if spec.scope == "joint":
        fit = mixture_numba_joint.fit
    elif spec.covariance == "full":
        fit = mixture_numba_full.fit
    else:
        fit = mixture_numba_block.fit
    n_items = n_rows * groups
    shape = n_items, 3 * N_JOINTS // groups, draws.shape[1]
    points = draws.permute(0, 2, 3, 1).reshape(shape).contiguous()
    given = None if start is None else start.flatten(0, 1).contiguous().numpy()
    weights, means, packed, bounds = fit(
        points.numpy(), uniforms.reshape(n_items, uniforms.shape[-1]), given, spec, iterations, tol
    )
    shapes = field_shapes(spec)
    mixture = GaussianMixture(
        *(
            torch.from_numpy(values).reshape(n_rows, *shapes[name])
            for name, values in zip(shapes, (weights, means, packed), strict=True)
        )
    )
    return mixture, torch.from_numpy(bounds).reshape(iterations, n_rows, groups)


def _checked(draws_mm: Tensor | NDArray[np.floating], spec: MixtureSpec) -> Tensor:
    """Return the draws as a tensor, or raise the ValueErrors of `fit_mixtures`."""
    draws = torch.as_tensor(draws_mm).detach()
    if draws.ndim != 4 or draws.shape[2:] != (N_JOINTS, 3):
        raise ValueError(f"draws_mm has shape {tuple(draws.shape)}, not (B, S, {N_JOINTS}, 3)")
    if draws.shape[1] < spec.n_kernels:
        raise ValueError(f"{draws.shape[1]} draws are fewer than n_kernels={spec.n_kernels}")
    finite = draws.isfinite().all(-1).all(1)  # (B, 17)
    if not bool(finite.all()):
        row, joint = (int(i) for i in (~finite).nonzero()[0])
        raise ValueError(f"draws_mm is not finite in row {row}, joint {joint}")
    return draws


def _splitmix64(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return splitmix64's output (Steele, Lea and Flood 2014) for each state; sums wrap."""
    z: NDArray[np.uint64] = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _uniforms(seeds: NDArray[np.uint64], groups: int, m: int) -> NDArray[np.float32]:
    """Return uniforms in [0, 1), shape (B, G, U), from splitmix64 of (seed, group, counter).

    A counter in place of a generator's state makes a row's numbers independent of its batch.
    U = 1 for the first centre + `mixture_torch.n_trials(m)` for each of the M - 1 others.
    """
    keys = _splitmix64(_splitmix64(seeds)[:, None] + np.arange(groups).astype(np.uint64))
    counters = np.arange(1 + (m - 1) * mixture_torch.n_trials(m)).astype(np.uint64)
    bits = _splitmix64(keys[..., None] + counters) >> np.uint64(40)
    return bits.astype(np.float32) * np.float32(2.0**-24)
