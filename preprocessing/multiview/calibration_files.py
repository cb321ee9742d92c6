"""Calibrations of several cameras in the field's files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from diffpose.model.multiview.calibrated_camera import CalibratedCamera
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import exists, join, list_names, read_bytes
from diffpose.preprocessing.multiview.camera_toml import read_camera_toml
from diffpose.preprocessing.multiview.opencv_yaml import read_easymocap
from diffpose.preprocessing.multiview.qualisys import read_qualisys

Unit: TypeAlias = Literal["m", "cm", "mm"]
UNIT_MM: dict[Unit, float] = {"m": 1000.0, "cm": 10.0, "mm": 1.0}
INTRINSIC, EXTRINSIC = "intri.yml", "extri.yml"
KNOWN = (
    f"*.qca.txt (Qualisys), *.toml (Pose2Sim, Caliscope, Anipose) or {INTRINSIC} and {EXTRINSIC}"
)
# Cameras that look at one person stand this far apart, at least the two that are farthest.
_LEAST_APART_MM, _MOST_APART_MM = 200.0, 200_000.0


def read_calibration(uri: str, unit: Unit | None = None) -> list[CalibratedCamera]:
    """Read a calibration, by its name.

    Args:
        uri: NAME.qca.txt, NAME.toml, intri.yml, or a folder that holds one of them.
        unit: of the cameras' places; None: the format's own, where it has one.

    Raises:
        SourceError: there is none, it cannot be read, its unit is not known, or names come twice.
    """
    path = _calibration_in(uri)
    name = path.rsplit("/", 1)[-1].lower()
    if not exists(path):
        raise SourceError(f"There is no calibration {path!r}.")
    if name.endswith((".qca.txt", ".xml", ".qca")):
        cameras = read_qualisys(path, read_bytes(path))
    elif name.endswith(".toml"):
        if unit is None:
            raise SourceError(
                f"{path} does not say the unit of translation. Give unit=m (Pose2Sim), or what the "
                "calibration board was measured in (Caliscope, Anipose): m, cm or mm."
            )
        cameras = read_camera_toml(path, read_bytes(path), UNIT_MM[unit])
    elif name in (INTRINSIC, EXTRINSIC):
        inside, outside = (join(path.rpartition("/")[0] or ".", n) for n in (INTRINSIC, EXTRINSIC))
        for other in (inside, outside):
            if not exists(other):
                raise SourceError(f"{path} needs {other} beside it, and there is none.")
        cameras = read_easymocap(
            inside, read_bytes(inside), outside, read_bytes(outside), UNIT_MM[unit or "m"]
        )
    else:
        raise SourceError(f"{path!r} is no calibration that can be read: {KNOWN}.")
    _check(path, cameras)
    return cameras


def _calibration_in(uri: str) -> str:
    """Return a calibration's file, itself or the one in a folder (or its folder calibration)."""
    if uri.lower().endswith((".txt", ".toml", ".yml", ".xml", ".qca")):
        return uri
    found: list[str] = []
    for folder in (uri, join(uri, "calibration")):
        names = list_names(folder)
        # Config.toml is Pose2Sim's settings
        found += [
            join(folder, n)
            for n in names
            if n.lower().endswith((".qca.txt", ".toml")) and n.lower() != "config.toml"
        ]
        found += [join(folder, INTRINSIC)] if INTRINSIC in names else []
    if len(found) == 1:
        return found[0]
    what = f"holds {', '.join(found)}" if found else f"holds no calibration: {KNOWN}"
    raise SourceError(f"The folder {uri!r} {what}. Name the file of the calibration.")


def _check(uri: str, cameras: Sequence[CalibratedCamera]) -> None:
    names = [camera.name for camera in cameras]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(f"{uri} has {', '.join(twice)} more than once. Names must differ.")
    if len(cameras) > 1:
        places = np.array([camera.centre_mm for camera in cameras])
        apart = float(np.linalg.norm(places[:, None] - places[None], axis=-1).max())
        if not _LEAST_APART_MM <= apart <= _MOST_APART_MM:
            raise SourceError(
                f"{uri}: its cameras would stand at most {apart / 1000:.3g} m apart. Give the unit "
                "of their places, unit=m, cm or mm."
            )
