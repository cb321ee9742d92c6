"""RUN/denoiser/uncertainty.json: what known poses taught about a run's uncertainty.

A run without that file answers as well; its ellipsoids are then those of the hypotheses themselves
and marked as not calibrated.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.uncertainty.covariances import (
    LEVELS,
    N_VALUES,
    Array,
    Ellipsoids,
    radius,
    sample_covariance,
    uncalibrated,
)
from diffpose.model.uncertainty.familiarity import Familiarity, Regions
from diffpose.platform.base.errors import RunError
from diffpose.platform.base.storage import exists, join, read_json, write_json

FORMAT = 4
FILE = "uncertainty.json"
# What changes the spread of hypotheses, besides their number.
_SPREAD = ("temperature", "start", "centred", "held_mean", "refine", "smooth", "mirror", "root")
_AGAIN = "diffpose recalibrate run=RUN store=STORE fits one."


@dataclass(frozen=True)
class Recalibration:
    """What was fitted to known poses of a run.

    Attributes:
        ellipsoids: of the hypotheses; None for a run that gives one answer.
        answer_covariance_mm2: (17, 3, 3), second moment of the answer's errors.
        context_covariance_mm2: (17, 3, 3), the same of the context encoder's.
        errors_mm2: (48, 48), second moment of the errors of the answer as it comes from the walk,
            all joints together: what map_refinement moves it by.
        n_hypotheses: N that it was fitted with.
        sampling: how hypotheses were drawn.
        n_poses: how many known poses.
        split: which poses.
        familiarity: what training poses were like, by which ellipsoids grow; None in runs that were
            recalibrated before 2026-12.
    """

    ellipsoids: Ellipsoids | None
    answer_covariance_mm2: Array
    context_covariance_mm2: Array
    errors_mm2: Array
    n_hypotheses: int
    sampling: SamplingSettings
    n_poses: int
    split: str
    familiarity: Familiarity | None = None

    @property
    def regions(self) -> Regions | None:
        """What it claims of the errors of answers; None for a run that gives one answer."""
        return None if self.ellipsoids is None else Regions(self.ellipsoids, self.familiarity)

    def to_json(self) -> dict[str, Any]:
        """Describe as JSON values."""
        return {
            "format": FORMAT,
            "ellipsoids": None if self.ellipsoids is None else self.ellipsoids.to_json(),
            "answer_covariance_mm2": self.answer_covariance_mm2.tolist(),
            "context_covariance_mm2": self.context_covariance_mm2.tolist(),
            "errors_mm2": np.round(self.errors_mm2, 4).tolist(),
            "n_hypotheses": self.n_hypotheses,
            "sampling": self.sampling.model_dump(mode="json"),
            "n_poses": self.n_poses,
            "split": self.split,
            "familiarity": None if self.familiarity is None else self.familiarity.to_json(),
        }

    def differences(self, n_hypotheses: int, sampling: SamplingSettings) -> str:
        """Say where an answer's sampling differs from what was fitted, empty if nowhere."""
        pairs = (
            ("n_hypotheses", self.n_hypotheses, n_hypotheses),
            *((name, getattr(self.sampling, name), getattr(sampling, name)) for name in _SPREAD),
        )
        return ", ".join(f"{name} {own}, not {asked}" for name, own, asked in pairs if own != asked)


@dataclass(frozen=True)
class Predicted:
    """Uncertainty of n answers.

    Attributes:
        covariance_mm2: (n, 17, 3, 3), the root's is 0; None where there is none (one hypothesis).
        dof: degrees of freedom of the Student t with this covariance; infinite: Gaussian.
        calibrated: fitted to known poses.
        note: what a reader should know of it, or empty.
        constant: the covariance is the same for all answers.
    """

    covariance_mm2: Array | None
    dof: float
    calibrated: bool
    note: str
    constant: bool = False

    @property
    def radii(self) -> dict[float, float] | None:
        """Mahalanobis radii by level (0.5, 0.9) for covariance_mm2."""
        if self.covariance_mm2 is None:
            return None
        return {level: radius(level, self.dof) for level in LEVELS}

    def to_answer(self) -> dict[str, Any]:
        """Return the fields of an answer as JSON values, covariances to 0.01 mm^2."""
        covariance = self.covariance_mm2
        return {
            "covariance_mm2": None if covariance is None else np.round(covariance, 2).tolist(),
            **self.claims(),
        }

    def claims(self) -> dict[str, Any]:
        """Return what is the same for all answers, as JSON values."""
        radii = self.radii
        return {
            "ellipsoid_radius": None
            if radii is None
            else {f"{round(100 * level)}": value for level, value in radii.items()},
            "calibrated": self.calibrated,
            "uncertainty_note": self.note,
        }


