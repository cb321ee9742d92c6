"""The denoiser benchmark's own sums, and its GPU part at a small size on the CPU."""

from __future__ import annotations

import pytest
import torch

from diffpose.benchmarks.denoiser import CONFIG, answer_rows, gcn_flops, mixste_flops, networks
from diffpose.benchmarks.official_layers import OfficialSizes
from diffpose.model.networks.mixste import MixsteConfig


def test_operations_are_the_published_ones() -> None:
    released = MixsteConfig(frames=243, width=512, depth=8, n_heads=8, inputs="rays")
    assert 243 * mixste_flops(released) / 1e9 == pytest.approx(294.8, abs=0.1)
    assert gcn_flops(CONFIG) / 1e6 == pytest.approx(24.6, rel=0.02)


@torch.inference_mode()
def test_both_networks_of_the_benchmark_are_one() -> None:
    official, ours = networks(OfficialSizes(width=16, n_layers=1, n_heads=2))
    x, k = torch.randn(3, 17, 5), torch.tensor([0, 7, 50])
    torch.testing.assert_close(ours(x, k), official(x, k), atol=1e-4, rtol=1e-4)


def test_the_whole_answer_is_timed() -> None:
    small = MixsteConfig(frames=2, width=8, depth=1, n_heads=2, inputs="rays")
    config = CONFIG.model_copy(update={"width": 8, "n_layers": 1})
    rows = answer_rows(torch.device("cpu"), small, config, n_windows=1)
    assert [row[:2] for row in rows] == [[5, "eager"], [50, "eager"]]
    assert all(float(str(row[2])) > 0 for row in rows)
