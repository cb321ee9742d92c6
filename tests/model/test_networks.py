"""The context encoder, the denoiser and their layers, against the same written out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from diffpose.model.diffusion.schedule import cumulative_alphas
from diffpose.model.geometry.skeleton import PARENTS
from diffpose.model.lifting.lifter import denoise_step
from diffpose.model.lifting.losses import denoiser_loss, encoder_loss
from diffpose.model.networks.context import Context
from diffpose.model.networks.denoiser import Denoiser, DenoiserConfig, sinusoidal_embeddings
from diffpose.model.networks.graformer import Graformer, GraformerConfig
from diffpose.model.networks.graph_layers import (
    GraphAttentionBlock,
    GraphConvolution,
    JointAttention,
)
from diffpose.model.observations.detections import POSE_SCALE_PER_MM, Detections

ROWS = 3


def small_denoiser(**changes: Any) -> Denoiser:
    torch.manual_seed(0)
    config = {"width": 16, "n_blocks": 2, "n_heads": 2, **changes}
    return Denoiser(DenoiserConfig.model_validate(config), 16)


def shaken(network: nn.Module) -> nn.Module:
    """Move every weight a little, the zero-initialised ones too."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


def inputs(seed: int = 0, width: int = 16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """h_k, f_ST, conditions, k."""
    generator = torch.Generator().manual_seed(seed)
    h, features, conditions = (torch.randn(ROWS, 17, n, generator=generator) for n in (3, width, 9))
    return h, features, conditions, torch.tensor([50, 10, 30])


def test_the_graph_is_the_normalised_skeleton() -> None:
    degree = [1 + sum(p == j for p in PARENTS) + (PARENTS[j] >= 0) for j in range(17)]
    graph = GraphConvolution(2, 2).adjacency.detach()
    for a in range(17):
        for b in range(17):
            linked = a == b or PARENTS[a] == b or PARENTS[b] == a
            expected = 1 / math.sqrt(degree[a] * degree[b]) if linked else 0.0
            assert float(graph[a, b]) == pytest.approx(expected)


def test_graph_convolution_is_a_sum_over_joints() -> None:
    torch.manual_seed(0)
    layer = shaken(GraphConvolution(4, 5))
    x = torch.randn(ROWS, 17, 4)
    own, neighbours = layer.transform.weight[:5], layer.transform.weight[5:]
    result = layer(x)
    assert result.shape == (ROWS, 17, 5)
    for row in range(ROWS):
        for joint in range(17):
            expected = own @ x[row, joint] + layer.bias
            for other in range(17):
                expected = expected + layer.adjacency[joint, other] * (neighbours @ x[row, other])
            torch.testing.assert_close(result[row, joint], expected, atol=1e-5, rtol=1e-5)


def test_joint_attention_by_hand() -> None:
    torch.manual_seed(0)
    layer, x = JointAttention(12, 3), torch.randn(ROWS, 17, 12)
    weight, bias = layer.project.weight, layer.project.bias
    result = layer(x)
    for row in range(ROWS):
        query, key, value = (x[row] @ weight[i : i + 12].T + bias[i : i + 12] for i in (0, 12, 24))
        heads = []
        for head in range(3):
            part = slice(4 * head, 4 * head + 4)
            score = query[:, part] @ key[:, part].T / math.sqrt(4)
            share = score.exp() / score.exp().sum(dim=1, keepdim=True)
            heads.append(share @ value[:, part])
        expected = torch.cat(heads, dim=1) @ layer.output.weight.T + layer.output.bias
        torch.testing.assert_close(result[row], expected, atol=1e-5, rtol=1e-5)


def test_the_block_is_attention_then_two_graph_convolutions_each_with_a_residual() -> None:
    torch.manual_seed(0)
    block = GraphAttentionBlock(12, 3, dropout=0.0)
    x = torch.randn(ROWS, 17, 12)

    def norm(values: Tensor) -> Tensor:  # weight 1, bias 0
        centred = values - values.mean(-1, keepdim=True)
        normed: Tensor = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return normed

    middle = x + block.attention(norm(x))
    expected = middle + block.graph_2(block.graph_1(norm(middle)).clamp_min(0))
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("width", [256, 32])
def test_step_embeddings_are_the_supplements(width: int) -> None:
    table = sinusoidal_embeddings(50, width)
    assert table.shape == (51, width)
    expected = np.empty((51, width))
    for k in range(51):
        for j in range(width // 2):
            expected[k, 2 * j] = math.sin(k / 10000 ** (2 * j / width))
            expected[k, 2 * j + 1] = math.cos(k / 10000 ** (2 * j / width))
    np.testing.assert_allclose(table, expected, atol=1e-7)


def test_shapes() -> None:
    h, features, conditions, k = inputs()
    assert small_denoiser()(h, features, conditions, k).shape == (ROWS, 17, 3)
    wide = torch.randn(ROWS, 17, 40)
    assert Denoiser(DenoiserConfig(width=16), 40)(h, wide, conditions, k).shape == (ROWS, 17, 3)
    encoder = Graformer(GraformerConfig(width=24, n_blocks=1))
    found, pose = encoder(torch.randn(ROWS, 17, 2))
    assert found.shape == (ROWS, 17, 24)
    assert pose.shape == (ROWS, 17, 3)


def test_the_encoders_root_is_exactly_zero_and_its_poses_are_in_mm() -> None:
    torch.manual_seed(0)
    encoder = Graformer(GraformerConfig(width=16, n_blocks=2)).eval()
    rays = 0.1 * torch.randn(5, 17, 2)
    features, pose = encoder(rays)
    assert (pose[:, 0] == 0).all()
    assert pose[:, 1:].abs().min() > 0
    features_again, pose_mm = encoder.poses_mm(rays)
    assert torch.equal(features, features_again)
    torch.testing.assert_close(pose_mm * POSE_SCALE_PER_MM, pose)


@pytest.mark.parametrize("condition", ["heatmap", "none"])
def test_a_new_denoiser_changes_nothing(condition: str) -> None:
    denoiser = small_denoiser(condition=condition)
    h, features, conditions, k = inputs()
    context = Context(features, torch.randn(ROWS, 17, 3) * 300, torch.zeros(ROWS, 3), conditions)
    step = (denoiser, denoiser.config, h, context, k, torch.rand(ROWS, 1, 1))
    assert torch.equal(denoise_step(*step), h)
    shaken(denoiser)
    assert not torch.equal(denoise_step(*step), h)


def test_skips_of_the_other_processes() -> None:
    h, features, conditions, k = inputs()
    pose_mm, alpha = torch.randn(ROWS, 17, 3) * 300, torch.tensor([0.0, 1.0, 0.3]).view(-1, 1, 1)
    context = Context(features, pose_mm, torch.zeros(ROWS, 3), conditions)
    for process, parametrisation in (("mixture", "clean_pose"), ("single_step", "next_on_grid")):
        denoiser = small_denoiser(process=process, parametrisation=parametrisation)
        shaken(denoiser)
        change = denoiser(h, features, conditions, k)
        assert change.abs().min() > 0
        output = denoise_step(denoiser, denoiser.config, h, context, k, alpha)
        ctx = pose_mm * 0.0035
        if process == "single_step":
            torch.testing.assert_close(output, ctx + change)
        else:
            torch.testing.assert_close(output[0], ctx[0] + change[0])
            torch.testing.assert_close(output[1], h[1] + change[1])
            torch.testing.assert_close(output[2], 0.3 * h[2] + 0.7 * ctx[2] + change[2])


def test_the_denoiser_reads_all_its_inputs() -> None:
    denoiser = shaken(small_denoiser())
    h, features, conditions, k = inputs()
    base = denoiser(h, features, conditions, k)
    for changed in (
        denoiser(h + 1, features, conditions, k),
        denoiser(h, features.flip(1), conditions, k),
        denoiser(h, features, conditions + 1, k),
        denoiser(h, features, conditions, k - 5),
    ):
        assert (changed - base).abs().amax(dim=(1, 2)).min() > 1e-4
    deaf = shaken(small_denoiser(condition="none"))
    assert torch.equal(deaf(h, features, conditions, k), deaf(h, features, 0 * conditions, k))


def test_gradients_reach_every_parameter_of_the_denoiser() -> None:
    denoiser = Denoiser(DenoiserConfig(width=16, n_blocks=2), 24)
    h, _, conditions, k = inputs()
    features = torch.randn(ROWS, 17, 24)
    denoiser(h, features, conditions, k).square().sum().backward()
    # A zero output layer passes nothing back at first, but learns itself once the loss is not 0.
    shaken(denoiser).zero_grad()
    denoiser(h, features, conditions, k).square().sum().backward()
    for name, parameter in denoiser.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-6, name


def test_a_new_denoisers_output_layer_has_a_gradient() -> None:
    denoiser = small_denoiser()
    h, features, conditions, k = inputs()
    (denoiser(h, features, conditions, k) - 1).square().sum().backward()
    assert denoiser.exit.transform.weight.grad.abs().max() > 1e-3
    assert denoiser.exit.bias.grad.abs().min() > 1e-3


def test_gradients_reach_every_parameter_of_the_encoder_but_one() -> None:
    torch.manual_seed(0)
    encoder = Graformer(GraformerConfig(width=16, n_blocks=2, dropout=0.0))
    _, pose = encoder(0.1 * torch.randn(ROWS, 17, 2))
    (pose - torch.randn(ROWS, 17, 3)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        if name == "exit.bias":  # the same for all joints: cancelled where the root is subtracted
            assert parameter.grad.abs().max() < 1e-4
        else:
            assert parameter.grad.abs().max() > 1e-5, name


def test_the_papers_denoiser_has_its_size() -> None:
    def convolution(n_in: int, n_out: int) -> int:  # own and neighbours' weights, bias, A
        return 2 * n_in * n_out + n_out + 17 * 17

    norm = 2 * 256
    attention = 256 * 3 * 256 + 3 * 256 + 256 * 256 + 256
    block = 2 * norm + attention + 2 * convolution(256, 256)
    expected = convolution(3, 128) + 3 * block + norm + convolution(256, 3)
    assert expected == 1_585_803
    denoiser = Denoiser(DenoiserConfig(condition="none"), 128)
    assert sum(p.numel() for p in denoiser.parameters()) == expected
    with_heatmaps = Denoiser(DenoiserConfig(), 128)
    assert sum(p.numel() for p in with_heatmaps.parameters()) == expected + 9 * 2 * 128


def test_step_embeddings_are_not_saved() -> None:
    denoiser = small_denoiser()
    assert "step_embeddings" not in denoiser.state_dict()
    assert denoiser.step_embeddings.shape == (51, 32)


def test_sixteen_joints_are_refused() -> None:
    h, features, conditions, k = inputs()
    with pytest.raises(ValueError, match=r"h_k must have 17 joints, got shape \(3, 16, 3\)"):
        small_denoiser()(h[:, :16], features[:, :16], conditions[:, :16], k)
    with pytest.raises(ValueError, match=r"rays must have 17 joints, got shape \(3, 16, 2\)"):
        Graformer(GraformerConfig(width=16))(torch.zeros(ROWS, 16, 2))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_visited_steps": 51}, "n_visited_steps=51 exceeds n_steps=50"),
        ({"n_steps": 0}, "n_steps"),
        ({"width": 4}, "width"),
        ({"dropout": 1.0}, "dropout"),
        ({"process": "ddpm"}, "single_step"),
        ({"parametrisation": "epsilon"}, "clean_pose"),
        ({"schedule": "linear"}, "linear_to_zero"),
        ({"blocks": 3}, "blocks"),
    ],
)
def test_denoiser_settings_are_checked(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DenoiserConfig.model_validate(values)


@pytest.mark.parametrize(
    "values", [{"width": 7}, {"n_blocks": 0}, {"n_heads": 0}, {"dropout": -0.1}, {"depth": 3}]
)
def test_encoder_settings_are_checked(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        GraformerConfig.model_validate(values)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="width 18 must be a multiple of the 4 heads"):
        Graformer(GraformerConfig(width=18))


def test_what_reads_the_blend_does_not_see_noise_at_the_first_step() -> None:
    h, features, conditions, _ = inputs()
    pose_mm = torch.randn(ROWS, 17, 3) * 300
    context = Context(features, pose_mm, torch.zeros(ROWS, 3), conditions)
    k, alpha = torch.full((ROWS,), 50), torch.zeros(ROWS, 1, 1)
    for reads, same in (("blend", True), ("pose", False)):
        denoiser = shaken(small_denoiser(parametrisation="clean_pose", reads=reads))
        step = [
            denoise_step(denoiser, denoiser.config, start, context, k, alpha)
            for start in (h, h + 1)
        ]
        assert torch.equal(*step) == same
    late = denoise_step(shaken(denoiser), denoiser.config, h, context, k - 45, alpha + 0.9)
    assert not torch.equal(late, step[0])


def test_a_denoiser_without_context_features_ignores_them() -> None:
    denoiser = shaken(small_denoiser(context="none"))
    h, features, conditions, k = inputs()
    out = denoiser(h, features, conditions, k)
    assert torch.equal(out, denoiser(h, features + 1, conditions, k))
    assert not torch.equal(out, denoiser(h, features, conditions + 1, k))


def test_poses_that_are_not_known_do_not_count_in_the_encoders_loss() -> None:
    predicted, target = torch.randn(2, 3, 17, 3), 300 * torch.randn(2, 3, 17, 3)
    known = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    expected = encoder_loss(predicted[known == 1], target[known == 1])
    torch.testing.assert_close(encoder_loss(predicted, target, known), expected)
    assert encoder_loss(predicted, target, 0 * known) == 0


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.2), (0.5, 0.6)])
def test_the_first_step_gets_its_share_of_training(share: float, expected: float) -> None:
    seen: list[Tensor] = []

    class Watching(torch.nn.Module):
        def forward(self, h_k: Tensor, features: Tensor, conditions: Tensor, k: Tensor) -> Tensor:
            seen.append(k)
            return torch.zeros_like(h_k)

    config = DenoiserConfig(parametrisation="clean_pose", first_step_share=share)
    n = 4000
    pose = torch.zeros(n, 17, 3)
    context = Context(torch.zeros(n, 17, 4), pose, torch.zeros(n, 3), torch.zeros(n, 17, 9))
    nothing = torch.zeros(n, 17, 2)
    detections = Detections(nothing, pose, pose, torch.zeros(n, 17))
    denoiser_loss(
        Watching(), config, context, detections, pose, pose, pose,
        cumulative_alphas("cosine", 50), config.grid, torch.Generator().manual_seed(0),
    )  # fmt: skip
    (k,) = seen
    assert (k == 50).float().mean().item() == pytest.approx(expected, abs=0.03)
    assert set(k.tolist()) == {50, 40, 30, 20, 10}
