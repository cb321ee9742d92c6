"""Pinhole cameras in torch: rays, and the bridge from pixels to metres (pinhole.py: the rest).

Camera frame: x right, y down, z forward. Intrinsics are one vector ``(fx, fy, cx, cy)`` in pixels.
World frame: right-handed, z up.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Where a degenerate 2D pose (all joints on one spot) would put the person.
MIN_DEPTH_MM, MAX_DEPTH_MM = 300.0, 100_000.0


def rays_from_pixels(points_px: Tensor, camera: Tensor) -> Tensor:
    """Return the rays x/z, y/z of pixels.

    Args:
        points_px: (..., J, 2).
        camera: (..., 4), intrinsics in pixels; leading axes as those of the points.
    """
    return (points_px - camera[..., None, 2:4]) / camera[..., None, 0:2]


def solve_root_translation(pose_mm: Tensor, rays: Tensor, weights: Tensor) -> Tensor:
    """Find where a root-relative pose must stand so that it projects onto the given rays.

    Least squares over the 2J equations ``(p_j + T)_xy = u_j (p_jz + T_z)``, in closed form:
    T_x and T_y are eliminated through weighted means, T_z is then one division.

    Args:
        pose_mm: (B, J, 3), root-relative, camera frame.
        rays: (B, J, 2).
        weights: (B, J), for instance 1/sigma of the detections.

    Returns:
        T in mm, (B, 3); T_z is kept within 0.3 m and 100 m.
    """
    share = (weights / weights.sum(dim=-1, keepdim=True))[..., None]
    offset = rays * pose_mm[..., 2:3] - pose_mm[..., :2]
    mean_ray = (share * rays).sum(dim=-2, keepdim=True)
    mean_offset = (share * offset).sum(dim=-2, keepdim=True)
    centred = rays - mean_ray
    covariance = (share * centred * (offset - mean_offset)).sum(dim=(-1, -2))
    variance = (share * centred * centred).sum(dim=(-1, -2))
    depth = -covariance / variance.clamp_min(torch.finfo(rays.dtype).tiny)
    depth = depth.nan_to_num(MAX_DEPTH_MM).clamp(MIN_DEPTH_MM, MAX_DEPTH_MM)
    across = mean_ray[..., 0, :] * depth[..., None] + mean_offset[..., 0, :]
    return torch.cat([across, depth[..., None]], dim=-1)


def back_project(rays: Tensor, z_mm: Tensor, translation_mm: Tensor) -> Tensor:
    """Put rays and root-relative depths into root-relative camera space.

    ``x = u (z + T_z) - T_x`` and the same for y (the inverse of the projection).

    Args:
        rays: (..., J, 2).
        z_mm: (..., J), depth relative to the root.
        translation_mm: (..., 3), root position; leading axes as those of the rays.

    Returns:
        (..., J, 3) in mm.
    """
    depth = z_mm + translation_mm[..., None, 2]
    across = rays * depth[..., None] - translation_mm[..., None, :2]
    return torch.cat([across, z_mm[..., None]], dim=-1)
