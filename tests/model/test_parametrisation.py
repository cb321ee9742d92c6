"""Each parametrisation with a network that knows the truth: closed forms of its target and step."""

from __future__ import annotations

import pytest
import torch

from diffpose.model.diffusion.parametrisation import (
    PARAMETRISATIONS,
    SINGLE_STEP,
    ParametrisationName,
)
from diffpose.model.diffusion.process import diffuse
from diffpose.model.networks.denoiser import DenoiserConfig

ALPHA, ALPHA_NEXT = torch.tensor(0.25, dtype=torch.float64), torch.tensor(0.64, dtype=torch.float64)


def poses() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randn(4, 17, 3, dtype=torch.float64, generator=generator) for _ in range(3))


@pytest.mark.parametrize("name", sorted(PARAMETRISATIONS))
def test_an_output_on_target_leads_to_the_next_h(name: ParametrisationName) -> None:
    h0, mu, epsilon = poses()
    rule = PARAMETRISATIONS[name]
    h_k = diffuse(h0, mu, epsilon, ALPHA)
    output = rule.target(h0, mu, epsilon, ALPHA_NEXT)
    found = rule.step(h_k, output, mu, ALPHA, ALPHA_NEXT)
    wanted = mu + 0.8 * (h0 - mu) + 0.6 * epsilon  # eq. 7 at alpha = 0.64
    torch.testing.assert_close(found, wanted)


def test_targets() -> None:
    h0, mu, epsilon = poses()
    wanted = mu + 0.8 * (h0 - mu) + 0.6 * epsilon
    next_h = PARAMETRISATIONS["next_on_grid"].target(h0, mu, epsilon, ALPHA_NEXT)
    torch.testing.assert_close(next_h, wanted)
    assert PARAMETRISATIONS["clean_pose"].target(h0, mu, epsilon, ALPHA_NEXT) is h0
    assert SINGLE_STEP.target(h0, mu, epsilon, ALPHA_NEXT) is h0


def test_skips() -> None:
    h_k, blend, context = poses()
    assert PARAMETRISATIONS["next_on_grid"].skip(h_k, blend, context) is h_k
    assert PARAMETRISATIONS["clean_pose"].skip(h_k, blend, context) is blend
    assert SINGLE_STEP.skip(h_k, blend, context) is context


def test_only_an_error_in_clean_pose_is_scaled_by_the_step() -> None:
    """An estimate of h_0 that is off by d moves the next h by less than d (DDIM's coefficient)."""
    h0, mu, epsilon = poses()
    h_k = diffuse(h0, mu, epsilon, ALPHA)
    right = PARAMETRISATIONS["clean_pose"].step(h_k, h0, mu, ALPHA, ALPHA_NEXT)
    wrong = PARAMETRISATIONS["clean_pose"].step(h_k, h0 + 1.0, mu, ALPHA, ALPHA_NEXT)
    factor = 0.8 - 0.5 * 0.6 / 0.75**0.5  # sqrt(a') - sqrt(a) sqrt(1 - a') / sqrt(1 - a)
    torch.testing.assert_close(wrong - right, torch.full_like(h0, factor))


def test_settings_say_which() -> None:
    for name, rule in PARAMETRISATIONS.items():
        assert DenoiserConfig(parametrisation=name).predicts is rule
        assert DenoiserConfig(parametrisation=name, process="single_step").predicts is SINGLE_STEP
    with pytest.raises(ValueError, match=r"next_on_grid.*clean_pose"):
        DenoiserConfig.model_validate({"parametrisation": "noise"})
