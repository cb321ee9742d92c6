"""The person in the middle of the view: a camera turned to look straight at them.

Where in the picture a person stands changes the picture by a rotation of the camera alone; a
network that sees them turned into the middle need not learn that. What size they have there (in
rays) says how near they are in terms of their own height, and how strong the perspective is.

Axis legend: B sets, ... further axes (frames of a window), J joints.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# A person who covers so little of the view says nothing; the rays of all joints in one point.
_LEAST_SIZE = 1e-3
# log(size) of usual pictures is about this, and varies by half.
_USUAL_LOG_SIZE = -1.8
N_INPUTS = 5  # of inputs(), per joint


class PersonView(NamedTuple):
    """Rays as the turned camera sees them.

    Attributes:
        rotation: (B, 3, 3), from the turned camera's frame to the camera's.
        rays: (B, ..., J, 2), of the turned camera.
        size: (B,), root mean square distance of the rays from their middle.
    """

    rotation: Tensor
    rays: Tensor
    size: Tensor

    def inputs(self, root: int) -> Tensor:
        """Return what a network reads per joint, (B, ..., J, 5), each near unit variance.

        Place about the root in units of the size (2), place in the view (2), the size (1).
        """
        axes = self.rays.dim() - 1
        size = self.size.view(-1, *[1] * axes)
        relative = (self.rays - self.rays[..., root : root + 1, :]) / size
        told = ((size.log() - _USUAL_LOG_SIZE) * 2.0).expand(*self.rays.shape[:-1], 1)
        return torch.cat([relative, 4.0 * self.rays, told], dim=-1)

    def to_camera(self, poses: Tensor) -> Tensor:
        """Return poses (B, ..., J, 3) of the turned camera's frame in the camera's."""
        return torch.einsum("bij,b...j->b...i", self.rotation, poses)


def person_view(rays: Tensor) -> PersonView:
    """Turn the camera to a person.

    One rotation for everything of a set: within a window of frames movement stays movement.

    Args:
        rays: (B, ..., J, 2), x/z and y/z.
    """
    flat = rays.flatten(1, -2)
    rotation = _rotation_to(flat.mean(dim=1))
    along = torch.cat([flat, torch.ones_like(flat[..., :1])], dim=-1)
    turned = torch.einsum("bij,bni->bnj", rotation, along)
    # behind the turned camera is nobody: at 0.05 rays are 20 long, wider than any lens sees
    straight = turned[..., :2] / turned[..., 2:].clamp_min(0.05)
    about = straight - straight.mean(dim=1, keepdim=True)
    size = about.square().sum(dim=-1).mean(dim=1).clamp_min(_LEAST_SIZE**2).sqrt()
    return PersonView(rotation, straight.view(rays.shape), size)


def _rotation_to(rays: Tensor) -> Tensor:
    """Return the smallest rotations (B, 3, 3) that turn the optical axis onto rays (B, 2)."""
    length = (1 + rays.square().sum(dim=-1)).sqrt()
    x, y, z = rays[:, 0] / length, rays[:, 1] / length, 1 / length
    share = 1 / (1 + z)
    rows = [1 - share * x * x, -share * x * y, x, -share * x * y, 1 - share * y * y, y, -x, -y, z]
    return torch.stack(rows, dim=-1).view(-1, 3, 3)
