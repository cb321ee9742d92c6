"""EM on standardised draws: E-step, M-step, and the factorisations between them.

Dempster, Laird and Rubin (1977) for eq. 6 of the paper. The features of a draw are the sufficient
statistics of a Gaussian, phi(x) = [x_i x_j for i <= j inside a block, x, 1]: with the natural
parameters theta the log-density is theta . phi(x), so an E-step is one matrix product and an
M-step another. Products and exponentials are float32; parameters are float64.

Notation: I items (mixtures fitted together), S draws, M kernels, D dimensions, F features; a
covariance is C blocks of d x d. Units are each item's own standardised ones.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffpose.model.mixtures.gaussian_mixture import Layout, MixtureSpec, layout, split

_UNROLLED = 3  # largest block whose factorisation is written out instead of left to LAPACK


class Kernels(NamedTuple):
    """Parameters in standardised units, float64: (I, M), (I, M, D), (I, M, C, d, d)."""

    weights: Tensor
    means: Tensor
    factors: Tensor


class Items(NamedTuple):
    """Draws of I mixtures, ready for EM: phi (I, F, S), reg, shift and scale (I, D) float64."""

    phi: Tensor
    reg: Tensor
    shift: Tensor
    scale: Tensor


def run_em(
    items: Items, responsibilities: Tensor, spec: MixtureSpec, iterations: int, tol: float
) -> tuple[Kernels, list[Tensor]]:
    """Run EM from responsibilities (I, M, S); each item stops by itself.

    Returns:
        The kernels and, per iteration, the lower bound (I,) float64 in standardised units; items
        that stopped keep their last one.
    """
    size = layout(spec)
    phi, reg = items.phi, items.reg
    kernels = _m_step(responsibilities, phi, reg, size)
    result = Kernels(*(array.clone() for array in kernels))
    live = torch.arange(len(phi), device=phi.device)  # item of each row of phi and reg
    bounds = torch.full((len(phi),), -math.inf, dtype=torch.float64, device=phi.device)
    running = torch.ones_like(live, dtype=torch.bool)
    history: list[Tensor] = []
    for _ in range(iterations):
        density = torch.bmm(_natural(kernels, size).to(phi.dtype), phi)  # (I, M, S)
        top = density.amax(1, keepdim=True)
        density.sub_(top).exp_()
        total = density.sum(1, keepdim=True)
        bound = (total.log() + top).mean((1, 2), dtype=torch.float64)
        updated = _m_step(density.div_(total), phi, reg, size)
        kernels = Kernels(
            *(
                torch.where(running.reshape(-1, *(1,) * (new.ndim - 1)), new, old)
                for new, old in zip(updated, kernels, strict=True)
            )
        )
        gain = (bound - bounds[live]).abs()
        bounds[live] = torch.where(running, bound, bounds[live])
        history.append(bounds.clone())
        running = running & ~(gain < tol)
        n_running = int(running.sum())
        if n_running == 0:
            break
        # Copying the features of those still running costs about an iteration, so stopped items
        # are dropped only when they are a good part.
        if n_running < 0.7 * len(live):
            _store(result, kernels, live)
            live, phi, reg = live[running], phi[running], reg[running]
            kernels = Kernels(*(array[running] for array in kernels))
            running = running[running]
    _store(result, kernels, live)
    return result, history


def _store(result: Kernels, kernels: Kernels, live: Tensor) -> None:
    """Write the kernels of the live items into the whole chunk's, in place."""
    for whole, part in zip(result, kernels, strict=True):
        whole[live] = part


def _natural(kernels: Kernels, size: Layout) -> Tensor:
    """Return theta (I, M, F) float64 with log(weight x density) = theta . phi."""
    weights, means, factors = kernels
    _, blocks, d = size
    identity = torch.eye(d, dtype=factors.dtype, device=factors.device)
    if d <= _UNROLLED:
        inverse = _inverse_small(factors)
        precision = inverse.mT @ inverse if d > 1 else inverse.square()
    else:
        precision = torch.cholesky_inverse(factors.flatten(0, 2)).reshape(factors.shape)
    slope = (precision @ split(means, blocks)[..., None])[..., 0].flatten(2)
    log_det = factors.diagonal(dim1=-2, dim2=-1).log().sum((-1, -2))
    constant = weights.log() - log_det - 0.5 * (slope * means).sum(-1)
    constant = constant - 0.5 * size.dims * math.log(2 * math.pi)
    # A pair i < j stands for both halves of the symmetric matrix, so only i = j is halved.
    pairs = _upper(precision * (0.5 * identity - 1.0)).flatten(2)
    return torch.cat([pairs, slope, constant[..., None]], dim=-1)


