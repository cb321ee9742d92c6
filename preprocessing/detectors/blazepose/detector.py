"""BlazePose as a detector of one person's joints (Bazarevsky et al., CVPR workshops 2020).

A window is looked at by itself: which windows came before changes nothing, so that films can be
cut into spans and given to many workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from diffpose.model.geometry.skeleton import ROOT
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import absolute
from diffpose.preprocessing.detectors.blazepose.looking import (
    LEAST_SCORE,
    Look,
    networks_digest,
    person_looker,
)
from diffpose.preprocessing.detectors.blazepose.regions import onto_window
from diffpose.preprocessing.detectors.blazepose.weights import (
    INSTALL,
    PERSON,
    REPAIR,
    Size,
    is_there,
    landmark_network,
    runtime_is_there,
)
from diffpose.preprocessing.detectors.interface import (
    HeatmapDetector,
    PixelDetectorKind,
    crops_from_windows,
)
from diffpose.preprocessing.keypoints.combine import combined
from diffpose.preprocessing.keypoints.joint_layouts import to_h36m

# Rows and columns of a window: a person in it is as large as in the networks' own regions.
CROP_SIZE = (320, 240)
# sigmoid(logit) to this power is taken for the density: the heatmaps are trained as scores, wider
# than the detector's errors.
_POWER = 2.0
# Of a density whose values are at most 1, in cells: below this the joint is not in the window.
_LEAST_MASS = 1e-6


class BlazePoseSettings(PixelDetectorKind):
    """BlazePose's networks through LiteRT (extra [blazepose], diffpose get-detector blazepose)."""

    gives_pose: ClassVar[bool] = True

    kind: Literal["blazepose"] = "blazepose"
    size: Literal["best", "lite", "full", "heavy"] = Field(
        "best", description="network of the joints; best: heavy where it is there, else full"
    )
    weights: str | None = Field(
        None,
        description="folder of pose_detection.tflite and pose_landmark_*.tflite; default: where "
        "diffpose get-detector puts them ($DIFFPOSE_DETECTORS, else the user's cache)",
    )
    own_finder: ClassVar[Literal["bundled", "blazepose"]] = "blazepose"

    @classmethod
    def installed(cls) -> bool:
        """Tell whether its runtime and at least the smaller of the default networks are there."""
        names = (PERSON, landmark_network("full"))
        return runtime_is_there() and all(is_there(name, None) for name in names)

    @property
    def chosen(self) -> Size:
        """Return the size that ``best`` means here."""
        if self.size != "best":
            return self.size
        return "heavy" if is_there(landmark_network("heavy"), self.weights) else "full"

    def version(self) -> str:
        """Return the size and a digest of the networks' files."""
        return f"blazepose-{self.chosen}-{networks_digest(self.chosen, self.weights)}"

    def crop_size(self) -> tuple[int, int]:
        """Return rows and columns of its windows."""
        return CROP_SIZE

    def person_weights(self) -> str | None:
        """Return the folder: it holds the finder of people as well."""
        return self.weights

    def absolute(self) -> BlazePoseSettings:
        """Return the settings with a folder that means the same on every worker."""
        there = None if self.weights is None else absolute(self.weights)
        return self.model_copy(update={"weights": there})

    def open(self, device: str) -> HeatmapDetector:
        """Load the networks, for CPUs whatever the device; see PixelDetectorKind."""
        del device
        return BlazePoseDetector(self)


class BlazePoseDetector:
    """Windows to heatmaps, and to BlazePose's own 3D."""

    input_size = CROP_SIZE

    def __init__(self, settings: BlazePoseSettings | None = None) -> None:
        """Load the networks.

        Raises:
            SourceError: a file or LiteRT is missing, or a file is another network.
        """
        settings = settings or BlazePoseSettings()
        if not runtime_is_there():
            raise SourceError(
                f"detector.kind=blazepose needs LiteRT: {INSTALL}, then its networks: {REPAIR}"
            )
        self.version = settings.version()
        self.size = settings.chosen
        self.looker = person_looker(self.size, settings.weights)
        matrix = to_h36m("blazepose_33")
        self.needed = np.flatnonzero((matrix != 0).any(axis=0))
        self.matrix = np.ascontiguousarray(matrix[:, self.needed])

    def detect(
        self, pixels: NDArray[np.uint8], windows: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Find the joints of B people; see HeatmapDetector.

        Where it is not sure that anybody is there, the heatmaps are mixed with "anywhere in the
        window" by that.
        """
        return self._heatmaps([self.looker.look(picture) for picture in pixels], windows)

    def detect_with_pose(
        self, pixels: NDArray[np.uint8], windows: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Find the joints of B people, in the picture and in space; see PoseHeatmapDetector.

        Its networks see no camera: the axes are those of one that looks straight at the person.

        Raises:
            ValueError: the windows' pixels are not square.
        """
        size = np.asarray(windows, dtype=np.float64)[:, 2:]
        if len(size) and not np.allclose(size[:, 0], size[:, 1], rtol=1e-3):
            raise ValueError(f"the windows' pixels must be square, got {size.tolist()}")
        looks = [self.looker.look(picture) for picture in pixels]
        poses_mm = self._poses_mm(looks).astype(np.float32)
        poses_mm[[look.landmarks.score < LEAST_SCORE for look in looks]] = np.nan
        return (*self._heatmaps(looks, windows), poses_mm)

    def _poses_mm(self, looks: Sequence[Look]) -> NDArray[np.float64]:
        matrix = to_h36m("blazepose_33")
        poses = [matrix @ turned_back(look)[: matrix.shape[1]] for look in looks]
        found = np.array(poses).reshape(-1, *matrix.shape[:1], 3) * 1000.0
        return np.asarray(found - found[:, ROOT : ROOT + 1])

    def _heatmaps(
        self, looks: Sequence[Look], windows: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if not looks:
            return np.zeros((0, 17, 64, 48), np.float32), np.zeros((0, 4), np.float32)
        parts = [combined(self._densities(look)[None], self.matrix)[0] for look in looks]
        return np.stack(parts), crops_from_windows(windows, CROP_SIZE, "edges")

    def _densities(self, look: Look) -> NDArray[np.float32]:
        """Return (K, 64, 48) densities over the window, of the landmarks that ours need."""
        logits = look.landmarks.logits[:, :, self.needed].astype(np.float32)
        peaks = np.power(1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0))), np.float32(_POWER))
        maps = onto_window(peaks.astype(np.float32), look.region, *CROP_SIZE)
        total = maps.sum(axis=(1, 2), keepdims=True)
        n_cells = maps.shape[1] * maps.shape[2]
        # a joint beyond the window's rim leaves next to nothing in it
        maps = np.where(total > _LEAST_MASS, maps / np.maximum(total, 1e-30), 1.0 / n_cells)
        sure = look.landmarks.score
        return np.asarray(sure * maps + (1.0 - sure) / n_cells, dtype=np.float32)


def turned_back(look: Look) -> NDArray[np.float64]:
    """Return a look's world landmarks (39, 3), metres, along the picture's axes."""
    angle = look.region[3]
    c, s = np.cos(angle), np.sin(angle)
    world = look.landmarks.world_m
    return np.asarray(world @ np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]))
