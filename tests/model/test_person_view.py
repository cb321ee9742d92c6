"""The view turned onto the person: exact geometry, and encoders that answer alike anywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from diffpose.model.geometry.person_view import PersonView, directions, turn_onto
from diffpose.model.geometry.skeleton import MIRROR, ROOT
from diffpose.model.networks.graformer import Graformer, GraformerConfig
from diffpose.model.networks.mixste import Mixste, MixsteConfig
from diffpose.model.observations.detections import Detections, mirrored_poses

FRAMES = 5
Encoder = Callable[[Tensor], tuple[Tensor, Tensor]]


def people(n: int, seed: int = 0) -> Tensor:
    """Return rays (n, 17, 2) of random people some metres away and off the middle."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(n, 17, 3, generator=generator, dtype=torch.float64) * 0.35
    place = torch.tensor([1.2, -0.7, 4.0], dtype=torch.float64)
    points = points + place * (0.5 + torch.rand(n, 1, 1, generator=generator).double())
    return points[..., :2] / points[..., 2:]


def rotated(rays: Tensor, rotation: Tensor) -> Tensor:
    """Return rays (..., 17, 2) seen after the people went around the camera by a (3, 3)."""
    turned = directions(rays) @ rotation.T
    return turned[..., :2] / turned[..., 2:]


def encoder(kind: str, inputs: str = "person") -> Encoder:
    torch.manual_seed(3)
    network: Graformer | Mixste
    if kind == "graformer":
        network = Graformer(GraformerConfig(width=16, n_blocks=2, inputs=inputs))
    else:
        network = Mixste(MixsteConfig(frames=FRAMES, width=16, depth=2, n_heads=2, inputs=inputs))
    return network.double().eval()


def seen_by(kind: str, seed: int = 0) -> Tensor:
    """Return frames (6, 17, 2) or windows (6, T, 17, 2), as the encoder wants them."""
    if kind == "graformer":
        return people(6, seed)
    start = people(6, seed)[:, None]
    generator = torch.Generator().manual_seed(seed + 1)
    steps = 0.01 * torch.randn(6, FRAMES, 17, 2, generator=generator, dtype=torch.float64)
    return start + steps.cumsum(dim=1)


def test_the_rotation_takes_the_axis_to_the_direction_and_its_transpose_takes_it_back() -> None:
    d = directions(people(50)[:, 0])
    turn = turn_onto(d)
    axis = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert torch.allclose(turn @ axis, d, atol=1e-12)
    assert torch.allclose(turn @ turn.mT, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(torch.linalg.det(turn), torch.ones(50, dtype=torch.float64), atol=1e-12)
    # the smallest angle is that between axis and direction
    angle = torch.arccos((turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1.0) / 2.0)
    assert torch.allclose(angle, torch.arccos(d[:, 2]), atol=1e-9)


def test_poses_and_rays_turned_back_are_those_of_the_camera() -> None:
    rays = people(8)
    view = PersonView.of(rays)
    back = view.back(torch.cat([view.rays, torch.ones_like(view.rays[..., :1])], dim=-1))
    assert torch.allclose(back[..., :2] / back[..., 2:], rays, atol=1e-12)


@pytest.mark.parametrize("kind", ["graformer", "mixste"])
def test_a_person_moved_around_the_camera_has_the_same_pose_turned_with_it(kind: str) -> None:
    encode = encoder(kind)
    centred = PersonView.of(seen_by(kind)).rays
    features, pose = encode(centred)
    aside = torch.nn.functional.normalize(torch.tensor([0.5, -0.3, 1.0]).double(), dim=0)
    turn = turn_onto(aside)
    features_aside, pose_aside = encode(rotated(centred, turn))
    assert torch.allclose(pose_aside, pose @ turn.T, atol=1e-9)
    assert torch.allclose(features_aside, features, atol=1e-9)
    assert pose.abs().max() > 1e-3
    assert not torch.allclose(pose_aside, pose, atol=1e-3)


@pytest.mark.parametrize("kind", ["graformer", "mixste"])
def test_without_the_turned_view_the_moved_person_has_another_pose(kind: str) -> None:
    encode = encoder(kind, "rays_and_relative")
    centred = PersonView.of(seen_by(kind)).rays
    turn = turn_onto(torch.nn.functional.normalize(torch.tensor([0.5, -0.3, 1.0]).double(), dim=0))
    assert not torch.allclose(
        encode(rotated(centred, turn))[1], encode(centred)[1] @ turn.T, atol=1e-3
    )


@pytest.mark.parametrize("kind", ["graformer", "mixste"])
def test_the_answer_is_relative_to_the_root(kind: str) -> None:
    _, pose = encoder(kind)(seen_by(kind))
    assert torch.equal(pose[..., ROOT, :], torch.zeros_like(pose[..., ROOT, :]))


def test_a_person_exactly_in_the_middle_needs_no_rotation() -> None:
    view = PersonView.of(torch.zeros(2, 17, 2, dtype=torch.float64))
    assert torch.equal(view.rotation, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))
    again = PersonView.of(PersonView.of(people(4)).rays)
    eye = torch.eye(3, dtype=torch.float64).expand(4, 3, 3)
    assert torch.allclose(again.rotation, eye, atol=1e-12)


