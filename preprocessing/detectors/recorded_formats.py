"""Keypoint files of AlphaPose, OpenPose, MMPose, COCO and Detectron, told apart by their content.

Every reader gives, per frame number, the people seen: keypoints in the file's own joint layout,
confidences, box, score and track number (-1 where the file has none).
"""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.errors import SourceError
from diffpose.platform.storage import filesystem, join, list_names, read_bytes

Format = Literal["auto", "alphapose", "openpose", "mmpose", "coco", "detectron"]
_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}


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


def read_frames(uri: str, wanted: Format = "auto") -> RawFrames:
    """Read a file or a folder of one file per frame.

    Raises:
        SourceError: it cannot be read, or is of no known (or another than the wanted) format.
    """
    fs, path = filesystem(uri)
    if fs.isdir(path):
        return _openpose(uri)
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
            return _alphapose(content)
        if found == "mmpose":
            return _mmpose(content)
        if found == "coco":
            return _coco(content)
        if found == "openpose":
            return {0: _openpose_people(content)}
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{uri!r} is neither JSON nor npz: {error}") from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{uri!r} breaks off or is not as its format wants: {error!r}") from None
    raise SourceError(
        f"{uri!r} is of no known format. Known: AlphaPose (list of image_id, keypoints), OpenPose "
        "(people, one file per frame), MMPose (instance_info), COCO (annotations), Detectron npz."
    )


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
    rows = np.asarray(list(values), dtype=np.float64).reshape(-1, 3)
    return rows[:, :2], rows[:, 2]


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
        track = entry.get("idx", -1)
        track = track[0] if isinstance(track, list) else track
        # scores of AlphaPose run to about 3; keypoints' own confidences to 1
        person = RawPerson(
            points,
            np.clip(confidence, 0.0, 1.0),
            _corner_box(entry.get("box")),
            float(np.clip(confidence, 0, 1).mean()),
            int(track),
        )
        frames.setdefault(_number_in(str(entry["image_id"])), []).append(person)
    return frames


def _openpose(folder: str) -> RawFrames:
    frames: RawFrames = {}
    for name in list_names(folder, ".json"):
        found = re.search(r"(\d+)(?:_keypoints)?\.json$", name)
        if found is None:
            continue
        try:
            content = json.loads(read_bytes(join(folder, name)))
            frames[int(found[1])] = _openpose_people(content)
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(f"{join(folder, name)} is no file of OpenPose: {error!r}") from None
    if not frames:
        raise SourceError(
            f"{folder!r} holds no OpenPose file; their names end in _000000000012_keypoints.json."
        )
    return frames


def _openpose_people(content: dict[str, Any]) -> list[RawPerson]:
    people = []
    for person in content["people"]:
        points, confidence = _triples(person["pose_keypoints_2d"])
        number = person.get("person_id", [-1])
        track = int(number[0] if isinstance(number, list) else number)
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
            people.append(
                RawPerson(
                    np.asarray(one["keypoints"], dtype=np.float64)[:, :2],
                    np.clip(np.asarray(one["keypoint_scores"], dtype=np.float64), 0, 1),
                    None if box is None else np.asarray(box, dtype=np.float64)[:4],
                    float(np.squeeze(one.get("bbox_score", 1.0))),
                    int(one.get("track_id", -1)),
                )
            )
        frames[int(entry.get("frame_id", i))] = people
    return frames


def _coco(content: Any) -> RawFrames:
    entries = content["annotations"] if isinstance(content, dict) else content
    images = (
        sorted(content["images"], key=lambda i: str(i["file_name"]))
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
            int(entry.get("track_id", -1)),
        )
        frames.setdefault(place.get(entry["image_id"], int(entry["image_id"])), []).append(person)
    return frames


def _detectron(uri: str, data: bytes) -> RawFrames:
    arrays = load_pickled_npz(uri, data)
    if "positions_2d" in arrays:  # VideoPose3D's custom data set
        videos = arrays["positions_2d"].item()
        if len(videos) != 1:
            raise SourceError(
                f"{uri!r} holds {len(videos)} videos ({', '.join(list(videos)[:5])}); give a file "
                "per video."
            )
        (video,) = videos.values()
        points = np.asarray(next(iter(video.values()))[0], dtype=np.float64)
        return {
            i: [RawPerson(p[:, :2], np.isfinite(p[:, 0]).astype(np.float64))]
            for i, p in enumerate(points)
        }
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
    return frames


def load_pickled_npz(uri: str, data: bytes) -> dict[str, Any]:
    """Read an npz whose arrays may be pickles, admitting only containers, numbers and arrays.

    Raises:
        SourceError: it holds anything else (the message names what), or is broken.
    """
    arrays: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    arrays[name.removesuffix(".npy")] = _read_array(uri, file)
    except (zipfile.BadZipFile, ValueError, EOFError, pickle.UnpicklingError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{uri!r} is no npz file that can be read: {error}") from None
    return arrays


def _read_array(uri: str, file: Any) -> NDArray[Any]:
    version = np.lib.format.read_magic(file)
    header = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else (np.lib.format.read_array_header_2_0)
    )
    shape, fortran, dtype = header(file)
    if dtype.hasobject:
        values = _Harmless(uri, file).load()
        result = np.empty(shape, dtype=object)
        result[...] = np.asarray(values, dtype=object).reshape(shape) if shape else values
        return result if isinstance(values, np.ndarray) is False else values.reshape(shape)
    flat = np.frombuffer(file.read(), dtype=dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


class _Harmless(pickle.Unpickler):
    """An unpickler that makes arrays and nothing else."""

    def __init__(self, uri: str, file: Any) -> None:
        super().__init__(file, encoding="latin1")
        self.uri = uri

    def find_class(self, module: str, name: str) -> Any:
        """Return a class that may be made."""
        if (module, name) in _HARMLESS:
            return super().find_class(module, name)
        raise SourceError(
            f"{self.uri!r} was refused: its pickle asks for {module}.{name}. A keypoint file needs "
            "only lists, numbers and arrays; this one may be an attack."
        )


def _number_in(name: str) -> int:
    """Return the last number in a file name: 12 of frame_012.jpg."""
    numbers = re.findall(r"\d+", name.rpartition(".")[0] or name)
    if not numbers:
        raise ValueError(f"the image_id {name!r} holds no frame number")
    return int(numbers[-1])
