"""The poses of one person of one film, with all that is known of their uncertainty.

numpy alone: who reads an answer needs neither torch nor Ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.model.motion.world import World

if TYPE_CHECKING:
    import pandas

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Answer:
    """One person; T frames, N hypotheses, J = 17 joints (model/geometry/skeleton).

    Attributes:
        poses_mm: (T, J, 3), relative to joint 0, camera frame (x right, y down, z forward).
        root_mm: (T, 3), joint 0 in the camera's frame.
        std_mm: (T, J), root of the trace of covariance_mm2: what the answer claims of the distance
            between a joint and its true place, root mean square. Calibrated where ``calibrated``.
        spread_mm: (T, J), the same of the hypotheses as they were drawn.
        keypoints_px: (T, J, 2), what the detector saw.
        confidence: (T, J), share of a joint's heatmap around its peak, 0 .. 1.
        seen: (T, J), whether that is enough for a detection.
        camera_px: (T, 4), fx, fy, cx, cy.
        timestamp_s: (T,), when the frames were taken.
        frame: (T,), their numbers among the film's frames at ``fps``, from 0.
        fps: frames per second.
        width, height: of the images, px.
        source: name of the film or of the keypoint file.
        person: 0, 1 ...: which of its people.
        calibrated: whether covariance_mm2 was fitted to known poses.
        note: what a reader should know of the uncertainty, or empty.
        model: run that answered.
        hypotheses_mm: (T, N, J, 3), relative to joint 0, camera frame; None where they were not
            kept.
        covariance_mm2: (T, J, 3, 3), camera frame; None where there is none (one hypothesis).
        ellipsoid_radius: Mahalanobis radii by level in per cent ("50", "90") for covariance_mm2.
        quality: figures that tell whether the answer should be trusted.
        world: the gravity-aligned frame, where it is known.
    """

    poses_mm: Floats
    root_mm: Floats
    std_mm: Floats
    spread_mm: Floats
    keypoints_px: Floats
    confidence: Floats
    seen: NDArray[np.bool_]
    camera_px: Floats
    timestamp_s: Floats
    frame: NDArray[np.integer]
    fps: float
    width: int
    height: int
    source: str = "keypoints"
    person: int = 0
    calibrated: bool = False
    note: str = ""
    model: str = ""
    hypotheses_mm: Floats | None = None
    covariance_mm2: Floats | None = None
    ellipsoid_radius: Mapping[str, float] | None = None
    quality: Mapping[str, Any] = field(default_factory=dict)
    world: World | None = None

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.poses_mm)

    def __repr__(self) -> str:
        """Say what it is in one line: arrays as text would fill a notebook."""
        n = 0 if self.hypotheses_mm is None else self.hypotheses_mm.shape[1]
        return (
            f"Answer({self.source!r}, person {self.person}: {len(self)} frames at {self.fps:g}/s, "
            f"{n} hypotheses, {'' if self.calibrated else 'not '}calibrated)"
        )

    @property
    def positions_mm(self) -> Floats:
        """(T, J, 3), the joints in the camera's frame."""
        return self.poses_mm + self.root_mm[:, None]

    @property
    def hypothesis_positions_mm(self) -> Floats | None:
        """(T, N, J, 3), hypotheses in the camera's frame: all have the answer's root."""
        if self.hypotheses_mm is None:
            return None
        return self.hypotheses_mm + self.root_mm[:, None, None]

    @property
    def world_positions_mm(self) -> NDArray[np.float64]:
        """(T, J, 3), the joints in the world's frame.

        Raises:
            ValueError: the answer has no world frame.
        """
        return self._known_world().points_mm(self.positions_mm)

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a table with a row per frame and joint.

        Columns: frame, time_s, person, joint, x_mm, y_mm, z_mm (camera frame), std_mm, confidence,
        seen, x_px, y_px, with covariances cov_xx_mm2, cov_xy_mm2, cov_xz_mm2, cov_yy_mm2,
        cov_yz_mm2, cov_zz_mm2, and with a world frame world_x_mm, world_y_mm, world_z_mm.
        """
        import pandas

        joints = len(JOINT_NAMES)
        columns: dict[str, Any] = {
            "frame": np.repeat(self.frame, joints),
            "time_s": np.repeat(self.timestamp_s, joints),
            "person": self.person,
            "joint": np.tile(JOINT_NAMES, len(self)),
        }
        columns |= _by_axis("{}_mm", self.positions_mm)
        columns["std_mm"] = np.ravel(self.std_mm)
        columns["confidence"] = np.ravel(self.confidence)
        columns["seen"] = np.ravel(self.seen)
        columns |= _by_axis("{}_px", self.keypoints_px)
        if self.covariance_mm2 is not None:
            for a, b in ("xx", "xy", "xz", "yy", "yz", "zz"):
                values = self.covariance_mm2[..., "xyz".index(a), "xyz".index(b)]
                columns[f"cov_{a}{b}_mm2"] = np.ravel(values)
        if self.world is not None:
            columns |= _by_axis("world_{}_mm", self.world_positions_mm)
        return pandas.DataFrame(columns)

    def show(self, film: str | None = None) -> Any:
        """Show it in a notebook, beside its film where that is given: see diffpose.show."""
        import diffpose

        return diffpose.show(self, film)

    def _known_world(self) -> World:
        if self.world is None:
            raise ValueError(f"the answer of {self.source!r} has no world frame")
        return self.world


def _by_axis(name: str, values: Floats) -> dict[str, Floats]:
    """Return the columns of values (T, J, 2 or 3), a name for each axis."""
    return {
        name.format(axis): np.ravel(values[..., i])
        for i, axis in enumerate("xyz"[: values.shape[-1]])
    }
