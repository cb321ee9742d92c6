"""H_K: the uncertain 3D pose that heatmaps (x, y) and a depth prior (z) describe (Sec. 4.1).

Pixels and millimetres are brought into one space by a bridging pose: its root translation T is
solved from the detections (camera.solve_root_translation), then a draw (u, z) becomes
``x = u (z + T_z) - T_x``. The detected root is never subtracted: its heatmap noise would be added
to every joint. The root itself is 0 by definition.

Axis legend: B rows, S draws, J joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffpose.model.geometry import camera as cam
from diffpose.model.geometry.skeleton import N_JOINTS, ROOT
from diffpose.model.heatmaps import grid as hm
from diffpose.model.heatmaps.sampling import place_in_space, sample_bins, sample_normal
from diffpose.model.observations.detections import Detections
from diffpose.model.observations.timing import frame_steps_s


@dataclass(frozen=True)
class Observations:
    """What a 2D detector says of B frames; everything H_K and the networks need of them.

    Attributes:
        heatmaps: (B, 17, 64, 48) uint8, or None where only their summary is needed.
        crops: (B, 4) px, heatmaps.py.
        keypoints_px: (B, 17, 2).
        modes: (B, 17, 7), heatmaps.summarise.
        camera: (B, 4) intrinsics in px.
        time_s: (B,), when each frame was taken, in s from any moment; NaN where that is not known,
            None where it is of no frame. Encoders of windows look at it.
        detected_mm: (B, 17, 3), the detector's own pose (Detections), or None.
    """

    heatmaps: NDArray[np.uint8] | None
    crops: NDArray[np.float32]
    keypoints_px: NDArray[np.float32]
    modes: NDArray[np.float32]
    camera: NDArray[np.float32]
    time_s: NDArray[np.float64] | None = None
    detected_mm: NDArray[np.float32] | None = None

    @staticmethod
    def from_heatmaps(
        heatmaps: NDArray[np.uint8], crops: NDArray[np.float32], camera: NDArray[np.float32]
    ) -> Observations:
        """Summarise heatmaps (B, 17, 64, 48) with crops (B, 4) and intrinsics (B, 4)."""
        keypoints, _, modes = hm.summarise(heatmaps, crops)
        return Observations(heatmaps, crops, keypoints, modes, camera)

    @staticmethod
    def from_keypoints(
        keypoints_px: NDArray[np.floating],
        camera: NDArray[np.floating],
        *,
        sigma_px: NDArray[np.floating] | None = None,
        sigma_cells: NDArray[np.floating] | None = None,
    ) -> Observations:
        """Make round Gaussian heatmaps around keypoints that come without any.

        Args:
            keypoints_px: (B, 17, 2).
            camera: (B, 4).
            sigma_px: (B, 17), standard deviations; or
            sigma_cells: (17,), the same in heatmap cells of each frame's person crop.

        Raises:
            ValueError: not exactly one of the two widths is given.
        """
        if (sigma_px is None) == (sigma_cells is None):
            raise ValueError("Give exactly one of sigma_px and sigma_cells.")
        crops = hm.crop_around(keypoints_px)
        if sigma_px is None:
            sigma_px = np.asarray(sigma_cells)[None] * crops[:, 2:3]
        heatmaps = hm.rasterise(
            keypoints_px[:, :, None],
            np.asarray(sigma_px)[:, :, None],
            np.ones((*keypoints_px.shape[:2], 1)),
            crops,
        )
        return Observations.from_heatmaps(heatmaps, crops, camera.astype(np.float32))

    @staticmethod
    def joined(parts: Sequence[Observations]) -> Observations:
        """Put the frames of several parts one after the other; heatmaps if all have them."""
        heatmaps = [part.heatmaps for part in parts if part.heatmaps is not None]
        return Observations(
            np.concatenate(heatmaps) if len(heatmaps) == len(parts) else None,
            np.concatenate([part.crops for part in parts]),
            np.concatenate([part.keypoints_px for part in parts]),
            np.concatenate([part.modes for part in parts]),
            np.concatenate([part.camera for part in parts]),
            _joined_times(parts),
            _joined_poses(parts),
        )

    def __len__(self) -> int:
        return len(self.keypoints_px)

    def detections(self) -> Detections:
        """Return the same claims in ray space."""
        found = Detections.from_pixels(
            torch.from_numpy(self.keypoints_px),
            torch.from_numpy(self.modes),
            torch.from_numpy(self.camera),
        )
        if self.detected_mm is None:
            return found
        return replace(found, detected_mm=torch.from_numpy(self.detected_mm))

    def steps_s(self, lengths: Sequence[int] | None) -> NDArray[np.float64] | None:
        """Return the time between frames of each sequence: see timing.frame_steps_s."""
        return frame_steps_s(self.time_s, lengths)


def take_rows(observations: Observations, which: slice | NDArray[np.bool_]) -> Observations:
    """Return some of the frames, by range or by mask."""
    heatmaps = observations.heatmaps
    return Observations(
        None if heatmaps is None else heatmaps[which],
        observations.crops[which],
        observations.keypoints_px[which],
        observations.modes[which],
        observations.camera[which],
        None if observations.time_s is None else observations.time_s[which],
        None if observations.detected_mm is None else observations.detected_mm[which],
    )


def _joined_times(parts: Sequence[Observations]) -> NDArray[np.float64] | None:
    if all(part.time_s is None for part in parts):
        return None
    return np.concatenate(
        [np.full(len(part), np.nan) if part.time_s is None else part.time_s for part in parts]
    )


def _joined_poses(parts: Sequence[Observations]) -> NDArray[np.float32] | None:
    """Return the parts' own poses, NaN in those without any; None where no part has one."""
    if all(part.detected_mm is None for part in parts):
        return None
    unknown = [np.full((len(part), N_JOINTS, 3), np.nan, dtype=np.float32) for part in parts]
    return np.concatenate(
        [
            blank if part.detected_mm is None else part.detected_mm
            for part, blank in zip(parts, unknown, strict=True)
        ]
    )


