"""OpenCV's quantities in TOML, as Anipose, Pose2Sim and Caliscope write them.

One table per camera, [cam_01] or [cameras.1], with ``size`` (width, height), ``matrix`` (3 x 3),
``distortions`` (4 or 5), ``rotation`` (a vector, or 3 x 3) and ``translation``, world -> camera; a
``name`` may differ from the table's. Cameras with ``ignore = true`` are left out. No key tells the
unit of ``translation``: Pose2Sim's is the metre, of Anipose and Caliscope it is that of the board's
squares, so it is asked for.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.model.multiview.calibrated_camera import CalibratedCamera
from diffpose.platform.base.errors import SourceError

_KEYS = ("matrix", "distortions", "rotation", "translation")


def read_camera_toml(uri: str, data: bytes, unit_mm: float) -> list[CalibratedCamera]:
    """Return the cameras of a calibration.

    Args:
        uri: of the file, for errors.
        data: its content.
        unit_mm: what 1 in ``translation`` is.

    Raises:
        SourceError: it is no such file, or a camera lacks a key or has a value that cannot be.
    """
    try:
        content = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SourceError(f"{uri} is no TOML: {error}.") from None
    sections = {name: part for name, part in content.items() if isinstance(part, Mapping)}
    prefix = ""
    if isinstance(content.get("cameras"), Mapping):
        sections, prefix = dict(content["cameras"]), "cameras."
    wanted = {
        name: part
        for name, part in sections.items()
        if isinstance(part, Mapping) and "matrix" in part and not part.get("ignore")
    }
    if not wanted:
        raise SourceError(
            f"{uri} has no table with a camera's matrix; it has {', '.join(sections) or 'none'}. "
            "A camera's table holds size, " + ", ".join(_KEYS) + "."
        )
    return [_camera(f"{uri}, [{prefix}{n}]", n, part, unit_mm) for n, part in wanted.items()]


def _camera(where: str, section: str, part: Mapping[str, Any], unit_mm: float) -> CalibratedCamera:
    if part.get("fisheye"):
        raise SourceError(
            f"{where}: fisheye = true; OpenCV's fisheye lens cannot be read. Calibrate with the "
            "standard lens model, or undistort the films first."
        )
    matrix, distortion, rotation, translation = (_array(where, part, key) for key in _KEYS)
    size = None
    if "size" in part:
        wide, high = _array(where, part, "size", 2)
        size = (round(float(wide)), round(float(high)))
    try:
        return CalibratedCamera.seeing(
            str(part.get("name", section)), size, matrix, distortion, rotation,
            translation * unit_mm,
        )  # fmt: skip
    except ValueError as error:
        raise SourceError(f"{where}: {error}. Export the calibration again.") from None


def _array(
    where: str, part: Mapping[str, Any], key: str, length: int | None = None
) -> NDArray[np.float64]:
    if key not in part:
        raise SourceError(
            f"{where} has no {key}; it has {', '.join(part)}. Calibrate this camera, or take its "
            "table out (ignore = true)."
        )
    try:
        values = np.array(part[key], dtype=np.float64)
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if not np.isfinite(values).all() or (length is not None and values.shape != (length,)):
        raise SourceError(f"{where}: {key} must be finite numbers, got {part[key]!r}.")
    return values
