"""What video sources can be told."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from diffpose.platform.base.config import Settings
from diffpose.preprocessing.records.kinds import Material
from diffpose.preprocessing.records.names import NamedFiles
from diffpose.preprocessing.videos.opening import Limits


class VideoSource(NamedFiles):
    """Video files, with or without sidecars (diffpose.preprocessing.videos.sidecar)."""

    gives: ClassVar[tuple[Material, ...]] = ("pictures", "keypoint files")
    default_detectors: ClassVar[tuple[str, ...]] = ("blazepose", "bundled")
    otherwise: ClassVar[str] = (
        "Videos take detector.kind=blazepose, bundled, vitpose, onnx or recorded"
    )

    kind: Literal["videos"] = "videos"
    uri: str | list[str] = Field(
        description="folder (searched with its subfolders), file, pattern with *, or a list of "
        "these; local, s3://, http://"
    )
    fps: float | None = Field(
        None, gt=0, description="frames are thinned out to this rate, by time; default: all frames"
    )
    clip_frames: int = Field(512, ge=16, le=4096, description="longest clip; longer ones are cut")
    segment_frames: int = Field(
        2000, ge=16, description="a longer video is looked at by several workers, cut at keyframes"
    )
    focal_px: float | None = Field(
        None,
        gt=0,
        description="focal length where no sidecar gives one; default: 1.145 x the longer side",
    )
    max_megapixels: float = Field(36.0, gt=0, description="larger frames are refused")

    def limits(self) -> Limits:
        """Return what is refused."""
        return Limits(max_pixels=int(self.max_megapixels * 1e6))


class PeopleSettings(Settings):
    """Who is followed through a video."""

    finder: Literal["auto", "bundled", "blazepose", "rtdetr", "sidecar"] = Field(
        "auto",
        description="where person boxes come from; auto: the recording for detector.kind=recorded, "
        "blazepose's own for detector.kind=blazepose, else the bundled finder; sidecar: the truth "
        "file's boxes_px or joints",
    )
    model: str = Field(
        "PekingU/rtdetr_r50vd_coco_o365", description="folder or hub name, for finder=rtdetr"
    )
    threshold: float = Field(0.3, gt=0, lt=1, description="least score of a person")
    several: bool = Field(
        False, description="follow everyone; default: one person at a time, the largest"
    )
    per_second: float = Field(
        10.0, gt=0, description="looks for people per second; boxes between are interpolated"
    )
    shortest_s: float = Field(0.4, ge=0, description="shorter tracks are dropped")
    patience_s: float = Field(1.0, ge=0, description="a track ends when unseen for longer")
