"""Human3.6M in the files of VideoPose3D: true poses, and a detector's keypoints for each camera.

``data_3d_h36m.npz``: key positions_3d, a dictionary subject -> action -> (T, 32, 3), metres, world
frame, 50 per second. ``data_2d_h36m_NAME.npz``: key positions_2d, subject -> action -> four arrays
(T', 17, 2), px, T' >= T; NAME is gt, cpn_ft_h36m_dbb, sh_ft_h36m, detectron_ft_h36m or another. Of
the 32 joints the 17 of the field are kept. Keypoints are moved to where a camera without distortion
would have seen them, because everything after this stage has pinhole cameras.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from diffpose.model.geometry.pinhole import project
from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.safe_pickle import read_npz
from diffpose.platform.base.storage import exists, join, list_names
from diffpose.preprocessing.datasets.human36m_cameras import CAMERAS, NUMBERS, PLACES
from diffpose.preprocessing.datasets.interface import (
    Array,
    CameraView,
    DatasetKind,
    Residuals,
    Shot,
)

FPS = 50.0
KEPT = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
POSES = "data_3d_h36m.npz"
TEST_SUBJECTS = ("S9", "S11")
# Test clips whose true poses drifted away from the pictures; MotionBERT and its followers leave
# them out.
DRIFTED = ("s_09_act_05_subact_02", "s_09_act_10_subact_02", "s_09_act_13_subact_01")


class Human36mSource(DatasetKind):
    """Human3.6M: a folder with VideoPose3D's npz files, or MotionBERT's pickle."""

    kind: Literal["human36m"] = "human36m"
    uri: str = Field(
        description=f"folder with {POSES} and data_2d_h36m_NAME.npz; or MotionBERT's file "
        "h36m_sh_conf_cam_source_final.pkl"
    )
    keypoints: str = Field(
        "cpn_ft_h36m_dbb",
        description="NAME of the detections: cpn_ft_h36m_dbb, gt, sh_ft_h36m ... (a pickle brings "
        "its own)",
    )
    leave_out: list[str] = Field(
        list(DRIFTED), description="clips of the pickle that are not used; default: MotionBERT's"
    )
    train_subjects: list[str] = Field(["S1", "S5", "S6", "S7", "S8"], description="to train on")
    test_subjects: list[str] = Field(list(TEST_SUBJECTS), description="held out (protocol 1)")
    stride: int = Field(1, ge=1, description="every so-manieth frame of 50 per second")

    @model_validator(mode="after")
    def _known_subjects(self) -> Human36mSource:
        unknown = sorted({*self.train_subjects, *self.test_subjects} - set(PLACES))
        if unknown:
            raise ValueError(f"no cameras are known of {unknown}; subjects are {list(PLACES)}")
        both = sorted({*self.train_subjects} & {*self.test_subjects})
        if both:
            raise ValueError(f"{both} cannot both train and test")
        return self

    @property
    def subjects(self) -> list[str]:
        """All subjects that are used."""
        return [*self.train_subjects, *self.test_subjects]


def recording_names(source: Human36mSource) -> list[str]:
    """Return "SUBJECT/ACTION" of every recording, sorted.

    Raises:
        SourceError: a file or a subject is missing, or a file is something else.
    """
    poses, keypoints = _files(source.uri, source.keypoints)
    names = []
    for subject in source.subjects:
        for what, files in ((POSES, poses), (_keypoint_file(source.keypoints), keypoints)):
            if subject not in files:
                raise SourceError(
                    f"{join(source.uri, what)} has no subject {subject}; it has "
                    f"{', '.join(sorted(files))}. Use the whole file, or leave {subject} out of "
                    "source.train_subjects and source.test_subjects."
                )
        names += [f"{subject}/{action}" for action in sorted(poses[subject])]
    return names


def n_frames(source: Human36mSource, name: str) -> int:
    """Return how many frames of a recording are used."""
    subject, action = name.split("/", 1)
    return len(_files(source.uri, source.keypoints)[0][subject][action][:: source.stride])


def action_of(name: str) -> str:
    """Return the action's name without the number of the take: "Directions 1" -> Directions."""
    return name.partition("/")[2].partition(" ")[0]


def read_view(source: Human36mSource, name: str, number: int) -> CameraView:
    """Return what one camera sees of a recording.

    Raises:
        SourceError: the recording's arrays are not what they should be.
    """
    subject, action = name.split("/", 1)
    poses, keypoints = _files(source.uri, source.keypoints)
    where = f"{join(source.uri, _keypoint_file(source.keypoints))}: {name}"
    world = _checked_poses(poses[subject][action], f"{join(source.uri, POSES)}: {name}")
    if action not in keypoints[subject]:
        raise SourceError(f"{where} is missing, {POSES} has it. Use files of one data set.")
    views = keypoints[subject][action]
    if len(views) != len(CAMERAS):
        raise SourceError(
            f"{where} has {len(views)} cameras instead of {len(CAMERAS)}. Make the file again with "
            "all cameras."
        )
    seen = _checked_keypoints(views[number], len(world), f"{where}, camera {number}")
    camera, place = CAMERAS[number], PLACES[subject][number]
    every = slice(None, None, source.stride)
    joints = place.to_camera(world[every] * 1000.0)
    return CameraView(
        joints_mm=joints,
        keypoints_px=camera.lens.straightened(seen[: len(world)][every]),
        truth_px=project(joints, camera.lens.pinhole),
        camera_px=camera.lens.pinhole,
    )


