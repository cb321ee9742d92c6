"""How sure an answer is: covariances and ellipsoids from N hypotheses, and whether they hold.

Per joint, with the hypotheses' mean m and their sample covariance S (of N points, so noisy):

    C = s ((1 - w) S + w tr(S)/3 I + f I)        predicted covariance, mm^2
    d^2 = (truth - m)^T C^-1 (truth - m)         squared Mahalanobis distance
    d^2 nu / (3 (nu - 2)) ~ F(3, nu)             claim: Student t with covariance C

w shrinks S towards a sphere of its own size (Ledoit & Wolf, J. Multivariate Anal. 88, 2004), f is a
floor for hypotheses that agree too well, s says by how much all are too narrow or too wide, nu how
heavy the tails are. The t distribution is the natural family: if truth and hypotheses are N + 1
draws of one Gaussian whose covariance is only known through S, then truth - m is exactly
multivariate t with N - 3 degrees of freedom (Gelman et al., Bayesian Data Analysis, 3rd ed., sec.
3.6; Hotelling's T^2). w, f, s and nu are fitted to known poses in model.recalibration.

Axis legend: n poses, N hypotheses, J joints. Everything is in mm, root-relative, camera frame. The
root is 0 in every hypothesis and in truth: its covariance is 0, its distance NaN, and no figure
counts it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from diffpose.model.geometry.skeleton import N_JOINTS, ROOT

Array = NDArray[np.float64]

# How the N hypotheses of a frame hang together, each being a draw of the predicted distribution:
#   independent      as they were drawn
#   centred          e_i - mean(e) of independent e, times sqrt(N/(N-1)), about the known mean: each
#                    has the full covariance, differences of two are sqrt(N/(N-1)) too long
#   held             e_i - mean(e) about the known mean: each has (N-1)/N of the covariance,
#                    differences of two are as they should be
#   partly centred   within kernels whose means were drawn independently: neither
Draws: TypeAlias = Literal["independent", "centred", "held", "partly centred"]
LEVELS = (0.5, 0.9)
MOVING: NDArray[np.intp] = np.array([j for j in range(N_JOINTS) if j != ROOT])
N_VALUES = 3 * len(MOVING)  # the moving joints' x, y, z, where all joints are one vector
_UPPER = np.triu_indices(3)


def stretch(n_hypotheses: int) -> float:
    """Return sqrt(N / (N - 1)): from deviations about the draws' own mean to those about the true.

    Raises:
        ValueError: one hypothesis has no deviation.
    """
    if n_hypotheses < 2:
        raise ValueError("One hypothesis has no deviation from its own mean.")
    return math.sqrt(n_hypotheses / (n_hypotheses - 1))


def sample_covariance(hypotheses_mm: NDArray[np.floating], draws: Draws = "independent") -> Array:
    """Return the unbiased covariance of each joint's hypotheses.

    Args:
        hypotheses_mm: (n, N, J, 3), N at least 2.
        draws: how they hang together: centred ones were stretched already. Those that are partly
            centred are taken as independent, which is up to N/(N-1) too much.

    Returns:
        (n, J, 3, 3), mm^2.

    Raises:
        ValueError: one hypothesis has no covariance.
    """
    n_hypotheses = hypotheses_mm.shape[1]
    if n_hypotheses < 2:
        raise ValueError(
            f"A covariance needs at least 2 hypotheses, got {n_hypotheses}. Draw more "
            "(n_hypotheses=5), or give a single answer the covariance of its errors on known poses "
            "(fit_gaussian)."
        )
    x = np.asarray(hypotheses_mm, dtype=np.float64).transpose(0, 2, 3, 1)
    x = x - x.mean(axis=-1, keepdims=True)
    divisor = n_hypotheses if draws == "centred" else n_hypotheses - 1
    covariance: Array = x @ x.swapaxes(-1, -2) / divisor
    return covariance


def packed(covariance: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the upper triangles, (..., 6): xx, xy, xz, yy, yz, zz."""
    return np.asarray(covariance[..., *_UPPER], dtype=np.float32)


