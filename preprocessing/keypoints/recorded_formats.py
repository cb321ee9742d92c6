"""Keypoint files of AlphaPose, OpenPose, MMPose, COCO and Detectron, told apart by their content.

Every reader gives, per frame number, the people seen: keypoints in the file's own joint layout,
confidences, box, score and track number (-1 where the file has none).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.safe_pickle import npz_content
from diffpose.platform.base.storage import filesystem, join, list_names, read_bytes
from diffpose.preprocessing.keypoints.joint_layouts import layout_of

Format = Literal["auto", "alphapose", "openpose", "mmpose", "coco", "detectron"]


@dataclass(frozen=True)
class RawPerson:
    """One person in one frame.

    Attributes:
        keypoints_px: (K, 2).
        confidence: (K,), 0 where missing.
        box_px: (4,) x0, y0, x1, y1, or None where the file has none.
        score: of the person, 0 .. 1.
        track: number over time, -1 where the file has none.
    """

    keypoints_px: NDArray[np.float64]
    confidence: NDArray[np.float64]
    box_px: NDArray[np.float64] | None = None
    score: float = 1.0
    track: int = -1


RawFrames = dict[int, list[RawPerson]]


@dataclass(frozen=True)
class RawRecording:
    """What a file holds.

    Attributes:
        frames: the people by frame number.
        first_frame: number of the video's first frame. OpenPose and MMPose list frames without
            people too, so their least number tells; AlphaPose does not, but names the frames of a
            video 0.jpg, 1.jpg, and those of a folder of pictures as they were: 000001.jpg.
        joint_names: of the joints, in order, where the file says them.
        size: width and height of the pictures, px, where the file says them.
    """

    frames: RawFrames
    first_frame: int = 0
    joint_names: tuple[str, ...] = ()
    size: tuple[int, int] | None = None


def read_frames(uri: str, wanted: Format = "auto", video: str = "") -> RawRecording:
    """Read a file or a folder of one file per frame.

    Args:
        uri: of the file or folder.
        wanted: its format.
        video: in a folder of several videos' OpenPose files, the stem of the one that is meant.

    Raises:
        SourceError: it cannot be read, or is of no known (or another than the wanted) format.
    """
    fs, path = filesystem(uri)
    if fs.isdir(path):
        return _from_least(_openpose(uri, video))
    try:
        data = read_bytes(uri)
    except OSError as error:
        raise SourceError(f"The keypoint file {uri!r} cannot be read: {error}") from None
    try:
        if data[:4] == b"PK\x03\x04":
            return _detectron(uri, data)
        content = json.loads(data)
        found = _format_of(content)
        if wanted not in ("auto", found):
            raise SourceError(f"{uri!r} looks like {found or 'no known format'}, not {wanted}.")
        if found == "alphapose":
            padded = all(re.search(r"(?<!\d)0\d+\.\w+$", str(e["image_id"])) for e in content[:9])
            frames = _alphapose(content)
            return _from_least(frames) if padded else RawRecording(frames)
        if found == "mmpose":
            return replace(_from_least(_mmpose(content)), joint_names=_mmpose_names(content))
        if found == "coco":
            return RawRecording(_coco(content), 0, _coco_names(content), _coco_size(content))
        if found == "openpose":
            return RawRecording({0: _openpose_people(content)})
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{uri!r} is neither JSON nor npz: {error}") from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, SourceError):
            raise SourceError(str(error) if uri in str(error) else f"{uri}: {error}.") from None
        raise SourceError(f"{uri!r} breaks off or is not as its format wants: {error!r}") from None
    raise SourceError(
        f"{uri!r} is of no known format. Known: AlphaPose (list of image_id, keypoints), OpenPose "
        "(people, one file per frame), MMPose (instance_info), COCO (annotations), Detectron npz."
    )


def _from_least(frames: RawFrames) -> RawRecording:
    return RawRecording(frames, 1 if min(frames, default=0) == 1 else 0)


def _format_of(content: Any) -> str:
    if isinstance(content, dict):
        if "instance_info" in content:
            return "mmpose"
        if "annotations" in content:
            return "coco"
        return "openpose" if "people" in content else ""
    if isinstance(content, list) and content and isinstance(content[0], dict):
        first = content[0]
        if "instances" in first or "keypoint_scores" in first:
            return "mmpose"
        if "keypoints" in first and "image_id" in first:
            return "alphapose" if isinstance(first["image_id"], str) else "coco"
    return ""


def _triples(values: Iterable[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return points (K, 2) and confidences (K,) of x, y, confidence, x, y, ...

    Raises:
        SourceError: the numbers are pairs.
    """
    flat = np.asarray(list(values), dtype=np.float64)
    pairs, rest = divmod(len(flat), 2)
    if not rest and layout_of(pairs) and (len(flat) % 3 or not layout_of(len(flat) // 3)):
        raise SourceError(
            f"a person has {len(flat)} numbers: {pairs} pairs x, y without confidence. Give x, y, "
            "confidence of each joint (confidence 1 where nothing is known of it)"
        )
    rows = flat.reshape(-1, 3)
    return rows[:, :2], _where_placed(rows[:, :2], rows[:, 2])


def _where_placed(
    points: NDArray[np.float64], confidence: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return confidences, 0 for joints at (0, 0) or nowhere: so files write what was not found."""
    placed = np.isfinite(points).all(axis=-1) & (points != 0).any(axis=-1)
    return np.where(placed & np.isfinite(confidence), confidence, 0.0)


def _track(value: Any) -> int:
    """Return a person's number, however many lists it stands in; -1 for an empty one or none."""
    while isinstance(value, list | tuple):
        value = value[0] if value else -1
    return -1 if value is None else int(value)


def _corner_box(box: Any) -> NDArray[np.float64] | None:
    """Turn x, y, width, height into corners."""
    if box is None:
        return None
    x, y, w, h = (float(v) for v in box)
    return np.array([x, y, x + w, y + h])


def _alphapose(content: list[dict[str, Any]]) -> RawFrames:
    frames: RawFrames = {}
    for entry in content:
        points, confidence = _triples(entry["keypoints"])
        # scores of AlphaPose run to about 3; keypoints' own confidences to 1
        person = RawPerson(
            points,
            np.clip(confidence, 0.0, 1.0),
            _corner_box(entry.get("box")),
            float(np.clip(confidence, 0, 1).mean()),
            _track(entry.get("idx", -1)),
        )
        frames.setdefault(_number_in(str(entry["image_id"])), []).append(person)
    return frames


def openpose_name(video: str) -> re.Pattern[str]:
    """Return the names of a video's OpenPose files, the frame's number in them; "" is any video."""
    stem = rf"{re.escape(video)}[_-]?" if video else r".*?"
    return re.compile(rf"{stem}(\d+)(?:_keypoints)?\.json")


def _openpose(folder: str, video: str) -> RawFrames:
    frames: RawFrames = {}
    names = openpose_name(video)
    for name in list_names(folder, ".json"):
        found = names.fullmatch(name)
        if found is None:
            continue
        try:
            content = json.loads(read_bytes(join(folder, name)))
            frames[int(found[1])] = _openpose_people(content)
        except SourceError as error:
            raise SourceError(f"{join(folder, name)}: {error}.") from None
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise SourceError(f"{join(folder, name)} is no file of OpenPose: {error!r}") from None
    if not frames:
        raise SourceError(
            f"{folder!r} holds no OpenPose file; their names end in _000000000012_keypoints.json."
        )
    return frames


def _openpose_people(content: dict[str, Any]) -> list[RawPerson]:
    people = []
    for person in content["people"]:
        # the key of version 1.0 was another; who is there without joints was not seen
        values = person["pose_keypoints" if "pose_keypoints" in person else "pose_keypoints_2d"]
        if not values:
            continue
        points, confidence = _triples(values)
        track = _track(person.get("person_id", -1))
        people.append(RawPerson(points, confidence, None, float(confidence.mean()), track))
    return people


def _mmpose(content: Any) -> RawFrames:
    entries = content["instance_info"] if isinstance(content, dict) else content
    if entries and "instances" not in entries[0]:
        entries = [{"frame_id": 0, "instances": entries}]
    frames: RawFrames = {}
    for i, entry in enumerate(entries):
        people = []
        for one in entry["instances"]:
            box = one.get("bbox")
            while isinstance(box, list | tuple) and len(box) == 1:  # a 1-tuple holds the box
                box = box[0]
            points = np.asarray(one["keypoints"], dtype=np.float64)[:, :2]
            scores = np.asarray(one["keypoint_scores"], dtype=np.float64)
            people.append(
                RawPerson(
                    points,
                    _where_placed(points, np.clip(scores, 0, 1)),
                    None if box is None else np.asarray(box, dtype=np.float64)[:4],
                    float(np.squeeze(one.get("bbox_score", 1.0))),
                    _track(one.get("track_id", -1)),
                )
            )
        frames[int(entry.get("frame_id", i))] = people
    return frames


def _mmpose_names(content: Any) -> tuple[str, ...]:
    """Return the joints' names out of meta_info, in either of its forms."""
    about = content.get("meta_info") if isinstance(content, dict) else None
    if not isinstance(about, dict):
        return ()
    by_number = about.get("keypoint_id2name")
    if isinstance(by_number, dict):
        return tuple(str(by_number[key]) for key in sorted(by_number, key=int))
    by_name = about.get("keypoint_name2id")
    if isinstance(by_name, dict):
        return tuple(sorted(by_name, key=lambda name: int(by_name[name])))
    return ()


def _coco_names(content: Any) -> tuple[str, ...]:
    """Return the joints' names of the one category that has some."""
    categories = content.get("categories", []) if isinstance(content, dict) else []
    named = {tuple(map(str, c["keypoints"])) for c in categories if c.get("keypoints")}
    return named.pop() if len(named) == 1 else ()


def _coco_size(content: Any) -> tuple[int, int] | None:
    """Return the size that all pictures have."""
    images = content.get("images", []) if isinstance(content, dict) else []
    sizes = {(image.get("width"), image.get("height")) for image in images}
    if len(sizes) != 1 or None in (size := sizes.pop()):
        return None
    return int(size[0]), int(size[1])


def _coco(content: Any) -> RawFrames:
    entries = content["annotations"] if isinstance(content, dict) else content
    # other things than people have no joints
    entries = [entry for entry in entries if entry.get("keypoints")]
    images = (
        sorted(content["images"], key=lambda i: _natural(str(i["file_name"])))
        if isinstance(content, dict)
        else []
    )
    # the n-th image is the n-th frame; results without images go by the number of the image
    place = {image["id"]: n for n, image in enumerate(images)}
    frames: RawFrames = {}
    for entry in entries:
        points, seen = _triples(entry["keypoints"])
        annotated = bool(images) and set(np.unique(seen)) <= {0.0, 1.0, 2.0}
        # visibility 1: annotated, but hidden
        confidence = np.select([seen >= 2, seen >= 1], [1.0, 0.5], 0.0) if annotated else seen
        score = float(entry.get("score", 1.0))
        person = RawPerson(
            points,
            np.clip(confidence, 0, 1),
            _corner_box(entry.get("bbox")),
            min(max(score, 0.0), 1.0),
            _track(entry.get("track_id", -1)),
        )
        image = entry["image_id"]
        frames.setdefault(place[image] if image in place else int(image), []).append(person)
    return frames


def _detectron(uri: str, data: bytes) -> RawRecording:
    arrays = npz_content(uri, data)
    if "positions_2d" in arrays:  # VideoPose3D's custom data set
        videos = arrays["positions_2d"]
        if len(videos) != 1:
            raise SourceError(
                f"{uri!r} holds {len(videos)} videos ({', '.join(list(videos)[:5])}); give a file "
                "per video."
            )
        ((name, video),) = videos.items()
        return _custom(uri, str(name), video, arrays.get("metadata"))
    if "keypoints" not in arrays or "boxes" not in arrays:
        raise SourceError(
            f"{uri!r} holds {sorted(arrays)}; a Detectron file has boxes and keypoints, a custom "
            "data set of VideoPose3D positions_2d."
        )
    frames: RawFrames = {}
    for i, (boxes, keypoints) in enumerate(zip(arrays["boxes"], arrays["keypoints"], strict=True)):
        # per class; the last is the person; keypoints are (n, 4, K): x, y, logit, probability
        rows, found = np.asarray(boxes[-1]), np.asarray(keypoints[-1])
        frames[i] = [
            RawPerson(k[:2].T.astype(np.float64), np.clip(k[-1], 0, 1), b[:4], float(b[4]))
            for b, k in zip(rows.reshape(-1, 5), found, strict=True)
        ]
    return RawRecording(frames)


def _custom(uri: str, name: str, video: dict[str, Any], metadata: Any) -> RawRecording:
    """Read the one video of VideoPose3D's custom data set; further arrays are further people."""
    if len(video) != 1:
        raise SourceError(
            f"{uri!r} has keypoints of {len(video)} kinds ({', '.join(map(str, video))}); keep one."
        )
    people = [np.asarray(part, dtype=np.float64)[..., :2] for part in next(iter(video.values()))]
    lengths = {len(part) for part in people}
    if len(lengths) != 1:
        raise SourceError(
            f"{uri!r} has {len(people)} arrays of {sorted(lengths)} frames; people of one video "
            "need an array of all its frames each."
        )
    frames = {
        i: [
            RawPerson(
                points, _where_placed(points, np.ones(len(points))),
                track=number if len(people) > 1 else -1,
            )
            for number, points in enumerate(part[i] for part in people)
        ]
        for i in range(lengths.pop())
    }  # fmt: skip
    about = metadata.get("video_metadata", {}) if isinstance(metadata, dict) else {}
    size = about.get(name, {}) if isinstance(about, dict) else {}
    known = isinstance(size, dict) and {"w", "h"} <= set(size)
    return RawRecording(frames, size=(int(size["w"]), int(size["h"])) if known else None)


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts frame_2 before frame_10."""
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _number_in(name: str) -> int:
    """Return the last number in a file name: 12 of frame_012.jpg."""
    numbers = re.findall(r"\d+", name.rpartition(".")[0] or name)
    if not numbers:
        raise ValueError(f"the image_id {name!r} holds no frame number")
    return int(numbers[-1])
