"""Training examples of the detectors: one npz of pixels and truth per film."""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.errors import RunError
from diffpose.platform.base.storage import join, list_names, read_bytes, write_bytes

# Room for turning and scaling: at 1.25 around the box (what the network sees) a view has 235 rows.
CROP_SIZE = (320, 240)
CROP_PADDING = 1.7
FRAME_SIDE = 192


@dataclass(frozen=True)
class Examples:
    """N people in crops and M whole frames.

    Attributes:
        crops: (N, 320, 240, 3) uint8 RGB.
        joints_px: (N, 17, 2), in px of the crop.
        boxes_px: (N, 4), the person's box in px of the crop.
        frames: (M, 192, 192, 3) uint8 RGB, scaled to fit, top-left.
        frame_boxes_px: (M, P, 4), in px of the scaled frame; NaN where there is no person.
    """

    crops: NDArray[np.uint8]
    joints_px: NDArray[np.float32]
    boxes_px: NDArray[np.float32]
    frames: NDArray[np.uint8]
    frame_boxes_px: NDArray[np.float32]


def write_examples(uri: str, examples: Examples) -> None:
    """Write one film's examples atomically."""
    buffer = io.BytesIO()
    arrays = {field.name: getattr(examples, field.name) for field in fields(Examples)}
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bytes(uri, buffer.getvalue())


def read_examples(folder: str, rank: int, world_size: int) -> Examples:
    """Read this worker's share of a folder of examples.

    Raises:
        RunError: the folder holds fewer files than there are workers.
    """
    names = list_names(folder, ".npz")
    if len(names) < world_size:
        raise RunError(
            f"{folder!r} holds examples of {len(names)} films for {world_size} workers. Render "
            "more films of this split, or lower workers=."
        )
    files = [join(folder, name) for name in names[rank::world_size]]
    # two passes, so that the pixels are in memory once
    shapes = [{k: v.shape for k, v in _arrays(file).items()} for file in files]
    people = max(shape["frame_boxes_px"][1] for shape in shapes)
    whole = {}
    for name, dtype in _DTYPES.items():
        rest = (people, 4) if name == "frame_boxes_px" else shapes[0][name][1:]
        n = sum(shape[name][0] for shape in shapes)
        whole[name] = np.full((n, *rest), np.nan if dtype is np.float32 else 0, dtype=dtype)
    first = dict.fromkeys(_DTYPES, 0)
    for file in files:
        for name, values in _arrays(file).items():
            start = first[name]
            first[name] = stop = start + len(values)
            if name == "frame_boxes_px":
                whole[name][start:stop, : values.shape[1]] = values
            else:
                whole[name][start:stop] = values
    return Examples(**whole)


_DTYPES = {
    "crops": np.uint8,
    "joints_px": np.float32,
    "boxes_px": np.float32,
    "frames": np.uint8,
    "frame_boxes_px": np.float32,
}


def _arrays(file: str) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(read_bytes(file)), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in _DTYPES}