def residuals(source: Human36mSource, every: int = 25) -> Array:
    """Return keypoints minus truth (n, 17, 2), px, over the training subjects' frames, thinned."""
    parts = [
        (view.keypoints_px - view.truth_px)[::every]
        for name in recording_names(source)
        if name.split("/", 1)[0] in source.train_subjects
        for view in (read_view(source, name, number) for number in range(len(CAMERAS)))
    ]
    return np.concatenate(parts)


class Human36m:
    """VideoPose3D's files as DataSet (datasets.interface)."""

    def __init__(self, source: Human36mSource) -> None:
        self._source = source

    def recordings(self) -> list[str]:
        """Return "S1/Directions 1" ..; raises SourceError where a file or a subject is missing."""
        return recording_names(self._source)

    def trains(self, recording: str) -> bool:
        """Tell whether its subject trains."""
        return self.subject(recording) in self._source.train_subjects

    def subject(self, recording: str) -> str:
        """Return S1 .. S11."""
        return recording.partition("/")[0]

    def action(self, recording: str) -> str:
        """Return one of the fifteen."""
        return action_of(recording)

    def shots(self, recording: str) -> list[Shot]:
        """Return the four cameras."""
        total, fps = n_frames(self._source, recording), FPS / self._source.stride
        return [Shot(c.name, c.width, c.height, total, fps) for c in CAMERAS]

    def view(self, recording: str, camera: str) -> CameraView:
        """Return what a camera sees, see `read_view`."""
        return read_view(self._source, recording, NUMBERS[camera])

    def residuals(self) -> Residuals:
        """Return every 25th frame's."""
        return Residuals(residuals(self._source))

    def attributes(self) -> dict[str, Any]:
        """Return whose files these are."""
        return {
            "name": "human36m",
            "poses": "camera",
            "poses_meaning": "mm, camera frame, true sizes",
            "keypoints": self._source.keypoints,
            "cameras": "published intrinsics and places; distortion taken out",
        }


def read_world_poses(folder: str) -> dict[str, dict[str, Array]]:
    """Return subject -> action -> joints (T, 17, 3), metres, world frame.

    Raises:
        SourceError: the file is missing or something else.
    """
    content = _content(folder, POSES, "positions_3d")
    return {
        subject: {
            action: _checked_poses(values, f"{join(folder, POSES)}: {subject}/{action}")
            for action, values in actions.items()
        }
        for subject, actions in content.items()
    }


@functools.lru_cache(maxsize=1)
def _files(uri: str, keypoints: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read both files; a worker process reads them once."""
    return (
        _content(uri, POSES, "positions_3d"),
        _content(uri, _keypoint_file(keypoints), "positions_2d"),
    )


def _keypoint_file(keypoints: str) -> str:
    return f"data_2d_h36m_{keypoints}.npz"


def _content(folder: str, name: str, key: str) -> dict[str, Any]:
    uri = join(folder, name)
    if not exists(uri):
        found = ", ".join(list_names(folder, ".npz")) or "no npz file"
        raise SourceError(f"There is no {uri!r}; the folder holds {found}.")
    values = read_npz(uri)
    if key not in values:
        raise SourceError(
            f"{uri!r} has {', '.join(sorted(values))} instead of {key}: it is another kind of "
            f"file. {POSES} holds positions_3d, data_2d_h36m_*.npz positions_2d."
        )
    content = values[key]
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise SourceError(f"{uri!r}: {key} is no dictionary of subjects and actions.")
    return content


def _checked_poses(values: Any, where: str) -> Array:
    """Return world positions (T, 17, 3) in metres."""
    poses = np.asarray(values, dtype=np.float64)
    if poses.ndim != 3 or poses.shape[1:] not in ((32, 3), (N_JOINTS, 3)):
        raise SourceError(
            f"{where} has shape {poses.shape}; (T, 32, 3), or (T, 17, 3) with the joints chosen, "
            "is wanted."
        )
    poses = poses[:, KEPT] if poses.shape[1] == 32 else poses
    if not np.isfinite(poses).all():
        raise SourceError(f"{where} holds numbers that are not finite.")
    height = float(np.median(np.ptp(poses, axis=1).max(axis=1)))
    if not 0.3 < height < 5:
        raise SourceError(
            f"{where}: a person is {height:.3g} high or wide. Positions must be in metres (divide "
            "millimetres by 1000)."
        )
    return poses


def _checked_keypoints(values: Any, least: int, where: str) -> Array:
    """Return keypoints (T', 17, 2) in px."""
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 3 or points.shape[1:] != (N_JOINTS, 2):
        raise SourceError(
            f"{where} has shape {points.shape}; (T, 17, 2) is wanted. Files with 16 joints "
            "(Stacked Hourglass of 2017) lack one and cannot be used."
        )
    if len(points) < least:
        raise SourceError(
            f"{where} has {len(points)} frames, the poses have {least}. Use files of one data set."
        )
    if not np.isfinite(points).all():
        raise SourceError(f"{where} holds numbers that are not finite.")
    if np.abs(points).max() <= 3:
        raise SourceError(
            f"{where}: all coordinates are within {np.abs(points).max():.2g} of 0. Keypoints must "
            "be in px, not normalised by the image's size."
        )
    return points
