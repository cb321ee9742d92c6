"""Noise schedules, the forward process (eq. 7 and the supplement's steps) and the way back."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffpose.model.diffusion.parametrisation import PARAMETRISATIONS
from diffpose.model.diffusion.process import (
    diffuse,
    diffuse_one_step,
    reverse_process,
    step_alpha,
    towards_clean_pose,
)
from diffpose.model.diffusion.schedule import ScheduleName, cumulative_alphas, step_grid
from diffpose.model.mixtures.gaussian_mixture import GaussianMixture, MixtureSpec, moments, sample

SCHEDULES: tuple[ScheduleName, ...] = get_args(ScheduleName)


def reference_alphas(name: str, n_steps: int) -> list[float]:
    """The formulas of the docstring, one step at a time."""
    alphas = [1.0]
    for k in range(1, n_steps + 1):
        if name == "cosine":
            angle = [(x / n_steps + 0.008) / 1.008 * math.pi / 2 for x in (k, 0)]
            alphas.append(max(math.cos(angle[0]) ** 2 / math.cos(angle[1]) ** 2, 1e-4))
        else:
            last = 2e-3 if name == "paper" else 0.18 * 50 / n_steps
            beta = 1e-4 + (last - 1e-4) * (k - 1) / (n_steps - 1)
            alphas.append(alphas[-1] * (1 - beta))
    return alphas


@pytest.mark.parametrize("n_steps", [20, 50, 200])
@pytest.mark.parametrize("name", SCHEDULES)
def test_alphas_follow_their_formula(name: ScheduleName, n_steps: int) -> None:
    alphas = cumulative_alphas(name, n_steps)
    assert alphas.dtype == torch.float64
    np.testing.assert_allclose(alphas.numpy(), reference_alphas(name, n_steps), rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(SCHEDULES), n_steps=st.integers(1, 1200))
def test_alphas_fall_from_one_and_stay_positive(name: ScheduleName, n_steps: int) -> None:
    alphas = cumulative_alphas(name, n_steps)
    assert alphas.shape == (n_steps + 1,)
    assert alphas[0] == 1
    assert (alphas.diff() <= 0).all()
    assert (alphas > 0).all()
    if n_steps <= 50:  # the cosine's floor of 1e-4 makes several last steps of long grids equal
        assert (alphas.diff() < 0).all()
    if name != "paper":
        assert alphas[-1] < 0.011


def test_the_papers_schedule_ends_at_0_949_against_the_papers_text() -> None:
    assert float(cumulative_alphas("paper", 50)[-1]) == pytest.approx(0.949, abs=1e-3)
    assert float(cumulative_alphas("linear_to_zero", 50)[-1]) == pytest.approx(0.0082, abs=1e-4)
    assert float(cumulative_alphas("cosine", 50)[-1]) == pytest.approx(1e-4)


def test_bad_schedules_are_named() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        cumulative_alphas("cosine", 0)
    with pytest.raises(ValueError, match=r"'sine'.*'linear_to_zero'"):
        cumulative_alphas("sine", 50)  # type: ignore[arg-type]


def test_step_grid_values() -> None:
    assert step_grid(50, 5) == (50, 40, 30, 20, 10, 0)
    assert step_grid(50, 50) == tuple(range(50, -1, -1))
    assert step_grid(50, 1) == (50, 0)
    assert step_grid(7, 3) == (7, 5, 2, 0)
    assert step_grid(50, 5, "quadratic") == (50, 48, 42, 32, 18, 0)


@given(n_steps=st.integers(1, 60), data=st.data())
def test_quadratic_steps_grow_and_never_repeat(n_steps: int, data: st.DataObject) -> None:
    n_visited = data.draw(st.integers(1, n_steps))
    grid = step_grid(n_steps, n_visited, "quadratic")
    assert (grid[0], grid[-1], len(grid)) == (n_steps, 0, n_visited + 1)
    down = -np.diff(grid)
    assert (down >= 1).all()
    if n_visited**2 <= n_steps:  # where rounding does not decide
        assert (np.diff(down) >= -1).all()


@given(n_steps=st.integers(1, 400), data=st.data())
def test_step_grid_falls_evenly(n_steps: int, data: st.DataObject) -> None:
    n_visited = data.draw(st.integers(1, n_steps))
    grid = step_grid(n_steps, n_visited)
    assert len(grid) == n_visited + 1
    assert (grid[0], grid[-1]) == (n_steps, 0)
    for step, following in pairwise(grid):
        assert step > following
        assert abs(step - following - n_steps / n_visited) <= 1


@pytest.mark.parametrize("n_visited", [0, -1, 51])
def test_step_grid_names_bad_values(n_visited: int) -> None:
    with pytest.raises(ValueError, match=rf"K=50 .* got {n_visited} visited"):
        step_grid(50, n_visited)


@pytest.mark.parametrize("name", SCHEDULES)
def test_eq_7_has_the_distribution_of_the_step_wise_form(name: ScheduleName) -> None:
    # Supplement, section 1: k steps of eq. 2 have mean mu + sqrt(a_k)(h_0 - mu) and covariance
    # (1 - a_k) Sigma, as one step of eq. 7 has. Bounds: 5.5 standard errors of each entry.
    n, generator = 3000, torch.Generator().manual_seed(7)
    factor = torch.randn(51, 51, generator=generator, dtype=torch.float64) / 51**0.5
    sigma = factor @ factor.T
    h0, mu = torch.randn(2, 17, 3, generator=generator, dtype=torch.float64)

    def noise() -> Tensor:
        white = torch.randn(n, 51, generator=generator, dtype=torch.float64)
        return (white @ factor.T).view(n, 17, 3)

    alphas = cumulative_alphas(name, 50)
    h = h0.expand(n, 17, 3)
    for k in range(1, 51):
        h = diffuse_one_step(h, mu, noise(), alphas[k - 1], alphas[k])
        if k not in (1, 13, 50):
            continue
        a = reference_alphas(name, 50)[k]
        mean = (mu + a**0.5 * (h0 - mu)).flatten()
        covariance = (1 - a) * sigma
        variance = covariance.diagonal()
        error = (variance[:, None] * variance + covariance**2).div(n).sqrt()
        for poses in (h, diffuse(h0, mu, noise(), alphas[k])):
            flat = poses.reshape(n, 51)
            assert ((flat.mean(0) - mean).abs() / (variance / n).sqrt()).max() < 5.5
            assert ((flat.T.cov() - covariance).abs() / error).max() < 5.5


def mixture_of_two() -> tuple[GaussianMixture, MixtureSpec]:
    """Per joint, two kernels 200 mm apart with their own weights and correlated covariances."""
    spec = MixtureSpec(n_kernels=2)
    means = torch.zeros(1, 17, 2, 3)
    means[0, :, 1] = torch.tensor([200.0, -50.0, 100.0])
    means += torch.arange(17.0)[None, :, None, None] * 30
    packed = torch.tensor([[30.0, 10, 40, -5, 8, 60], [15.0, 0, 25, 20, -10, 35]])
    weights = torch.tensor([0.7, 0.3]).expand(1, 17, 2)
    return GaussianMixture(weights, means, packed.expand(1, 17, 2, 6)), spec


@pytest.mark.parametrize("name", SCHEDULES)
def test_h_k_at_the_end_has_the_moments_of_the_mixture(name: ScheduleName) -> None:
    # h_K = mu + eps + sqrt(a_K)(h_0 - mu) + (sqrt(1 - a_K) - 1) eps: its mean is off by
    # sqrt(a_K) |h_0 - mean|, 1 % (cosine) and 9 % (linear_to_zero) of the way to h_0.
    n = 20_000
    mixture, spec = mixture_of_two()
    mean, covariance = moments(mixture, spec)
    mu, eps = sample(mixture, spec, torch.Generator().manual_seed(2), n)
    h0 = mean[0] + torch.tensor([400.0, -300.0, 500.0])
    alpha = cumulative_alphas(name, 50)[-1]
    h = diffuse(h0.expand_as(mu), mu, eps, alpha.float())[0]
    deviation = covariance[0].diagonal(dim1=-2, dim2=-1).sqrt()
    standard_error = 5 * deviation / n**0.5
    share = (h.mean(0) - mean[0]) / (h0 - mean[0])  # of the way to h_0
    if name == "paper":  # against its text: h_K is still h_0, for the most part
        assert (share > 0.95).all()
        assert (h.std(0) < 0.3 * deviation).all()
        return
    kept = {"cosine": 0.01, "linear_to_zero": 0.0906}[name]
    assert ((share - kept) * (h0 - mean[0])).abs().le(standard_error).all()
    assert share.abs().max() < kept + 0.02
    centred = h - h.mean(0)
    empirical = torch.einsum("njc,njd->jcd", centred, centred) / n
    scale = deviation[..., :, None] * deviation[..., None, :]
    tolerance = {"cosine": 0.07, "linear_to_zero": 0.22}[name]
    assert ((empirical - covariance[0]) / scale).abs().max() < tolerance


def path(name: ScheduleName) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    """h_0, mu, epsilon, alphas and eq. 7 at every k, written out."""
    generator = torch.Generator().manual_seed(5)
    h0, mu, epsilon = torch.randn(3, 6, 17, 3, generator=generator, dtype=torch.float64)
    alphas = cumulative_alphas(name, 50)
    h = [
        mu + math.sqrt(a) * (h0 - mu) + math.sqrt(1 - a) * epsilon
        for a in reference_alphas(name, 50)
    ]
    return h0, mu, epsilon, alphas, h


@pytest.mark.parametrize("n_visited", [1, 5, 50])
@pytest.mark.parametrize("name", SCHEDULES)
def test_ddim_with_the_true_pose_walks_back_along_eq_7(name: ScheduleName, n_visited: int) -> None:
    h0, mu, _, alphas, h = path(name)
    grid = step_grid(50, n_visited)
    trajectory = reverse_process(
        lambda h_k, k: h0, h[50], mu, alphas, grid, PARAMETRISATIONS["clean_pose"].step
    )
    assert len(trajectory) == len(grid)
    for k, pose in zip(grid, trajectory, strict=True):
        torch.testing.assert_close(pose, h[k], atol=1e-4, rtol=0)
    torch.testing.assert_close(trajectory[-1], h0, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_ddim_starts_anywhere_on_the_path(name: ScheduleName) -> None:
    h0, mu, _, alphas, h = path(name)
    for k, k_next in ((50, 3), (40, 30), (7, 6), (1, 0)):
        moved = towards_clean_pose(h[k], h0, mu, alphas[k], alphas[k_next])
        torch.testing.assert_close(moved, h[k_next], atol=1e-4, rtol=0)


def test_ddim_with_a_wrong_pose_keeps_its_share_of_the_noise() -> None:
    # At the next step only sqrt(a) - sqrt(a_k (1 - a) / (1 - a_k)) of an error in h_0 is taken in.
    h0, mu, _, alphas, h = path("cosine")
    moved = towards_clean_pose(h[40], h0 + 1, mu, alphas[40], alphas[30])
    a, b = float(alphas[40]), float(alphas[30])
    expected = math.sqrt(b) - math.sqrt(a * (1 - b) / (1 - a))
    assert 0.1 < expected < 0.9
    torch.testing.assert_close(moved - h[30], torch.full_like(h0, expected), atol=1e-9, rtol=0)


def test_next_on_grid_takes_the_networks_word_and_passes_it_the_visited_steps() -> None:
    h0, _, _, alphas, h = path("cosine")
    grid = step_grid(50, 5)
    following = dict(pairwise(grid))
    asked: list[int] = []

    def exact(h_k: Tensor, k: int) -> Tensor:
        torch.testing.assert_close(h_k, h[k])
        asked.append(k)
        return h[following[k]]

    trajectory = reverse_process(
        exact, h[50], torch.zeros(()), alphas, grid, PARAMETRISATIONS["next_on_grid"].step
    )
    assert asked == [50, 40, 30, 20, 10]
    assert len(trajectory) == 6
    torch.testing.assert_close(trajectory[-1], h0, atol=1e-4, rtol=0)


def test_step_alpha_broadcasts_against_poses() -> None:
    alphas = cumulative_alphas("cosine", 50)
    picked = step_alpha(alphas, torch.tensor([50, 0, 10]))
    assert picked.shape == (3, 1, 1)
    expected = [reference_alphas("cosine", 50)[k] for k in (50, 0, 10)]
    torch.testing.assert_close(picked.flatten(), torch.tensor(expected))
