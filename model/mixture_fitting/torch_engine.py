"""The batched mixture engine in torch: for GPUs, correct on CPUs (paper, eq. 6).

Every mixture of every row is one item of a batch. An item's draws are standardised per coordinate
(EM is affine-equivariant, and only standardised coordinates let float32 agree with float64), then
expanded once into the sufficient statistics of a Gaussian, on which `mixture_em` works. The start
is greedy k-means++ (Arthur and Vassilvitskii 2007) and Lloyd, with hard responsibilities, as in
scikit-learn's `GaussianMixture`, except that k-means sees standardised coordinates.

Notation: B rows, S draws, M kernels, D dimensions of a mixture (51 or 3), G mixtures a row (1 or
17), I = items of a chunk, a covariance is C blocks of d x d, F features. Millimetres outside,
standardised units inside.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffpose.model.mixture_fitting.em import Items, Kernels, run_em
from diffpose.model.mixtures.gaussian_mixture import (
    GaussianMixture,
    MixtureSpec,
    field_shapes,
    layout,
    pack_tril,
    split,
)

CHUNK_BYTES = {"cpu": 8 << 20, "cuda": 1 << 30}  # of features; on a CPU those should stay cached


def fit(
    draws: Tensor,
    uniforms: Tensor,
    responsibilities: Tensor | None,
    spec: MixtureSpec,
    iterations: int,
    tol: float,
) -> tuple[GaussianMixture, Tensor]:
    """Fit the mixtures of B rows.

    Args:
        draws: (B, S, 17, 3) in mm, finite.
        uniforms: (B, G, U) in [0, 1), for k-means.
        responsibilities: (B, G, M, S) to start from instead of k-means.
        spec: the mixture to fit.
        iterations: most EM iterations.
        tol: gain of the lower bound, nats, below which a mixture is done.

    Returns:
        The mixtures, and the lower bound in mm of each iteration, (n, B, G); a mixture that is
        done keeps its last one.
    """
    size = layout(spec)
    parts, histories = [], []
    for start, stop in _chunks(draws, spec):
        items = _prepare(draws[start:stop], spec)
        if responsibilities is None:
            chunk = uniforms[start:stop].flatten(0, 1)
            resp = hard_responsibilities(items.phi[:, -1 - size.dims :], chunk, spec)
        else:
            resp = responsibilities[start:stop].flatten(0, 1).to(items.phi)
        kernels, history = run_em(items, resp, spec, iterations, tol)
        parts.append(_to_mm(kernels, items.shift, items.scale, spec))
        log_scale = items.scale.log().sum(-1)
        bounds = torch.stack(history) - log_scale if history else log_scale.new_zeros(0, len(resp))
        last = bounds[-1:].expand(iterations - len(bounds), -1)
        histories.append(torch.cat([bounds, last]).reshape(iterations, stop - start, size.groups))
    nothing = torch.zeros(iterations, 0, size.groups, dtype=torch.float64, device=draws.device)
    return _concatenate(parts, spec, draws.device), torch.cat([nothing, *histories], dim=1)


def start_of(draws: Tensor, uniforms: Tensor, spec: MixtureSpec) -> Tensor:
    """Return the hard responsibilities of k-means for B rows, (B, G, M, S)."""
    size = layout(spec)
    points = standardise(draws, spec)[0]
    linear = torch.cat([points, torch.ones_like(points[:, :1])], dim=1)
    hard = hard_responsibilities(linear, uniforms.flatten(0, 1), spec)
    return hard.reshape(len(draws), size.groups, spec.n_kernels, draws.shape[1])


def _chunks(draws: Tensor, spec: MixtureSpec) -> list[tuple[int, int]]:
    """Return row ranges whose features fit in CHUNK_BYTES."""
    groups, blocks, d = layout(spec)
    n_features = blocks * (d * (d + 1) // 2 + d) + 1
    row_bytes = 4 * groups * n_features * draws.shape[1]
    step = max(1, CHUNK_BYTES.get(draws.device.type, CHUNK_BYTES["cuda"]) // row_bytes)
    return [(i, min(i + step, len(draws))) for i in range(0, len(draws), step)]


def standardise(draws: Tensor, spec: MixtureSpec) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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
    points, reg, shift, scale = standardise(draws, spec)
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


def hard_responsibilities(linear: Tensor, uniforms: Tensor, spec: MixtureSpec) -> Tensor:
    """Return hard responsibilities (I, M, S) of greedy k-means++ and Lloyd.

    Args:
        linear: standardised draws and a one, [x, 1], (I, D + 1, S).
        uniforms: (I, U) in [0, 1).
        spec: n_kernels and n_init_lloyd.
    """
    points, m, trials = linear[:, :-1], spec.n_kernels, n_trials(spec.n_kernels)
    n_items, dims, n_draws = points.shape
    uniforms = uniforms.to(linear.device)
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
    done = torch.zeros(n_items, dtype=torch.bool, device=linear.device)
    kernels = torch.arange(m, device=linear.device)[:, None]
    for iteration in range(spec.n_init_lloyd + 1):
        theta = torch.cat([centre, -0.5 * centre.square().sum(-1, keepdim=True)], dim=-1)
        score = torch.bmm(theta, linear)
        # argmax over an inner axis is an order of magnitude slower on a CPU than this.
        highest, label = score[:, 0].clone(), torch.zeros_like(score[:, 0])
        for k in range(1, m):
            label.masked_fill_(score[:, k] > highest, k)
            torch.maximum(highest, score[:, k], out=highest)
        hard = (label[:, None] == kernels).to(linear.dtype)
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


def n_trials(m: int) -> int:
    """Return the candidates tried for each centre, as scikit-learn's greedy k-means++."""
    return 2 + int(math.log(m))


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
