"""What every data set with poses of its own says of itself, whatever its files are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from diffpose.preprocessing.records.kinds import Material, SourceKind

Array = NDArray[np.float64]


class DatasetKind(SourceKind):
    """Base of the settings of all data sets."""

    gives: ClassVar[tuple[Material, ...]] = ("a data set's keypoints",)
    default_detectors: ClassVar[tuple[str, ...]] = ("dataset",)
    otherwise: ClassVar[str] = "Data sets bring their own keypoints, detector.kind=dataset"


@dataclass(frozen=True)
class Shot:
    """A recording as one camera has it.

    Attributes:
        camera: its name within the data set.
        width: of the image, px.
        height: of the image, px.
        n_frames: frames that are used.
        fps: frames that are used per second.
    """

    camera: str
    width: int
    height: int
    n_frames: int
    fps: float


@dataclass(frozen=True)
class CameraView:
    """What a camera without distortion would have seen of a recording.

    Attributes:
        joints_mm: (T, 17, 3), camera frame; NaN in frames whose pose does not count.
        keypoints_px: (T, 17, 2), of the data set's detector.
        truth_px: (T, 17, 2), where those keypoints should lie; NaN where unknown.
        camera_px: (4,), fx, fy, cx, cy.
        confidence: (T, 17), of the keypoints, or None where the files have none.
    """

    joints_mm: Array
    keypoints_px: Array
    truth_px: Array
    camera_px: Array
    confidence: Array | None = None


@dataclass(frozen=True)
class Residuals:
    """How far keypoints of training recordings lie from where they should.

    Attributes:
        offset_px: (n, 17, 2), keypoint minus truth.
        confidence: (n, 17), or None where the files have none.
    """

    offset_px: Array
    confidence: Array | None = None


class DataSet(Protocol):
    """A data set; a recording's name is the same in every file of it."""

    def recordings(self) -> list[str]:
        """Return the recordings' names, each once, after a check of what the files are."""
        ...

    def trains(self, recording: str) -> bool:
        """Tell whether a recording is for training (else it tests)."""
        ...

    def subject(self, recording: str) -> str:
        """Return who is seen."""
        ...

    def action(self, recording: str) -> str:
        """Return what evaluation groups by: the action, or the sequence where none is named."""
        ...

    def shots(self, recording: str) -> list[Shot]:
        """Return the cameras of a recording, in the files' order."""
        ...

    def view(self, recording: str, camera: str) -> CameraView:
        """Return one camera's part of a recording; raises SourceError where it is wrong."""
        ...

    def residuals(self) -> Residuals:
        """Return how wrong the keypoints are on training recordings, thinned."""
        ...

    def attributes(self) -> dict[str, Any]:
        """Return what a store of it must say: name, which poses, where the cameras come from."""
        ...
