"""Reading and writing BVH motion files, and their forward kinematics.

The format has no standard; what is tolerated here is what libraries really contain. Rotation
channels are intrinsic, in degrees, in the order of the file. Position channels of a joint REPLACE
its OFFSET (adding both doubles every bone of Bandai-Namco files), axis by axis.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.mocap.bvh_hierarchy import EndSite, Hierarchy

_AXES = {"X": 0, "Y": 1, "Z": 2}
_MOTION_LINE = re.compile(r"^[ \t]*MOTION[ \t]*$", re.MULTILINE | re.IGNORECASE)
_FRAMES_LINE = re.compile(r"\s*Frames[ \t]*:?[ \t]*(\S*)[ \t]*(?:\n|$)", re.IGNORECASE)
_TIME_LINE = re.compile(r"\s*Frame[ \t]*Time[ \t]*:?[ \t]*(\S*)[ \t]*(?:\n|$)", re.IGNORECASE)


@dataclass(frozen=True)
class BvhMotion:
    """One parsed file; joints in file order, so every parent precedes its children.

    Attributes:
        names: J unique joint names.
        parents: J parent indices, -1 for the root (index 0).
        offsets: (J, 3) float64, file units.
        channels: J tuples of channel names, each 0 to 6 long, in file order.
        frame_time_s: Seconds per frame.
        values: (T, C) float64, file units and degrees, C the sum of channel counts.
        end_sites: Tips, kept only so that a file can be written back.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: NDArray[np.float64]
    channels: tuple[tuple[str, ...], ...]
    frame_time_s: float
    values: NDArray[np.float64]
    end_sites: tuple[EndSite, ...] = ()

    @property
    def n_frames(self) -> int:
        """Number of frames T."""
        return int(self.values.shape[0])

    @property
    def fps(self) -> float:
        """Frames per second."""
        return 1.0 / self.frame_time_s


def parse_bvh(text: str, name: str) -> BvhMotion:
    """Parse the text of one BVH file.

    Args:
        text: The whole file.
        name: File name or URI for messages.

    Returns:
        The motion, in file units and degrees.

    Raises:
        SourceError: The text is not a complete BVH file of one figure; the message says the file,
            the line, what was found and what was expected.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise SourceError(f"{name}: the file is empty; expected a BVH file")
    head = text.lstrip()[:24]
    if not head.upper().startswith("HIERARCHY"):
        raise SourceError(f"{name}, line 1: expected HIERARCHY, found {head!r}; not a BVH file")
    motion_line = _MOTION_LINE.search(text)
    if motion_line is None:
        raise SourceError(f"{name}: no MOTION line after HIERARCHY; the file is cut or has no data")
    tree = Hierarchy(text[: motion_line.start()], name)
    tree.read()
    n_channels = sum(map(len, tree.channels))
    if n_channels == 0:
        raise SourceError(f"{name}: no joint has channels; there is no motion to read")
    n_frames, frame_time_s, start = _motion_header(text, motion_line.end(), name)
    values = _motion_values(text, start, n_frames, n_channels, name)
    return BvhMotion(
        names=tuple(tree.names),
        parents=tuple(tree.parents),
        offsets=np.array(tree.offsets, dtype=np.float64),
        channels=tuple(tree.channels),
        frame_time_s=frame_time_s,
        values=values,
        end_sites=tuple(tree.end_sites),
    )


def _line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _motion_header(text: str, start: int, name: str) -> tuple[int, float, int]:
    """Return the frame count, the frame time in seconds and where the numbers start."""
    frames = _FRAMES_LINE.match(text, start)
    line = _line_of(text, start)
    if frames is None or not frames[1].isdecimal() or int(frames[1]) == 0:
        found = "nothing" if frames is None else repr(frames[1])
        raise SourceError(
            f"{name}, after line {line}: 'Frames:' needs a positive count, found {found}"
        )
    time = _TIME_LINE.match(text, frames.end())
    try:
        frame_time_s = float(time[1]) if time else 0.0
    except ValueError:
        frame_time_s = 0.0
    if not (np.isfinite(frame_time_s) and frame_time_s > 0) or time is None:
        found = "nothing" if time is None else repr(time[1])
        raise SourceError(
            f"{name}, line {_line_of(text, frames.end() - 1) + 1}: 'Frame Time:' needs seconds "
            f"above 0, found {found}"
        )
    return int(frames[1]), frame_time_s, time.end()


def _motion_values(
    text: str, start: int, n_frames: int, n_channels: int, name: str
) -> NDArray[np.float64]:
    """Return the (T, C) motion block; wrapped lines are fine, counts and numbers must fit."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # numpy < 2.4 only warns
            flat = np.fromstring(text[start:], dtype=np.float64, sep=" ")
    except (ValueError, DeprecationWarning):
        flat = np.full(1, np.nan)
    if not np.isfinite(flat).all():
        raise _bad_number(text, start, name)
    if flat.size != n_frames * n_channels:
        whole = flat.size // n_channels
        more_or_less = (
            f"the file is cut: {min(whole, n_frames)} of {n_frames} frames are complete"
            if flat.size < n_frames * n_channels
            else "more values than frames"
        )
        raise SourceError(
            f"{name}: {more_or_less} ({flat.size} values, expected {n_frames} frames x "
            f"{n_channels} channels = {n_frames * n_channels})"
        )
    return flat.reshape(n_frames, n_channels)


