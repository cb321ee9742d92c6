"""A simulated 2D detector whose heatmaps are honest.

It errs as detectors do: localisation noise, occlusion by the body's own limbs, left/right swaps,
distractors. Honest means that the truth is a plausible draw from each heatmap: a heatmap is a
mixture of two round Gaussians, the truth's mode carries weight w with probability w, and its centre
is the true position plus noise of the very width that the heatmap shows.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from scipy.special import ndtr

from diffpose.model.geometry.skeleton import EDGES, JOINT_NAMES, MIRROR, N_JOINTS
from diffpose.model.heatmaps import grid as hm
from diffpose.preprocessing.records.clip import ClipDetections, ClipTruth
from diffpose.preprocessing.records.kinds import DetectorKind, Material

VERSION = "simulated-1"
# The widths below are meant for this focal length, about 5 m away; others scale with it.
_REFERENCE_FOCAL_PX = 1145.0
_REFERENCE_DISTANCE_MM = 5100.0
_TRUNK = ("Hip", "RHip", "LHip", "Spine", "Thorax")
_SWAPPING_LIMBS = (("RKnee", "RFoot"), ("RElbow", "RWrist"))


# Errors of real detectors. benchmarks/real_people.py measures BlazePose's (heavy) on calibrated
# films of one person: 9 to 17 px per axis; of the variance 70 % stays through the film, of the rest
# 0.77 is left after 17 ms, 0.40 after 0.1 s, 0.16 after 0.2 s. The preset has a little less that
# stays: a part of that is the triangulation's own.
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "blazepose": {
        "sigma_px": 5.0,
        "sigma_limb_px": 6.5,
        "sigma_wrist_px": 7.0,
        "sigma_variation": 0.4,
        "widths_follow": "person",
        "lasting": ((0.55, 3.0), (0.35, 0.12)),
    },
}


class SimulatedDetectorSettings(DetectorKind):
    """Noise of the simulated detector; px where a focal length of 1145 px sees 5.1 m away."""

    reads: ClassVar[Material] = "known motion"

    kind: Literal["simulated"] = "simulated"
    preset: Literal["default", "blazepose"] = Field(
        "default",
        description="whose errors: default values of all below; blazepose: measured on real films. "
        "What is given besides counts more",
    )
    sigma_px: float = Field(3.5, gt=0, description="width at trunk and head")
    sigma_limb_px: float = Field(4.2, gt=0, description="width at knees, feet and elbows")
    sigma_wrist_px: float = Field(5.0, gt=0, description="width at the wrists")
    sigma_variation: float = Field(0.25, ge=0, description="log-normal spread of the widths")
    occlusion_probability: float = Field(0.65, ge=0, le=1, description="behind another limb")
    clutter_probability: float = Field(0.03, ge=0, le=1, description="hidden for other reasons")
    occluder_distance_px: float = Field(32.0, gt=0, description="how near an occluder must lie")
    occluder_depth_mm: float = Field(130.0, ge=0, description="how much nearer the camera")
    occluded_sigma_px: tuple[float, float] = Field((12.0, 32.0), description="widths when hidden")
    distractor_if_occluded: float = Field(0.4, ge=0, le=1, description="second mode, hidden")
    distractor_if_visible: float = Field(0.015, ge=0, le=1, description="second mode, visible")
    distractor_px: float = Field(45.0, gt=0, description="distance spread of a distractor")
    swap_leg: float = Field(0.10, ge=0, le=1, description="left/right confusion of a leg")
    swap_arm: float = Field(0.07, ge=0, le=1, description="left/right confusion of an arm")
    swap_near_px: float = Field(70.0, gt=0, description="limbs nearer than this are confused more")
    swap_near_extra: float = Field(0.15, ge=0, le=1, description="added when they are near")
    dominant_weight: tuple[float, float] = Field((0.5, 0.98), description="weight of the 1st mode")
    widths_follow: Literal["focal", "person"] = Field(
        "focal",
        description="what all px grow with: the focal length, or the person's size in the picture",
    )
    lasting: tuple[tuple[float, float], ...] = Field(
        (),
        description="parts of all errors that last from frame to frame: [share of the variance, "
        "seconds in which it fades to 1/e]; the rest is drawn anew",
    )

    @field_validator("lasting")
    @classmethod
    def _shares_of_one(
        cls, lasting: tuple[tuple[float, float], ...]
    ) -> tuple[tuple[float, float], ...]:
        shares, times = [part[0] for part in lasting], [part[1] for part in lasting]
        if lasting and (min(shares) < 0 or sum(shares) > 1 or min(times) <= 0):
            raise ValueError(
                f"shares must lie above 0 and add up to 1 at most, times above 0, got {lasting}"
            )
        return lasting

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {**PRESETS.get(str(values.get("preset")), {}), **values}

    def version(self) -> str:
        """Return name and version."""
        return VERSION


class _Chances:
    """Random numbers by frame, parts of which last (Ornstein-Uhlenbeck processes in time).

    Each number's own distribution is that of independent draws, whatever lasts.
    """

    def __init__(
        self,
        timestamp_s: NDArray[np.float64],
        settings: SimulatedDetectorSettings,
        rng: np.random.Generator,
    ) -> None:
        self.rng, self.lasting = rng, settings.lasting
        self.steps_s = np.diff(timestamp_s).clip(0)

    def normal(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return standard normal numbers, frames first."""
        fresh = self.rng.normal(0, 1, shape)
        if not self.lasting:
            return fresh
        total = np.sqrt(max(1 - sum(share for share, _ in self.lasting), 0.0)) * fresh
        for share, time_s in self.lasting:
            part = self.rng.normal(0, 1, shape)
            for i, kept in enumerate(np.exp(-self.steps_s / time_s), start=1):
                part[i] = kept * part[i - 1] + np.sqrt(1 - kept**2) * part[i]
            total += np.sqrt(share) * part
        return np.asarray(total)

    def random(
        self, shape: tuple[int, ...], rows: NDArray[np.integer] | None = None
    ) -> NDArray[np.float64]:
        """Return numbers evenly between 0 and 1, of all frames or of some."""
        if not self.lasting:
            return self.rng.random(shape if rows is None else (len(rows), *shape[1:]))
        even: NDArray[np.float64] = ndtr(self.normal(shape))
        return even if rows is None else even[rows]

    def between(
        self,
        low: float,
        high: float,
        shape: tuple[int, ...],
        rows: NDArray[np.integer] | None = None,
    ) -> NDArray[np.float64]:
        """Return numbers evenly between two."""
        return low + (high - low) * self.random(shape, rows)

    def lognormal(self, sigma: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return factors of median 1."""
        if not self.lasting:
            return self.rng.lognormal(0.0, sigma, shape)
        factors: NDArray[np.float64] = np.exp(sigma * self.normal(shape))
        return factors


def detect(
    truth: ClipTruth, settings: SimulatedDetectorSettings, rng: np.random.Generator
) -> ClipDetections:
    """Turn a clip's true projection into heatmaps, (R, 17, 64, 48) uint8, with their crops."""
    points = truth.keypoints_px
    rows = len(points)
    scale = _scale(truth, settings)
    chances = _Chances(truth.timestamp_s, settings, rng)
    hidden = _occluded(truth, settings, scale, chances)
    sigma = _widths(hidden, settings, chances) * scale[:, None]

    weight = chances.between(*settings.dominant_weight, (rows, N_JOINTS))
    truth_dominates = chances.random((rows, N_JOINTS)) < weight
    away_px = settings.distractor_px * scale[:, None, None]
    other = points + chances.normal(points.shape) * away_px
    chance = np.where(hidden, settings.distractor_if_occluded, settings.distractor_if_visible)
    trunk = [JOINT_NAMES.index(name) for name in _TRUNK]
    chance[:, trunk] = 0.0
    two_modes = chances.random((rows, N_JOINTS)) < chance
    for limb, probability in zip(
        _SWAPPING_LIMBS, (settings.swap_leg, settings.swap_arm), strict=True
    ):
        _swap_limb(points, limb, probability, settings, scale, chances, weight, truth_dominates,
                   two_modes, other)  # fmt: skip

    noise = [chances.normal(points.shape) * sigma[..., None] for _ in range(2)]
    true_mode, other_mode = points + noise[0], other + noise[1]
    swapped = (two_modes & ~truth_dominates)[..., None]
    centres = np.stack(
        [np.where(swapped, other_mode, true_mode), np.where(swapped, true_mode, other_mode)], axis=2
    )
    first_weight = np.where(two_modes, weight, 1.0)
    weights = np.stack([first_weight, 1.0 - first_weight], axis=-1)
    widths = np.repeat(sigma[..., None], 2, axis=-1)
    crops = _person_crops(points, rng)
    return ClipDetections(hm.rasterise(centres, widths, weights, crops), crops)


def _scale(truth: ClipTruth, settings: SimulatedDetectorSettings) -> NDArray[np.float64]:
    """Return what the settings' px are multiplied with, (R,)."""
    scale: NDArray[np.float64] = truth.camera[:, 0] / _REFERENCE_FOCAL_PX
    if settings.widths_follow == "focal":
        return np.full(len(scale), scale.mean())
    return scale * _REFERENCE_DISTANCE_MM / truth.root_position_mm[:, 2]


def _occluded(
    truth: ClipTruth,
    settings: SimulatedDetectorSettings,
    scale: NDArray[np.float64],
    chances: _Chances,
) -> NDArray[np.bool_]:
    """Decide which joints are hidden: by a joint or mid-bone nearer the camera, or by clutter."""
    parents, children = [a for a, _ in EDGES], [b for _, b in EDGES]

    def with_midpoints(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([values, (values[:, parents] + values[:, children]) / 2], axis=1)

    places = with_midpoints(truth.keypoints_px)
    depths = with_midpoints(truth.pose_3d_mm)[..., 2]
    distance = np.linalg.norm(places[:, None] - truth.keypoints_px[:, :, None], axis=-1)
    nearer = truth.pose_3d_mm[:, :, None, 2] - depths[:, None] >= settings.occluder_depth_mm
    near = distance < settings.occluder_distance_px * scale[:, None, None]
    covered = (nearer & near).any(axis=2)
    chance = np.where(covered, settings.occlusion_probability, settings.clutter_probability)
    hidden: NDArray[np.bool_] = chances.random(covered.shape) < chance
    return hidden


def _widths(
    hidden: NDArray[np.bool_], settings: SimulatedDetectorSettings, chances: _Chances
) -> NDArray[np.float64]:
    base = np.full(N_JOINTS, settings.sigma_px)
    for joint, name in enumerate(JOINT_NAMES):
        if name.endswith(("Knee", "Foot", "Elbow")):
            base[joint] = settings.sigma_limb_px
        elif name.endswith("Wrist"):
            base[joint] = settings.sigma_wrist_px
    visible = base * chances.lognormal(settings.sigma_variation, hidden.shape)
    return np.where(hidden, chances.between(*settings.occluded_sigma_px, hidden.shape), visible)


def _swap_limb(
    points: NDArray[np.float64],
    limb: tuple[str, ...],
    probability: float,
    settings: SimulatedDetectorSettings,
    scale: NDArray[np.float64],
    chances: _Chances,
    weight: NDArray[np.float64],
    truth_dominates: NDArray[np.bool_],
    two_modes: NDArray[np.bool_],
    other: NDArray[np.float64],
) -> None:
    """Confuse a limb with its mirror image in some rows: all its joints alike, on both sides."""
    joints = [JOINT_NAMES.index(name) for name in limb]
    partners = [MIRROR[joint] for joint in joints]
    apart = np.linalg.norm(points[:, joints] - points[:, partners], axis=-1).mean(axis=1)
    near = apart < settings.swap_near_px * scale
    chance = probability + np.where(near, settings.swap_near_extra, 0.0)
    rows = np.flatnonzero(chances.random((len(points),)) < chance)
    shared = chances.between(*settings.dominant_weight, (len(points),), rows)
    dominates = chances.random((len(points),), rows) < shared
    for joint, partner in [
        *zip(joints, partners, strict=True),
        *zip(partners, joints, strict=True),
    ]:
        weight[rows, joint] = shared
        truth_dominates[rows, joint] = dominates
        two_modes[rows, joint] = True
        other[rows, joint] = points[rows, partner]


def _person_crops(points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the crops of a person detector: the true box, a little off in place and size."""
    crops = hm.crop_around(points)
    size = crops[:, 2:] * np.array([hm.WIDTH, hm.HEIGHT])
    factor = rng.uniform(0.97, 1.1, (len(points), 1))
    centre = crops[:, :2] + size / 2 + rng.uniform(-0.02, 0.02, (len(points), 2)) * size
    cell = crops[:, 2:] * factor
    return np.concatenate([centre - size * factor / 2, cell], axis=1).astype(np.float32)
