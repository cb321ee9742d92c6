"""Human3.6M's own videos: S9/Videos/Directions 1.54138969.mp4, 50 frames per second.

Each gets a sidecar (videos.sidecar) with subject, action, camera, split, intrinsics, distortion and
true poses; then they are videos like any other. ``_ALL`` videos (all actions in one) have none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import files_below, filesystem, join
from diffpose.preprocessing.datasets.human36m import FPS, POSES, TEST_SUBJECTS, read_world_poses
from diffpose.preprocessing.datasets.human36m_cameras import CAMERAS, NUMBERS, PLACES
from diffpose.preprocessing.records.splits import SplitSettings, assign_splits
from diffpose.preprocessing.videos.sidecar import Sidecar, Truth, write_sidecar, write_truth

_VIDEO = re.compile(r"(?:.*/)?(S\d+)/Videos/([A-Za-z]+(?: \d+)?)\.(\d{8})\.mp4")
# Names that two releases of the data set have for one action.
_SAME = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}


@dataclass
class Written:
    """What was done.

    Attributes:
        with_truth: videos with true poses.
        without_truth: videos whose recording the poses lack; they can be detected, not measured.
        passed_over: other files, with the reason.
    """

    with_truth: list[str] = field(default_factory=list)
    without_truth: list[str] = field(default_factory=list)
    passed_over: dict[str, str] = field(default_factory=dict)


def write_sidecars(videos: str, poses: str, validation_share: float, seed: int) -> Written:
    """Write a sidecar beside every video.

    Args:
        videos: folder with S1/Videos .. S11/Videos.
        poses: folder with data_3d_h36m.npz.
        validation_share: of the training recordings; all cameras of one go together.
        seed: of that choice.

    Raises:
        SourceError: there is no such video, or the poses are missing or something else.
    """
    fs, path = filesystem(videos)
    if not fs.exists(path):
        raise SourceError(f"There is no folder {videos!r}.")
    root = str(path).rstrip("/") + "/"
    names = [name.removeprefix(root) for name in files_below(videos)]
    found = {name: match for name in names if (match := _VIDEO.fullmatch(name))}
    if not found:
        raise SourceError(
            f"{videos!r} holds no S1/Videos/Directions 1.54138969.mp4 and the like "
            f"({len(names)} files were found). Give the folder that holds S1 .. S11."
        )
    world = read_world_poses(poses)
    recordings = sorted(
        {f"{m[1]}/{_action(m[2])}" for m in found.values() if m[1] not in TEST_SUBJECTS}
    )
    rule = SplitSettings(test=["no such name"], validation_share=validation_share)
    splits = assign_splits(recordings, rule, seed)
    result = Written()
    for name, match in found.items():
        subject, action, camera = match[1], _action(match[2]), match[3]
        if subject not in PLACES or camera not in NUMBERS:
            result.passed_over[name] = f"no camera {camera} of {subject} is known"
            continue
        lens = CAMERAS[NUMBERS[camera]].lens
        fx, fy, cx, cy = (float(value) for value in lens.pinhole)
        sidecar = Sidecar(
            subject=subject,
            action=action.partition(" ")[0],
            camera=camera,
            split="test" if subject in TEST_SUBJECTS else splits[f"{subject}/{action}"],
            intrinsics_px=(fx, fy, cx, cy),
            distortion=(*lens.radial, *lens.tangential),
        )
        uri = join(videos, name)
        if action not in world.get(subject, {}):
            write_sidecar(uri, sidecar)
            result.without_truth.append(name)
            continue
        place = PLACES[subject][NUMBERS[camera]]
        joints = place.to_camera(world[subject][action] * 1000.0).astype(np.float32)
        write_truth(uri, sidecar, Truth(np.arange(len(joints)) / FPS, joints[None]))
        result.with_truth.append(name)
    for name in names:
        if name.endswith(".mp4") and name not in found:
            result.passed_over[name] = (
                "all actions in one" if "/_ALL" in name else f"its name is none of {POSES}'s"
            )
    return result


def _action(name: str) -> str:
    kind, space, take = name.partition(" ")
    return _SAME.get(kind, kind) + space + take