def _bad_number(text: str, start: int, name: str) -> SourceError:
    # Only reached for broken files, so a slow search for the line is fine.
    first_line = _line_of(text, start)
    for line, content in enumerate(text[start:].split("\n"), start=first_line):
        for word in content.split():
            try:
                good = bool(np.isfinite(float(word)))
            except ValueError:
                good = False
            if not good:
                return SourceError(
                    f"{name}, line {line}: {word[:40]!r} in the motion data; "
                    "expected a finite number"
                )
    return SourceError(f"{name}: motion data after line {first_line} cannot be read as numbers")


def forward_kinematics(
    motion: BvhMotion, frames: slice | NDArray[np.integer] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return world positions and world rotations of all joints.

    Args:
        motion: J joints, T frames.
        frames: Which frames, as a slice or an index array; all when None.

    Returns:
        Positions (T, J, 3) in file units and rotations (T, J, 3, 3), which take vectors of the
        joint's local frame to the file's world frame (column vectors).
    """
    values = motion.values if frames is None else motion.values[frames]
    n_frames, n_joints = len(values), len(motion.names)
    positions = np.empty((n_frames, n_joints, 3))
    rotations = np.empty((n_frames, n_joints, 3, 3))
    column = 0
    for joint, (parent, channels) in enumerate(zip(motion.parents, motion.channels, strict=True)):
        translation = np.tile(motion.offsets[joint], (n_frames, 1))
        rotation = np.tile(np.eye(3), (n_frames, 1, 1))
        for channel in channels:
            axis = _AXES[channel[0]]
            if channel.endswith("position"):
                # The translation is the joint's place in its parent's frame, so a rotation that
                # comes earlier in the channel list does not turn it.
                translation[:, axis] = values[:, column]
            else:
                rotation = rotation @ axis_rotation(axis, np.radians(values[:, column]))
            column += 1
        if parent < 0:
            positions[:, joint], rotations[:, joint] = translation, rotation
        else:
            upper = rotations[:, parent]
            positions[:, joint] = positions[:, parent] + np.einsum("tij,tj->ti", upper, translation)
            rotations[:, joint] = upper @ rotation
    return positions, rotations


def axis_rotation(axis: int, angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return right-handed rotations (..., 3, 3) by `angle` (...) radians about axis 0, 1 or 2."""
    after, before = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((*angle.shape, 3, 3))
    matrix[..., axis, axis] = 1.0
    matrix[..., after, after] = matrix[..., before, before] = np.cos(angle)
    matrix[..., before, after] = np.sin(angle)
    matrix[..., after, before] = -np.sin(angle)
    return matrix


def write_bvh(motion: BvhMotion) -> str:
    """Return BVH text that `parse_bvh` reads back to exactly the same motion.

    Raises:
        ValueError: The joints are not in depth-first order, which BVH files imply.
    """
    children: list[list[int]] = [[] for _ in motion.names]
    for joint, parent in enumerate(motion.parents[1:], start=1):
        children[parent].append(joint)
    lines = ["HIERARCHY"]
    order: list[int] = []

    def write_node(title: str, offset: NDArray[np.float64], joint: int, depth: int) -> None:
        pad = "  " * depth
        numbers = " ".join(map(repr, np.asarray(offset, dtype=np.float64).tolist()))
        lines.extend([f"{pad}{title}", f"{pad}{{", f"{pad}  OFFSET {numbers}"])
        if joint >= 0:
            order.append(joint)
            channels = motion.channels[joint]
            lines.append(f"{pad}  CHANNELS {' '.join((str(len(channels)), *channels))}")
            for child in children[joint]:
                write_node(f"JOINT {motion.names[child]}", motion.offsets[child], child, depth + 1)
            for site in motion.end_sites:
                if site.parent == joint:
                    write_node("End Site", np.array(site.offset), -1, depth + 1)
        lines.append(f"{pad}}}")

    write_node(f"ROOT {motion.names[0]}", motion.offsets[0], 0, 0)
    if order != list(range(len(motion.names))):
        raise ValueError(f"joints must be in depth-first order, got parents {motion.parents}")
    lines += ["MOTION", f"Frames: {motion.n_frames}", f"Frame Time: {motion.frame_time_s!r}"]
    lines += [" ".join(map(repr, row)) for row in motion.values.tolist()]
    return "\n".join(lines) + "\n"
