"""What preprocessing can be told."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

import torch
from pydantic import Field, Tag, field_validator, model_validator

from diffpose.model.mixture_fitting.fit import Engine, resolved
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec
from diffpose.platform.base.config import Settings, by_kind, kind_of
from diffpose.platform.base.storage import absolute
from diffpose.preprocessing.datasets.human36m import Human36mSource
from diffpose.preprocessing.datasets.mpi_inf_3dhp import MpiInf3dhpSource
from diffpose.preprocessing.detectors.registry import DetectorSettings, first_installed
from diffpose.preprocessing.detectors.simulated import SimulatedDetectorSettings
from diffpose.preprocessing.keypoints.recordings import KeypointSource
from diffpose.preprocessing.mocap.bodies import BodySettings
from diffpose.preprocessing.mocap.cameras.registry import CameraSettings
from diffpose.preprocessing.mocap.cameras.ring import RingCameras
from diffpose.preprocessing.mocap.source import MocapSource
from diffpose.preprocessing.records.kinds import SourceKind
from diffpose.preprocessing.records.splits import SplitSettings
from diffpose.preprocessing.videos.settings import PeopleSettings, VideoSource

Stage = Literal["detect", "mixtures"]
# A rerun must agree in these with the store it goes on with.
CONTENT_FIELDS = (
    "source",
    "cameras",
    "bodies",
    "split",
    "people",
    "detector",
    "calibration",
    "seed",
)


_DEFAULT_SOURCE = "mocap"
SourceSettings: TypeAlias = Annotated[
    Annotated[MocapSource, Tag("mocap")]
    | Annotated[VideoSource, Tag("videos")]
    | Annotated[Human36mSource, Tag("human36m")]
    | Annotated[MpiInf3dhpSource, Tag("mpi_inf_3dhp")]
    | Annotated[KeypointSource, Tag("keypoints")],
    by_kind(_DEFAULT_SOURCE),
]
SOURCE_KINDS: dict[str, type[SourceKind]] = {
    str(kind.model_fields["kind"].default): kind
    for kind in (MocapSource, VideoSource, Human36mSource, MpiInf3dhpSource, KeypointSource)
}


class MixtureGroupSettings(Settings):
    """One named group of mixtures."""

    name: str = Field("", description="group under mixtures/; default: the depth prior's name")
    depth: Literal["histogram", "encoder"] = Field("histogram", description="prior of z")
    spec: MixtureSpec = Field(MixtureSpec(), description="what is fitted, and how")
    engine: Engine = Field(
        "auto",
        description="cpu (compiled), torch (batched, for GPUs), sklearn (reference); auto: torch "
        "on a GPU, else cpu. They differ by rounding",
    )
    gpus: float = Field(0.0, ge=0, description="GPUs of each fitting process; 0: fit on CPUs")

    @model_validator(mode="after")
    def _engine_that_can(self) -> MixtureGroupSettings:
        resolved(self.engine, torch.device("cuda" if self.gpus else "cpu"), self.spec)
        return self

    @property
    def group(self) -> str:
        """Return the group's name."""
        return self.name or self.depth

    @field_validator("name")
    @classmethod
    def _one_path_part(cls, name: str) -> str:
        if "/" in name or name.startswith("."):
            raise ValueError("a mixture group's name is one path part, without / or leading dot")
        return name


class PreprocessSettings(Settings):
    """From recordings to a pose store: detections, then mixtures. Restartable."""

    source: SourceSettings = Field(
        description="the recordings: kind=mocap, videos, human36m, mpi_inf_3dhp or keypoints"
    )
    store: str = Field(description="pose store to make or go on with: local path or fsspec URI")
    cameras: CameraSettings = Field(
        RingCameras(), description="virtual cameras, for mocap: kind=ring or wild"
    )
    bodies: BodySettings = Field(BodySettings(), description="pseudo-subjects, for mocap")
    split: SplitSettings = Field(SplitSettings(), description="train, validation, test")
    people: PeopleSettings = Field(PeopleSettings(), description="whom to follow, for videos")
    detector: DetectorSettings = Field(
        SimulatedDetectorSettings(),
        description="kind=simulated for mocap; for videos blazepose (default where it is "
        "installed), bundled (default elsewhere), vitpose, onnx, recorded; for data sets dataset",
    )
    calibration: str | None = Field(
        None, description="file of diffpose calibrate, made with this detector"
    )
    detector_workers: int | None = Field(
        None,
        ge=1,
        description="processes that only detect, beside the workers that decode; default: on CPUs "
        "each worker does both, with detector_gpus one per GPU",
    )
    detector_gpus: float = Field(0.0, ge=0, description="GPUs of each detecting process, e.g. 0.5")
    stages: list[Stage] = Field(["detect", "mixtures"], description="which stages to run")
    mixture: MixtureGroupSettings = Field(MixtureGroupSettings(), description="stage mixtures")
    encoder: str | None = Field(None, description="run with a context encoder, for depth=encoder")
    seed: int = Field(0, ge=0, description="seed of bodies, cameras, detector and draws")
    workers: int | None = Field(None, ge=1, description="tasks at once; default: all CPUs")
    strict: bool = Field(False, description="exit non-zero when any clip failed")

    @model_validator(mode="before")
    @classmethod
    def _detector_that_fits(cls, values: Any) -> Any:
        """Without a word on the detector each source gets its own default."""
        if not isinstance(values, dict) or "source" not in values:
            return values
        source = SOURCE_KINDS.get(kind_of(values["source"], _DEFAULT_SOURCE))
        detector = values.get("detector", {})
        if source is None or not isinstance(detector, dict):
            return values
        given = {"kind": first_installed(source.default_detectors), **detector}
        return {**values, "detector": source.completed(values["source"], given)}

    @field_validator("stages", mode="before")
    @classmethod
    def _one_or_several(cls, stages: object) -> object:
        return [part.strip() for part in stages.split(",")] if isinstance(stages, str) else stages

    @model_validator(mode="after")
    def _source_and_detector(self) -> PreprocessSettings:
        if self.detector.reads not in self.source.gives:
            raise ValueError(
                f"detector.kind={self.detector.kind} reads {self.detector.reads}, and source.kind="
                f"{self.source.kind} has {' and '.join(self.source.gives)} alone. "
                f"{self.source.otherwise}"
            )
        return self

    @model_validator(mode="after")
    def _encoder_given(self) -> PreprocessSettings:
        if "mixtures" in self.stages and self.mixture.depth == "encoder" and not self.encoder:
            raise ValueError(
                "mixture.depth=encoder needs encoder=RUN, a run directory with a trained encoder"
            )
        return self

    def with_absolute_uris(self) -> Self:
        """Return the settings with URIs that mean the same on every worker."""
        update: dict[str, Any] = {
            "source": self.source.absolute(),
            "detector": self.detector.absolute(),
        }
        for name in ("store", "calibration"):
            if getattr(self, name):
                update[name] = absolute(getattr(self, name))
        return self.model_copy(update=update)
