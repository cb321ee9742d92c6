"""What an evaluation is: errors of methods on the same poses; what its files are called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.evaluation.uncertainty_measures import PoseUncertainty

FIGURES_FILE, POSES_FILE = "evaluation.json", "poses.parquet"
MEASURES = 3  # what is kept of a pose and summed up of poses: changes with the code
CONTEXT = "context encoder"  # the method that is in all evaluations: the first run's


def before_refinement(run: str) -> str:
    """Return the method's name that stands for a run's answers as they come from the walk."""
    return f"{run}, before refinement"


@dataclass(frozen=True)
class PoseErrors:
    """Errors of one method on n poses, mm.

    Attributes:
        joint_mm: (n, 17), distances.
        aligned_mm: (n, 17), distances after similarity alignment.
        std_mm: (n, 17), predicted spread; NaN for a method that predicts none.
        pose_mm: (n, 17, 3), the predicted poses, root-relative, camera frame.
        uncertainty: covariances, coverage and energy scores.
    """

    joint_mm: NDArray[np.float64]
    aligned_mm: NDArray[np.float64]
    std_mm: NDArray[np.float64]
    pose_mm: NDArray[np.float32]
    uncertainty: PoseUncertainty

    @property
    def mpjpe_mm(self) -> NDArray[np.float64]:
        """MPJPE of each pose, (n,)."""
        errors: NDArray[np.float64] = self.joint_mm.mean(axis=1)
        return errors

    @property
    def p_mpjpe_mm(self) -> NDArray[np.float64]:
        """P-MPJPE of each pose, (n,)."""
        errors: NDArray[np.float64] = self.aligned_mm.mean(axis=1)
        return errors


@dataclass(frozen=True)
class MeasuredRange:
    """What a task measured on a range of the store's rows.

    Attributes:
        first: row of the range.
        rows: (n,), the rows whose pose is known.
        truth_mm: (n, 17, 3).
        hidden: (n, 17), as in Evaluation.
        methods: by name; empty where n is 0.
    """

    first: int
    rows: NDArray[np.int64]
    truth_mm: NDArray[np.float32]
    hidden: NDArray[np.int8]
    methods: dict[str, PoseErrors]


@dataclass(frozen=True)
class Evaluation:
    """Errors of all methods on the same poses, in row order.

    Attributes:
        rows: (n,), rows of the store.
        actions: (n,), their actions.
        clips: (n,), ids of their clips.
        truth_mm: (n, 17, 3), the true poses.
        hidden: (n, 17), 1 where the person's own body stands between joint and camera
            (model/geometry/body.py), 0 where it does not, -1 where the person's place is not known.
        methods: by name; the context encoder of the first run is one.
    """

    rows: NDArray[np.int64]
    actions: NDArray[np.str_]
    clips: NDArray[np.str_]
    truth_mm: NDArray[np.float32]
    hidden: NDArray[np.int8]
    methods: dict[str, PoseErrors]

    @property
    def stretches(self) -> NDArray[np.int64]:
        """Lengths of the stretches of frames that follow each other, (k,), adding up to n."""
        follows = (np.diff(self.rows) == 1) & (self.clips[1:] == self.clips[:-1])
        borders = np.flatnonzero(~follows) + 1
        return np.diff(np.concatenate([[0], borders, [len(self.rows)]])).astype(np.int64)
