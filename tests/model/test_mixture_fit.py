"""EM: scikit-learn is the reference; the compiled and the torch engine are held to it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture as Reference
from torch import Tensor

from diffpose.model.mixture_fitting.fit import em_from_responsibilities, fit_mixtures
from diffpose.model.mixtures.gaussian_mixture import (
    GaussianMixture,
    MixtureSpec,
    field_shapes,
    layout,
    log_likelihood,
    unpack_tril,
)

COMBINATIONS = list(itertools.product(("pose", "joint"), ("full", "block", "diag")))


def make_spec(scope: str, covariance: str, **values: Any) -> MixtureSpec:
    return MixtureSpec.model_validate({"scope": scope, "covariance": covariance, **values})


def draws_like_hk(rows: int, n: int, seed: int = 0) -> NDArray[np.float32]:
    """Two-mode x, y times a Gaussian z with perspective, sd 20-120 mm, 17 joints: (B, S, 17, 3)."""
    rng = np.random.default_rng(seed)
    base = rng.normal(0, 300, (rows, 1, 17, 3))
    offset = rng.normal(0, 100, (rows, 1, 17, 2))
    second = rng.random((rows, n, 17)) < rng.uniform(0.05, 0.5, (rows, 1, 17))
    xy = rng.normal(size=(rows, n, 17, 2)) * rng.uniform(20, 60, (rows, 1, 17, 2))
    xy += second[..., None] * offset
    z = rng.normal(size=(rows, n, 17, 1)) * rng.uniform(40, 120, (rows, 1, 17, 1))
    pose = np.concatenate([xy, z], axis=-1) + base
    pose[..., :2] *= 1 + z / 4000
    return pose.astype(np.float32)


def seeds(rows: int, start: int = 0) -> NDArray[np.uint64]:
    return np.arange(start, start + rows, dtype=np.uint64)


def random_responsibilities(spec: MixtureSpec, rows: int, n: int, seed: int = 0) -> Tensor:
    groups = layout(spec).groups
    rng = np.random.default_rng(seed)
    values = rng.dirichlet(np.ones(spec.n_kernels), (rows, groups, n))
    return torch.from_numpy(values[:, 0] if groups == 1 else values)


def row(mixture: GaussianMixture, index: int) -> GaussianMixture:
    part = slice(index, index + 1)
    return GaussianMixture(
        mixture.weights[part], mixture.means_mm[part], mixture.scale_tril_mm[part]
    )


def assert_valid(mixture: GaussianMixture, spec: MixtureSpec, rows: int) -> None:
    for name, shape in field_shapes(spec).items():
        array = getattr(mixture, name)
        assert array.shape == (rows, *shape)
        assert array.dtype == torch.float32
        assert array.isfinite().all()
    total = mixture.weights.sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-6, rtol=0)
    size = layout(spec)
    factors = unpack_tril(mixture.scale_tril_mm.unflatten(-1, (size.blocks, -1)), size.block_dims)
    # Conditional standard deviations are at least the regularisation.
    assert (factors.diagonal(dim1=-2, dim2=-1) >= 0.7 * spec.reg_covar_mm).all()


def assert_close(a: GaussianMixture, b: GaussianMixture, mm: float, weight: float) -> None:
    torch.testing.assert_close(a.weights, b.weights, atol=weight, rtol=0)
    torch.testing.assert_close(a.means_mm, b.means_mm, atol=mm, rtol=0)
    torch.testing.assert_close(a.scale_tril_mm, b.scale_tril_mm, atol=mm, rtol=0)


class FromResponsibilities(Reference):
    """scikit-learn's EM started from given responsibilities."""

    start: NDArray[np.float64]

    def _initialize_parameters(self, X: Any, *args: Any, **kwargs: Any) -> None:
        self._initialize(X, self.start)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("engine", ["cpu", "torch", "sklearn"])
