"""Folders of BVH files of our own motion, as any library of motion capture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from diffpose.platform.base.errors import ConfigError, SourceError
from diffpose.platform.base.storage import join, write_bytes
from diffpose.preprocessing.mocap.bvh import BvhMotion, write_bvh
from diffpose.preprocessing.mocap.freestyle.balancing import balancing
from diffpose.preprocessing.mocap.freestyle.motion import freestyle
from diffpose.preprocessing.mocap.joint_maps import choose_joint_map, h36m_positions
from diffpose.preprocessing.mocap.procedural.motion import ACTION_NAMES, generate_motion
from diffpose.preprocessing.mocap.units import metres_per_unit, up_axis

Make = Callable[[int, float, float], BvhMotion]
FREE_KINDS: dict[str, Make] = {"freestyle": freestyle, "balancing": balancing}
KIND_NAMES: tuple[str, ...] = (*FREE_KINDS, *ACTION_NAMES)


def make_motion(kind: str, seed: int, duration_s: float = 20.0, fps: float = 30.0) -> BvhMotion:
    """Return one motion of a kind by a random person.

    Args:
        kind: one of `KIND_NAMES`.
        seed: fixes the person and the motion together with the kind; at least 0.
        duration_s: length in seconds.
        fps: frames per second.

    Returns:
        The motion, in cm and degrees, y up, floor at y = 0. Whoever reads it can tell its axes and
        its unit: a motion that lies too long for that is made anew.

    Raises:
        ConfigError: the kind is unknown, or the length or rate is not positive.
    """
    _check(kind, duration_s, fps)
    if kind not in FREE_KINDS:
        return generate_motion(kind, seed, duration_s, fps)
    attempt = 0
    while True:
        own = np.random.SeedSequence([seed, attempt]).generate_state(1)
        motion = FREE_KINDS[kind](int(own[0]), duration_s, fps)
        if _is_told(motion):
            return motion
        attempt += 1


def _check(kind: str, duration_s: float, fps: float) -> None:
    if kind not in KIND_NAMES:
        raise ConfigError(f"unknown kind {kind!r}; expected one of {', '.join(KIND_NAMES)}")
    if not (duration_s > 0 and fps > 0):
        raise ConfigError(f"seconds and fps must be above 0, got {duration_s} and {fps}")


def _is_told(motion: BvhMotion) -> bool:
    pose = h36m_positions(motion, choose_joint_map(motion.names))
    try:
        return up_axis(pose, rest="y") == "y" and metres_per_unit(pose) == 0.01
    except SourceError:
        return False


def write_library(
    uri: str, kinds: Sequence[str], files: int, duration_s: float, fps: float, seed: int
) -> Iterator[str]:
    """Write `<uri>/<kind>_<number>.bvh`, the kinds in turn; yields each file's URI once written.

    Args:
        uri: local folder or any fsspec URI; made if absent.
        kinds: names of `KIND_NAMES`.
        files: how many; more extend fewer.
        duration_s: length of each in seconds.
        fps: frames per second.
        seed: same seed, same files.

    Raises:
        ConfigError: as `make_motion`, before anything is written.
    """
    for kind in kinds:
        _check(kind, duration_s, fps)
    for number in range(files):
        kind = kinds[number % len(kinds)]
        own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        file = join(uri, f"{kind}_{number:04d}.bvh")
        write_bytes(file, write_bvh(make_motion(kind, own, duration_s, fps)).encode())
        yield file
