"""Which source: from settings to what they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from diffpose.platform.base.config import validate
from diffpose.preprocessing.datasets.human36m import Human36mSource
from diffpose.preprocessing.datasets.mpi_inf_3dhp import MpiInf3dhpSource
from diffpose.preprocessing.detectors.interface import PixelDetectorKind
from diffpose.preprocessing.detectors.simulated import SimulatedDetectorSettings
from diffpose.preprocessing.keypoints.dataset_keypoints import DatasetKeypointSettings
from diffpose.preprocessing.keypoints.recorded import RecordedSettings
from diffpose.preprocessing.keypoints.recordings import KeypointSource
from diffpose.preprocessing.mocap.source import MocapSource
from diffpose.preprocessing.settings import PreprocessSettings, SourceSettings
from diffpose.preprocessing.sources.dataset import DatasetRecordings
from diffpose.preprocessing.sources.interface import Source
from diffpose.preprocessing.sources.keypoints import KeypointRecordings
from diffpose.preprocessing.sources.mocap import MocapRecordings
from diffpose.preprocessing.sources.video import VideoRecordings
from diffpose.preprocessing.sources.video_detection import PictureDetection, RecordedDetection
from diffpose.preprocessing.videos.settings import VideoSource

T = TypeVar("T")


def _mocap(settings: PreprocessSettings) -> Source:
    return MocapRecordings(
        settings,
        _as(MocapSource, settings.source),
        _as(SimulatedDetectorSettings, settings.detector),
    )


def _videos(settings: PreprocessSettings) -> Source:
    source, detector = _as(VideoSource, settings.source), settings.detector
    if isinstance(detector, PixelDetectorKind):
        return VideoRecordings(settings, source, PictureDetection(detector))
    recorded = _as(RecordedSettings, detector)
    return VideoRecordings(settings, source, RecordedDetection(recorded), recorded)


def _human36m(settings: PreprocessSettings) -> Source:
    detector = _as(DatasetKeypointSettings, settings.detector)
    return DatasetRecordings(settings, _as(Human36mSource, settings.source), detector)


def _mpi_inf_3dhp(settings: PreprocessSettings) -> Source:
    detector = _as(DatasetKeypointSettings, settings.detector)
    return DatasetRecordings(settings, _as(MpiInf3dhpSource, settings.source), detector)


def _keypoints(settings: PreprocessSettings) -> Source:
    return KeypointRecordings(
        settings, _as(KeypointSource, settings.source), _as(RecordedSettings, settings.detector)
    )


SOURCES: dict[str, Callable[[PreprocessSettings], Source]] = {
    "mocap": _mocap,
    "videos": _videos,
    "human36m": _human36m,
    "mpi_inf_3dhp": _mpi_inf_3dhp,
    "keypoints": _keypoints,
}


def source_of(settings: PreprocessSettings) -> Source:
    """Return the source that settings name, with its detector; files are opened when asked for."""
    return SOURCES[settings.source.kind](settings)


def source_alone(source: SourceSettings) -> Source:
    """Return a source with its own default detector, to look at its files."""
    values: dict[str, Any] = {"source": source, "store": ""}
    return source_of(validate(PreprocessSettings, values))


def _as(kind: type[T], value: object) -> T:
    if not isinstance(value, kind):  # PreprocessSettings lets only what goes together pass
        raise TypeError(f"{type(value).__name__} where {kind.__name__} belongs")
    return value
