"""Gaussian mixtures over 3D poses: parameters, packing, evaluation, sampling.

The mixture of DiffPose (Gong et al., CVPR 2023, eq. 6) summarises the S draws of the uncertain
pose distribution H_K; the forward diffusion of eq. 7 is built from a kernel mean and noise of that
kernel's covariance, which is why `sample` returns the two apart.

Notation: B rows (video frames), S draws, n samples, J = 17 joints, M kernels, D dimensions of one
mixture. G mixtures a row: 1 of D = 51 (scope "pose") or 17 of D = 3 (scope "joint"). A covariance
is C diagonal blocks of d x d with C d = D. Lengths are millimetres.

Arrays of a `GaussianMixture` (B leads each; `field_shapes` gives the rest):

    scope/covariance    weights      means_mm        scale_tril_mm
    pose/full           (B, M)       (B, M, 51)      (B, M, 1326)
    pose/block          (B, M)       (B, M, 51)      (B, M, 102)     17 blocks of 6
    pose/diag           (B, M)       (B, M, 51)      (B, M, 51)      standard deviations
    joint/full, block   (B, 17, M)   (B, 17, M, 3)   (B, 17, M, 6)
    joint/diag          (B, 17, M)   (B, 17, M, 3)   (B, 17, M, 3)   standard deviations

A factor L (Sigma = L L^T) is packed row by row: L00, L10, L11, L20, ...
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel, Field, model_validator
from torch import Tensor

from diffpose.model.geometry.skeleton import N_JOINTS

POSE_DIMS = 3 * N_JOINTS


class MixtureSpec(BaseModel, frozen=True, extra="forbid"):
    """What mixture is fitted to a row, and how EM is run.

    Attributes:
        n_kernels: M, kernels of a mixture.
        scope: "pose", one mixture over all 51 coordinates (the paper); "joint", 17 independent
            mixtures over 3 coordinates (better held-out likelihood with joints drawn apart).
        covariance: "full"; "block", 17 blocks of 3 x 3; "diag". In scope "joint" a block is the
            whole 3 x 3 matrix, so "block" means the same as "full" there.
        n_draws: S that the caller draws from H_K for a fit; `fit_mixtures` takes what it is given.
        sampling: "iid" (the paper), or "stratified": places from equally probable parts of each
            heatmap, of lower variance (heatmaps.sample).
        reg_covar_mm: standard deviation in mm added in quadrature to every coordinate. EM works in
            float32: far below 1e-3 of a coordinate's own spread its steps lose their digits.
        tol: EM stops when the mean log-likelihood of a draw gains less than this, nats. In scope
            "joint" this holds for each joint's mixture apart.
        max_iterations: most EM iterations.
        n_init_lloyd: most Lloyd iterations of the k-means start.
    """

    n_kernels: int = Field(default=5, ge=1)
    scope: Literal["pose", "joint"] = "joint"
    covariance: Literal["full", "block", "diag"] = "full"
    n_draws: int = Field(default=1000, ge=2)
    sampling: Literal["iid", "stratified"] = "iid"
    reg_covar_mm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    tol: float = Field(default=1e-3, ge=0, allow_inf_nan=False)
    max_iterations: int = Field(default=100, ge=1)
    n_init_lloyd: int = Field(default=20, ge=0)

    @model_validator(mode="after")
    def _more_draws_than_kernels(self) -> MixtureSpec:
        if self.n_draws <= self.n_kernels:
            raise ValueError(
                f"n_draws must exceed n_kernels: n_draws={self.n_draws}, n_kernels={self.n_kernels}"
            )
        return self


class Layout(NamedTuple):
    """Sizes of a row's mixtures: G mixtures, each with C blocks of d x d."""

    groups: int
    blocks: int
    block_dims: int

    @property
    def dims(self) -> int:
        """Return D, the coordinates of one mixture."""
        return self.blocks * self.block_dims