@pytest.mark.parametrize(
    ("scope", "covariance"),
    [("pose", "full"), ("pose", "diag"), ("joint", "full"), ("joint", "diag")],
)
def test_em_is_that_of_scikit_learn(scope: str, covariance: str, engine: Any) -> None:
    spec = make_spec(scope, covariance, reg_covar_mm=2.0)
    draws, iterations = draws_like_hk(2, 800), 6
    start = random_responsibilities(spec, 2, 800)
    mixture, _ = em_from_responsibilities(draws, start, spec, iterations, engine)
    size = layout(spec)
    for b, g in itertools.product(range(2), range(0, size.groups, 4)):
        points = draws[b].reshape(800, -1) if scope == "pose" else draws[b, :, g]
        reference = FromResponsibilities(
            5, covariance_type=covariance, reg_covar=4.0, tol=0.0, max_iter=iterations
        )
        reference.start = (start[b] if scope == "pose" else start[b, g]).numpy()
        reference.fit(points.astype(np.float64))
        index = (b,) if scope == "pose" else (b, g)
        packed = mixture.scale_tril_mm[index].double()
        if covariance == "diag":
            result, expected = packed, np.sqrt(reference.covariances_)
        else:
            result = unpack_tril(packed, size.dims)
            expected = np.linalg.cholesky(reference.covariances_)
        np.testing.assert_allclose(mixture.weights[index], reference.weights_, atol=1e-3)
        scale = points.std(0)
        error = (mixture.means_mm[index].numpy() - reference.means_) / scale
        assert np.abs(error).max() < 1e-3
        axes = (5, -1) if covariance == "diag" else (5, -1, 1)
        factor_error = (result.numpy() - expected) / np.broadcast_to(scale, (5, size.dims)).reshape(
            axes
        )
        assert np.abs(factor_error).max() < 1e-3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("scope", "covariance", "engine"),
    [
        ("pose", "full", "cpu"),
        ("pose", "full", "torch"),
        ("joint", "full", "cpu"),
        ("joint", "full", "torch"),
    ],
)
def test_held_out_likelihood_is_that_of_scikit_learn(
    scope: str, covariance: str, engine: Any
) -> None:
    rows, n = (16, 600) if scope == "pose" else (1, 600)  # 16 mixtures, or 17
    spec, n_seeds = make_spec(scope, covariance), 4
    data = draws_like_hk(rows, n + 400, seed=5)
    train, held_out = data[:, :n], data[:, n:]
    ours = np.mean(
        [
            log_likelihood(
                fit_mixtures(train, spec, seeds(rows, 100 * t), engine),
                spec,
                torch.from_numpy(held_out),
            )
            .mean()
            .item()
            for t in range(n_seeds)
        ]
    )
    scores = np.zeros((rows, layout(spec).groups, n_seeds))
    for b, g, t in np.ndindex(*scores.shape):
        parts = [
            part[b].reshape(len(part[b]), -1) if scope == "pose" else part[b, :, g]
            for part in (train, held_out)
        ]
        # k-means of ours sees standardised coordinates; so does the reference's where it may: in 51
        # dimensions the regularisation, which differs then, would decide the likelihood.
        scale = parts[0].std(0) if scope == "joint" else np.ones(51)
        fitted, scored = (part.astype(np.float64) / scale for part in parts)
        reg = 1.0 if scope == "pose" else float((1.0 / scale**2).mean())
        reference = Reference(5, reg_covar=reg, random_state=t).fit(fitted)
        scores[b, g, t] = reference.score(scored) - np.log(scale).sum()
    # Per mixture: a row of scope "joint" is 17 of them.
    gain = ours / layout(spec).groups - scores.mean()
    assert abs(gain) <= scores.std(-1, ddof=1).mean()


@pytest.mark.parametrize(("scope", "covariance"), COMBINATIONS)
def test_every_combination_fits_and_beats_one_kernel(scope: str, covariance: str) -> None:
    spec, single = (make_spec(scope, covariance, n_kernels=m, max_iterations=30) for m in (3, 1))
    draws = draws_like_hk(2, 500)
    mixture = fit_mixtures(draws, spec, seeds(2))
    assert_valid(mixture, spec, 2)
    poses = torch.from_numpy(draws)
    gain = log_likelihood(mixture, spec, poses).mean(1) - log_likelihood(
        fit_mixtures(draws, single, seeds(2)), single, poses
    ).mean(1)
    assert (gain > 0).all()


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize(("scope", "covariance"), COMBINATIONS)
def test_likelihood_never_falls(scope: str, covariance: str, engine: Any) -> None:
    spec = make_spec(scope, covariance)
    draws = draws_like_hk(2, 500)
    start = random_responsibilities(spec, 2, 500)
    _, bounds = em_from_responsibilities(draws, start, spec, 25, engine)
    assert bounds.shape == ((25, 2) if scope == "pose" else (25, 2, 17))
    assert (bounds.diff(dim=0) > -1e-4).all()  # 1e-4 nats: float32 and the regularisation
    # The bound is the likelihood, in mm, of the kernels of the iteration before.
    before, _ = em_from_responsibilities(draws, start, spec, 24, engine)
    likelihood = log_likelihood(before, spec, torch.from_numpy(draws)).mean(1)
    last = bounds[-1] if scope == "pose" else bounds[-1].sum(-1)
    torch.testing.assert_close(likelihood, last, atol=1e-3, rtol=0)


