"""Keypoint files as a source, without their videos: which recordings a folder holds."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import files_below, filesystem, join, read_bytes
from diffpose.preprocessing.records.kinds import Material
from diffpose.preprocessing.records.names import NamedFiles

# OpenPose writes one file per frame: VIDEO_000000000012_keypoints.json, or without a VIDEO; other
# tools that write its format name them cam1_000000.json, frame0001.json or 12.json
_FRAME = re.compile(r"(?:(?P<video>.*?)[_-]?)?(?P<frame>\d+)(?P<openpose>_keypoints)?\.json")


class KeypointSource(NamedFiles):
    """Keypoint files of AlphaPose, OpenPose, MMPose, COCO or Detectron, and no videos.

    ``detector.format``, ``layout``, ``conversion`` and ``spread`` say how they are read and drawn.
    """

    gives: ClassVar[tuple[Material, ...]] = ("keypoint files",)
    default_detectors: ClassVar[tuple[str, ...]] = ("recorded",)
    otherwise: ClassVar[str] = "Use detector.kind=recorded"

    kind: Literal["keypoints"] = "keypoints"
    uri: str = Field(
        description="file, or folder (searched with its subfolders) of *.json, *.npz, or of "
        "OpenPose's files, one per frame"
    )
    width: int = Field(ge=1, description="of the images that the keypoints are in, px")
    height: int = Field(ge=1, description="of the images, px")
    fps: float = Field(30.0, gt=0, description="frames per second of the files")
    focal_px: float | None = Field(
        None, gt=0, description="focal length; default: 1.145 x the longer side"
    )
    clip_frames: int = Field(512, ge=16, le=4096, description="longest clip; longer ones are cut")

    @classmethod
    def completed(cls, source: Any, detector: Mapping[str, Any]) -> dict[str, Any]:
        """Return a detector's settings: the recorded keypoints are the source's own files."""
        if detector["kind"] not in cls.default_detectors:
            return dict(detector)
        uri = source.get("uri") if isinstance(source, Mapping) else source.uri
        return {**detector, "uri": uri}


@dataclass(frozen=True)
class Located:
    """Where a recording lies: a file, or a folder and the video whose frames are meant."""

    uri: str
    video: str = ""


def keypoint_recordings(uri: str) -> dict[str, Located]:
    """Return the recordings of a file or folder by their names below it.

    Raises:
        SourceError: there are none.
    """
    fs, path = filesystem(uri)
    fs.invalidate_cache()
    if not fs.exists(path):
        raise SourceError(f"There is no keypoint file or folder {uri!r}.")
    if fs.isfile(path):
        return {uri.rstrip("/").rsplit("/", 1)[-1]: Located(uri)}
    root = str(path).rstrip("/") + "/"
    found: dict[str, Located] = {}
    inside = [name.removeprefix(root) for name in files_below(uri)]
    of_frames = _frame_files(uri, inside)
    for name in inside:
        folder, _, file = name.rpartition("/")
        frame = _FRAME.fullmatch(file)
        if frame is not None and (folder, frame["video"] or "") in of_frames:
            video = frame["video"] or ""
            parts = [part for part in (folder, video) if part]
            own = "/".join(parts) or root.rstrip("/").rsplit("/", 1)[-1]
            found[own] = Located(join(uri, folder) if folder else uri, video)
        elif file.lower().endswith((".json", ".npz")):
            found[name] = Located(join(uri, name))
    if not found:
        raise SourceError(
            f"The folder {uri!r} holds no *.json or *.npz file of keypoints "
            f"({len(inside)} other files were found)."
        )
    return found


def _frame_files(uri: str, names: Sequence[str]) -> set[tuple[str, str]]:
    """Return folder and video of the files that hold a frame each.

    OpenPose's own names say so; of other numbered files, the content of the first one does.
    """
    numbered: dict[tuple[str, str], list[str]] = {}
    own: set[tuple[str, str]] = set()
    for name in names:
        folder, _, file = name.rpartition("/")
        frame = _FRAME.fullmatch(file)
        if frame is None:
            continue
        key = folder, frame["video"] or ""
        numbered.setdefault(key, []).append(name)
        if frame["openpose"]:
            own.add(key)
    return own | {
        key
        for key, files in numbered.items()
        if key not in own and len(files) > 1 and _holds_one_frame(join(uri, files[0]))
    }


def _holds_one_frame(uri: str) -> bool:
    try:
        content = json.loads(read_bytes(uri))
    except (OSError, ValueError):
        return False  # whatever it is, reading it will say so
    return isinstance(content, dict) and isinstance(content.get("people"), list)
