"""What the service is asked and answers: the schema of POST /v1/lift, with checks that explain."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator, model_validator

from diffpose.model.geometry.pinhole import assumed_intrinsics_px
from diffpose.model.geometry.skeleton import JOINT_NAMES, N_JOINTS
from diffpose.model.lifting.sampling import Refine, Smooth

MAX_FRAMES = 5000
MAX_PX = 1e6
MIN_SIGMA_PX = 0.01


class LiftRequest(BaseModel, frozen=True, extra="forbid"):
    """2D keypoints of one person over T frames."""

    keypoints: list[list[list[float]]] = Field(
        description="[T, 17, 2] in pixels, Human3.6M joint order: " + ", ".join(JOINT_NAMES)
    )
    image_width: int = Field(gt=0, le=100_000, description="in pixels")
    image_height: int = Field(gt=0, le=100_000, description="in pixels")
    sigma_px: list[list[float]] | None = Field(
        None,
        description="[T, 17], standard deviation of each keypoint in pixels; default: what the "
        "model's training detector typically shows",
    )
    focal_length_px: float | None = Field(
        None,
        ge=1,
        le=1e7,
        allow_inf_nan=False,
        description="default: 1.145 times the longer image side",
    )
    fps: float | None = Field(
        None,
        gt=0,
        le=10_000,
        allow_inf_nan=False,
        description="frames per second of the keypoints: encoders of windows then look at frames "
        "as far apart in time as those they were trained on; default: of the training",
    )
    n_hypotheses: int | None = Field(None, ge=1, le=100, description="N; default: the run's own")
    refine: Refine | None = Field(
        None,
        description="move the answer to where keypoints and bone lengths want it; frame: left and "
        "right are as long; clip: and the same in all frames; default: the run's own",
    )
    smooth: Smooth | None = Field(
        None,
        description="smooth the poses over time by their covariances, for which fps must be known; "
        "clip: by all frames, causal: by those before; default: the run's own",
    )
    include_covariance: bool = Field(
        True, description="return the covariance of each joint's error, 153 numbers per frame"
    )
    include_hypotheses: bool = Field(False, description="return all N poses as well")
    seed: int = Field(0, ge=0, lt=2**32, description="same seed, same answer")

    @field_validator("keypoints")
    @classmethod
    def _check_keypoints(cls, keypoints: list[list[list[float]]]) -> list[list[list[float]]]:
        _check_frames("keypoints", keypoints, "[T, 17, 2]")
        for t, frame in enumerate(keypoints):
            for j, point in enumerate(frame):
                if len(point) != 2:
                    raise ValueError(
                        f"keypoints must be [T, 17, 2]; frame {t}, joint {j} ({JOINT_NAMES[j]}) "
                        f"has {len(point)} values, expected x and y"
                    )
        _check_finite("keypoints", keypoints)
        furthest = float(np.abs(np.asarray(keypoints)).max())
        if furthest > MAX_PX:
            raise ValueError(f"keypoints must lie within {MAX_PX:g} px of 0, got {furthest:g}")
        return keypoints

    @field_validator("sigma_px")
    @classmethod
    def _check_sigma(cls, sigma: list[list[float]] | None) -> list[list[float]] | None:
        if sigma is not None:
            _check_frames("sigma_px", sigma, "[T, 17]")
            _check_finite("sigma_px", sigma)
            low, high = min(map(min, sigma)), max(map(max, sigma))
            if low < MIN_SIGMA_PX or high > MAX_PX:
                worst = low if low < MIN_SIGMA_PX else high
                raise ValueError(
                    f"sigma_px must be from {MIN_SIGMA_PX:g} to {MAX_PX:g} px, got {worst:g}"
                )
        return sigma

    @model_validator(mode="after")
    def _same_frames(self) -> LiftRequest:
        if self.sigma_px is not None and len(self.sigma_px) != len(self.keypoints):
            raise ValueError(
                f"sigma_px has {len(self.sigma_px)} frames, keypoints has {len(self.keypoints)}; "
                "both need one entry per frame"
            )
        return self

    def camera(self) -> NDArray[np.float32]:
        """Return the intrinsics of each frame, (T, 4), principal point in the image's middle."""
        one = assumed_intrinsics_px(self.image_width, self.image_height, self.focal_length_px)
        return np.tile(one.astype(np.float32), (len(self.keypoints), 1))


class LiftResponse(BaseModel):
    """3D poses of T frames."""

    poses_mm: list[list[list[float]]] = Field(
        description="[T, 17, 3], relative to joint 0, camera frame; the mean of the hypotheses"
    )
    std_mm: list[list[float]] = Field(
        description="[T, 17], root mean square distance of the hypotheses from their mean"
    )
    covariance_mm2: list[list[list[list[float]]]] | None = Field(
        None,
        description="[T, 17, 3, 3], predicted covariance of each joint's error, camera frame; "
        "recalibrated on known poses if calibrated is true; 0 for joint 0; null for one hypothesis "
        "and where include_covariance was false",
    )
    ellipsoid_radius: dict[Literal["50", "90"], float] | None = Field(
        None,
        description="r for 50 and 90 %: the joint is in the ellipsoid "
        "(x - pose)^T covariance^-1 (x - pose) <= r^2 so often",
    )
    calibrated: bool = Field(False, description="whether covariance and radii were recalibrated")
    uncertainty_note: str = Field("", description="what they were fitted for, where that differs")
    root_mm: list[list[float]] = Field(description="[T, 3], estimated root in the camera frame")
    hypotheses_mm: list[list[list[list[float]]]] | None = Field(
        None, description="[T, N, 17, 3], when include_hypotheses was set"
    )
    n_hypotheses: int
    joints: list[str] = list(JOINT_NAMES)
    unit: Literal["mm"] = "mm"
    frame: str = "camera: x right, y down, z forward"
    model: str = Field(description="run that answered")


def _check_frames(name: str, frames: list[list[Any]], shape: str) -> None:
    if not 1 <= len(frames) <= MAX_FRAMES:
        raise ValueError(
            f"{name} must be {shape} with T from 1 to {MAX_FRAMES} frames, got T = {len(frames)}"
        )
    for t, frame in enumerate(frames):
        if len(frame) != N_JOINTS:
            raise ValueError(
                f"{name} must be {shape}; frame {t} has {len(frame)} joints, expected {N_JOINTS}"
            )


def _check_finite(name: str, values: Any) -> None:
    bad = np.argwhere(~np.isfinite(np.asarray(values, dtype=np.float64)))
    if len(bad):
        raise ValueError(
            f"{name} must be finite numbers; the one at frame {bad[0][0]}, joint {bad[0][1]} is not"
        )
