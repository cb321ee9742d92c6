"""Motion capture as a source: a folder of BVH files becomes clips of known 3D poses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import join, read_bytes
from diffpose.preprocessing.mocap.bvh import parse_bvh
from diffpose.preprocessing.mocap.joint_maps import (
    choose_joint_map,
    h36m_positions,
    load_joint_map,
    rest_up,
)
from diffpose.preprocessing.mocap.units import metres_per_unit, to_world_m, up_axis
from diffpose.preprocessing.records.kinds import Material
from diffpose.preprocessing.records.names import NamedFiles

SUFFIX = ".bvh"


class MocapSource(NamedFiles):
    """A folder of BVH files."""

    gives: ClassVar[tuple[Material, ...]] = ("known motion",)
    default_detectors: ClassVar[tuple[str, ...]] = ("simulated",)
    otherwise: ClassVar[str] = "Render films with diffpose render, or use detector.kind=simulated"

    kind: Literal["mocap"] = "mocap"
    uri: str = Field(description="folder of *.bvh, searched with its subfolders")
    joint_map: str | None = Field(
        None, description="YAML file that maps your joints; default: the built-in map that fits"
    )
    unit: Literal["auto", "m", "cm", "mm", "inch", "cmu"] = Field(
        "auto", description="length unit of the files; auto goes by the length of the legs"
    )
    up: Literal["auto", "y", "z"] = Field("auto", description="vertical axis of the files")
    poses_per_second: float = Field(10.0, gt=0, description="frames are thinned out to this rate")
    travel_m: float = Field(
        3.2, gt=0, description="a motion that travels further is cut: the cameras stand still"
    )


@dataclass(frozen=True)
class Motion:
    """A recorded motion at the store's frame rate.

    Attributes:
        positions_m: (T, 17, 3), world frame, z up.
        timestamp_s: (T,).
        fps: frames per second after thinning out.
        segments: (start, stop) frame ranges, each within the reach of fixed cameras.
    """

    positions_m: NDArray[np.float64]
    timestamp_s: NDArray[np.float64]
    fps: float
    segments: tuple[tuple[int, int], ...]


def read_motion(source: MocapSource, name: str) -> Motion:
    """Read one file of the source folder.

    Raises:
        SourceError: the file cannot be read, or no joint map fits.
    """
    uri = join(source.uri, name)
    try:
        data = read_bytes(uri)
    except OSError as error:
        raise SourceError(f"{uri} cannot be read: {error}") from None
    motion = parse_bvh(_text(data), uri)
    if source.joint_map is None:
        joint_map = choose_joint_map(motion.names)
    else:
        text = read_bytes(source.joint_map).decode("utf-8", errors="replace")
        joint_map = choose_joint_map(motion.names, (load_joint_map(text, source.joint_map),))
    fps = min(source.poses_per_second, motion.fps)
    n_poses = max(1, int(np.floor(motion.n_frames * fps / motion.fps + 1e-6)))
    frames = np.floor(np.arange(n_poses) * motion.fps / fps + 1e-6).astype(np.int64)
    frames = np.minimum(frames, motion.n_frames - 1)
    in_file_units = h36m_positions(motion, joint_map, frames)
    positions = to_world_m(
        in_file_units,
        metres_per_unit(in_file_units, source.unit),
        up_axis(in_file_units, source.up, rest_up(motion, joint_map)),
    )
    if not np.isfinite(positions).all():
        raise SourceError(f"{uri}: the joint positions are not finite numbers.")
    segments = tuple(_segments(positions[:, 0, :2], source.travel_m))
    return Motion(positions, frames * motion.frame_time_s, fps, segments)


def _text(data: bytes) -> str:
    """Return a file's text: UTF-8, else Shift-JIS (MikuMikuDance's tools), else byte by byte."""
    for encoding in ("utf-8-sig", "cp932"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def _segments(root_m: NDArray[np.float64], travel_m: float) -> list[tuple[int, int]]:
    """Cut a path (T, 2) where it leaves a square of side ``travel_m``, greedily from the start."""
    cuts, start = [], 0
    low, high = root_m[0].copy(), root_m[0].copy()
    for frame, place in enumerate(root_m):
        low, high = np.minimum(low, place), np.maximum(high, place)
        if (high - low).max() > travel_m and frame > start:
            cuts.append((start, frame))
            start, low, high = frame, place.copy(), place.copy()
    cuts.append((start, len(root_m)))
    return cuts
