"""What every engine of EM promises (model/mixture_fitting/fit.py), kept by all of them."""

from __future__ import annotations

import typing
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from diffpose.model.mixture_fitting.fit import Engine, fit_mixtures
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec, field_shapes

ENGINES = [engine for engine in typing.get_args(Engine) if engine != "auto"]
SPECS = [("joint", "full"), ("pose", "full"), ("pose", "diag")]
ROWS, DRAWS = 3, 240


def draws_mm() -> NDArray[np.float32]:
    """Two clusters per row, 300 mm apart, the first twice as likely."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 150, (2, 17, 3))
    of = (np.arange(DRAWS) % 3 == 0).astype(int)
    return (centres[of] + rng.normal(0, 20, (ROWS, DRAWS, 17, 3))).astype(np.float32)


SEEDS = np.arange(ROWS, dtype=np.uint64)


def spec(scope: str, covariance: str, **more: Any) -> MixtureSpec:
    return MixtureSpec.model_validate(
        {"scope": scope, "covariance": covariance, "n_kernels": 2, **more}
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("scope", "covariance"), SPECS)
def test_fits_are_whole_and_finite(scope: str, covariance: str, engine: Any) -> None:
    chosen = spec(scope, covariance)
    fitted = fit_mixtures(torch.from_numpy(draws_mm()), chosen, SEEDS, engine)
    for name, shape in field_shapes(chosen).items():
        value = getattr(fitted, name)
        assert tuple(value.shape) == (ROWS, *shape)
        assert value.dtype == torch.float32
        assert torch.isfinite(value).all()
    torch.testing.assert_close(fitted.weights.sum(-1), torch.ones(fitted.weights.shape[:-1]))
    heavy = fitted.weights.max(-1).values
    assert ((heavy - 2 / 3).abs() < 0.05).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("scope", "covariance"), SPECS)
def test_engines_differ_by_rounding(scope: str, covariance: str, engine: Any) -> None:
    chosen = spec(scope, covariance)
    own = fit_mixtures(torch.from_numpy(draws_mm()), chosen, SEEDS, engine)
    reference = fit_mixtures(torch.from_numpy(draws_mm()), chosen, SEEDS, "sklearn")
    torch.testing.assert_close(own.weights, reference.weights, atol=1e-3, rtol=0)
    torch.testing.assert_close(own.means_mm, reference.means_mm, atol=0.1, rtol=0)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_depends_on_its_own_draws_and_seed(engine: Any) -> None:
    draws = torch.from_numpy(draws_mm())
    together = fit_mixtures(draws, spec("joint", "full"), SEEDS, engine)
    alone = fit_mixtures(draws[1:2], spec("joint", "full"), SEEDS[1:2], engine)
    torch.testing.assert_close(alone.means_mm[0], together.means_mm[1])
    again = fit_mixtures(draws, spec("joint", "full"), SEEDS, engine)
    assert torch.equal(again.means_mm, together.means_mm)


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_and_nonsense(engine: Any) -> None:
    draws = torch.from_numpy(draws_mm())
    chosen = spec("joint", "full")
    assert fit_mixtures(draws[:0], chosen, SEEDS[:0], engine).weights.shape[0] == 0
    with pytest.raises(ValueError, match="seeds has shape"):
        fit_mixtures(draws, chosen, SEEDS[:2], engine)
    spoilt = draws.clone()
    spoilt[1, 3, 2, 0] = float("nan")
    with pytest.raises(ValueError, match="finite"):
        fit_mixtures(spoilt, chosen, SEEDS, engine)
    with pytest.raises(ValueError, match="draws"):
        fit_mixtures(draws[:, :1], chosen, SEEDS, engine)
