import pytest
import torch
from torch import Tensor

from diffpose.model.networks.mixste import Mixste, MixsteConfig


@pytest.mark.parametrize(("frames", "parameters"), [(243, 33_783_811), (81, 33_700_867)])
def test_has_the_size_of_the_published_network(frames: int, parameters: int) -> None:
    with torch.device("meta"):
        network = Mixste(MixsteConfig(frames=frames, width=512, depth=8, n_heads=8, inputs="rays"))
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.fixture(scope="module")
def small() -> Mixste:
    torch.manual_seed(0)
    network = Mixste(MixsteConfig(frames=6, width=16, depth=2, n_heads=2)).eval()
    torch.nn.init.normal_(network.frame_places)  # the place within a window counts
    return network


def _rays(n: int) -> Tensor:
    return 0.2 * torch.randn(n, 17, 2, generator=torch.Generator().manual_seed(n))


@torch.inference_mode()
def test_a_sequence_of_one_window_is_that_window(small: Mixste) -> None:
    rays = _rays(6)
    features, pose = small(rays[None])
    f_st, pose_mm = small.poses_mm(rays)
    torch.testing.assert_close(f_st, features[0])
    torch.testing.assert_close(pose_mm * 0.0035, pose[0])
    assert pose_mm[:, 0].abs().max() == 0


@torch.inference_mode()
def test_sequences_do_not_see_each_other(small: Mixste) -> None:
    a, b = _rays(4), _rays(15)
    together, _ = small.poses_mm(torch.cat([a, b]), [4, 15])
    torch.testing.assert_close(together, torch.cat([small.poses_mm(a)[0], small.poses_mm(b)[0]]))
    apart = small.poses_mm(torch.cat([a, b]))[0]
    assert (apart[:4] - together[:4]).abs().max() > 1e-3  # and would, if they were one


@torch.inference_mode()
def test_frames_of_a_window_see_each_other(small: Mixste) -> None:
    rays = _rays(6)
    other = rays.clone()
    other[5] += 0.1
    assert (small.poses_mm(rays)[1][0] - small.poses_mm(other)[1][0]).abs().max() > 1e-3


def test_every_weight_is_trained(small: Mixste) -> None:
    _, pose = small(_rays(12).view(2, 6, 17, 2))
    pose.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in small.parameters())


def test_says_what_it_expects(small: Mixste) -> None:
    with pytest.raises(ValueError, match="windows of 6 frames, got 5"):
        small(_rays(5)[None])
    with pytest.raises(ValueError, match="17 joints"):
        small(torch.zeros(1, 6, 16, 2))
    with pytest.raises(ValueError, match="hop=28"):
        MixsteConfig(frames=27, hop=28)
