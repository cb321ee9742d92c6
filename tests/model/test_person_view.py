"""Encoders that see the person turned into the middle of the view."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from diffpose.model.geometry.person_view import person_view
from diffpose.model.geometry.skeleton import MIRROR
from diffpose.model.networks.graformer import Graformer, GraformerConfig
from diffpose.model.networks.mixste import Mixste, MixsteConfig


def people(n: int, frames: int = 1) -> Tensor:
    """Points (n, frames, 17, 3) of people 4 m away, somewhere in the view, double precision."""
    generator = torch.Generator().manual_seed(3)
    place = torch.rand((n, 1, 1, 3), generator=generator, dtype=torch.float64)
    place = place * torch.tensor([2.0, 1.0, 1.0]) + torch.tensor([-1.0, -0.5, 3.5])
    return place + 0.3 * torch.randn((n, frames, 17, 3), generator=generator, dtype=torch.float64)


def rays_of(points: Tensor) -> Tensor:
    return points[..., :2] / points[..., 2:]


def graformer() -> Graformer:
    torch.manual_seed(0)
    return Graformer(GraformerConfig(width=16, n_blocks=2, inputs="person")).double().eval()


def mixste() -> Mixste:
    torch.manual_seed(0)
    config = MixsteConfig(frames=5, width=16, depth=2, n_heads=2, inputs="person")
    return Mixste(config).double().eval()


def test_the_person_is_in_the_middle_and_the_rotation_is_one() -> None:
    rays = rays_of(people(20))
    view = person_view(rays)
    identity = torch.eye(3, dtype=torch.float64).expand(20, 3, 3)
    torch.testing.assert_close(view.rotation @ view.rotation.mT, identity)
    assert (torch.linalg.det(view.rotation) > 0.99).all()
    middle = rays.flatten(1, 2).mean(dim=1)
    straight = torch.einsum(
        "bij,bi->bj", view.rotation, torch.cat([middle, torch.ones(20, 1)], dim=-1)
    )
    torch.testing.assert_close(straight[:, :2], torch.zeros(20, 2, dtype=torch.float64))
    # turned points seen anew are the rays of the view
    points = torch.einsum("bij,bfki->bfkj", view.rotation, people(20))
    torch.testing.assert_close(rays_of(points), view.rays)
    torch.testing.assert_close(view.to_camera(points), people(20))


@pytest.mark.parametrize("windows", [False, True])
def test_turning_the_camera_turns_the_answer(windows: bool) -> None:
    # A person seen straight ahead, and the same after the camera was turned about its centre.
    points = people(1, 5 if windows else 1)
    ahead = torch.einsum("bij,bfki->bfkj", person_view(rays_of(points)).rotation, points)
    ahead = torch.einsum("bij,bfki->bfkj", person_view(rays_of(ahead)).rotation, ahead)
    network = mixste() if windows else graformer()

    def answer(seen: Tensor) -> Tensor:
        rays = rays_of(seen)
        pose: Tensor = network(rays if windows else rays[:, 0])[1]
        return pose.reshape(-1, 3)

    # the middle of the rays moves a little with perspective: a hundredth of the turn
    middle = person_view(rays_of(ahead)).rotation[0]
    for angle in (10.0, -25.0):
        turn = torch.from_numpy(Rotation.from_euler("y", angle, degrees=True).as_matrix())
        turned = ahead @ turn.T
        rest = person_view(rays_of(turned)).rotation[0].T @ turn @ middle
        small = Rotation.from_matrix(rest.numpy()).magnitude()
        assert small < 0.03
        difference = answer(turned) - answer(ahead) @ turn.T
        assert difference.norm() < 0.1 * answer(ahead).norm()
    assert (answer(ahead @ turn.T) - answer(ahead)).norm() > 0.1 * answer(ahead).norm()


@pytest.mark.parametrize("windows", [False, True])
def test_the_mirrored_view_is_the_view_of_the_mirrored(windows: bool) -> None:
    rays = rays_of(people(6, 5 if windows else 1))
    image = rays[..., list(MIRROR), :] * torch.tensor([-1.0, 1.0])
    plain, mirrored = person_view(rays), person_view(image)
    torch.testing.assert_close(
        mirrored.rays, plain.rays[..., list(MIRROR), :] * torch.tensor([-1.0, 1.0])
    )
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(mirrored.rotation, flip @ plain.rotation @ flip)
    torch.testing.assert_close(mirrored.size, plain.size)


@pytest.mark.parametrize("network", [graformer(), mixste()])
def test_rays_in_one_point_or_far_aside_give_finite_answers(network: Graformer | Mixste) -> None:
    for value in (0.0, 0.3, 50.0):
        rays = torch.full((2, 17, 2), value, dtype=torch.float64)
        rays[1, 3] = -40.0
        seen = rays if network.frames == 1 else rays[:, None].expand(2, 5, 17, 2)
        for part in network(seen):
            assert torch.isfinite(part).all()


def test_answers_can_be_learnt() -> None:
    network = graformer().train()
    rays = rays_of(people(8))[:, 0].requires_grad_()
    network(rays)[1].square().sum().backward()
    assert rays.grad is not None
    assert torch.isfinite(rays.grad).all()
    assert all(p.grad is not None for p in network.parameters())
