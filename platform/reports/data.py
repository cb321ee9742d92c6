"""What an evaluation report contains: scores, poses in detail, courses of trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import N_JOINTS

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MethodResult:
    """Scores of one method on the evaluated poses; NaN stands for a score that is not known.

    ``figures``: of evaluation.figures.FIGURES by key, as in evaluation.json.
    """

    name: str
    figures: Mapping[str, Any]
    per_action_mpjpe_mm: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def mpjpe_mm(self) -> float:
        """Return its MPJPE."""
        value = self.figures.get("mpjpe_mm")
        return math.nan if value is None else float(value)


@dataclass(frozen=True, eq=False)
class Case:
    """One evaluated pose in detail. Poses are root-relative, in mm: x right, y down, z forward.

    Attributes:
        title: Why it is shown, such as "good", "median" or "bad".
        clip: Where it comes from.
        action: What the person does.
        mpjpe_mm: Error of `pose_mm`.
        keypoints_px: The 2D detection (17, 2), y down.
        confidence: Its confidence per joint (17,), 0 to 1.
        image_size_px: Width and height of the image.
        truth_mm: The true pose (17, 3).
        context_mm: The context encoder's pose (17, 3).
        pose_mm: The run's pose (17, 3).
        hypotheses_mm: The run's hypotheses (N, 17, 3).
        steps: Diffusion steps of `trajectory_mm`, from K down to 0; may be empty.
        trajectory_mm: The hypotheses at these steps (len(steps), N, 17, 3).
    """

    title: str
    clip: str
    action: str
    mpjpe_mm: float
    keypoints_px: Array
    confidence: Array
    image_size_px: tuple[int, int]
    truth_mm: Array
    context_mm: Array
    pose_mm: Array
    hypotheses_mm: Array
    steps: tuple[int, ...] = ()
    trajectory_mm: Array = field(default_factory=lambda: np.zeros((0, 0, N_JOINTS, 3)))

    def __post_init__(self) -> None:
        """Check the shapes, so that a mistake shows here and not as a strange figure."""
        wanted: dict[str, tuple[int | None, ...]] = {
            "keypoints_px": (N_JOINTS, 2),
            "confidence": (N_JOINTS,),
            "truth_mm": (N_JOINTS, 3),
            "context_mm": (N_JOINTS, 3),
            "pose_mm": (N_JOINTS, 3),
            "hypotheses_mm": (None, N_JOINTS, 3),
            "trajectory_mm": (len(self.steps), None, N_JOINTS, 3),
        }
        for name, shape in wanted.items():
            _check_shape(name, getattr(self, name), shape)


@dataclass(frozen=True)
class Curve:
    """Course of one training; an epoch without validation has NaN there."""

    name: str
    epochs: Sequence[int]
    loss: Sequence[float]
    validation_mpjpe_mm: Sequence[float]


@dataclass(frozen=True, eq=False)
class Report:
    """Everything the page shows.

    Attributes:
        title: Heading of the page.
        run: Name of the run.
        created: Date as text.
        protocol: One line: data set, split, detections, alignment.
        command: The command that made the report.
        n_poses: Number of evaluated poses.
        poses_per_action: Number of poses per action, in the order to show.
        methods: Scores; the first is the context encoder, the second this run.
        cases: Poses to show in detail.
        curves: Trainings to show.
        per_joint_mpjpe_mm: The run's error per joint (17,), if known.
        predicted_std_mm: Predicted standard deviation per joint of some poses (n,), if known: the
            root of the summed variances in x, y and z.
        actual_error_mm: The Euclidean errors of the same joints (n,), if known.
        config_yaml: The resolved configuration.
        versions: Versions of the packages used.
    """

    title: str
    run: str
    created: str
    protocol: str
    command: str
    n_poses: int
    poses_per_action: Mapping[str, int] = field(default_factory=dict)
    methods: Sequence[MethodResult] = ()
    cases: Sequence[Case] = ()
    curves: Sequence[Curve] = ()
    per_joint_mpjpe_mm: Array | None = None
    predicted_std_mm: Array | None = None
    actual_error_mm: Array | None = None
    config_yaml: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the shapes of the arrays."""
        if self.per_joint_mpjpe_mm is not None:
            _check_shape("per_joint_mpjpe_mm", self.per_joint_mpjpe_mm, (N_JOINTS,))
        given = [a for a in (self.predicted_std_mm, self.actual_error_mm) if a is not None]
        if len(given) == 1 or (given and np.shape(given[0]) != np.shape(given[1])):
            raise ValueError(
                "predicted_std_mm and actual_error_mm belong together and have one shape, "
                f"received {[np.shape(a) for a in given]}"
            )


def _check_shape(name: str, value: Array, shape: tuple[int | None, ...]) -> None:
    actual = np.shape(value)
    fits = len(actual) == len(shape) and all(
        want in (None, got) for want, got in zip(shape, actual, strict=True)
    )
    if not fits:
        raise ValueError(f"{name} must have shape {shape} (None: any), received {actual}")
