import numpy as np
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


def _moving(fps: float, seconds: float = 3.0) -> Tensor:
    """Keypoints that move smoothly, as x/z, y/z, at some frames per second."""
    time = torch.arange(round(fps * seconds)) / fps
    phase = torch.arange(34).view(1, 17, 2)
    return 0.2 * torch.sin(2.0 * time.view(-1, 1, 1) + phase)


@torch.inference_mode()
def test_60_and_20_frames_per_second_give_one_pose_at_common_times(small: Mixste) -> None:
    config = small.config.model_copy(update={"step_s": 0.1})
    timed = Mixste(config).eval()
    timed.load_state_dict(small.state_dict())
    fast, slow = _moving(60), _moving(20)
    torch.testing.assert_close(fast[::3], slow)
    of_fast = timed.poses_mm(fast, None, np.array([1 / 60]))[1][::3]
    of_slow = timed.poses_mm(slow, None, np.array([1 / 20]))[1]
    inner = slice(12, -12)  # ends see one side only
    assert (of_fast - of_slow)[inner].abs().max() < 1e-3
    as_they_come = timed.poses_mm(fast)[1][::3]
    assert (as_they_come - of_slow)[inner].abs().max() > 1


@torch.inference_mode()
def test_without_times_or_without_a_known_step_frames_are_taken_as_they_come(
    small: Mixste,
) -> None:
    rays = _rays(20)
    plain = small.poses_mm(rays)[1]
    torch.testing.assert_close(small.poses_mm(rays, [20], np.array([1 / 60]))[1], plain)
    timed = Mixste(small.config.model_copy(update={"step_s": 0.1})).eval()
    timed.load_state_dict(small.state_dict())
    torch.testing.assert_close(timed.poses_mm(rays, None, np.array([np.nan]))[1], plain)


@pytest.fixture(scope="module")
def told() -> Mixste:
    torch.manual_seed(1)
    config = MixsteConfig(frames=6, width=16, depth=2, n_heads=2, time_step="told", step_s=0.1)
    return Mixste(config).eval()


@torch.inference_mode()
def test_the_time_step_that_is_told_changes_the_answer(told: Mixste) -> None:
    rays = _rays(6)
    usual, slower, unknown = (
        told.poses_mm(rays, None, np.array([step]))[1] for step in (0.1, 0.25, np.nan)
    )
    torch.testing.assert_close(unknown, usual)
    assert (slower - usual).abs().max() > 0.1
    # of several sequences each is told its own
    both = told.poses_mm(torch.cat([rays, rays]), [6, 6], np.array([0.25, 0.1]))[1]
    # a batch's sums may go in another order on another processor: to a hundredth of a millimetre
    torch.testing.assert_close(both, torch.cat([slower, usual]), atol=0.01, rtol=0)
    direct = told(rays[None], torch.tensor([0.25]))[1]
    torch.testing.assert_close(direct[0] / 0.0035, slower, atol=0.01, rtol=0)


def test_what_is_told_is_trained(told: Mixste) -> None:
    _, pose = told(_rays(12).view(2, 6, 17, 2), torch.tensor([0.05, 0.15]))
    pose.square().sum().backward()
    assert told.step_entry is not None
    assert told.step_entry.weight.grad is not None
    assert told.step_entry.weight.grad.abs().sum() > 0
    told.zero_grad()


def test_a_config_of_before_there_were_time_steps_builds_the_same_network() -> None:
    earlier = {"kind": "mixste", "frames": 6, "width": 16, "depth": 2, "n_heads": 2}
    config = MixsteConfig.model_validate(earlier)
    assert (config.time_step, config.step_s) == ("fixed", None)
    names = dict(Mixste(config).named_parameters()).keys()
    assert not [name for name in names if "step" in name]
