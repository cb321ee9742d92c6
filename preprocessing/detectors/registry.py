"""Which detector: the settings of all of them, and how each is made ready."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Tag

from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.platform.base.config import by_kind
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import read_json
from diffpose.preprocessing.detectors.blazepose.detector import BlazePoseSettings
from diffpose.preprocessing.detectors.blazepose.finder import BlazePoseFinder
from diffpose.preprocessing.detectors.bundled import (
    BundledFinder,
    BundledSettings,
)
from diffpose.preprocessing.detectors.interface import (
    HeatmapDetector,
    PersonFinder,
    PixelDetectorKind,
)
from diffpose.preprocessing.detectors.onnx_pose import OnnxPoseSettings
from diffpose.preprocessing.detectors.simulated import SimulatedDetectorSettings
from diffpose.preprocessing.detectors.vitpose import VitPoseSettings
from diffpose.preprocessing.keypoints.dataset_keypoints import DatasetKeypointSettings
from diffpose.preprocessing.keypoints.recorded import RecordedSettings
from diffpose.preprocessing.records.kinds import DetectorKind
from diffpose.preprocessing.videos.settings import PeopleSettings

DetectorSettings: TypeAlias = Annotated[
    Annotated[SimulatedDetectorSettings, Tag("simulated")]
    | Annotated[BundledSettings, Tag("bundled")]
    | Annotated[BlazePoseSettings, Tag("blazepose")]
    | Annotated[VitPoseSettings, Tag("vitpose")]
    | Annotated[OnnxPoseSettings, Tag("onnx")]
    | Annotated[RecordedSettings, Tag("recorded")]
    | Annotated[DatasetKeypointSettings, Tag("dataset")],
    by_kind("simulated"),
]


@functools.lru_cache(maxsize=1)
def pixel_detector(settings: PixelDetectorKind, device: str) -> HeatmapDetector:
    """Return a detector that looks at pictures; the last one is kept ready in each process."""
    return settings.open(device)


DETECTOR_KINDS: dict[str, type[DetectorKind]] = {
    str(kind.model_fields["kind"].default): kind
    for kind in (
        SimulatedDetectorSettings,
        BundledSettings,
        BlazePoseSettings,
        VitPoseSettings,
        OnnxPoseSettings,
        RecordedSettings,
        DatasetKeypointSettings,
    )
}


def first_installed(kinds: Sequence[str]) -> str:
    """Return the first kind of detector that is installed; the last where none is."""
    return next((kind for kind in kinds if DETECTOR_KINDS[kind].installed()), kinds[-1])


@functools.lru_cache(maxsize=1)
def person_finder(people: PeopleSettings, detector: DetectorKind, device: str) -> PersonFinder:
    """Return the finder of people in whole frames.

    Args:
        people: which finder; auto: the detector's own.
        detector: whose windows are wanted; its finder's weights go with it.
        device: of torch.

    Raises:
        SourceError: its weights or the package that runs it are missing, or are something else.
    """
    name = detector.own_finder if people.finder == "auto" else people.finder
    weights = detector.person_weights() if name == detector.own_finder else None
    if name == "rtdetr":
        from diffpose.preprocessing.detectors.rtdetr import RtDetrFinder

        return RtDetrFinder(people.model, people.threshold, device)
    if name == "blazepose":
        return BlazePoseFinder(weights, people.threshold, thorough=people.several)
    return BundledFinder(weights, people.threshold, device)


def temperatures(
    settings: DetectorKind, calibration: str | None, version: str
) -> NDArray[np.float64]:
    """Return the temperature of each joint, (17,).

    From the calibration file if one is named, else what the detector brings along.

    Raises:
        SourceError: the file is missing, is none of diffpose calibrate, or is another detector's.
    """
    if calibration is not None and settings.reads != "pictures":
        raise SourceError(
            f"calibration={calibration!r} is for detectors that look at pixels; the heatmaps of "
            f"{version} are as wide as their settings say. Leave it out."
        )
    if calibration is None:
        return settings.temperature()
    try:
        saved = read_json(calibration)
        values = np.array(saved["temperature"], dtype=np.float64)
        theirs = str(saved["detector"])
    except FileNotFoundError:
        raise SourceError(
            f"There is no calibration file {calibration!r}; diffpose calibrate makes one."
        ) from None
    except (KeyError, TypeError, ValueError, json.JSONDecodeError) as error:
        raise SourceError(
            f"{calibration!r} is no file of diffpose calibrate ({error!r})."
        ) from None
    if theirs != version:
        raise SourceError(
            f"{calibration!r} is the calibration of {theirs!r}, but the detector is {version!r}. "
            "Run diffpose calibrate with this detector."
        )
    if values.shape != (N_JOINTS,) or not (np.isfinite(values) & (values > 0)).all():
        raise SourceError(f"{calibration!r}: temperature must be 17 numbers above 0.")
    return values
