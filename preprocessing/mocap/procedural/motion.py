"""The project's own motion generator: BVH files without a download.

The files have the joint names of Mixamo rigs (built-in map "mixamo"), y up, centimetres. The
motion is made, not recorded: good for demonstrations, tests and smoke training, not a substitute
for real data when accuracy on people is claimed.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import fsspec
import numpy as np

from diffpose.platform.base.errors import ConfigError
from diffpose.preprocessing.mocap.bvh import BvhMotion, write_bvh
from diffpose.preprocessing.mocap.procedural.actions import ACTIONS
from diffpose.preprocessing.mocap.procedural.body import assemble, random_body
from diffpose.preprocessing.mocap.procedural.take import Take, every_angle_noise, own_posture

ACTION_NAMES: tuple[str, ...] = tuple(ACTIONS)


def generate_motion(
    action: str, seed: int, duration_s: float = 8.0, fps: float = 30.0
) -> BvhMotion:
    """Return one take of an action by a random person.

    Args:
        action: One of `ACTION_NAMES`.
        seed: Fixes the person, the style and the movement together with `action`; at least 0.
        duration_s: Length in seconds.
        fps: Frames per second.

    Returns:
        The motion, in cm and degrees, y up, floor at y = 0.

    Raises:
        ConfigError: The action is unknown, or the length or rate is not positive.
    """
    _check(action, duration_s, fps)
    rng = np.random.default_rng([zlib.crc32(action.encode()), seed])
    times = np.arange(max(1, round(duration_s * fps))) / fps
    body = random_body(rng)
    take = Take(rng, times)
    own_posture(take)
    ACTIONS[action](take)
    every_angle_noise(take)
    return assemble(body, take.tracks, take.plant, fps)


def write_motion_library(
    uri: str, actions: Sequence[str] | None, takes_per_action: int, duration_s: float, seed: int
) -> list[str]:
    """Write `<uri>/<action>_<take>.bvh` for every action and take, 30 frames per second.

    Args:
        uri: Local folder or any fsspec URI; made if absent.
        actions: Names of `ACTION_NAMES`; all when None.
        takes_per_action: Files per action, each by another person.
        duration_s: Length of each file in seconds.
        seed: Same seed, same files; a longer library extends a shorter one.

    Returns:
        The URIs written, in order.

    Raises:
        ConfigError: As for `generate_motion`, before anything is written.
    """
    names = ACTION_NAMES if actions is None else tuple(actions)
    for action in names:
        _check(action, duration_s, 30.0)
    file_system, folder = fsspec.core.url_to_fs(uri)
    file_system.makedirs(folder, exist_ok=True)
    written: list[str] = []
    for action in names:
        for take in range(takes_per_action):
            take_seed = int(np.random.SeedSequence([seed, take]).generate_state(1)[0])
            text = write_bvh(generate_motion(action, take_seed, duration_s))
            file = f"{action}_{take:03d}.bvh"
            with file_system.open(f"{folder.rstrip('/')}/{file}", "wb") as stream:
                stream.write(text.encode())
            written.append(f"{uri.rstrip('/')}/{file}")
    return written


def _check(action: str, duration_s: float, fps: float) -> None:
    if action not in ACTIONS:
        raise ConfigError(f"unknown action {action!r}; expected one of {', '.join(ACTION_NAMES)}")
    if not (duration_s > 0 and fps > 0):
        raise ConfigError(f"duration_s and fps must be above 0, got {duration_s} and {fps}")
