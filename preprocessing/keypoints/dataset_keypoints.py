"""Keypoints that come with a data set as a detector: heatmaps as wide as the keypoints are wrong.

A heatmap is the distribution of the detector's error around the detection, measured joint by joint
on the training subjects' frames: two round Gaussians about the keypoint, one for the usual error,
one for the tails, fitted by EM (`fit_errors`); where the files tell confidences, on each quarter of
them apart. Detections without error (ground truth) get the
least width that the cells can show. Stored heatmaps have 8 bits: of the tails, what is below 1/510
of the peak is lost, which does not touch the regions that hold 50 % and 90 %.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from diffpose.model.heatmaps import grid as hm
from diffpose.preprocessing.records.kinds import DetectorKind, Material

Array = NDArray[np.float64]


class DatasetKeypointSettings(DetectorKind):
    """The keypoints of the data set itself."""

    reads: ClassVar[Material] = "a data set's keypoints"

    kind: Literal["dataset"] = "dataset"
    least_cells: float = Field(0.7, gt=0, description="least standard deviation in heatmap cells")

    def version(self) -> str:
        """Return name and version."""
        return "dataset-1"


@dataclass(frozen=True)
class KeypointErrors:
    """How wrong keypoints are, joint by joint: two round Gaussians without bias.

    Attributes:
        tail_weight: (J,), share of the wider one, 0 .. 1.
        sigma_px: (J, 2), standard deviations per axis, narrow and wide.
    """

    tail_weight: Array
    sigma_px: Array

    @property
    def version(self) -> str:
        """A name that two different measurements do not share."""
        data = np.concatenate([self.tail_weight, self.sigma_px.ravel()]).round(6).tobytes()
        return f"dataset-{hashlib.sha256(data).hexdigest()[:12]}"

    def at(self, _confidence: Array | None, n_rows: int) -> tuple[Array, Array]:
        """Return the tails' weights (R, J) and the widths (R, J, 2), px, of any confidence."""
        shape = (n_rows, len(self.tail_weight))
        weight = np.broadcast_to(self.tail_weight, shape)
        return weight, np.broadcast_to(self.sigma_px, (*shape, 2))


@dataclass(frozen=True)
class ErrorsByConfidence:
    """How wrong keypoints of about the same confidence are.

    Attributes:
        edges: (L - 1,), increasing, between L levels of confidence.
        levels: the errors of each, from the least sure on.
    """

    edges: Array
    levels: tuple[KeypointErrors, ...]

    def at(self, confidence: Array | None, n_rows: int) -> tuple[Array, Array]:
        """Return the tails' weights (R, J) and the widths (R, J, 2), px, of confidences (R, J)."""
        assert confidence is not None
        assert confidence.shape == (n_rows, len(self.levels[0].tail_weight))
        level = np.searchsorted(self.edges, confidence, side="right")
        joint = np.arange(confidence.shape[1])
        weights = np.stack([errors.tail_weight for errors in self.levels])
        sigmas = np.stack([errors.sigma_px for errors in self.levels])
        return weights[level, joint], sigmas[level, joint]


def fit_by_confidence(
    residuals_px: Array, confidence: Array, n_levels: int = 4, least: int = 200
) -> ErrorsByConfidence:
    """Fit the two widths to keypoints of each quarter of the confidences apart.

    Args:
        residuals_px: (n, J, 2), keypoint minus truth.
        confidence: (n, J).
        n_levels: L, equally frequent over all joints.
        least: keypoints that a joint needs in a level; with fewer it has its errors over all.
    """
    edges = np.quantile(confidence, np.arange(1, n_levels) / n_levels)
    level = np.searchsorted(edges, confidence, side="right")
    over_all = fit_errors(residuals_px)
    levels = []
    for number in range(n_levels):
        weight, sigma = over_all.tail_weight.copy(), over_all.sigma_px.copy()
        for joint in range(residuals_px.shape[1]):
            own = residuals_px[level[:, joint] == number, joint]
            if len(own) >= least:
                fitted = fit_errors(own[:, None])
                weight[joint], sigma[joint] = fitted.tail_weight[0], fitted.sigma_px[0]
        levels.append(KeypointErrors(weight, sigma))
    return ErrorsByConfidence(edges, tuple(levels))


def fit_errors(residuals_px: Array, iterations: int = 60) -> KeypointErrors:
    """Fit the two widths to residuals (n, J, 2), keypoint minus truth, px."""
    square = (np.asarray(residuals_px, dtype=np.float64) ** 2).sum(axis=-1)  # (n, J)
    spread = square.mean(axis=0) / 2
    narrow = np.maximum(np.median(square, axis=0) / (2 * np.log(2)), 1e-12)  # Rayleigh's median
    variance = np.stack([narrow, np.maximum(4 * spread, 9 * narrow)])
    weight = np.full(square.shape[1], 0.1)
    for _ in range(iterations):
        log_density = -square / (2 * variance[:, None]) - np.log(variance)[:, None]
        gap = log_density[1] - log_density[0] + np.log(weight / (1 - weight))
        tail = 1 / (1 + np.exp(-np.clip(gap, -60, 60)))
        weight = np.clip(tail.mean(axis=0), 1e-4, 0.5)
        for k, share in enumerate((1 - tail, tail)):
            variance[k] = (share * square).sum(axis=0) / (2 * share.sum(axis=0) + 1e-9)
        variance = np.maximum(variance, 1e-12)
    return KeypointErrors(weight, np.sqrt(variance).T)


def rasterise_heatmaps(
    keypoints_px: Array,
    errors: KeypointErrors | ErrorsByConfidence,
    settings: DatasetKeypointSettings,
    confidence: Array | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draw keypoints (R, 17, 2) as heatmaps; returns (R, 17, 64, 48) and their crops (R, 4)."""
    crops = hm.crop_around(keypoints_px)
    tail, width = errors.at(confidence, len(keypoints_px))
    sigma = np.maximum(width, settings.least_cells * crops[:, 2:3, None])
    weights = np.stack([1 - tail, tail], axis=-1)
    centres = np.repeat(keypoints_px[:, :, None], 2, axis=2)
    return hm.rasterise(centres, sigma, weights, crops), crops
