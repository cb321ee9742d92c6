"""What rendering can be told."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from diffpose.model.geometry.pinhole import DEFAULT_FOCAL_RATIO
from diffpose.platform.base.config import Settings
from diffpose.preprocessing.mocap.bodies import BodySettings
from diffpose.preprocessing.mocap.cameras.ring import RingCameras
from diffpose.preprocessing.mocap.source import MocapSource
from diffpose.preprocessing.records.splits import SplitSettings

# What a film shows; a rerun must agree with the folder it goes on with.
CONTENT_FIELDS = (
    "source", "cameras", "bodies", "split", "fps", "seconds", "people", "variety", "clutter",
    "occluders", "crf", "preset", "gop", "seed",
)  # fmt: skip


class FilmSettings(Settings):
    """Films with known truth from motion capture. Restartable."""

    source: MocapSource = Field(description="the motions")
    out: str = Field(description="folder of the films: local path or fsspec URI")
    cameras: RingCameras = Field(
        RingCameras(width=480, height=480, focal_px=480 * DEFAULT_FOCAL_RATIO),
        description="virtual cameras, one film each; focal_px follows width unless given",
    )
    bodies: BodySettings = Field(BodySettings(), description="pseudo-subjects")
    split: SplitSettings = Field(SplitSettings(), description="train, validation, test")
    fps: float = Field(30.0, gt=0, le=240, description="frames per second")
    seconds: float = Field(60.0, gt=0, description="longer motions are cut into several films")
    people: int = Field(1, ge=1, le=5, description="people in a film, each with a motion of theirs")
    variety: float = Field(
        1.0, ge=0, le=1, description="of clothes, light and lens: 0 plain .. 1 everything"
    )
    clutter: float = Field(0.6, ge=0, le=1, description="things that stand about: 0 none .. 1 many")
    occluders: float = Field(0.1, ge=0, le=1, description="share of films with a thing in front")
    crf: int = Field(21, ge=0, le=51, description="x264's constant rate factor: lower is better")
    preset: str = Field("veryfast", description="x264's preset")
    gop: int = Field(48, ge=1, description="frames from one keyframe to the next, at most")
    seed: int = Field(0, ge=0, description="of bodies, cameras, looks, surroundings")
    workers: int | None = Field(None, ge=1, description="films at once; default: all CPUs")
    strict: bool = Field(False, description="exit non-zero when any film failed")

    @model_validator(mode="before")
    @classmethod
    def _focal_follows_width(cls, values: Any) -> Any:
        cameras = values.get("cameras") if isinstance(values, dict) else None
        if not isinstance(cameras, dict) or "width" not in cameras:
            return values
        # 549.6: the default of this class, put in by the merge of settings
        if cameras.get("focal_px") in (None, 480 * DEFAULT_FOCAL_RATIO):
            focal = float(cameras["width"]) * DEFAULT_FOCAL_RATIO
            return {**values, "cameras": {**cameras, "focal_px": focal}}
        return values

    @model_validator(mode="after")
    def _even_size(self) -> FilmSettings:
        if self.cameras.width % 2 or self.cameras.height % 2:
            raise ValueError(
                f"cameras.width={self.cameras.width} and cameras.height={self.cameras.height} must "
                "be even: H.264 with 4:2:0 colour has no odd sizes"
            )
        return self