def predict_uncertainty(
    hypotheses_mm: NDArray[np.floating],
    sampling: SamplingSettings,
    recalibration: Recalibration | None,
) -> Predicted:
    """Return covariances of answers, recalibrated where that was fitted.

    Args:
        hypotheses_mm: (n, N, 17, 3).
        sampling: how they were drawn.
        recalibration: the run's, or None.
    """
    n, n_hypotheses = hypotheses_mm.shape[:2]
    if n_hypotheses == 1:
        return predict_from_one(n, sampling, recalibration)
    sample = sample_covariance(hypotheses_mm, sampling.draws)
    pose_mm = hypotheses_mm.mean(axis=1, dtype=np.float64)
    return predict_from_sample(sample, pose_mm, n_hypotheses, sampling, recalibration)


def predict_from_sample(
    sample: Array,
    pose_mm: Array,
    n_hypotheses: int,
    sampling: SamplingSettings,
    recalibration: Recalibration | None,
) -> Predicted:
    """Do what predict_uncertainty does with sample covariances (n, 17, 3, 3) and means of N > 1."""
    claim = None if recalibration is None else recalibration.regions
    if recalibration is None or claim is None:
        plain = uncalibrated(n_hypotheses)
        note = f"the spread of the hypotheses, without recalibration. {_AGAIN}"
        return Predicted(plain.covariance(sample), plain.dof, False, note)
    changed = recalibration.differences(n_hypotheses, sampling)
    note = f"recalibrated for {changed}" if changed else ""
    return Predicted(claim.covariance(sample, pose_mm), claim.ellipsoids.dof, True, note)


def predict_from_one(
    n: int, sampling: SamplingSettings, recalibration: Recalibration | None
) -> Predicted:
    """Return the uncertainty of n answers of one hypothesis each: none, if that was not fitted."""
    if recalibration is None or recalibration.n_hypotheses != 1:
        note = "one hypothesis has no covariance; ask for n_hypotheses=2 or more"
        return Predicted(None, np.inf, False, note)
    same = np.broadcast_to(recalibration.answer_covariance_mm2, (n, N_JOINTS, 3, 3))
    changed = recalibration.differences(1, sampling)
    note = "the same for all poses: the run gives one answer"
    if changed:
        note += f"; recalibrated for {changed}"
    return Predicted(same, np.inf, True, note, constant=True)


def save_recalibration(run_uri: str, recalibration: Recalibration) -> None:
    """Write it beside the denoiser's weights."""
    write_json(join(run_uri, "denoiser", FILE), recalibration.to_json())


def load_recalibration(run_uri: str) -> Recalibration | None:
    """Read a run's recalibration; None if it has none, or one of an earlier version.

    Raises:
        RunError: the file is damaged or of another format.
    """
    uri = join(run_uri, "denoiser", FILE)
    if not exists(uri):
        return None
    try:
        value = read_json(uri)
        if value["format"] == 1:  # of an earlier version: to be fitted again
            return None
        if value["format"] not in (2, 3, FORMAT):
            raise ValueError(f"format {value['format']!r}, expected {FORMAT}")
        known = value.get("familiarity")
        found = value["ellipsoids"]
        ellipsoids = None if found is None else Ellipsoids.from_json(found)
        if value["format"] == 2 and ellipsoids is not None:
            ellipsoids = _of_format_2(ellipsoids, value)
        return Recalibration(
            ellipsoids,
            _matrices(value, "answer_covariance_mm2"),
            _matrices(value, "context_covariance_mm2"),
            _matrices(value, "errors_mm2", (N_VALUES, N_VALUES)),
            int(value["n_hypotheses"]),
            SamplingSettings.model_validate(value["sampling"]),
            int(value["n_poses"]),
            str(value["split"]),
            None if known is None else Familiarity.from_json(known),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{uri} is damaged: {error!r}. Delete the file. {_AGAIN}") from None


def _of_format_2(fitted: Ellipsoids, value: dict[str, Any]) -> Ellipsoids:
    """Return the same claim for sample covariances as they are now.

    Up to format 2 those of centred draws were N/(N-1) too large, and s was fitted to them.
    """
    n = int(value["n_hypotheses"])
    if SamplingSettings.model_validate(value["sampling"]).draws != "centred" or n < 2:
        return fitted
    share = (n - 1) / n
    return replace(fitted, scale=fitted.scale / share, floor_mm2=fitted.floor_mm2 * share)


def digest(recalibration: Recalibration | None) -> str:
    """Return a short digest: answers of two recalibrations differ."""
    text = json.dumps(None if recalibration is None else recalibration.to_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _matrices(value: dict[str, Any], name: str, shape: tuple[int, ...] = (N_JOINTS, 3, 3)) -> Array:
    found = np.array(value[name], dtype=np.float64)
    if found.shape != shape or not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite with shape {shape}, got {found.shape}")
    return found