class DepthPrior(Protocol):
    """Where z comes from."""

    def sample(
        self, bridge_mm: Tensor, n_draws: int, seeds: NDArray[np.uint64]
    ) -> NDArray[np.float32]:
        """Return z draws in mm, (B, 17, S), for frames with bridging poses (B, 17, 3), seeds (B,).

        A frame's draws depend on its pose and its seed alone.
        """
        ...

    def mean(self, bridge_mm: Tensor) -> Tensor:
        """Return the prior's mean z in mm, (B, 17)."""
        ...


@dataclass(frozen=True)
class EncoderDepth:
    """z ~ N(the context encoder's z, its held-out spread per joint).

    Attributes:
        sigma_mm: (17,), root mean square error of the encoder's z on held-out poses.
    """

    sigma_mm: Tensor

    def sample(
        self, bridge_mm: Tensor, n_draws: int, seeds: NDArray[np.uint64]
    ) -> NDArray[np.float32]:
        """Draw around the bridging pose's z, which is the encoder's."""
        mean = bridge_mm[..., 2].numpy()
        draws = np.empty((*mean.shape, n_draws), dtype=np.float32)
        sample_normal(mean, self.sigma_mm.double().numpy(), seeds, draws)
        return draws

    def mean(self, bridge_mm: Tensor) -> Tensor:
        """Return the encoder's z."""
        return bridge_mm[..., 2]


@dataclass(frozen=True)
class HistogramDepth:
    """z by its frequency in the training poses, joint by joint.

    Attributes:
        edges_mm: (17, n_bins + 1), increasing.
        counts: (17, n_bins).
    """

    edges_mm: Tensor
    counts: Tensor

    @staticmethod
    def from_poses(poses_mm: NDArray[np.floating], n_bins: int = 50) -> HistogramDepth:
        """Count the z of training poses (n, 17, 3), root-relative camera frame, mm."""
        edges, counts = [], []
        for z in np.asarray(poses_mm, dtype=np.float64)[..., 2].T:
            n, e = np.histogram(z, bins=n_bins, range=(z.min() - 0.5, z.max() + 0.5))
            edges.append(e)
            counts.append(n.astype(np.float64))
        return HistogramDepth(torch.tensor(np.array(edges)), torch.tensor(np.array(counts)))

    def sample(
        self, bridge_mm: Tensor, n_draws: int, seeds: NDArray[np.uint64]
    ) -> NDArray[np.float32]:
        """Draw bins by frequency, then evenly within the bin; the bridging pose plays no part."""
        draws = np.empty((len(bridge_mm), len(self.counts), n_draws), dtype=np.float32)
        cumulative = self.counts.double().cumsum(dim=1).numpy()
        sample_bins(self.edges_mm.double().numpy(), cumulative, seeds, draws)
        return draws

    def mean(self, bridge_mm: Tensor) -> Tensor:
        """Return the mean z per joint."""
        centres = (self.edges_mm[:, :-1] + self.edges_mm[:, 1:]) / 2
        z = (centres * self.counts).sum(dim=1) / self.counts.sum(dim=1)
        return z.to(torch.float32).expand(len(bridge_mm), -1)


def sample_poses(
    observations: Observations,
    bridge_mm: Tensor,
    depth: DepthPrior,
    n_draws: int,
    seeds: NDArray[np.uint64],
    *,
    stratified: bool = False,
) -> Tensor:
    """Draw poses from H_K.

    Args:
        observations: B frames with heatmaps.
        bridge_mm: (B, 17, 3), the bridging pose of each frame: the context encoder's pose, or one
            pose of mean proportions for all.
        depth: the prior of z.
        n_draws: S.
        seeds: (B,), one per frame; a frame's draws do not depend on the batch it is in.
        stratified: places from equally probable parts of the heatmaps instead of iid
            (heatmaps.sample).

    Returns:
        (B, S, 17, 3) in mm, root-relative camera frame, the root exactly 0; a view of
        coordinate-major memory (B, 17, 3, S), which the fits take as it is.

    Raises:
        ValueError: no heatmaps, or an empty one.
    """
    if observations.heatmaps is None:
        raise ValueError("H_K is drawn from heatmaps, but these observations carry none.")
    seeds = seeds.astype(np.uint64)
    bridge_mm = bridge_mm.detach().cpu()
    pixels = hm.sample(
        observations.heatmaps, observations.crops, n_draws, seeds, stratified=stratified
    )
    translation = observations.detections().translation_mm(bridge_mm).numpy()
    poses = np.empty((len(pixels), N_JOINTS, 3, n_draws), dtype=np.float32)
    place_in_space(
        pixels.transpose(0, 2, 3, 1), depth.sample(bridge_mm, n_draws, seeds),
        observations.camera.astype(np.float32), translation, ROOT, poses,
    )  # fmt: skip
    return torch.from_numpy(poses).permute(0, 3, 1, 2)


def mean_pose(observations: Observations, bridge_mm: Tensor, depth: DepthPrior) -> Tensor:
    """Return the mean of H_K without drawing, (B, 17, 3) in mm (x and y independent of z)."""
    seen = observations.detections()
    weight = seen.second_weight[..., None]
    mean_rays = (1 - weight) * seen.first_mode[..., :2] + weight * seen.second_mode[..., :2]
    pose = cam.back_project(mean_rays, depth.mean(bridge_mm), seen.translation_mm(bridge_mm))
    pose[..., ROOT, :] = 0.0
    return pose
