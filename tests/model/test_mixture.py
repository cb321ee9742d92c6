"""Gaussian mixtures: storage layout, sampling, density and moments."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import multivariate_normal
from torch import Tensor

from diffpose.model.mixtures.gaussian_mixture import (
    GaussianMixture,
    Layout,
    MixtureSpec,
    field_shapes,
    layout,
    log_likelihood,
    moments,
    pack_tril,
    packed_size,
    sample,
    unpack_tril,
)

SPECS = [
    MixtureSpec(scope=scope, covariance=covariance, n_kernels=3)
    for scope, covariance in itertools.product(("pose", "joint"), ("full", "block", "diag"))
]
IDS = [f"{spec.scope}-{spec.covariance}" for spec in SPECS]


def random_mixture(spec: MixtureSpec, rows: int = 2, seed: int = 0) -> GaussianMixture:
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: (rows, *shape) for name, shape in field_shapes(spec).items()}
    size = layout(spec)
    weights = torch.rand(shapes["weights"], generator=generator) + 0.1
    factors = torch.randn(
        (*shapes["weights"], size.blocks, size.block_dims, size.block_dims), generator=generator
    )
    factors = 5 * factors.tril(-1) + torch.diag_embed(
        20 + 30 * torch.rand(factors.shape[:-1], generator=generator)
    )
    return GaussianMixture(
        weights / weights.sum(-1, keepdim=True),
        100 * torch.randn(shapes["means_mm"], generator=generator),
        pack_tril(factors).flatten(-2),
    )


def dense_kernels(mixture: GaussianMixture, spec: MixtureSpec) -> list[list[tuple[float, ...]]]:
    """Return, for row 0 and each group, (weight, mean, covariance) of the kernels."""
    size = layout(spec)
    weights = mixture.weights[0].reshape(size.groups, -1).double()
    means = mixture.means_mm[0].reshape(size.groups, spec.n_kernels, -1).double()
    packed = mixture.scale_tril_mm[0].reshape(size.groups, spec.n_kernels, size.blocks, -1)
    factors = unpack_tril(packed.double(), size.block_dims)
    return [
        [
            (
                float(weights[g, m]),
                means[g, m].numpy(),
                torch.block_diag(*(factors[g, m] @ factors[g, m].mT)).numpy(),
            )
            for m in range(spec.n_kernels)
        ]
        for g in range(size.groups)
    ]


@settings(max_examples=30, deadline=None)
@given(d=st.integers(1, 12), lead=st.lists(st.integers(1, 3), max_size=2))
def test_pack_round_trip(d: int, lead: list[int]) -> None:
    tril = torch.randn(*lead, d, d).tril()
    packed = pack_tril(tril)
    assert packed.shape == (*lead, packed_size(d))
    assert torch.equal(unpack_tril(packed, d), tril)


def test_pack_order_is_row_by_row() -> None:
    assert pack_tril(torch.arange(9.0).reshape(3, 3)).tolist() == [0, 3, 4, 6, 7, 8]


def test_unpack_rejects_a_wrong_length() -> None:
    with pytest.raises(ValueError, match="3x3 factor has 6 entries, not 5"):
        unpack_tril(torch.zeros(2, 5), 3)


def test_field_shapes() -> None:
    def shapes(scope: str, covariance: str) -> tuple[tuple[int, ...], ...]:
        spec = MixtureSpec.model_validate({"scope": scope, "covariance": covariance})
        return tuple(field_shapes(spec).values())

    assert shapes("pose", "full") == ((5,), (5, 51), (5, 1326))
    assert shapes("pose", "block") == ((5,), (5, 51), (5, 102))
    assert shapes("pose", "diag") == ((5,), (5, 51), (5, 51))
    assert shapes("joint", "full") == ((17, 5), (17, 5, 3), (17, 5, 6))
    assert shapes("joint", "block") == shapes("joint", "full")
    assert shapes("joint", "diag") == ((17, 5), (17, 5, 3), (17, 5, 3))
    assert layout(MixtureSpec(scope="pose", covariance="block")) == Layout(1, 17, 3)


def test_spec_validation() -> None:
    with pytest.raises(ValidationError, match="n_draws=5, n_kernels=5"):
        MixtureSpec(n_draws=5)
    for bad in ({"n_kernels": 0}, {"reg_covar_mm": 0.0}, {"scope": "row"}, {"unknown": 1}):
        with pytest.raises(ValidationError):
            MixtureSpec.model_validate(bad)


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_log_likelihood_is_that_of_scipy(spec: MixtureSpec) -> None:
    mixture = random_mixture(spec)
    poses = 100 * torch.randn(2, 4, 17, 3, generator=torch.Generator().manual_seed(1))
    expected = np.zeros(4)
    for g, kernels in enumerate(dense_kernels(mixture, spec)):
        points = poses[0].reshape(4, -1) if spec.scope == "pose" else poses[0, :, g]
        terms = [
            np.log(w) + multivariate_normal(mean, cov).logpdf(points.double().numpy())
            for w, mean, cov in kernels
        ]
        expected += np.logaddexp.reduce(terms, axis=0)
    result = log_likelihood(mixture, spec, poses)
    assert result.dtype == torch.float64
    assert result.shape == (2, 4)
    # Weights stored in float32 sum to 1 within 1e-7.
    np.testing.assert_allclose(result[0], expected, rtol=1e-6)


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_sample_has_the_moments_of_the_mixture(spec: MixtureSpec) -> None:
    mixture = random_mixture(spec)
    mean, covariance = moments(mixture, spec)
    mu, eps = sample(mixture, spec, torch.Generator().manual_seed(3), n=6000)
    assert mu.shape == eps.shape == (2, 6000, 17, 3)
    poses = mu + eps
    deviation = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    error = (poses.mean(1) - mean) / deviation
    assert error.abs().max() < 5 / 6000**0.5
    centred = poses - poses.mean(1, keepdim=True)
    empirical = torch.einsum("bnjc,bnjd->bjcd", centred, centred) / 6000
    scale = deviation[..., :, None] * deviation[..., None, :]
    assert ((empirical - covariance) / scale).abs().max() < 0.1
    assert (eps.mean(1) / deviation).abs().max() < 5 / 6000**0.5


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_sample_returns_the_mean_of_one_kernel(spec: MixtureSpec) -> None:
    mixture = random_mixture(spec)
    mu, eps = sample(mixture, spec, torch.Generator().manual_seed(0))
    assert mu.shape == eps.shape == (2, 17, 3)
    again, _ = sample(mixture, spec, torch.Generator().manual_seed(0))
    assert torch.equal(mu, again)
    means = mixture.means_mm
    if spec.scope == "pose":  # one kernel for the whole pose
        matches = (means == mu.reshape(2, 1, 51)).all(-1)
    else:
        matches = (means == mu[:, :, None]).all(-1)
    assert torch.equal(matches.sum(-1), torch.ones_like(matches.sum(-1)))


def test_joints_choose_their_kernels_independently() -> None:
    spec = MixtureSpec(n_kernels=2)
    mixture = random_mixture(spec, rows=1)
    mu, _ = sample(mixture, spec, torch.Generator().manual_seed(0), n=4000)
    first = (mu == mixture.means_mm[:, None, :, 0]).all(-1)[0].float()  # (n, 17)
    torch.testing.assert_close(first.mean(0), mixture.weights[0, :, 0], atol=0.04, rtol=0)
    correlation = torch.corrcoef(first.T) - torch.eye(17)
    assert correlation.abs().max() < 0.08


def test_a_kernel_of_weight_zero_is_never_drawn() -> None:
    spec = MixtureSpec(n_kernels=3)
    mixture = random_mixture(spec, rows=1)
    weights = torch.tensor([0.0, 1.0, 0.0]).expand(1, 17, 3)
    mixture = GaussianMixture(weights, mixture.means_mm, mixture.scale_tril_mm)
    mu, _ = sample(mixture, spec, torch.Generator().manual_seed(0), n=200)
    assert torch.equal(mu, mixture.means_mm[:, None, :, 1].expand_as(mu))


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_half_precision_parameters_stay_valid(spec: MixtureSpec) -> None:
    mixture = random_mixture(spec)
    half = mixture.to(dtype=torch.float16)
    assert half.weights.dtype == torch.float16
    poses = 50 * torch.randn(2, 8, 17, 3, generator=torch.Generator().manual_seed(1))
    whole = log_likelihood(mixture, spec, poses)
    torch.testing.assert_close(log_likelihood(half, spec, poses), whole, rtol=5e-3, atol=0.1)
    results: tuple[Tensor, ...] = (
        *sample(half, spec, torch.Generator().manual_seed(0), n=5),
        *moments(half, spec),
    )
    for tensor in results:
        assert tensor.dtype == torch.float32
        assert tensor.isfinite().all()


def test_shape_errors_name_the_values() -> None:
    spec, other = SPECS[0], SPECS[3]
    mixture = random_mixture(spec)
    with pytest.raises(ValueError, match=r"weights has shape \(2, 3\); joint/full"):
        moments(mixture, other)
    with pytest.raises(ValueError, match=r"poses_mm is \(3, 4, 17, 3\), not \(2, S, 17, 3\)"):
        log_likelihood(mixture, spec, torch.zeros(3, 4, 17, 3))
