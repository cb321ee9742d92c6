"""An answer as what motion formats hold: joints at a constant rate, in metres or mm, with no gap.

Such files are y up by custom (OpenSim, glTF, Blender's importers). From the world's frame (x to the
camera's right, y away from it, z up) that is a quarter turn about x: x stays, y is the world's z, z
is the world's -y, towards the camera. An answer without a world frame is in the camera's, turned
upright the same way: y is up in the picture, and nothing is known of the floor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffpose.model.motion.world import CAMERA_UPRIGHT
from diffpose.platform.answers.answer import Answer
from diffpose.platform.base.errors import ConfigError

Array = NDArray[np.float64]
# From the world's axes to those of files that are y up; both right-handed.
_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
# Frames may be this far off a constant rate, in parts of a frame, before they are interpolated.
_STEADY = 0.02


@dataclass(frozen=True)
class Motion:
    """Joints of one person at a constant rate.

    Attributes:
        positions_mm: (F, 17, 3), finite, y up.
        std_mm: (F, 17), what is claimed of their errors.
        seen: (F, 17), whether a joint was detected.
        time_s: (F,), in steps of 1 / fps.
        first_frame: number of the first frame.
        fps: frames per second.
        frame_of_reference: what the axes are, in words.
        note: what was filled or interpolated, or empty.
    """

    positions_mm: Array
    std_mm: Array
    seen: NDArray[np.bool_]
    time_s: Array
    first_frame: int
    fps: float
    frame_of_reference: str
    note: str


def motion_of(answer: Answer) -> Motion:
    """Bring an answer to a constant rate, y up.

    Frames that are missing are interpolated, and said in the note; so are times that are not
    steady.

    Raises:
        ConfigError: the answer has no frame, or its numbers are not finite.
    """
    if len(answer) == 0:
        raise ConfigError(f"The answer of {answer.source!r} has no frame: nothing to export.")
    positions, where = upright_mm(answer)
    if not np.isfinite(positions).all():
        raise ConfigError(
            f"The answer of {answer.source!r} has positions that are not finite; predict again."
        )
    time_s = np.asarray(answer.timestamp_s, dtype=np.float64)
    frames = round((time_s[-1] - time_s[0]) * answer.fps) + 1
    grid = time_s[0] + np.arange(frames) / answer.fps
    steady = frames == len(time_s) and np.abs(grid - time_s).max() * answer.fps < _STEADY
    std = np.asarray(answer.std_mm, dtype=np.float64)
    seen, note = np.asarray(answer.seen), ""
    if not steady:
        nearest = np.abs(grid[:, None] - time_s[None]).argmin(axis=1)
        there = np.abs(grid - time_s[nearest]) * answer.fps < 0.5
        positions, std = _at(grid, time_s, positions), _at(grid, time_s, std)
        seen = seen[nearest] & there[:, None]
        note = (
            f"{len(time_s)} frames at uneven times were interpolated to {frames} at "
            f"{answer.fps:g}/s, {int((~there).sum())} of them across gaps"
        )
    return Motion(positions, std, seen, grid, int(answer.frame[0]), float(answer.fps), where, note)


def upright_mm(answer: Answer) -> tuple[Array, str]:
    """Return the joints (T, 17, 3), y up, and what the frame of reference is, in words."""
    frame = CAMERA_UPRIGHT if answer.world is None else answer.world
    where = (
        "camera turned upright: x right, y up in the picture, z towards the camera; "
        "origin at the camera"
        if answer.world is None
        else "world: x to the camera's right, y up, z towards the camera; origin on the floor"
    )
    return np.asarray(frame.points_mm(answer.positions_mm) @ _Y_UP.T), where


def _at(grid: Array, time_s: Array, values: Array) -> Array:
    """Interpolate values (T, ...) to the times of a grid."""
    flat = values.reshape(len(values), -1)
    columns = [np.interp(grid, time_s, flat[:, i]) for i in range(flat.shape[1])]
    return np.stack(columns, axis=-1).reshape(len(grid), *values.shape[1:])
