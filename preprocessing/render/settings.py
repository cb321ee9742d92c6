"""What rendering can be told."""

from __future__ import annotations

from pydantic import Field, model_validator

from diffpose.platform.config import Settings
from diffpose.preprocessing.mocap.bodies import BodySettings
from diffpose.preprocessing.mocap.source import MocapSource
from diffpose.preprocessing.mocap.virtual_cameras import CameraSettings
from diffpose.preprocessing.settings import SplitSettings

# A rerun must agree in these with the films that are there.
CONTENT_FIELDS = (
    "source",
    "cameras",
    "bodies",
    "split",
    "fps",
    "seconds",
    "people",
    "variety",
    "clutter",
    "occluders",
    "crf",
    "preset",
    "gop",
    "seed",
)


class FilmSettings(Settings):
    """Motion capture -> films of dressed bodies with known truth. Restartable."""

    source: MocapSource = Field(description="the motions; poses_per_second gives way to fps")
    out: str = Field(description="folder of the films: local path or fsspec URI")
    cameras: CameraSettings = Field(
        CameraSettings(focal_px=549.6, width=480, height=480), description="ring of cameras"
    )
    bodies: BodySettings = Field(BodySettings(), description="pseudo-subjects")
    split: SplitSettings = Field(SplitSettings(), description="train, validation, test")
    fps: float = Field(30.0, gt=0, le=240, description="frames per second, the motion's at most")
    seconds: float = Field(60.0, gt=0, description="longest film; longer motions give several")
    people: int = Field(1, ge=1, le=3, description="persons in a film; others from other motions")
    variety: float = Field(1.0, ge=0, le=1, description="variety of clothes and of the lens")
    clutter: float = Field(0.6, ge=0, le=1, description="things that stand about")
    occluders: float = Field(0.1, ge=0, le=1, description="share of films with a thing in front")
    crf: int = Field(21, ge=0, le=51, description="H.264 quality: less is better and larger")
    preset: str = Field("veryfast", description="x264 preset")
    gop: int = Field(48, ge=1, description="most frames from one key frame to the next")
    seed: int = Field(0, ge=0, description="seed of bodies, cameras, clothes and scenes")
    workers: int | None = Field(None, ge=1, description="tasks at once; default: all CPUs")
    strict: bool = Field(False, description="exit non-zero when any film failed")

    @model_validator(mode="after")
    def _even(self) -> FilmSettings:
        if self.cameras.width % 2 or self.cameras.height % 2:
            raise ValueError(
                "H.264 with yuv420p needs an even cameras.width and cameras.height, got "
                f"{self.cameras.width} x {self.cameras.height}"
            )
        return self
