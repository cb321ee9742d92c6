"""The view turned so that the person stands in its middle, and how large the person looks there.

A pinhole camera turned about its own centre sees the same person from the same place: only the
rays x/z, y/z change, and with them what a network has to learn. Turned onto the person, one pose at
one distance looks alike wherever in the picture it was (compare Wei et al., "View Invariant 3D
Human Pose Estimation", TCSVT 2019). Frames: the camera's, x right, y down, z forward; poses of the
turned view go back by the rotation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffpose.model.geometry.skeleton import JOINT_NAMES

# Limbs reach far and are misdetected; these are neither, and mirroring maps them to each other.
_TRUNK_NAMES = ("Hip", "RHip", "LHip", "Spine", "Thorax", "LShoulder", "RShoulder")
TRUNK: tuple[int, ...] = tuple(JOINT_NAMES.index(name) for name in _TRUNK_NAMES)
# Rays further than some 87 degrees off the person come from nowhere; they stay finite.
_LEAST_DEPTH = 0.05
# Below what a person 100 m away shows: only degenerate detections meet it.
_LEAST_SIZE = 1e-3
N_INPUTS = 5  # of inputs(), per joint
# A person 4 m away: brings the logarithm near 0.
_USUAL_SIZE = 0.12


def directions(rays: Tensor) -> Tensor:
    """Return the unit vectors (..., 3) of rays (..., 2), x/z and y/z."""
    ones = torch.ones_like(rays[..., :1])
    return torch.nn.functional.normalize(torch.cat([rays, ones], dim=-1), dim=-1)


def turn_onto(direction: Tensor) -> Tensor:
    """Return the rotation of smallest angle that takes the optical axis (0, 0, 1) to a direction.

    Rodrigues' formula about (0, 0, 1) x d, where sine and cosine cancel: smooth everywhere but
    straight behind the camera. Mirrored directions give the mirrored rotation M R M.

    Args:
        direction: (..., 3), of length 1.

    Returns:
        (..., 3, 3), R; R @ p takes a point of the turned view to the camera's frame.
    """
    x, y, z = direction.unbind(dim=-1)
    share = 1.0 / (1.0 + z)
    rows = [
        torch.stack([1.0 - x * x * share, -x * y * share, x], dim=-1),
        torch.stack([-x * y * share, 1.0 - y * y * share, y], dim=-1),
        torch.stack([-x, -y, z], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


@dataclass(frozen=True)
class PersonView:
    """A view turned onto the person, for each of B frames or for all T frames of B windows.

    Attributes:
        rotation: (B, 3, 3), turned view -> camera.
        rays: (B, 17, 2) or (B, T, 17, 2), the same rays in the turned view.
        size: (B,), apparent size: root mean square distance of the turned rays from the middle of
            their frame, in the rays' unit; at least 0.001.
    """

    rotation: Tensor
    rays: Tensor
    size: Tensor

    @staticmethod
    def of(rays: Tensor) -> PersonView:
        """Turn the view onto the mean direction of the trunk.

        The mean of directions, not of x/z and y/z: it turns with the camera. A window has one
        rotation and one size for all its frames, since a view that followed the person from frame
        to frame would hide how the person moves and comes nearer. A camera that is turned by more
        than needed to look at the person leaves a roll about the line of sight.

        Args:
            rays: (B, 17, 2), frames, or (B, T, 17, 2), windows; x/z and y/z.
        """
        windows = rays if rays.dim() == 4 else rays[:, None]
        toward = directions(windows)
        middle = toward[:, :, TRUNK].mean(dim=(1, 2))
        rotation = turn_onto(torch.nn.functional.normalize(middle, dim=-1))
        turned = torch.einsum("btji,bik->btjk", toward, rotation)  # R^T of each direction
        turned = turned[..., :2] / turned[..., 2:].clamp_min(_LEAST_DEPTH)
        centred = turned - turned.mean(dim=2, keepdim=True)
        squared = centred.square().sum(dim=-1).mean(dim=(1, 2))
        size = (squared + _LEAST_SIZE**2).sqrt()
        return PersonView(rotation, turned.view(rays.shape), size)

    def inputs(self, root: int) -> Tensor:
        """Return what a network is told of each joint.

        The rays about the root over the apparent size (2), 4 x the turned rays (2) and twice the
        logarithm of the apparent size (1): perspective is stronger near.

        Returns:
            (B, 17, 5) or (B, T, 17, 5), each part near unit variance.
        """
        size = self.size.view(-1, *(1,) * (self.rays.dim() - 1))
        relative = (self.rays - self.rays[..., root : root + 1, :]) / size
        near = (2.0 * (size / _USUAL_SIZE).log()).expand_as(self.rays[..., :1])
        return torch.cat([relative, 4.0 * self.rays, near], dim=-1)

    def back(self, poses: Tensor) -> Tensor:
        """Turn poses of the turned view, (B, 17, 3) or (B, T, 17, 3), into the camera's frame."""
        return torch.einsum("bik,b...k->b...i", self.rotation, poses)
