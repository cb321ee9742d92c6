"""Fit Gaussian mixtures to pose draws by EM (paper, eq. 6; Dempster, Laird and Rubin 1977).

Every mixture of every row is one item of a batch. An item's draws are standardised per coordinate
(EM is affine-equivariant, and only standardised coordinates let float32 agree with float64), then
expanded once into the sufficient statistics of a Gaussian, phi(x) = [x_i x_j for i <= j inside a
block, x, 1]. With natural parameters theta the log-density is theta . phi(x), so an E-step is one
matrix product, an M-step another. The start is greedy k-means++ (Arthur and Vassilvitskii 2007)
and Lloyd, with hard responsibilities, and stopping is by the gain of the lower bound: both as in
scikit-learn's `GaussianMixture`, except that k-means sees standardised coordinates.

Notation: B rows, S draws, M kernels, D dimensions of a mixture (51 or 3), G mixtures a row (1 or
17), I = items of a chunk, a covariance is C blocks of d x d, F features. Millimetres outside,
standardised units inside.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffpose.model.mixture import (
    GaussianMixture,
    Layout,
    MixtureSpec,
    field_shapes,
    layout,
    pack_tril,
    split,
)
from diffpose.model.mixture_em import Items, Kernels, run_em
from diffpose.model.skeleton import N_JOINTS

CHUNK_BYTES = {"cpu": 8 << 20, "cuda": 1 << 30}  # of features; on a CPU those should stay cached


def fit_mixtures(
    draws_mm: Tensor | NDArray[np.floating],
    spec: MixtureSpec,
    seeds: NDArray[np.uint64],
    backend: Literal["auto", "torch", "numba"] = "auto",
) -> GaussianMixture:
    """Fit a mixture to each row's draws (paper, eq. 6).

    A row's result depends on its draws and its seed, not on the other rows of the call.

    Args:
        draws_mm: (B, S, 17, 3) in mm; a tensor is worked on where it lies.
        spec: the mixture to fit; S is that of `draws_mm`, whatever `spec.n_draws` says.
        seeds: (B,) uint64, one for each row's k-means++.
        backend: "numba" is for scope "joint" on a CPU and the faster there, "torch" does all;
            "auto" takes numba where it can. The two differ by rounding.

    Returns:
        Mixtures of B rows, float32, on the draws' device. Weights sum to 1, all is finite. Equal
        draws give kernels as wide as the regularisation; an empty kernel has weight ~ 0.

    Raises:
        ValueError: a shape is wrong, there are fewer draws than kernels, a draw is not finite, or
            numba is asked for what it cannot do.
    """
    draws = _checked(draws_mm, spec)
    seeds = np.asarray(seeds, dtype=np.uint64)
    if seeds.shape != (len(draws),):
        raise ValueError(f"seeds has shape {seeds.shape}, not ({len(draws)},)")
    can_numba = spec.scope == "joint" and draws.device.type == "cpu"
    if backend == "numba" and not can_numba:
        raise ValueError(
            f"backend numba needs scope joint on cpu, not {spec.scope}, {draws.device}"
        )
    size = layout(spec)
    uniforms = _uniforms(seeds, size.groups, spec.n_kernels)
    parts = []
    for start, stop in _chunks(draws, spec):
        chunk = uniforms[start:stop].reshape((stop - start) * size.groups, -1)
        if can_numba and backend != "torch":
            # Imported here so that a machine which fits on its GPU never compiles it.
            from diffpose.model.mixture_fit_numba import fit_standardised

            points, reg, shift, scale = _standardise(draws[start:stop], spec)
            arrays = fit_standardised(points.numpy(), reg.numpy(), chunk, spec)
            weights, means, factors = (torch.from_numpy(array) for array in arrays)
            if size.block_dims == 1:
                factors = factors.diagonal(dim1=-2, dim2=-1)[..., None, None]
            else:
                factors = factors[:, :, None]
            parts.append(_to_mm(Kernels(weights, means, factors), shift, scale, spec))
        else:
            items = _prepare(draws[start:stop], spec)
            responsibilities = _kmeans(items.phi, torch.from_numpy(chunk), spec, size)
            kernels, _ = run_em(items, responsibilities, spec, spec.max_iterations, spec.tol)
            parts.append(_to_mm(kernels, items.shift, items.scale, spec))
    return _concatenate(parts, spec, draws.device)


def em_from_responsibilities(
    draws_mm: Tensor | NDArray[np.floating],
    responsibilities: Tensor,
    spec: MixtureSpec,
    iterations: int,
) -> tuple[GaussianMixture, Tensor]:
    """Run a fixed number of EM iterations from given responsibilities (for tests and studies).

    Args:
        draws_mm: (B, S, 17, 3) in mm.
        responsibilities: (B, S, M) in scope "pose", (B, 17, S, M) in scope "joint".
        spec: the mixture to fit; `tol` and `max_iterations` are not used.
        iterations: EM iterations after the M-step that turns responsibilities into kernels.

    Returns:
        The mixtures, and the lower bound at each E-step: mean log-likelihood of a draw in nats
        (mm), (iterations, B) or (iterations, B, 17).

    Raises:
        ValueError: as `fit_mixtures`.
    """
    draws = _checked(draws_mm, spec)
    groups, (_, n_draws) = layout(spec).groups, draws.shape[:2]
    start = responsibilities.reshape(-1, n_draws, spec.n_kernels).mT.float().contiguous()
    items = _prepare(draws, spec)
    kernels, history = run_em(items, start, spec, iterations, tol=-1.0)
    bounds = torch.stack(history) - items.scale.log().sum(-1) if history else torch.zeros(0)
    shape = (iterations, len(draws)) if groups == 1 else (iterations, len(draws), groups)
    return _to_mm(kernels, items.shift, items.scale, spec), bounds.reshape(shape)


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
    U = 1 for the first centre + `_trials(m)` for each of the M - 1 others.
    """
    keys = _splitmix64(_splitmix64(seeds)[:, None] + np.arange(groups).astype(np.uint64))
    counters = np.arange(1 + (m - 1) * _trials(m)).astype(np.uint64)
    bits = _splitmix64(keys[..., None] + counters) >> np.uint64(40)
    return bits.astype(np.float32) * np.float32(2.0**-24)


