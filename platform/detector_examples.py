"""Training examples of the detectors: one npz of pixels and truth per film."""

from __future__ import annotations

import io
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.errors import RunError
from diffpose.platform.storage import join, list_names, read_bytes, write_bytes

# Room for turning and scaling: at 1.25 around the box (what the network sees) a view has 128 rows.
CROP_SIZE = (176, 132)
CROP_PADDING = 1.7
FRAME_SIDE = 192


@dataclass(frozen=True)
class Examples:
    """N people in crops and M whole frames.

    Attributes:
        crops: (N, 176, 132, 3) uint8 RGB.
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
    parts = []
    for name in names[rank::world_size]:
        with np.load(io.BytesIO(read_bytes(join(folder, name))), allow_pickle=False) as arrays:
            parts.append({field.name: arrays[field.name] for field in fields(Examples)})
    most = max(part["frame_boxes_px"].shape[1] for part in parts)
    for part in parts:
        boxes = part["frame_boxes_px"]
        part["frame_boxes_px"] = np.pad(
            boxes, ((0, 0), (0, most - boxes.shape[1]), (0, 0)), constant_values=np.nan
        )
    return Examples(
        **{f.name: np.concatenate([part[f.name] for part in parts]) for f in fields(Examples)}
    )
