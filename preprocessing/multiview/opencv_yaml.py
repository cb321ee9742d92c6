"""EasyMocap's intri.yml and extri.yml: OpenCV's FileStorage, a YAML of its own kind.

intri.yml: ``names``, and for each K_NAME (3 x 3), dist_NAME (5), perhaps H_NAME and W_NAME;
extri.yml: R_NAME (a vector) or Rot_NAME (3 x 3), and T_NAME in metres; x = R X + T.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from diffpose.model.multiview.calibrated_camera import CalibratedCamera
from diffpose.platform.base.errors import SourceError

_TAG = "tag:yaml.org,2002:opencv-matrix"


class _Loader(yaml.SafeLoader):
    """Plain YAML and OpenCV's matrices, nothing else."""


def _matrix(loader: yaml.SafeLoader, node: yaml.Node) -> NDArray[np.float64]:
    assert isinstance(node, yaml.MappingNode)
    held = loader.construct_mapping(node, deep=True)
    data = np.array([float(value) for value in held["data"]])
    return data.reshape(int(held["rows"]), int(held["cols"]))


_Loader.add_constructor(_TAG, _matrix)


def read_opencv_yaml(uri: str, data: bytes) -> dict[str, Any]:
    """Return the keys of a file of OpenCV's FileStorage; matrices as arrays (rows, cols).

    Raises:
        SourceError: it is no such file.
    """
    try:
        # %YAML:1.0 is what OpenCV writes, and no directive of YAML
        lines = [line for line in data.decode().splitlines() if not line.startswith("%YAML")]
        content = yaml.load("\n".join(lines), _Loader)
    except (UnicodeDecodeError, yaml.YAMLError, KeyError, ValueError, TypeError) as error:
        raise SourceError(f"{uri} is no YAML as OpenCV writes it: {error}.") from None
    if not isinstance(content, dict):
        raise SourceError(f"{uri} holds no keys; OpenCV's FileStorage writes NAME: value.")
    return {str(key): value for key, value in content.items()}


def read_easymocap(
    intrinsic_uri: str, intrinsic: bytes, extrinsic_uri: str, extrinsic: bytes, unit_mm: float
) -> list[CalibratedCamera]:
    """Return the cameras of two files.

    Args:
        intrinsic_uri: of intri.yml, for errors.
        intrinsic: its content.
        extrinsic_uri: of extri.yml.
        extrinsic: its content.
        unit_mm: what 1 in T is: 1000, EasyMocap's metres.

    Raises:
        SourceError: a file is not that, or a camera lacks a key or has a value that cannot be.
    """
    inside = read_opencv_yaml(intrinsic_uri, intrinsic)
    outside = read_opencv_yaml(extrinsic_uri, extrinsic)
    names = inside.get("names") or [key[2:] for key in inside if key.startswith("K_")]
    if not names:
        raise SourceError(f"{intrinsic_uri} has neither names nor K_NAME; it has {[*inside]}.")
    cameras = []
    for name in map(str, names):
        rotation = _found(extrinsic_uri, outside, f"Rot_{name}", f"R_{name}")
        size = None
        if f"W_{name}" in inside and f"H_{name}" in inside:
            size = (round(float(inside[f"W_{name}"])), round(float(inside[f"H_{name}"])))
        try:
            cameras.append(
                CalibratedCamera.seeing(
                    name, size,
                    _found(intrinsic_uri, inside, f"K_{name}"),
                    _found(intrinsic_uri, inside, f"dist_{name}", f"D_{name}"),
                    rotation,
                    _found(extrinsic_uri, outside, f"T_{name}") * unit_mm,
                )
            )  # fmt: skip
        except ValueError as error:
            if isinstance(error, SourceError):
                raise
            raise SourceError(
                f"{intrinsic_uri} and {extrinsic_uri}, camera {name!r}: {error}. Calibrate again."
            ) from None
    return cameras


def _found(uri: str, content: Mapping[str, Any], *keys: str) -> NDArray[np.float64]:
    """Return the first of some keys that is there, as an array."""
    for key in keys:
        if key in content:
            value = content[key]
            if not isinstance(value, np.ndarray) or not np.isfinite(value).all():
                raise SourceError(f"{uri}: {key} must be a matrix of finite numbers, got {value}.")
            return value
    raise SourceError(
        f"{uri} has no {' or '.join(keys)}; it has {', '.join([*content][:8])} ... Calibrate this "
        "camera, or take it out of names."
    )
