"""Arrays as short text, for a page that holds everything it shows."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

_UNKNOWN = -32768  # what stands for NaN among 16-bit integers
_MOST = 32767


def packed_steps(values: NDArray[np.floating], step: float) -> dict[str, Any]:
    """Return an array as 16-bit integers times a step, in base64.

    Args:
        values: any shape; not finite: unknown.
        step: wanted step, in the unit of the values; a larger one where they would not fit.

    Returns:
        shape, step and data, little-endian, row by row.
    """
    known = np.isfinite(values)
    largest = float(np.abs(values[known]).max()) if known.any() else 0.0
    used = max(step, largest / _MOST)
    counts = np.full(values.shape, _UNKNOWN, dtype="<i2")
    counts[known] = np.clip(np.round(values[known] / used), -_MOST, _MOST).astype("<i2")
    return {"type": "i16", "shape": list(values.shape), "step": used, "data": _text(counts)}


def packed_floats(values: NDArray[Any]) -> dict[str, Any]:
    """Return an array as 32-bit floats in base64."""
    data = _text(np.ascontiguousarray(values, dtype="<f4"))
    return {"type": "f32", "shape": list(values.shape), "data": data}


def packed_flags(values: NDArray[np.bool_]) -> dict[str, Any]:
    """Return an array of truth values as bytes in base64."""
    data = _text(np.ascontiguousarray(values, dtype=np.uint8))
    return {"type": "u8", "shape": list(values.shape), "data": data}


def unpacked(packed: dict[str, Any]) -> NDArray[np.float64]:
    """Read what the functions above wrote, as the page does."""
    kind = {"i16": "<i2", "f32": "<f4", "u8": "u1"}[packed["type"]]
    raw = np.frombuffer(base64.b64decode(packed["data"]), dtype=kind).reshape(packed["shape"])
    values = raw.astype(np.float64)
    if packed["type"] == "i16":
        values = np.where(raw == _UNKNOWN, np.nan, values * packed["step"])
    return values


def _text(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