def _upper(matrix: Tensor) -> Tensor:
    """Return the upper triangle (..., d(d+1)/2) row by row: the order of the features."""
    rows, columns = torch.triu_indices(matrix.shape[-1], matrix.shape[-1], device=matrix.device)
    return matrix[..., rows, columns]


def _m_step(responsibilities: Tensor, phi: Tensor, reg: Tensor, size: Layout) -> Kernels:
    """Return the kernels that responsibilities (I, M, S) make, from features (I, F, S)."""
    _, blocks, d = size
    sums = torch.bmm(responsibilities, phi.mT).double()  # (I, M, F)
    # As scikit-learn: a kernel without draws gets a weight and a mean that are finite.
    counts = sums[..., -1:] + 10 * torch.finfo(torch.float64).eps
    means = sums[..., -1 - size.dims : -1] / counts
    pairs = split(sums[..., : -1 - size.dims] / counts, blocks)
    rows, columns = torch.triu_indices(d, d, device=phi.device)
    covariance = pairs.new_empty((*pairs.shape[:-1], d, d))
    covariance[..., rows, columns] = pairs
    covariance[..., columns, rows] = pairs
    seconds = covariance.diagonal(dim1=-2, dim2=-1).clone()
    centres = split(means, blocks)
    covariance -= centres[..., :, None] * centres[..., None, :]
    noise = split(reg, blocks)[:, None]  # (I, 1, C, d)
    covariance.diagonal(dim1=-2, dim2=-1).add_(noise)
    # A variance this small beside E[xx], whose rounding is about 1e-7 of it, has lost its digits.
    floor = torch.maximum(0.5 * noise, 1e-5 * seconds)
    factors, bad = _cholesky(covariance, floor)
    if bool(bad.any()):
        for item, m in bad.flatten(2).any(-1).nonzero().tolist():
            factors[item, m] = _centred_factor(
                responsibilities[item, m], phi[item], means[item, m], noise[item, 0]
            )
    return Kernels((counts / counts.sum(1, keepdim=True))[..., 0], means, factors)


def _centred_factor(responsibility: Tensor, phi: Tensor, mean: Tensor, noise: Tensor) -> Tensor:
    """Return one kernel's factors (C, d, d) from centred float64 sums, raising reg if need be.

    The difference E[xx] - E[x]E[x] of float32 sums can lose a kernel much narrower than its
    distance from the row's mean; this form cannot.
    """
    r = responsibility.double()
    centred = phi[-1 - len(mean) : -1].double() - mean[:, None]
    blocks = centred.view(*noise.shape, -1)  # (C, d, S)
    total = r.sum() + 10 * torch.finfo(torch.float64).eps
    scatter = torch.bmm(blocks * (r / total), blocks.mT)
    while True:
        factor, bad = _cholesky(scatter + noise.diag_embed(), 0.5 * noise)
        if not bool(bad.any()):
            return factor
        noise = 10 * noise


def _cholesky(covariance: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Return lower factors of (..., d, d), and (...) where rounding has spoilt one.

    A pivot (conditional variance) below floor (..., d) counts as spoilt. Scatter + noise has pivots
    of at least the noise, so half of it is a floor that only rounding can go under.
    """
    d = covariance.shape[-1]
    if d > _UNROLLED:
        factor, info = torch.linalg.cholesky_ex(covariance)
        pivots = factor.diagonal(dim1=-2, dim2=-1).square()
        return factor, (info > 0) | ~(pivots >= floor).all(-1)
    # LAPACK, called once for each 3 x 3 matrix, would cost more than all the rest.
    factor = torch.zeros_like(covariance)
    bad = torch.zeros_like(covariance[..., 0, 0], dtype=torch.bool)
    for j in range(d):
        pivot = covariance[..., j, j] - factor[..., j, :j].square().sum(-1)
        bad |= ~(pivot >= floor[..., j])
        root = torch.maximum(pivot, floor[..., j]).sqrt()
        factor[..., j, j] = root
        for i in range(j + 1, d):
            inner = (factor[..., i, :j] * factor[..., j, :j]).sum(-1)
            factor[..., i, j] = (covariance[..., i, j] - inner) / root
    return factor, bad


def _inverse_small(factor: Tensor) -> Tensor:
    """Return the inverses of lower factors (..., d, d), written out for small d."""
    d = factor.shape[-1]
    inverse = torch.zeros_like(factor)
    for j in range(d):
        inverse[..., j, j] = 1.0 / factor[..., j, j]
        for i in range(j + 1, d):
            inner = (factor[..., i, j:i] * inverse[..., j:i, j]).sum(-1)
            inverse[..., i, j] = -inner / factor[..., i, i]
    return inverse
