"""The fast networks against the plain ones: outputs, gradients, sizes, precision, batches."""

from __future__ import annotations

import pytest
import torch
from official_files import SMALL, gcn_diff, gcn_pose, graformer

from diffpose.benchmarks.official_layers import OfficialGcn, OfficialSizes
from diffpose.model.released.chebyshev import chebyshev_basis
from diffpose.model.released.chebyshev_gcn import ROWS_PER_PASS, ChebyshevGcn, ChebyshevGcnConfig
from diffpose.platform.runs.official_state import UNUSED_BY_GCNPOSE, convert, gcn_sources

DIFF = ChebyshevGcnConfig(n_in=5, n_out=5, width=16, n_layers=2, n_steps=51)
POSE = ChebyshevGcnConfig(width=16, n_layers=2)


def imported(official: OfficialGcn, config: ChebyshevGcnConfig) -> ChebyshevGcn:
    network = ChebyshevGcn(config)
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    sources, state = gcn_sources(config), official.state_dict()
    network.load_state_dict(convert("x", "y", state, sources, shapes, UNUSED_BY_GCNPOSE))
    return network.eval()


def states(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return (
        torch.randn(rows, 17, 5, generator=generator),
        torch.randint(0, 51, (rows,), generator=generator),
    )


@torch.no_grad()
@pytest.mark.parametrize("sizes", [SMALL, OfficialSizes(width=32, n_layers=1, n_heads=8)])
def test_gcndiff_gives_the_released_outputs(sizes: OfficialSizes) -> None:
    official = gcn_diff(sizes=sizes)
    config = ChebyshevGcnConfig(
        n_in=5, n_out=5, width=sizes.width, n_layers=sizes.n_layers, n_heads=sizes.n_heads,
        n_steps=51,
    )  # fmt: skip
    network = imported(official, config)
    x, k = states(ROWS_PER_PASS + 3)
    expected = official(x, k)
    assert expected.std() > 0.1
    for ours in (network, network.folded()):
        torch.testing.assert_close(ours(x, k), expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("make", [gcn_pose, graformer])
def test_context_encoders_give_the_released_outputs(make) -> None:
    official = make()
    network = imported(official, POSE)
    screen = states(5)[0][..., :2]
    for ours in (network, network.folded()):
        torch.testing.assert_close(ours(screen), official(screen), atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(
    ("make", "config"), [(gcn_diff, DIFF), (gcn_pose, POSE), (graformer, POSE)]
)
def test_outputs_are_the_released_ones_to_rounding(make, config) -> None:
    """The norm's epsilon is added to the deviation there: another place is 1e-5 off."""
    official = make()
    network = imported(official, config).double()
    x, k = states(5)
    given = (x.double(), k) if config is DIFF else (x[..., :2].double(),)
    expected = official.double()(*given)
    assert expected.std() > 0.1
    assert (network(*given) - expected).abs().max() < 1e-6


def test_gradients_are_those_of_the_plain_layers() -> None:
    official = gcn_diff(sizes=OfficialSizes(16, 2, 4, dropout=0.0, inner_dropout=0.0)).train()
    config = DIFF.model_copy(update={"dropout": 0.0, "inner_dropout": 0.0})
    network = imported(official, config).train()
    x, k = states(7)
    for net in (official, network):
        net(x, k).square().sum().backward()
    theirs = {name: p.grad for name, p in official.named_parameters()}
    for name, source in gcn_sources(config).items():
        ours = network.get_parameter(name).grad
        assert ours is not None
        expected = source.make(*(theirs[key] for key in source.keys))
        if ".norm_" in name and name.endswith("weight"):
            expected = expected / (15 / 16)  # the factor of the two deviations, once each way
        torch.testing.assert_close(ours, expected, rtol=2e-4, atol=2e-4 * float(expected.std()))


def test_sizes_are_the_published_ones() -> None:
    def count(network: torch.nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    sizes = OfficialSizes()
    with torch.device("meta"):
        published = [count(OfficialGcn(sizes, *rest)) for rest in
                     ((2, 3, "none"), (2, 3, "unused"), (5, 5, "used"))]  # fmt: skip
        assert published == [654_344, 839_432, 1_025_674]
        assert count(ChebyshevGcn(ChebyshevGcnConfig())) == 654_344
        diffusion = ChebyshevGcnConfig(n_in=5, n_out=5, n_steps=51)
        assert count(ChebyshevGcn(diffusion)) == 1_025_674


@torch.no_grad()
def test_runs_under_bfloat16_autocast() -> None:
    network = imported(gcn_diff(), DIFF)
    x, k = states(9)
    expected = network(x, k)
    for ours in (network, network.folded()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = ours(x, k)
        assert low.dtype == torch.bfloat16
        assert (low.float() - expected).abs().mean() < 0.03 * expected.abs().mean()


@torch.no_grad()
def test_folded_rows_do_not_depend_on_their_batch() -> None:
    folded = imported(gcn_diff(), DIFF).folded()
    x, k = states(2 * ROWS_PER_PASS + 1)
    together = folded(x, k)
    torch.testing.assert_close(folded(x[-1:], k[-1:]), together[-1:], atol=1e-6, rtol=1e-5)


def test_dropout_only_while_training() -> None:
    network = imported(gcn_diff(), DIFF).train()
    x, k = states(3)
    assert not torch.equal(network(x, k), network(x, k))
    network.eval()
    assert torch.equal(network(x, k), network(x, k))


def test_basis_is_of_a_laplacian() -> None:
    first, second = chebyshev_basis().double().view(2, 17, 17)
    assert first.sum(dim=1).abs().max() < 1e-6
    torch.testing.assert_close(second, 2 * first @ first - torch.eye(17), atol=1e-6, rtol=0)


def test_impossible_heads_and_joints_are_explained() -> None:
    with pytest.raises(ValueError, match="multiple of the 3 heads"):
        ChebyshevGcn(ChebyshevGcnConfig(width=16, n_heads=3))
    with pytest.raises(ValueError, match="17 joints"):
        ChebyshevGcn(POSE)(torch.zeros(1, 16, 2))
