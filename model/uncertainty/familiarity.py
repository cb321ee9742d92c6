"""How far a pose lies from those that a run was trained on, and how its errors grow with that.

Away from the training poses a network's answers are drawn towards what it knows; of a linear
estimator the bias is proportional to the distance from the mean of the training data, in the metric
of their covariance (a ridge regression's, Hastie, Tibshirani & Friedman, The Elements of
Statistical Learning, 2nd ed., sec. 3.4). So all standard deviations are taken as proportional to

    d^2 = (x - m)^T (V + r I)^-1 (x - m) / 48

x being the pose without its size, m and V mean and covariance of training poses, r a ridge. It is
what makes ellipsoids hold on motions, cameras and people of another kind than those that the
recalibration saw (benchmarks/away_from_home.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.model.uncertainty.covariances import MOVING, N_VALUES, Array, Ellipsoids

# Of V, whose trace is some 16: directions in which training poses hardly differ are no evidence.
_RIDGE = 3e-4
# The error of a pose in the middle of all is not 0, and far ones are not infinitely unknown.
_GROWTH = (0.5, 3.0)


@dataclass(frozen=True)
class Familiarity:
    """What training poses were like.

    Attributes:
        mean: m, (48,).
        precision: (V + r I)^-1, (48, 48).
        usual: the distance that a pose of the recalibration usually has (geometric mean).
    """

    mean: Array
    precision: Array
    usual: float = 1.0

    def distance(self, pose_mm: NDArray[np.floating]) -> Array:
        """Return d of poses (n, 17, 3), root-relative, camera frame: (n,)."""
        away = _without_size(pose_mm) - self.mean
        squared = np.einsum("ni,ij,nj->n", away, self.precision, away, optimize=True)
        distance: Array = np.sqrt(np.maximum(squared, 0.0) / N_VALUES)
        return distance

    def growth(self, pose_mm: NDArray[np.floating]) -> Array:
        """Return by what the standard deviations of answers (n, 17, 3) are multiplied, (n,)."""
        return np.clip(self.distance(pose_mm) / self.usual, *_GROWTH)

    def measured_by(self, pose_mm: NDArray[np.floating]) -> Familiarity:
        """Return the same for which poses (n, 17, 3) are usual."""
        distance = np.maximum(self.distance(pose_mm), 1e-6)
        return Familiarity(self.mean, self.precision, float(np.exp(np.log(distance).mean())))

    def to_json(self) -> dict[str, Any]:
        """Describe as JSON values."""
        return {
            "mean": np.round(self.mean, 6).tolist(),
            "precision": np.round(self.precision, 4).tolist(),
            "usual": self.usual,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Familiarity:
        """Read what to_json wrote.

        Raises:
            ValueError, KeyError, TypeError: it is not that.
        """
        mean = np.array(value["mean"], dtype=np.float64)
        precision = np.array(value["precision"], dtype=np.float64)
        usual = float(value["usual"])
        if mean.shape != (N_VALUES,) or precision.shape != (N_VALUES, N_VALUES) or not usual > 0:
            raise ValueError(f"familiarity of shape {mean.shape} and {precision.shape}")
        return cls(mean, precision, usual)


@dataclass(frozen=True)
class Regions:
    """What a run claims of its errors: ellipsoids, grown with the distance from what is familiar.

    Attributes:
        ellipsoids: fitted to known poses.
        familiarity: of the training poses; None: they do not grow.
    """

    ellipsoids: Ellipsoids
    familiarity: Familiarity | None = None

    def covariance(self, sample_mm2: NDArray[np.floating], pose_mm: NDArray[np.floating]) -> Array:
        """Return covariances (n, 17, 3, 3), mm^2, of hypotheses' covariances and means."""
        covariance = self.ellipsoids.covariance(sample_mm2)
        if self.familiarity is not None:
            covariance *= (self.familiarity.growth(pose_mm) ** 2)[:, None, None, None]
        return covariance


def familiarity_of(pose_mm: NDArray[np.floating]) -> Familiarity:
    """Return what poses (n, 17, 3) are like, n at least 2."""
    flat = _without_size(pose_mm)
    covariance = np.cov(flat.T) + _RIDGE * np.eye(N_VALUES)
    return Familiarity(flat.mean(axis=0), np.asarray(np.linalg.inv(covariance), np.float64))


def _without_size(pose_mm: NDArray[np.floating]) -> Array:
    """Return the moving joints of poses (n, 17, 3) in units of their own radius, (n, 48)."""
    moving = np.asarray(pose_mm, dtype=np.float64)[:, MOVING]
    radius = np.sqrt((moving**2).sum(axis=(1, 2), keepdims=True) / len(MOVING))
    scaled: Array = (moving / np.maximum(radius, 1.0)).reshape(len(moving), N_VALUES)
    return scaled