def test_one_kernel_is_the_sample_moments() -> None:
    spec = MixtureSpec(n_kernels=1)
    draws = draws_like_hk(1, 400)
    for engine in ("torch", "cpu"):
        mixture = fit_mixtures(draws, spec, seeds(1), engine)
        factors = unpack_tril(mixture.scale_tril_mm, 3)[0, :, 0].double()
        for joint in range(17):
            points = draws[0, :, joint].astype(np.float64)
            covariance = np.cov(points.T, bias=True) + np.eye(3)
            np.testing.assert_allclose(
                factors[joint] @ factors[joint].T, covariance, rtol=2e-4, atol=0.2
            )
            np.testing.assert_allclose(mixture.means_mm[0, joint, 0], points.mean(0), atol=1e-3)


@pytest.mark.parametrize(("scope", "covariance"), COMBINATIONS)
@pytest.mark.parametrize("n", [1000, 257, 37])
def test_engines_agree(scope: str, covariance: str, n: int) -> None:
    """From the same seeds, k-means included; 257 draws leave one in a block of its own."""
    spec = make_spec(scope, covariance, max_iterations=10, tol=0.0)
    draws = draws_like_hk(3, n)
    engines: list[Any] = ["cpu", "torch"]
    if (scope, covariance) != ("pose", "block"):
        engines.append("sklearn")
    first, *others = (fit_mixtures(draws, spec, seeds(3), name) for name in engines)
    for other in others:
        # with fewer draws than dimensions a kernel's factor hangs on single responsibilities
        assert_close(first, other, mm=0.05 if n > 50 else 0.2, weight=1e-4)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize(
    ("scope", "covariance"), [("pose", "full"), ("pose", "block"), ("joint", "full")]
)
def test_order_of_draws_changes_only_rounding(scope: str, covariance: str, engine: Any) -> None:
    spec = make_spec(scope, covariance)
    draws, order = draws_like_hk(1, 600), np.random.default_rng(0).permutation(600)
    start = random_responsibilities(spec, 1, 600)
    a, _ = em_from_responsibilities(draws, start, spec, 5, engine)
    b, _ = em_from_responsibilities(draws[:, order], start[..., order, :], spec, 5, engine)
    assert_close(a, b, mm=0.02, weight=1e-5)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize(
    ("scope", "covariance"), [("pose", "full"), ("pose", "block"), ("joint", "diag")]
)
def test_affine_equivariance(scope: str, covariance: str, engine: Any) -> None:
    spec = make_spec(scope, covariance, reg_covar_mm=1e-3)
    draws = draws_like_hk(1, 600).astype(np.float64)
    scale = np.random.default_rng(0).uniform(0.3, 3.0, (17, 3))
    start = random_responsibilities(spec, 1, 600)
    a, _ = em_from_responsibilities(draws, start, spec, 5, engine)
    b, _ = em_from_responsibilities(draws * scale + 500.0, start, spec, 5, engine)
    torch.testing.assert_close(a.weights, b.weights, atol=1e-5, rtol=0)
    shape = (1, 1, 51) if scope == "pose" else (1, 17, 1, 3)
    factor = torch.from_numpy(scale).float().reshape(shape)
    torch.testing.assert_close(a.means_mm * factor + 500.0, b.means_mm, atol=0.01, rtol=0)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize(("scope", "covariance"), COMBINATIONS)
def test_a_row_does_not_depend_on_its_batch(scope: str, covariance: str, engine: Any) -> None:
    spec = make_spec(scope, covariance, n_kernels=4)
    draws = draws_like_hk(8, 320)
    together = fit_mixtures(draws, spec, seeds(8), engine)
    for index in (0, 5):
        alone = fit_mixtures(draws[index : index + 1], spec, seeds(1, index), engine)
        # Float32 units of a millimetre at a metre: 6e-5.
        assert_close(alone, row(together, index), mm=1e-3, weight=1e-6)
    again = fit_mixtures(torch.from_numpy(draws), spec, seeds(8), engine)
    assert_close(again, together, mm=0.0, weight=0.0)


def test_seeds_matter() -> None:
    spec = MixtureSpec()
    draws = np.repeat(draws_like_hk(1, 300), 2, axis=0)
    same = fit_mixtures(draws, spec, np.array([7, 7], dtype=np.uint64))
    assert torch.equal(same.means_mm[0], same.means_mm[1])
    large = np.array([2**64 - 1, 7], dtype=np.uint64)
    assert not torch.equal(*fit_mixtures(draws, spec, large).means_mm)


