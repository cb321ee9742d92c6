"""A detector's claims in the camera's own angles, free of pixels and focal length.

The networks and the root solver read these; mirrored() serves training augmentation.
Axis legend: B rows, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffpose.model.geometry import camera as cam
from diffpose.model.geometry.skeleton import MIRROR

# Space of h: root-relative camera-frame metres times 3.5 has about unit variance.
POSE_SCALE_PER_MM = 0.0035
N_CONDITION_VALUES = 9  # what condition() says of a joint: see there
# Two-mode joints say little about where the person stands.
TWO_MODE_WEIGHT = 0.3


@dataclass(frozen=True)
class Detections:
    """Ray-space detections of B frames (x/z, y/z; standard deviations in the same unit).

    Attributes:
        rays: (B, J, 2), the detected keypoints.
        first_mode, second_mode: (B, J, 3): x, y, sigma.
        second_weight: (B, J), share of probability in the second mode.
        detected_mm: (B, J, 3), a pose that the detector gives itself, root-relative, camera frame,
            NaN in frames without one; None: it gives none.
    """

    rays: Tensor
    first_mode: Tensor
    second_mode: Tensor
    second_weight: Tensor
    detected_mm: Tensor | None = None

    @staticmethod
    def from_pixels(keypoints_px: Tensor, modes: Tensor, camera: Tensor) -> Detections:
        """Convert keypoints (B, J, 2) and heatmap modes (B, J, 7), px, by intrinsics (B, 4)."""
        focal = camera[:, None, 0:2].mean(dim=-1)

        def to_rays(mode: Tensor) -> Tensor:
            place = cam.rays_from_pixels(mode[..., :2], camera)
            return torch.cat([place, (mode[..., 2] / focal)[..., None]], dim=-1)

        return Detections(
            cam.rays_from_pixels(keypoints_px, camera),
            to_rays(modes[..., 0:3]),
            to_rays(modes[..., 3:6]),
            modes[..., 6],
        )

    def to(self, device: torch.device) -> Detections:
        """Return the same claims on a device."""
        return Detections(
            self.rays.to(device),
            self.first_mode.to(device),
            self.second_mode.to(device),
            self.second_weight.to(device),
            None if self.detected_mm is None else self.detected_mm.to(device),
        )

    def rows(self, part: slice) -> Detections:
        """Return some of the frames."""
        return Detections(
            self.rays[part],
            self.first_mode[part],
            self.second_mode[part],
            self.second_weight[part],
            None if self.detected_mm is None else self.detected_mm[part],
        )

    def mirrored(self, which: Tensor) -> Detections:
        """Exchange left and right in the rows where ``which`` (B,) is true."""
        device = self.rays.device
        sign2 = torch.tensor([-1.0, 1.0], device=device)
        sign3 = torch.tensor([-1.0, 1.0, 1.0], device=device)
        return Detections(
            _swap(self.rays, sign2, which),
            _swap(self.first_mode, sign3, which),
            _swap(self.second_mode, sign3, which),
            torch.where(which[:, None], self.second_weight[:, MIRROR], self.second_weight),
            None if self.detected_mm is None else mirrored_poses(self.detected_mm, which),
        )

    def trust(self) -> Tensor:
        """Return the weight of each joint when the root translation is solved, (B, J)."""
        weight = 1.0 / self.first_mode[..., 2].clamp_min(1e-3)
        return torch.where(self.second_weight > 0.05, TWO_MODE_WEIGHT * weight, weight)

    def translation_mm(self, bridge_mm: Tensor) -> Tensor:
        """Return the root position (B, 3) that puts the bridging poses (B, J, 3) onto the rays."""
        return cam.solve_root_translation(bridge_mm, self.rays, self.trust())


def mirrored_poses(poses: Tensor, which: Tensor) -> Tensor:
    """Mirror poses (B, J, 3) of the camera frame in the rows where ``which`` (B,) is true."""
    return _swap(poses, torch.tensor([-1.0, 1.0, 1.0], device=poses.device), which)


def condition(detections: Detections, bridge_mm: Tensor, translation_mm: Tensor) -> Tensor:
    """Tell the denoiser what the heatmaps say (a departure from the paper that carries the gain).

    Per joint, in the space of h: the first mode put into space at the bridging pose's depth (3),
    the way from the first to the second mode (2), the second mode's weight (1), both modes' widths
    (2), and whether there is a second mode at all (1; its numbers are 0 where there is none).

    Args:
        detections: B frames.
        bridge_mm: (B, J, 3), the context encoder's pose.
        translation_mm: (B, 3), its root translation.

    Returns:
        (B, J, 9).
    """
    z = bridge_mm[..., 2]
    first = cam.back_project(detections.first_mode[..., :2], z, translation_mm)
    second = cam.back_project(detections.second_mode[..., :2], z, translation_mm)
    depth = (z + translation_mm[..., None, 2])[..., None]
    weight = detections.second_weight[..., None]
    present = (weight > 0.02).to(z.dtype)
    widths_mm = depth * torch.cat(
        [detections.first_mode[..., 2:], detections.second_mode[..., 2:] * present], dim=-1
    )
    between = (second - first)[..., :2]
    return torch.cat(
        [
            first * POSE_SCALE_PER_MM,
            between * present * POSE_SCALE_PER_MM,
            2.0 * weight,
            # widths are some 20 mm where poses spread over 300 mm
            widths_mm * (3.0 * POSE_SCALE_PER_MM),
            (present - 0.5) * 2.0,
        ],
        dim=-1,
    )


def _swap(values: Tensor, sign: Tensor, which: Tensor) -> Tensor:
    flipped = values[:, list(MIRROR)] * sign
    return torch.where(which[:, None, None], flipped, values)
