"""FILE.npz with everything and FILE.json with what is read by eye and by programs without numpy.

Format 2. In files of before there was a format, ``std_mm`` is the spread of the hypotheses.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffpose.model.geometry.skeleton import EDGES, JOINT_LAYOUT, JOINT_NAMES
from diffpose.model.motion.world import World
from diffpose.platform.answers.answer import Answer
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import (
    exists,
    join,
    list_names,
    read_bytes,
    read_json,
    write_bytes,
    write_json,
)

FORMAT = 2
CAMERA_FRAME = "camera: x right, y down, z forward; poses relative to joint 0"
_ARRAYS = (
    "poses_mm",
    "root_mm",
    "std_mm",
    "spread_mm",
    "keypoints_px",
    "confidence",
    "seen",
    "camera_px",
    "timestamp_s",
    "frame",
)
_MAYBE = ("hypotheses_mm", "covariance_mm2")
# 0.1 mm and 0.1 px are far below what any of this can know.
_DIGITS = {
    "timestamp_s": 4, "poses_mm": 1, "root_mm": 1, "std_mm": 1, "spread_mm": 1,
    "keypoints_px": 1, "confidence": 3,
}  # fmt: skip


def write_answer(out: str, file: str, answer: Answer, about: Mapping[str, Any]) -> None:
    """Write OUT/FILE.npz and OUT/FILE.json.

    Hypotheses, covariances and world positions of many frames are in the npz alone: as text they
    would be most of the file.

    Args:
        out: folder, by path or URI.
        file: name without suffix.
        answer: what to write.
        about: further values of the JSON.
    """
    arrays = {name: np.asarray(getattr(answer, name)) for name in _ARRAYS}
    arrays |= {
        name: np.asarray(value) for name in _MAYBE if (value := getattr(answer, name)) is not None
    }
    if answer.world is not None:
        arrays["world_positions_mm"] = answer.world_positions_mm.astype(np.float32)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, joint_layout=np.array(JOINT_LAYOUT), **arrays)
    write_bytes(join(out, f"{file}.npz"), buffer.getvalue())
    write_json(join(out, f"{file}.json"), {**_described(answer), **about, **_as_text(answer)})


def _described(answer: Answer) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "video": answer.source,
        "person": answer.person,
        "width": answer.width,
        "height": answer.height,
        "fps": answer.fps,
        "joint_layout": JOINT_LAYOUT,
        "joints": list(JOINT_NAMES),
        "edges": [list(edge) for edge in EDGES],
        "unit": "mm",
        "frame_of_reference": CAMERA_FRAME,
        "world": None if answer.world is None else answer.world.to_json(),
        "n_hypotheses": 0 if answer.hypotheses_mm is None else int(answer.hypotheses_mm.shape[1]),
        "model": answer.model,
        "calibrated": answer.calibrated,
        "uncertainty_note": answer.note,
        "ellipsoid_radius": None
        if answer.ellipsoid_radius is None
        else dict(answer.ellipsoid_radius),
        "quality": dict(answer.quality),
    }


def _as_text(answer: Answer) -> dict[str, Any]:
    values: dict[str, Any] = {
        "frame": np.asarray(answer.frame).tolist(),
        # what was not seen is a guess, between what was seen before and after
        "seen": np.asarray(answer.seen).tolist(),
    }
    for name, digits in _DIGITS.items():
        whole = np.asarray(getattr(answer, name), dtype=np.float64)
        values[name] = np.round(whole, digits).tolist()
    if answer.world is not None:
        root = answer.world.points_mm(answer.root_mm)
        values["world_root_mm"] = np.round(root, 1).tolist()
    return values


def answers_in(uri: str) -> list[str]:
    """Return the answers of a folder, or the one that a path names: URIs without suffix.

    Raises:
        SourceError: there is none.
    """
    for suffix in (".json", ".npz"):
        if uri.endswith(suffix) and exists(uri):
            return [uri.removesuffix(suffix)]
    if exists(f"{uri}.npz"):
        return [uri]
    found = [name.removesuffix(".npz") for name in list_names(uri, ".npz")]
    whole = [join(uri, name) for name in found if exists(join(uri, f"{name}.json"))]
    if not whole:
        raise SourceError(
            f"There is no answer in {uri!r}. Give what diffpose predict wrote: its out= folder, "
            "or one FILE.json of it."
        )
    return whole


def read_answer(uri: str) -> Answer:
    """Read an answer.

    Args:
        uri: of FILE.json, FILE.npz, or of both without their suffix.

    Raises:
        SourceError: a file is missing or damaged.
    """
    stem = uri.removesuffix(".json").removesuffix(".npz")
    try:
        text = read_json(f"{stem}.json")
        with np.load(io.BytesIO(read_bytes(f"{stem}.npz")), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return _of(text, arrays)
    except FileNotFoundError as error:
        raise SourceError(
            f"An answer is two files, {stem}.json and {stem}.npz; one is missing: {error}."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise SourceError(
            f"The answer {stem!r} is damaged or none of diffpose predict: {error!r}. Predict again."
        ) from None


def _of(text: dict[str, Any], arrays: dict[str, Any]) -> Answer:
    frames = len(arrays["poses_mm"])
    if int(text.get("format", 1)) > FORMAT:
        raise ValueError(f"format {text['format']} is newer than {FORMAT}")
    if "spread_mm" not in arrays:  # of before there was a format
        arrays["spread_mm"] = arrays["std_mm"]
        arrays["std_mm"] = claimed_std_mm(arrays.get("covariance_mm2"), arrays["spread_mm"])
        arrays["frame"] = np.round((arrays["timestamp_s"]) * float(text["fps"])).astype(np.int64)
    for name in _ARRAYS:
        if len(arrays[name]) != frames:
            raise ValueError(f"{name} has {len(arrays[name])} frames, poses_mm {frames}")
    world = text.get("world")
    fields: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
    fields |= {name: arrays.get(name) for name in _MAYBE}
    return Answer(
        **fields,
        fps=float(text["fps"]),
        width=int(text["width"]),
        height=int(text["height"]),
        source=str(text["video"]),
        person=int(text["person"]),
        calibrated=bool(text["calibrated"]),
        note=str(text["uncertainty_note"]),
        model=str(text["model"]),
        ellipsoid_radius=text["ellipsoid_radius"],
        quality=text.get("quality", {}),
        world=None if world is None else World.from_json(world),
    )


def claimed_std_mm(covariance_mm2: Any, spread_mm: Any) -> Any:
    """Return the root of the covariances' traces, (T, J); without covariances the spread."""
    if covariance_mm2 is None:
        return np.asarray(spread_mm)
    traces = np.einsum("...ii->...", np.asarray(covariance_mm2, dtype=np.float64))
    return np.sqrt(np.maximum(traces, 0.0)).astype(np.float32)