def layout(spec: MixtureSpec) -> Layout:
    """Return the sizes (G, C, d) that `spec` asks for."""
    groups = 1 if spec.scope == "pose" else N_JOINTS
    dims = POSE_DIMS // groups
    block_dims = {"full": dims, "block": 3, "diag": 1}[spec.covariance]
    return Layout(groups, dims // block_dims, block_dims)


def packed_size(d: int) -> int:
    """Return the number of entries of a packed d x d lower triangle."""
    return d * (d + 1) // 2


def field_shapes(spec: MixtureSpec) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array of a `GaussianMixture` without its row axis, for storage."""
    groups, blocks, d = layout(spec)
    lead = (spec.n_kernels,) if groups == 1 else (groups, spec.n_kernels)
    return {
        "weights": lead,
        "means_mm": (*lead, blocks * d),
        "scale_tril_mm": (*lead, blocks * packed_size(d)),
    }


@dataclass(frozen=True)
class GaussianMixture:
    """Mixtures of B rows; the module docstring has the shapes.

    Attributes:
        weights: kernel weights, summing to 1 over the last axis.
        means_mm: kernel means in mm.
        scale_tril_mm: packed lower-triangular factors of the covariances, in mm.
    """

    weights: Tensor
    means_mm: Tensor
    scale_tril_mm: Tensor

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> GaussianMixture:
        """Return the mixture on `device` and in `dtype` (each unchanged where None)."""
        return GaussianMixture(
            self.weights.to(device=device, dtype=dtype),
            self.means_mm.to(device=device, dtype=dtype),
            self.scale_tril_mm.to(device=device, dtype=dtype),
        )


def pack_tril(tril: Tensor) -> Tensor:
    """Pack lower triangles (..., d, d) row by row into (..., d(d+1)/2)."""
    rows, columns = torch.tril_indices(tril.shape[-1], tril.shape[-1], device=tril.device)
    return tril[..., rows, columns]


def unpack_tril(packed: Tensor, d: int) -> Tensor:
    """Unpack (..., d(d+1)/2), as `pack_tril` leaves it, into lower triangles (..., d, d).

    Raises:
        ValueError: the last axis is not d(d+1)/2 long.
    """
    if packed.shape[-1] != packed_size(d):
        raise ValueError(
            f"a packed {d}x{d} factor has {packed_size(d)} entries, not {packed.shape[-1]}"
        )
    rows, columns = torch.tril_indices(d, d, device=packed.device)
    tril = packed.new_zeros((*packed.shape[:-1], d, d))
    tril[..., rows, columns] = packed
    return tril


def _grouped(mixture: GaussianMixture, spec: MixtureSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Return weights (B, G, M), means (B, G, M, D) and packed factors (B, G, M, C d(d+1)/2).

    Raises:
        ValueError: an array has not the shape that `spec` asks for.
    """
    arrays = {
        "weights": mixture.weights,
        "means_mm": mixture.means_mm,
        "scale_tril_mm": mixture.scale_tril_mm,
    }
    n_rows = len(mixture.weights)
    for name, shape in field_shapes(spec).items():
        if tuple(arrays[name].shape) != (n_rows, *shape):
            raise ValueError(
                f"{name} has shape {tuple(arrays[name].shape)}; {spec.scope}/{spec.covariance} "
                f"with {spec.n_kernels} kernels has {(n_rows, *shape)}"
            )
    groups, m = layout(spec).groups, spec.n_kernels
    weights, means, packed = (
        array.reshape(n_rows, groups, m, *array.shape[array.ndim - trailing :])
        for array, trailing in zip(arrays.values(), (0, 1, 1), strict=True)
    )
    return weights, means, packed


def split(array: Tensor, blocks: int) -> Tensor:
    """Return the last axis, C entries after C entries, as two: (..., C n) -> (..., C, n)."""
    return array.reshape(*array.shape[:-1], blocks, array.shape[-1] // blocks)


def _factors(packed: Tensor, size: Layout) -> Tensor:
    """Return factors (..., C, d, d) from packed (..., C d(d+1)/2)."""
    return unpack_tril(split(packed, size.blocks), size.block_dims)


def sample(
    mixture: GaussianMixture, spec: MixtureSpec, generator: torch.Generator, n: int | None = None
) -> tuple[Tensor, Tensor]:
    """Draw a kernel by its weight and noise of its covariance (paper, Sec. 4.3 and eq. 7).

    In scope "pose" one kernel is drawn for the whole pose, in scope "joint" one for each joint
    independently. A pose distributed as the mixture is mu + eps. Half-precision parameters are
    used in float32.

    Args:
        mixture: mixtures of B rows.
        spec: the layout of `mixture`.
        generator: the source of the random numbers; those are made on its device.
        n: draws a row; None leaves the axis away.

    Returns:
        mu and eps ~ N(0, Sigma of the drawn kernel), mm, each (B, 17, 3), or (B, n, 17, 3).

    Raises:
        ValueError: the arrays do not have the shapes of `spec`.
    """
    weights, means, packed = _grouped(mixture, spec)
    size = layout(spec)
    dtype = torch.promote_types(means.dtype, torch.float32)
    count, device, source = 1 if n is None else n, means.device, generator.device
    lead = (len(means), size.groups, count)
    uniform = torch.rand(lead, generator=generator, device=source, dtype=dtype).to(device)
    noise = torch.randn((*lead, size.dims), generator=generator, device=source, dtype=dtype)
    cumulative = weights.to(dtype).cumsum(-1)
    # Scaling by the sum keeps weights that were rounded in storage a distribution; right=True
    # never picks a kernel of weight 0.
    chosen = torch.searchsorted(cumulative, uniform * cumulative[..., -1:], right=True)
    chosen = chosen.clamp_max(spec.n_kernels - 1)[..., None]
    mu = means.gather(2, chosen.expand(*lead, means.shape[-1])).to(dtype)
    factors = _factors(packed.gather(2, chosen.expand(*lead, packed.shape[-1])).to(dtype), size)
    eps = (factors @ noise.to(device).reshape(*factors.shape[:-1], 1)).reshape(mu.shape)
    # (B, G, n, D) -> (B, n, 17, 3): the groups are joints, or one group holds all of them.
    shape = (len(means), count, N_JOINTS, 3)
    mu, eps = mu.transpose(1, 2).reshape(shape), eps.transpose(1, 2).reshape(shape)
    return (mu[:, 0], eps[:, 0]) if n is None else (mu, eps)


def log_likelihood(mixture: GaussianMixture, spec: MixtureSpec, poses_mm: Tensor) -> Tensor:
    """Return the log-density of poses under their row's mixture (paper, eq. 6).

    Args:
        mixture: mixtures of B rows.
        spec: the layout of `mixture`.
        poses_mm: (B, S, 17, 3) in mm.

    Returns:
        (B, S) float64, nats a pose (density per mm^51); in scope "joint" the sum over joints.

    Raises:
        ValueError: shapes do not fit together.
    """
    weights, means, packed = (array.double() for array in _grouped(mixture, spec))
    n_rows = len(means)
    if poses_mm.ndim != 4 or poses_mm.shape[0] != n_rows or poses_mm.shape[2:] != (N_JOINTS, 3):
        raise ValueError(f"poses_mm is {tuple(poses_mm.shape)}, not ({n_rows}, S, {N_JOINTS}, 3)")
    size = layout(spec)
    n_poses = poses_mm.shape[1]
    points = poses_mm.double().reshape(n_rows, n_poses, size.groups, size.dims).permute(0, 2, 3, 1)
    terms = []
    for m in range(spec.n_kernels):  # one kernel at a time: all M would be M copies of the poses
        factor = _factors(packed[:, :, m], size)  # (B, G, C, d, d)
        centred = points - means[:, :, m, :, None]
        centred = centred.reshape(*factor.shape[:-1], n_poses)
        white = torch.linalg.solve_triangular(factor, centred, upper=False)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum((-1, -2))
        terms.append(-0.5 * white.square().sum((2, 3)) - log_det[..., None])
    log_weights = (weights / weights.sum(-1, keepdim=True)).log()
    joint = torch.stack(terms, dim=2) + log_weights[..., None]
    constant = 0.5 * POSE_DIMS * math.log(2 * math.pi)
    return joint.logsumexp(dim=2).sum(1) - constant


def joint_kernels(mixture: GaussianMixture, spec: MixtureSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Return each joint's own mixture: the marginal of the pose's in scope "pose".

    Args:
        mixture: mixtures of B rows.
        spec: the layout of `mixture`.

    Returns:
        weights (B, 17, M), summing to 1; means (B, 17, M, 3) in mm; covariances (B, 17, M, 3, 3)
        in mm^2; float32, or the parameters' own dtype where that is wider.

    Raises:
        ValueError: the arrays do not have the shapes of `spec`.
    """
    weights, means, packed = _grouped(mixture, spec)
    dtype = torch.promote_types(means.dtype, torch.float32)
    weights, means, packed = weights.to(dtype), means.to(dtype), packed.to(dtype)
    weights = weights / weights.sum(-1, keepdim=True)
    factors = _factors(packed, layout(spec))  # (B, G, M, C, d, d)
    n_rows, groups, m, d = *factors.shape[:3], factors.shape[-1]
    if d == 1:
        within = factors.reshape(n_rows, groups, m, -1, 3).square().diag_embed()
    else:  # a joint's 3 rows of the factor give its marginal covariance
        rows = factors.reshape(n_rows, groups, m, -1, 3, d)
        within = rows @ rows.mT
    centres = means.reshape(n_rows, groups, m, -1, 3)  # (B, G, M, 17/G, 3)
    shared = N_JOINTS // groups  # joints of one mixture
    return (
        weights[:, :, None].expand(-1, -1, shared, -1).reshape(n_rows, N_JOINTS, m),
        centres.transpose(2, 3).reshape(n_rows, N_JOINTS, m, 3),
        within.transpose(2, 3).reshape(n_rows, N_JOINTS, m, 3, 3),
    )


def moments(mixture: GaussianMixture, spec: MixtureSpec) -> tuple[Tensor, Tensor]:
    """Return the mean pose and each joint's covariance under the mixture.

    Args:
        mixture: mixtures of B rows.
        spec: the layout of `mixture`.

    Returns:
        mean (B, 17, 3) in mm and covariance (B, 17, 3, 3) in mm^2; float32, or the parameters'
        own dtype where that is wider.

    Raises:
        ValueError: the arrays do not have the shapes of `spec`.
    """
    weights, centres, within = joint_kernels(mixture, spec)
    mean = torch.einsum("bjm,bjmc->bjc", weights, centres)
    spread = centres - mean[:, :, None]
    total = within + spread[..., :, None] * spread[..., None, :]
    return mean, torch.einsum("bjm,bjmcd->bjcd", weights, total)