@pytest.mark.parametrize("engine", ["torch", "cpu"])
@pytest.mark.parametrize(("scope", "covariance"), COMBINATIONS)
def test_degenerate_draws(scope: str, covariance: str, engine: Any) -> None:
    spec = make_spec(scope, covariance, n_kernels=4)
    draws = draws_like_hk(5, 200)
    draws[0, :, 0] = 0.0  # the root
    draws[1] = draws[1, :1]  # all equal
    draws[2] = np.where(np.arange(200)[:, None, None] < 100, draws[2, 0], draws[2, 1])  # two points
    draws[3, 1:] = draws[3, 1]  # one far point
    draws[3, 0] += 5000.0
    draws[4, :, :, 2] = draws[4, :, :, 0]  # coordinates on a line
    mixture = fit_mixtures(draws, spec, seeds(5), engine)
    assert_valid(mixture, spec, 5)
    assert log_likelihood(mixture, spec, torch.from_numpy(draws)).isfinite().all()
    if scope == "joint":
        root = mixture.scale_tril_mm[0, 0, 0]
        expected = torch.tensor([1.0, 0, 1, 0, 0, 1]) if root.numel() == 6 else torch.ones(3)
        torch.testing.assert_close(root, expected)
        assert (mixture.means_mm[0, 0] == 0).all()
    half = mixture.to(dtype=torch.float16)
    assert log_likelihood(half, spec, torch.from_numpy(draws)).isfinite().all()


@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_as_many_draws_as_kernels(engine: Any) -> None:
    for scope, covariance in COMBINATIONS:
        spec = make_spec(scope, covariance)
        assert_valid(fit_mixtures(draws_like_hk(2, 5), spec, seeds(2), engine), spec, 2)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("scope", ["pose", "joint"])
def test_a_factor_lost_to_cancellation_is_recomputed(scope: str, engine: Any) -> None:
    # Kernels 1e-3 mm wide, 1000 mm apart: E[xx] - E[x]E[x] in float32 is only rounding.
    spec = make_spec(scope, "full", n_kernels=2, reg_covar_mm=1e-3)
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 1e-3, (1, 300, 17, 3))
    draws[:, 150:] += 1000.0
    start = torch.zeros(1, 17, 300, 2)
    start[:, :, :150, 0] = start[:, :, 150:, 1] = 1.0
    start = start if scope == "joint" else start[:, 0]
    mixture, _ = em_from_responsibilities(draws, start, spec, 0, engine)
    assert_valid(mixture, spec, 1)
    packed = mixture.scale_tril_mm.reshape(-1, mixture.scale_tril_mm.shape[-1])
    diagonal = unpack_tril(packed, layout(spec).dims).diagonal(dim1=-2, dim2=-1)
    assert (diagonal < 3e-3).all()


@pytest.mark.parametrize("engine", ["torch", "cpu"])
def test_narrow_kernels_far_apart(engine: Any) -> None:
    # 1 mm wide (1.41 with the regularisation) and 1 m apart: the default's narrow end.
    spec = MixtureSpec(n_kernels=2)
    draws = np.random.default_rng(0).normal(0, 1.0, (1, 1000, 17, 3))
    draws[:, 300:] += 1000.0
    mixture = fit_mixtures(draws, spec, seeds(1), engine)
    light = mixture.weights.amin(-1)
    torch.testing.assert_close(light, torch.full_like(light, 0.3), atol=1e-4, rtol=0)
    diagonal = unpack_tril(mixture.scale_tril_mm, 3).diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(diagonal, torch.full_like(diagonal, 2**0.5), atol=0.1, rtol=0)


def test_no_rows() -> None:
    spec = MixtureSpec()
    empty = fit_mixtures(np.zeros((0, 10, 17, 3), np.float32), spec, seeds(0))
    assert empty.means_mm.shape == (0, 17, 5, 3)


def test_bad_input_is_named() -> None:
    spec = MixtureSpec()
    draws = draws_like_hk(3, 20)
    for value in (np.nan, np.inf):
        bad = draws.copy()
        bad[2, 3, 11, 1] = value
        with pytest.raises(ValueError, match="not finite in row 2, joint 11"):
            fit_mixtures(bad, spec, seeds(3))
    with pytest.raises(ValueError, match="4 draws are fewer than n_kernels=5"):
        fit_mixtures(draws[:, :4], spec, seeds(3))
    with pytest.raises(ValueError, match=r"seeds has shape \(2,\), not \(3,\)"):
        fit_mixtures(draws, spec, seeds(2))
    with pytest.raises(ValueError, match=r"draws_mm has shape \(3, 20, 51\)"):
        fit_mixtures(draws.reshape(3, 20, 51), spec, seeds(3))
    with pytest.raises(ValueError, match="scikit-learn has no block-diagonal covariance"):
        fit_mixtures(draws, make_spec("pose", "block"), seeds(3), "sklearn")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("scope", "covariance"), COMBINATIONS)
def test_gpu_agrees_with_cpu(scope: str, covariance: str) -> None:
    spec = make_spec(scope, covariance, max_iterations=5, tol=0.0)
    draws = torch.from_numpy(draws_like_hk(4, 500))
    on_cpu = fit_mixtures(draws, spec, seeds(4), "torch")
    on_gpu = fit_mixtures(draws.cuda(), spec, seeds(4)).to("cpu")
    assert_close(on_cpu, on_gpu, mm=0.1, weight=1e-3)
