"""Learning-rate schedules and averaged weights."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from diffpose.platform.training.optimiser import AveragedWeights, learning_rate
from diffpose.platform.training.settings import OptimiserSettings


def test_one_cycle_rises_to_its_peak_and_falls_to_a_thousandth() -> None:
    settings = OptimiserSettings(epochs=20, learning_rate=2e-3)
    rates = [learning_rate(settings, step, 50) for step in range(1001)]
    # 1000 steps: the first 100 rise evenly
    for step in range(100):
        assert rates[step] == pytest.approx(2e-3 * (step + 1) / 100)
    assert max(rates) == rates[99] == pytest.approx(2e-3)
    for step in (100, 325, 550, 775, 999):
        share = (1 + math.cos(math.pi * (step - 100) / 900)) / 2
        assert rates[step] == pytest.approx(2e-6 + (2e-3 - 2e-6) * share)
    assert rates[550] == pytest.approx((2e-3 + 2e-6) / 2)
    assert rates[1000] == pytest.approx(2e-6)
    assert rates[999] < 1.01 * 2e-6
    assert all(a >= b for a, b in pairwise(rates[99:]))


@given(
    epochs=st.integers(1, 40),
    steps_per_epoch=st.integers(1, 30),
    step=st.integers(0, 3000),
    schedule=st.sampled_from(["one_cycle", "paper"]),
)
def test_rates_are_positive_and_never_above_the_peak(
    epochs: int, steps_per_epoch: int, step: int, schedule: str
) -> None:
    settings = OptimiserSettings.model_validate(
        {"epochs": epochs, "learning_rate": 0.5, "schedule": schedule}
    )
    assert 0 < learning_rate(settings, step, steps_per_epoch) <= 0.5
    if schedule == "one_cycle":  # going on after the end stays at the end
        last = learning_rate(settings, epochs * steps_per_epoch + 10**6, steps_per_epoch)
        assert last == pytest.approx(0.0005)


def test_the_papers_rate_falls_by_a_tenth_every_ten_epochs() -> None:
    settings = OptimiserSettings(epochs=50, learning_rate=1e-4, schedule="paper")
    for step, expected in (
        (0, 1e-4),
        (10 * 7 - 1, 1e-4),
        (10 * 7, 0.9e-4),
        (20 * 7 - 1, 0.9e-4),
        (20 * 7, 0.81e-4),
        (49 * 7, 0.9**4 * 1e-4),
    ):
        assert learning_rate(settings, step, steps_per_epoch=7) == pytest.approx(expected)


def small_module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.998])
def test_the_average_is_that_of_a_loop(decay: float) -> None:
    module = small_module()
    average = AveragedWeights(module, decay)
    generator = torch.Generator().manual_seed(1)
    expected = module.state_dict()["0.weight"][1, 2].item()
    for n in range(1, 40):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        module(torch.randn(4, 3, generator=generator))  # moves the counter and running means
        average.update(module)
        rate = min(decay, (1 + n) / (10 + n))
        expected = rate * expected + (1 - rate) * module.state_dict()["0.weight"][1, 2].item()
        assert average.values["0.weight"][1, 2].item() == pytest.approx(expected, abs=1e-5)
    assert average.n_updates == 39
    # The integer entry of the batch norm is copied.
    assert average.values["1.num_batches_tracked"].item() == 39
    if decay == 0.998:
        assert not torch.allclose(average.values["1.running_mean"], module[1].running_mean)


def test_the_average_is_its_own_copy() -> None:
    module = small_module()
    average = AveragedWeights(module, 0.9)
    before = average.values["0.weight"].clone()
    with torch.no_grad():
        module[0].weight.add_(1)
    assert torch.equal(average.values["0.weight"], before)
    assert not average.values["0.weight"].requires_grad


def test_a_restored_average_goes_on_as_if_never_stopped() -> None:
    def step(module: nn.Module, n: int) -> None:
        with torch.no_grad():
            module[0].weight.mul_(1 + 0.1 * n)

    module, average = small_module(), AveragedWeights(small_module(), 0.998)
    for n in range(6):
        step(module, n)
        average.update(module)
        if n == 2:
            saved = {k: v.clone() for k, v in average.values.items()}, average.n_updates
            weights = {k: v.clone() for k, v in module.state_dict().items()}
    resumed_module = small_module()
    resumed_module.load_state_dict(weights)
    resumed = AveragedWeights(resumed_module, 0.998)
    resumed.restore(*saved)
    for n in range(3, 6):
        step(resumed_module, n)
        resumed.update(resumed_module)
    for name, value in average.values.items():
        assert torch.equal(resumed.values[name], value), name
    # What was saved is not written to.
    assert saved[1] == 3
    assert not torch.equal(saved[0]["0.weight"], resumed.values["0.weight"])