def unpacked(upper: NDArray[np.floating]) -> Array:
    """Return the matrices (..., 3, 3) of `packed`."""
    full = np.empty((*upper.shape[:-1], 3, 3))
    full[..., *_UPPER] = upper
    full[..., _UPPER[1], _UPPER[0]] = upper
    return full


def joint_blocks(covariance_mm2: NDArray[np.floating]) -> Array:
    """Return each joint's own block of covariances (..., 48, 48): (..., J, 3, 3), the root's 0."""
    leading, at = covariance_mm2.shape[:-2], np.arange(len(MOVING))
    parts = covariance_mm2.reshape(*leading, len(MOVING), 3, len(MOVING), 3)
    blocks = np.zeros((*leading, N_JOINTS, 3, 3))
    blocks[..., MOVING, :, :] = np.moveaxis(parts[..., at, :, at, :], 0, -3)
    return blocks


@dataclass(frozen=True)
class Ellipsoids:
    """From sample covariances to covariances and ellipsoids of any level; see the module's head.

    Attributes:
        weight: w, 0 to 1.
        floor_mm2: f, (J,).
        scale: s, (J,).
        dof: nu, above 2; infinite for a Gaussian.
    """

    weight: float
    floor_mm2: Array
    scale: Array
    dof: float

    def __post_init__(self) -> None:
        """Check the ranges: a wrong file is said here and not by strange ellipsoids.

        Raises:
            ValueError: a value is out of its range, or there is not one per joint.
        """
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight must be from 0 to 1, got {self.weight}")
        if not self.dof > 2:
            raise ValueError(f"dof must be above 2 (a covariance must exist), got {self.dof}")
        for name, value in (("floor_mm2", self.floor_mm2), ("scale", self.scale)):
            if value.shape != (N_JOINTS,) or not np.isfinite(value).all() or (value < 0).any():
                raise ValueError(f"{name} must hold {N_JOINTS} finite values >= 0, got {value}")

    def covariance(self, sample: NDArray[np.floating]) -> Array:
        """Return C, (n, J, 3, 3) mm^2, of sample covariances of the same shape; the root's is 0."""
        s = np.asarray(sample, dtype=np.float64)
        size = np.trace(s, axis1=-2, axis2=-1) / 3
        full = (1 - self.weight) * s
        full[..., range(3), range(3)] += (self.weight * size + self.floor_mm2)[..., None]
        full *= self.scale[:, None, None]
        full[:, ROOT] = 0
        return full

    def levels(self, distance_squared: Array) -> Array:
        """Return the level of the smallest ellipsoid that holds the truth; NaN stays.

        Uniform on 0 to 1 if the claim is right (the probability integral transform).
        """
        if math.isinf(self.dof):
            found: Array = stats.chi2.cdf(distance_squared, 3)
        else:
            ratio = self.dof / (3 * (self.dof - 2))
            found = stats.f.cdf(distance_squared * ratio, 3, self.dof)
        return found

    def to_json(self) -> dict[str, Any]:
        """Describe as JSON values."""
        return {
            "weight": self.weight,
            "floor_mm2": self.floor_mm2.tolist(),
            "scale": self.scale.tolist(),
            "dof": self.dof,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Ellipsoids:
        """Read what to_json wrote.

        Raises:
            ValueError, KeyError, TypeError: it is not that.
        """
        return cls(
            float(value["weight"]),
            np.array(value["floor_mm2"], dtype=np.float64),
            np.array(value["scale"], dtype=np.float64),
            float(value["dof"]),
        )


def uncalibrated(n_hypotheses: int) -> Ellipsoids:
    """Return what the hypotheses themselves claim, taken as draws of a Gaussian.

    Nothing is fitted: w = 3 / (N + 2), as if 3 further draws had been a sphere, which keeps
    matrices of N = 2 or 3 invertible and vanishes for many; the floor is 1 mm^2.
    """
    ones = np.ones(N_JOINTS)
    return Ellipsoids(3 / (n_hypotheses + 2), ones, ones, math.inf)


def radius(level: float, dof: float = math.inf) -> float:
    """Return the Mahalanobis radius of the ellipsoid of a level in three dimensions.

    Args:
        level: above 0, below 1.
        dof: of a multivariate t whose *covariance* measures the distance; infinite: Gaussian.

    Raises:
        ValueError: the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    if math.isinf(dof):
        return math.sqrt(float(stats.chi2.ppf(level, 3)))
    return math.sqrt(3 * float(stats.f.ppf(level, 3, dof)) * (dof - 2) / dof)


def mahalanobis_squared(residual_mm: NDArray[np.floating], covariance: Array) -> Array:
    """Return d^2, (n, J), by a Cholesky factor in closed form; the root's is NaN.

    Args:
        residual_mm: truth minus mean, (n, J, 3).
        covariance: (n, J, 3, 3) or (J, 3, 3), mm^2; a singular one gives infinite distance or NaN.
    """
    r = np.asarray(residual_mm, dtype=np.float64)
    c = covariance
    with np.errstate(divide="ignore", invalid="ignore"):
        l00 = np.sqrt(c[..., 0, 0])
        l10, l20 = c[..., 1, 0] / l00, c[..., 2, 0] / l00
        l11 = np.sqrt(c[..., 1, 1] - l10**2)
        l21 = (c[..., 2, 1] - l20 * l10) / l11
        l22 = np.sqrt(c[..., 2, 2] - l20**2 - l21**2)
        y0 = r[..., 0] / l00
        y1 = (r[..., 1] - l10 * y0) / l11
        y2 = (r[..., 2] - l20 * y0 - l21 * y1) / l22
        squared: Array = y0**2 + y1**2 + y2**2
    squared[:, ROOT] = np.nan
    return squared


def fit_gaussian(residual_mm: NDArray[np.floating]) -> Array:
    """Return the second moment of residuals (n, J, 3) about 0: (J, 3, 3), mm^2.

    The predicted Gaussian of a method that gives one pose and no spread, such as a context encoder:
    centred at its pose, with the covariance of its errors on known poses.

    Raises:
        ValueError: too few poses for an invertible matrix.
    """
    r = np.asarray(residual_mm, dtype=np.float64)
    if len(r) < 4:
        raise ValueError(f"A fitted Gaussian needs at least 4 known poses, got {len(r)}.")
    moments: Array = np.einsum("nja,njb->jab", r, r) / len(r)
    moments[:, range(3), range(3)] += 1.0  # mm^2: invertible even where all errors are alike
    moments[ROOT] = 0
    return moments


def equal_volume_radius(covariance: Array, radius: float) -> Array:
    """Return the radius in mm of the sphere as large as the ellipsoid d <= radius, (n, J).

    The cube root of the volume up to a constant: ``radius * det(C)^(1/6)``, the sharpness of a
    predicted region. The root's is 0.
    """
    c = covariance
    determinant = (
        c[..., 0, 0] * (c[..., 1, 1] * c[..., 2, 2] - c[..., 1, 2] ** 2)
        - c[..., 0, 1] * (c[..., 0, 1] * c[..., 2, 2] - c[..., 1, 2] * c[..., 0, 2])
        + c[..., 0, 2] * (c[..., 0, 1] * c[..., 1, 2] - c[..., 1, 1] * c[..., 0, 2])
    )
    size: Array = radius * np.maximum(determinant, 0.0) ** (1 / 6)
    return size


def coverage(levels: NDArray[np.floating], level: float) -> float:
    """Return the share of truths inside the ellipsoids of a level; `Ellipsoids.levels`, (n, J).

    NaN (the root, unknown) does not count; NaN if nothing is known.
    """
    known = levels[np.isfinite(levels)]
    return float((known <= level).mean()) if len(known) else math.nan
