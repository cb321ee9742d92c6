"""3D poses of frames, as the lifter answers them.

Axis legend: B frames, N hypotheses, J = 17 joints. Everything is in mm, root-relative, in the
camera frame (x right, y down, z forward).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Lifted:
    """3D poses of B frames.

    Attributes:
        pose_mm: (B, J, 3), mean of the hypotheses.
        std_mm: (B, J), root mean square distance of the hypotheses from their mean.
        hypotheses_mm: (B, N, J, 3).
        context_pose_mm: (B, J, 3), what the context encoder alone says.
        root_mm: (B, 3), estimated root position in the camera frame.
        trajectory_mm: (steps + 1, B, N, J, 3), h_K first; the last entry are the hypotheses.
        steps: the visited k, K first, 0 last.
    """

    pose_mm: NDArray[np.float32]
    std_mm: NDArray[np.float32]
    hypotheses_mm: NDArray[np.float32]
    context_pose_mm: NDArray[np.float32]
    root_mm: NDArray[np.float32]
    trajectory_mm: NDArray[np.float32]
    steps: tuple[int, ...]

    def rows(self, which: NDArray[np.bool_]) -> Lifted:
        """Return the frames where ``which`` (B,) is true."""
        return Lifted(
            self.pose_mm[which],
            self.std_mm[which],
            self.hypotheses_mm[which],
            self.context_pose_mm[which],
            self.root_mm[which],
            self.trajectory_mm[:, which],
            self.steps,
        )

    def moved(self, pose_mm: NDArray[np.float32], root_mm: NDArray[np.float32]) -> Lifted:
        """Return the same hypotheses around other means (B, J, 3), at other places (B, 3)."""
        way = (pose_mm - self.pose_mm)[:, None]
        hypotheses = self.hypotheses_mm + way
        trajectory = np.concatenate([self.trajectory_mm[:-1], hypotheses[None]])
        return replace(
            self,
            pose_mm=pose_mm,
            hypotheses_mm=hypotheses,
            trajectory_mm=trajectory,
            root_mm=root_mm,
        )

    def smoothed(self, pose_mm: NDArray[np.floating], hypotheses_mm: NDArray[np.float32]) -> Lifted:
        """Return other means (B, J, 3) with other hypotheses (B, N, J, 3) around them."""
        apart = hypotheses_mm - hypotheses_mm.mean(axis=1, keepdims=True)
        return replace(
            self,
            pose_mm=pose_mm.astype(np.float32),
            std_mm=np.sqrt((apart**2).sum(axis=-1).mean(axis=1)),
            hypotheses_mm=hypotheses_mm,
            trajectory_mm=np.concatenate([self.trajectory_mm[:-1], hypotheses_mm[None]]),
        )

    def ended(self) -> Lifted:
        """Return the same without the way that led there, which is most of the memory."""
        return replace(self, trajectory_mm=self.trajectory_mm[-1:], steps=self.steps[-1:])

    @staticmethod
    def joined(parts: Sequence[Lifted]) -> Lifted:
        """Put the frames of several parts, lifted alike, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return Lifted(
            pose_mm=np.concatenate([p.pose_mm for p in parts]),
            std_mm=np.concatenate([p.std_mm for p in parts]),
            hypotheses_mm=np.concatenate([p.hypotheses_mm for p in parts]),
            context_pose_mm=np.concatenate([p.context_pose_mm for p in parts]),
            root_mm=np.concatenate([p.root_mm for p in parts]),
            trajectory_mm=np.concatenate([p.trajectory_mm for p in parts], axis=1),
            steps=parts[0].steps,
        )