def test_the_view_of_mirrored_detections_is_the_mirrored_view() -> None:
    rays = people(7)
    zeros = torch.zeros(7, 17, 3, dtype=torch.float64)
    every = torch.ones(7, dtype=torch.bool)
    seen = Detections(rays, zeros, zeros, zeros[..., 0])
    view, mirrored = PersonView.of(rays), PersonView.of(seen.mirrored(every).rays)
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    assert torch.allclose(mirrored.rotation, mirror @ view.rotation @ mirror, atol=1e-12)
    flipped = view.rays[:, list(MIRROR)] * torch.tensor([-1.0, 1.0])
    assert torch.allclose(mirrored.rays, flipped, atol=1e-12)
    assert torch.allclose(mirrored.size, view.size, atol=1e-12)
    poses = torch.randn(7, 17, 3, dtype=torch.float64)
    assert torch.allclose(
        mirrored.back(mirrored_poses(poses, every)), mirrored_poses(view.back(poses), every)
    )


def test_a_window_keeps_how_the_person_moves_across_it() -> None:
    still = PersonView.of(people(1)).rays
    steps = torch.linspace(-0.05, 0.05, FRAMES, dtype=torch.float64)
    turns = [
        turn_onto(torch.nn.functional.normalize(torch.tensor([s, 0.0, 1.0]).double(), dim=0))
        for s in steps.tolist()
    ]
    window = torch.stack([rotated(still, turn)[0] for turn in turns])[None]
    view = PersonView.of(window)
    hip = view.rays[0, :, ROOT, 0]
    assert torch.allclose(hip.diff(), steps.diff(), rtol=0.05)


@pytest.mark.parametrize("kind", ["graformer", "mixste"])
def test_detections_all_on_one_spot_give_finite_poses_and_gradients(kind: str) -> None:
    rays = torch.full_like(seen_by(kind), 0.25).requires_grad_()
    encode = encoder(kind)
    features, pose = encode(rays)
    (pose.square().sum() + features.square().sum()).backward()
    assert torch.isfinite(pose).all()
    assert torch.isfinite(features).all()
    assert rays.grad is not None
    assert torch.isfinite(rays.grad).all()


def test_gradients_are_those_of_finite_differences() -> None:
    rays = people(2).requires_grad_()

    def answer(seen: Tensor) -> Tensor:
        view = PersonView.of(seen)
        return view.back(view.inputs(ROOT)[..., :3])

    assert torch.autograd.gradcheck(answer, (rays,))


def test_apparent_size_falls_with_distance() -> None:
    points = torch.randn(17, 3, dtype=torch.float64) * 0.3
    near, far = (points + torch.tensor([0.0, 0.0, z]) for z in (6.0, 12.0))
    sizes = PersonView.of(torch.stack([p[:, :2] / p[:, 2:] for p in (near, far)])).size
    assert 1.8 < float(sizes[0] / sizes[1]) < 2.2
