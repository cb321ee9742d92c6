"""Qualisys' calibrations, NAME.qca.txt: XML written by Qualisys Track Manager.

Intrinsics are in 1/64 px of the sensor; of OpenCV's distortion there are k1, k2, k3, p1, p2. A
camera's transform holds R row by row for a camera that looks along -z with y up, so that the
rotation to OpenCV's axes is diag(1, -1, -1) R, and its place in mm.
"""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from diffpose.model.multiview.calibrated_camera import CalibratedCamera
from diffpose.platform.base.errors import SourceError

_PER_PX = 64.0


def read_qualisys(uri: str, data: bytes) -> list[CalibratedCamera]:
    """Return the cameras of a calibration.

    Raises:
        SourceError: it is no such file, or a camera lacks a number or has one that cannot be.
    """
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise SourceError(f"{uri} is no XML of Qualisys Track Manager: {error}.") from None
    cameras = root.findall(".//camera")
    if not cameras:
        raise SourceError(f"{uri} has no <camera>. Export the calibration of the video cameras.")
    return [_camera(uri, camera) for camera in cameras]


def _camera(uri: str, camera: ElementTree.Element) -> CalibratedCamera:
    name = camera.get("serial") or ""
    where = f"{uri}, camera {name!r}"
    turned = _number(where, camera, "viewrotation", 0.0)
    if turned:
        raise SourceError(
            f"{where}: viewrotation={turned:g}; only upright pictures (0) can be read. Set the "
            "camera's view rotation to 0 and export calibration and films again."
        )

    def part(tag: str) -> ElementTree.Element:
        found = camera.find(tag)
        if found is None:
            raise SourceError(f"{where} has no <{tag}>. Export the calibration again.")
        return found

    view, transform, intrinsic = part("fov_video"), part("transform"), part("intrinsic")
    left, top = _number(where, view, "left"), _number(where, view, "top")
    size = (
        round(_number(where, view, "right") - left) + 1,
        round(_number(where, view, "bottom") - top) + 1,
    )
    focal = [_number(where, intrinsic, f"focalLength{axis}") / _PER_PX for axis in "UV"]
    middle = [_number(where, intrinsic, f"centerPoint{axis}") / _PER_PX for axis in "UV"]
    r = [[_number(where, transform, f"r{i}{k}") for k in (1, 2, 3)] for i in (1, 2, 3)]
    try:
        return CalibratedCamera(
            name, *size, (focal[0], focal[1], middle[0] - left, middle[1] - top),
            (
                _number(where, intrinsic, "radialDistortion1"),
                _number(where, intrinsic, "radialDistortion2"),
                _number(where, intrinsic, "tangentalDistortion1"),  # the files' own spelling
                _number(where, intrinsic, "tangentalDistortion2"),
                _number(where, intrinsic, "radialDistortion3", 0.0),
            ),
            np.diag([1.0, -1.0, -1.0]) @ np.array(r),
            np.array([_number(where, transform, axis) for axis in "xyz"]),
        )  # fmt: skip
    except ValueError as error:
        raise SourceError(f"{where}: {error}.") from None


def _number(
    where: str, element: ElementTree.Element, key: str, default: float | None = None
) -> float:
    text = element.get(key)
    if text is None and default is not None:
        return default
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise SourceError(
            f"{where}: {key} of <{element.tag}> must be a number, got {text!r}. Export the "
            "calibration again."
        )
    return value
