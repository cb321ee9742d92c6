"""2D mixtures of an image plane become 3D mixtures of H_K, in closed form.

A joint's draw is ``x = u (z + T_z) - T_x`` with u from its 2D mixture, z from the depth prior, both
independent (initial_distribution). For a kernel u ~ N(m, diag(s^2)) and z + T_z of mean W and
variance V the moments of (x, y, z) are exact:

    E[x] = m W - T_x     Cov(x, z) = m V     Var z = V
    Cov(x_i, x_k) = m_i m_k V + [i = k] s_i^2 (V + W^2)

so each 2D kernel becomes the Gaussian of these moments; no draws, no EM. The true product is a
little skewed where V is large.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffpose.model.geometry.skeleton import ROOT
from diffpose.model.mixtures.gaussian_mixture import GaussianMixture, MixtureSpec, pack_tril
from diffpose.model.observations.initial_distribution import (
    DepthPrior,
    EncoderDepth,
    HistogramDepth,
)


def depth_variance(depth: DepthPrior, n_rows: int) -> Tensor:
    """Return the variance of a depth prior, (B, 17), mm^2."""
    if isinstance(depth, EncoderDepth):
        return (depth.sigma_mm.double() ** 2).expand(n_rows, -1)
    assert isinstance(depth, HistogramDepth)
    centres = (depth.edges_mm[:, :-1] + depth.edges_mm[:, 1:]) / 2
    width = depth.edges_mm[:, 1:] - depth.edges_mm[:, :-1]
    share = depth.counts / depth.counts.sum(dim=1, keepdim=True)
    mean = (share * centres).sum(dim=1, keepdim=True)
    inside = (share * ((centres - mean) ** 2 + width**2 / 12)).sum(dim=1)
    return inside.double().expand(n_rows, -1)


def lift_kernels(
    weights: Tensor,
    centres: Tensor,
    sigmas: Tensor,
    depth_mean_mm: Tensor,
    depth_variance_mm2: Tensor,
    translation_mm: Tensor,
    spec: MixtureSpec,
) -> GaussianMixture:
    """Turn kernels in ray space into kernels in mm.

    Args:
        weights: (B, 17, M), summing to 1.
        centres: (B, 17, M, 2), rays (x/z, y/z).
        sigmas: (B, 17, M, 2), standard deviations of the same.
        depth_mean_mm: (B, 17), relative to the root.
        depth_variance_mm2: (B, 17).
        translation_mm: (B, 3), of the root from the camera.
        spec: scope "joint", covariance "full", M kernels; its regularisation is added.

    Returns:
        mixtures of B rows, float32; the root's kernels are all 0 with the regularisation alone.

    Raises:
        ValueError: the spec is another one.
    """
    if spec.scope != "joint" or spec.covariance == "diag" or spec.n_kernels != weights.shape[-1]:
        raise ValueError(f"Kernels of joints need scope=joint, covariance=full and M, got {spec}.")
    m, s2 = centres.double(), sigmas.double() ** 2
    away = translation_mm.double()
    w = (depth_mean_mm.double() + away[:, None, 2])[:, :, None, None]  # (B, 17, 1, 1)
    v = depth_variance_mm2.double()[:, :, None, None]
    xy = m * w - away[:, None, None, :2]
    z = depth_mean_mm.double()[:, :, None, None].expand(*xy.shape[:3], 1)
    means = torch.cat([xy, z], dim=-1)
    slopes = torch.cat([m, torch.ones_like(m[..., :1])], dim=-1)
    covariance = slopes[..., :, None] * slopes[..., None, :] * v[..., None]
    own = torch.cat([s2 * (v + w**2), torch.zeros_like(m[..., :1])], dim=-1)
    covariance = covariance + torch.diag_embed(own)
    means[:, ROOT] = 0.0
    covariance[:, ROOT] = 0.0
    covariance = covariance + spec.reg_covar_mm**2 * torch.eye(3, dtype=torch.float64)
    factors = torch.linalg.cholesky(covariance)
    share = weights.double() / weights.double().sum(dim=-1, keepdim=True)
    return GaussianMixture(share.float(), means.float(), pack_tril(factors).float())