def _trials(m: int) -> int:
    """Return the candidates tried for each centre, as scikit-learn's greedy k-means++."""
    return 2 + int(math.log(m))


def _chunks(draws: Tensor, spec: MixtureSpec) -> list[tuple[int, int]]:
    """Return row ranges whose features fit in CHUNK_BYTES."""
    groups, blocks, d = layout(spec)
    n_features = blocks * (d * (d + 1) // 2 + d) + 1
    row_bytes = 4 * groups * n_features * draws.shape[1]
    step = max(1, CHUNK_BYTES.get(draws.device.type, CHUNK_BYTES["cuda"]) // row_bytes)
    return [(i, min(i + step, len(draws))) for i in range(0, len(draws), step)]


def _standardise(draws: Tensor, spec: MixtureSpec) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return standardised draws (I, D, S) float32, and reg, shift, scale (I, D) float64."""
    size = layout(spec)
    points = draws.reshape(*draws.shape[:2], size.groups, size.dims).permute(0, 2, 3, 1)
    points = points.flatten(0, 1).double()
    shift = points.mean(-1)
    points = points - shift[..., None]
    # The floor keeps a coordinate without spread (the root) finite: it stays 0, with reg 1.
    scale = points.square().mean(-1).sqrt().clamp_min(spec.reg_covar_mm)
    reg = (spec.reg_covar_mm / scale).square()
    return (points / scale[..., None]).float().contiguous(), reg, shift, scale


def _prepare(draws: Tensor, spec: MixtureSpec) -> Items:
    """Standardise the draws (B, S, 17, 3) of a chunk and expand them into features."""
    points, reg, shift, scale = _standardise(draws, spec)
    _, blocks, d = layout(spec)
    n_items, dims, n_draws = points.shape
    n_pairs = d * (d + 1) // 2
    phi = points.new_empty(n_items, blocks * n_pairs + dims + 1, n_draws)
    pairs = phi[:, : blocks * n_pairs].view(n_items, blocks, n_pairs, n_draws)
    x = points.view(n_items, blocks, d, n_draws)
    at = 0
    for i in range(d):
        torch.mul(x[:, :, i : i + 1], x[:, :, i:], out=pairs[:, :, at : at + d - i])
        at += d - i
    phi[:, -1 - dims : -1] = points
    phi[:, -1] = 1.0
    return Items(phi, reg, shift, scale)


def _kmeans(phi: Tensor, uniforms: Tensor, spec: MixtureSpec, size: Layout) -> Tensor:
    """Return hard responsibilities (I, M, S) of greedy k-means++ and Lloyd.

    Args:
        phi: features (I, F, S), of which the last D + 1 rows, [x, 1], are used.
        uniforms: (I, U) as of `_uniforms`.
        spec: n_kernels and n_init_lloyd.
        size: the layout, for D.
    """
    linear = phi[:, -1 - size.dims :]  # (I, D + 1, S)
    points, m, trials = linear[:, :-1], spec.n_kernels, _trials(spec.n_kernels)
    n_items, dims, n_draws = points.shape
    uniforms = uniforms.to(phi.device)
    square = points.square().sum(1)  # (I, S)

    def at(index: Tensor) -> Tensor:  # (I, k) -> (I, k, D)
        return points.gather(2, index[:, None, :].expand(-1, dims, -1)).mT

    def distances(centres: Tensor) -> Tensor:  # (I, k, D) -> (I, k, S)
        norms = centres.square().sum(-1, keepdim=True)
        return torch.bmm(-2.0 * centres, points).add_(norms).add_(square[:, None]).clamp_min_(0.0)

    first = (uniforms[:, :1] * n_draws).long().clamp_max(n_draws - 1)
    centres = [at(first)]
    nearest = distances(centres[0])[:, 0]
    for k in range(m - 1):
        cumulative = nearest.cumsum(-1, dtype=torch.float64)
        target = uniforms[:, 1 + k * trials : 1 + (k + 1) * trials] * cumulative[:, -1:]
        candidates = torch.searchsorted(cumulative, target, right=True).clamp_max(n_draws - 1)
        updated = torch.minimum(distances(at(candidates)), nearest[:, None])
        best = updated.sum(-1).argmin(-1)[:, None, None]  # the candidate that helps most
        nearest = updated.gather(1, best.expand(-1, 1, n_draws))[:, 0]
        centres.append(at(candidates.gather(1, best[:, 0])))
    centre = torch.cat(centres, dim=1)  # (I, M, D)

    # scikit-learn's stopping rule: squared moves below 1e-4 of the mean variance.
    limit = 1e-4 * square.mean(-1) / dims
    done = torch.zeros(n_items, dtype=torch.bool, device=phi.device)
    kernels = torch.arange(m, device=phi.device)[:, None]
    for iteration in range(spec.n_init_lloyd + 1):
        theta = torch.cat([centre, -0.5 * centre.square().sum(-1, keepdim=True)], dim=-1)
        score = torch.bmm(theta, linear)
        # argmax over an inner axis is an order of magnitude slower on a CPU than this.
        highest, label = score[:, 0].clone(), torch.zeros_like(score[:, 0])
        for k in range(1, m):
            label.masked_fill_(score[:, k] > highest, k)
            torch.maximum(highest, score[:, k], out=highest)
        hard = (label[:, None] == kernels).to(phi.dtype)
        if iteration == spec.n_init_lloyd or bool(done.all()):
            break
        sums = torch.bmm(hard, linear.mT)
        counts = sums[..., -1:]
        # An empty cluster stays where it is; done items stay too, whatever the rest of the batch
        # does, so that a row's result does not depend on it.
        moved = torch.where(counts > 0.5, sums[..., :-1] / counts.clamp_min(1.0), centre)
        moved = torch.where(done[:, None, None], centre, moved)
        done = (moved - centre).square().sum((1, 2)) <= limit
        centre = moved
    return hard


def _to_mm(kernels: Kernels, shift: Tensor, scale: Tensor, spec: MixtureSpec) -> GaussianMixture:
    """Return kernels of whole rows in mm, float32, in the layout of `GaussianMixture`."""
    size = layout(spec)
    means = kernels.means * scale[:, None] + shift[:, None]
    rows = split(scale, size.blocks)[:, None, ..., None]
    packed = pack_tril(kernels.factors * rows)
    shapes = field_shapes(spec)
    return GaussianMixture(
        kernels.weights.float().reshape(-1, *shapes["weights"]),
        means.float().reshape(-1, *shapes["means_mm"]),
        packed.float().reshape(-1, *shapes["scale_tril_mm"]),
    )


def _concatenate(
    parts: list[GaussianMixture], spec: MixtureSpec, device: torch.device
) -> GaussianMixture:
    """Join the mixtures of successive rows; no part gives no rows."""
    if not parts:
        shapes = field_shapes(spec)
        return GaussianMixture(*(torch.zeros(0, *shapes[key], device=device) for key in shapes))
    return GaussianMixture(
        torch.cat([part.weights for part in parts]),
        torch.cat([part.means_mm for part in parts]),
        torch.cat([part.scale_tril_mm for part in parts]),
    )
