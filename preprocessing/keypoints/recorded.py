"""Recorded keypoints as a detector: points with confidence become Gaussian heatmaps.

A heatmap is as wide as detectors are off, s px for a joint of a person of some size
(joint_widths.py: measured, of one's own files, or COCO's constants). A detector's error grows as
its confidence c falls; we take

    sigma = s (1 + spread (1 - c)),  at least ``least_cells`` heatmap cells.

A missing joint (c = 0)
is drawn as wide as a quarter of the box's height: on the line between where it was seen before and
after, else, where it was seen in no frame, around the nearest of its neighbours on the skeleton
that is known, or around the box's middle.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from diffpose.model.geometry.skeleton import JOINT_NAMES, PARENTS
from diffpose.model.heatmaps import grid as hm
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import absolute, exists, filesystem, is_local, join
from diffpose.preprocessing.detectors.interface import windows_around
from diffpose.preprocessing.keypoints.joint_layouts import (
    NAMES,
    Conversion,
    Layout,
    layout_of,
    to_h36m_points,
)
from diffpose.preprocessing.keypoints.joint_names import layout_named
from diffpose.preprocessing.keypoints.joint_widths import joint_widths, rule_name
from diffpose.preprocessing.keypoints.recorded_formats import (
    Format,
    RawPerson,
    openpose_name,
    read_frames,
)
from diffpose.preprocessing.records.kinds import DetectorKind, Material


class RecordedSettings(DetectorKind):
    """Keypoints of AlphaPose, OpenPose, MMPose, COCO or Detectron files, one per video."""

    reads: ClassVar[Material] = "keypoint files"

    kind: Literal["recorded"] = "recorded"
    uri: str = Field(
        description="file (for one video), or folder with NAME.json, NAME.npz or a folder NAME or "
        "NAME_keypoints for each video NAME.mp4"
    )
    format: Format = Field("auto", description="of the files; auto goes by their content")
    layout: Layout | Literal["auto"] = Field(
        "auto", description="joints; auto goes by their number (17: COCO, 26: Halpe, 25: BODY_25)"
    )
    conversion: Conversion = Field(
        "mean",
        description="of COCO's joints to Human3.6M's: mean (MotionBERT, MMPose), or tuned towards "
        "where Human3.6M has them (MHFormer and its followers)",
    )
    first_frame: Literal["auto"] | int = Field(
        "auto",
        description="number of the video's first frame in the files; auto: 1 where MMPose, "
        "OpenPose or AlphaPose's names of pictures (000001.jpg) begin there, else 0",
    )
    widths: str = Field(
        "measured",
        description="of the heatmaps: measured (BlazePose on real films), coco (how far annotators "
        "differ, three times as wide), or a file of diffpose calibrate source.kind=keypoints",
    )
    spread: float = Field(2.0, ge=0, description="how much wider a joint of no confidence is")
    least_cells: float = Field(0.7, gt=0, description="least standard deviation in heatmap cells")

    def version(self) -> str:
        """Return name and version."""
        return "recorded-1" if self.widths == "coco" else f"recorded-2-{rule_name(self.widths)}"

    def absolute(self) -> Self:
        """Return the settings with URIs that mean the same on every worker."""
        widths = self.widths if self.widths in {"coco", "measured"} else absolute(self.widths)
        return self.model_copy(update={"uri": absolute(self.uri), "widths": widths})


@dataclass(frozen=True)
class RecordedPerson:
    """One person in one frame, in our joints.

    Attributes:
        keypoints_px: (17, 2).
        confidence: (17,), 0 where missing.
        box_px: (4,), x0, y0, x1, y1.
        score: 0 .. 1.
        track: number over time, -1 where the file has none.
    """

    keypoints_px: NDArray[np.float64]
    confidence: NDArray[np.float64]
    box_px: NDArray[np.float64]
    score: float
    track: int


class Recording:
    """The people of one video, frame by frame."""

    def __init__(
        self, frames: dict[int, list[RecordedPerson]], size: tuple[int, int] | None = None
    ) -> None:
        """Hold the people by frame number, and the pictures' width and height where known."""
        self.frames, self.size = frames, size

    def people(self, frame: int) -> list[RecordedPerson]:
        """Return who was seen in a frame, numbered from the first one of the video."""
        return self.frames.get(frame, [])

    def along(
        self, frames: NDArray[np.integer], boxes_px: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the keypoints of the person whom boxes follow.

        Where the file numbers people, those of the number that is nearest in most frames are
        taken: a neighbour must not step in where that person was not seen.

        Args:
            frames: (R,), frame numbers.
            boxes_px: (R, 4), of the tracked person.

        Returns:
            keypoints (R, 17, 2) and confidence (R, 17), 0 in frames without that person.
        """
        keypoints = np.zeros((len(frames), len(JOINT_NAMES), 2))
        confidence = np.zeros((len(frames), len(JOINT_NAMES)))
        nearest = [
            _nearest(self.people(int(frame)), box)
            for frame, box in zip(frames, boxes_px, strict=True)
        ]
        numbers = [person.track for person in nearest if person is not None and person.track >= 0]
        own = max(set(numbers), key=numbers.count) if numbers else -1
        for i, found in enumerate(nearest):
            person = found
            if person is not None and own >= 0 and person.track != own:
                same = [p for p in self.people(int(frames[i])) if p.track == own]
                person = _nearest(same, boxes_px[i])
            if person is not None:
                keypoints[i], confidence[i] = person.keypoints_px, person.confidence
        return keypoints, confidence


def _nearest(people: list[RecordedPerson], box_px: NDArray[np.floating]) -> RecordedPerson | None:
    """Return whose box is nearest, if any is within half the box's height."""
    if not people:
        return None
    size = max(float(box_px[3] - box_px[1]), 1.0)
    off = [float(np.abs(person.box_px - box_px).max()) / size for person in people]
    best = int(np.argmin(off))
    return people[best] if off[best] < 0.5 else None


def recording_of(settings: RecordedSettings, video_uri: str) -> Recording:
    """Read the recording of a video.

    Raises:
        SourceError: there is none, or it cannot be read.
    """
    return read_recording(settings, *_find(settings, video_uri))


@functools.lru_cache(maxsize=4)
def read_recording(settings: RecordedSettings, uri: str, video: str = "") -> Recording:
    """Read a recording; the last ones are kept.

    Args:
        settings: of the format and the joints.
        uri: of the file or folder.
        video: in a folder of several videos' OpenPose files, the stem of the one that is meant.

    Raises:
        SourceError: it cannot be read, or its joints are others.
    """
    raw = read_frames(uri, settings.format, video)
    shift = raw.first_frame if settings.first_frame == "auto" else settings.first_frame
    if settings.layout == "auto" and raw.joint_names:
        layout = layout_named(raw.joint_names, repr(uri))
        settings = settings.model_copy(update={"layout": layout})
    frames = {
        frame - shift: [_ours(settings, uri, person) for person in people]
        for frame, people in raw.frames.items()
    }
    found = {frame: [p for p in people if p] for frame, people in frames.items()}
    return Recording(found, raw.size)


def recorded_heatmaps(
    keypoints_px: NDArray[np.floating],
    confidence: NDArray[np.floating],
    boxes_px: NDArray[np.floating],
    settings: RecordedSettings,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draw keypoints as heatmaps: see recorded_places.

    Returns:
        heatmaps (R, 17, 64, 48) and crops (R, 4).
    """
    return drawn(*recorded_places(keypoints_px, confidence, boxes_px, settings))


def drawn(
    points_px: NDArray[np.floating], sigma_px: NDArray[np.floating], crops: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draw what recorded_places returned: heatmaps (R, 17, 64, 48) and crops (R, 4)."""
    weights = np.ones((*sigma_px.shape, 1))
    return hm.rasterise(points_px[:, :, None], sigma_px[:, :, None], weights, crops), crops


def recorded_places(
    keypoints_px: NDArray[np.floating],
    confidence: NDArray[np.floating],
    boxes_px: NDArray[np.floating],
    settings: RecordedSettings,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """Say where each heatmap has its middle and how wide it is; the module's docstring states how.

    Args:
        keypoints_px: (R, 17, 2), of frames that follow each other.
        confidence: (R, 17), 0 .. 1, 0 where missing.
        boxes_px: (R, 4).
        settings: of the widths.

    Returns:
        points_px (R, 17, 2), sigma_px (R, 17) and crops (R, 4).
    """
    crops = windows_around(boxes_px, (hm.HEIGHT, hm.WIDTH))
    boxes = np.asarray(boxes_px, dtype=np.float64)
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    known = confidence > 0
    sigma = joint_widths(settings.widths).sigma_px(boxes)
    sigma = sigma * (1 + settings.spread * (1 - np.clip(confidence, 0, 1)))
    sigma = np.where(known, sigma, 0.25 * size[:, 1:])
    sigma = np.maximum(sigma, settings.least_cells * crops[:, 2:3])
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    return _filled(_between(keypoints_px, known), middle), sigma, crops


def _between(keypoints_px: NDArray[np.floating], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return keypoints (R, 17, 2), the unknown ones on the line between seen ones in time.

    Before the first and after the last one they stay where it was; NaN where a joint was seen in no
    frame.
    """
    points = np.where(known[..., None], keypoints_px, np.nan)
    frames = np.arange(len(points))
    for joint in np.flatnonzero(known.any(axis=0) & ~known.all(axis=0)):
        seen = known[:, joint]
        for axis in range(2):
            line = points[:, joint, axis]
            points[~seen, joint, axis] = np.interp(frames[~seen], frames[seen], line[seen])
    return points


def _filled(points: NDArray[np.float64], middle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put missing joints at their nearest known ancestor, else descendant, else the middle."""
    filled = points.copy()
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            missing = np.isnan(filled[:, joint, 0])
            filled[missing, joint] = filled[missing, parent]
    for joint in reversed(range(len(PARENTS))):
        parent = PARENTS[joint]
        if parent >= 0:
            missing = np.isnan(filled[:, parent, 0])
            filled[missing, parent] = filled[missing, joint]
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            missing = np.isnan(filled[:, joint, 0])
            filled[missing, joint] = filled[missing, parent]
    return np.where(np.isnan(filled), middle[:, None], filled)


def _find(settings: RecordedSettings, video_uri: str) -> tuple[str, str]:
    """Return where a video's keypoints are, and its stem where the folder may hold others' too."""
    uri = absolute(settings.uri)
    fs, path = filesystem(uri)
    if not fs.isdir(path):
        if not exists(uri):
            raise SourceError(f"There is no keypoint file or folder {settings.uri!r}.")
        return uri, ""
    stem = video_uri.rsplit("/", 1)[-1].rpartition(".")[0]
    tried = [f"{stem}.json", f"{stem}.npz", stem, f"{stem}_keypoints"]
    for name in tried:
        if exists(join(uri, name)):
            return join(uri, name), ""
    inside = [str(e["name"]).rsplit("/", 1)[-1] for e in fs.ls(path, detail=True)]
    if any(openpose_name(stem).fullmatch(name) for name in inside):
        return uri, stem  # a folder of OpenPose files, of this video and perhaps others
    what = "folder" if is_local(uri) else "place"
    raise SourceError(
        f"The {what} {settings.uri!r} holds no keypoints of {video_uri}: looked for "
        f"{', '.join(tried)}; it holds {', '.join(sorted(inside)[:5]) or 'nothing'}."
    )


def _ours(settings: RecordedSettings, uri: str, person: RawPerson) -> RecordedPerson | None:
    """Return a person in our joints; None where nothing of it is known."""
    n_joints = len(person.keypoints_px)
    layout = settings.layout if settings.layout != "auto" else layout_of(n_joints)
    if layout is None or len(NAMES[layout]) != n_joints:
        raise SourceError(
            f"{uri!r} has {n_joints} joints per person"
            + (f", layout {layout!r} has {len(NAMES[layout])}" if layout else "")
            + f". Give detector.layout= one of {', '.join(NAMES)}."
        )
    if settings.conversion == "tuned" and layout != "coco_17":
        raise SourceError(
            f"detector.conversion=tuned is for coco_17; the joints of {uri!r} are {layout}. Leave "
            "it out."
        )
    points, confidence = to_h36m_points(
        person.keypoints_px, person.confidence, layout, settings.conversion
    )
    known = person.keypoints_px[person.confidence > 0]
    if len(known) == 0:
        return None
    box = person.box_px
    if box is None:
        box = np.concatenate([known.min(axis=0), known.max(axis=0)])
    return RecordedPerson(points, confidence, box, person.score, person.track)
