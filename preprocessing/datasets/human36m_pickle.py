"""Human3.6M in MotionBERT's pickle: Stacked Hourglass' keypoints with confidences, 2.5D labels.

``h36m_sh_conf_cam_source_final.pkl``: train and test, each a dictionary of lists or arrays over all
frames of all cameras: joint_2d (N, 17, 2), px of the image as filmed; confidence (N, 17) or
(N, 17, 1); joint3d_image (N, 17, 3); camera_name (N,); source (N,), "s_09_act_02_subact_01_ca_01".
The test part adds 2.5d_factor (N,) and joints_2.5d_image.

**What the labels mean.** With Z the depth of the root and fx the focal length, a millimetre at the
root appears r = fx / Z + 1 / 2000 px large (the width of 2 m around it, plus a pixel, over 2000).
joint3d_image holds the pinhole projection u, v in px, without distortion, and r (z - Z) as its
third number; 2.5d_factor is 1 / r, and joints_2.5d_image = 2.5d_factor joint3d_image. Errors over
joints_2.5d_image, as MotionBERT reports them, are in mm of such a 2.5D space and not in the camera
frame.

**What is made of them.** The training part tells no factor. But every frame is there from several
cameras whose places are known: the joints are triangulated from u, v, which gives the camera frame
in mm for both parts; depth and factor then serve to check it.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.pinhole import project
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.safe_pickle import read_pickle
from diffpose.preprocessing.datasets.human36m import FPS, Human36mSource
from diffpose.preprocessing.datasets.human36m_cameras import CAMERAS, NUMBERS, PLACES
from diffpose.preprocessing.datasets.interface import Array, CameraView, Residuals, Shot

# The act numbers of the file names, 2 .. 16.
ACTIONS = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting",
    "SittingDown", "Smoking", "Photo", "Waiting", "Walking", "WalkDog", "WalkTogether",
)  # fmt: skip
_SOURCE = re.compile(r"(s_(\d+)_act_(\d+)_subact_(\d+))_ca_(\d+)")
_KEYS = ("joint_2d", "confidence", "joint3d_image", "camera_name", "source")
_MEET_PX = 2.0  # rays of synchronous cameras meet far closer
_DEPTH_MM = 20.0


@dataclass(frozen=True)
class _File:
    """The pickle and where each clip lies in it.

    Attributes:
        parts: train and test.
        rows: recording -> camera -> part, rows.
    """

    parts: dict[str, dict[str, Any]]
    rows: dict[str, dict[str, tuple[str, NDArray[np.int64]]]]


class Human36mPickle:
    """MotionBERT's file as DataSet (datasets.interface)."""

    def __init__(self, source: Human36mSource) -> None:
        self._source = source

    def recordings(self) -> list[str]:
        """Return "S9/Directions subact 1" ..; raises SourceError where a subject is missing."""
        wanted = [*self._source.train_subjects, *self._source.test_subjects]
        names = sorted(self._file().rows)
        there = {self.subject(name) for name in names}
        for subject in wanted:
            if subject not in there:
                raise SourceError(
                    f"{self._source.uri} has no subject {subject}; it has "
                    f"{', '.join(sorted(there))}. Use the whole file, or leave {subject} out of "
                    "source.train_subjects and source.test_subjects."
                )
        return [name for name in names if self.subject(name) in wanted]

    def trains(self, recording: str) -> bool:
        """Tell whether its subject trains."""
        return self.subject(recording) in self._source.train_subjects

    def subject(self, recording: str) -> str:
        """Return S1 .. S11."""
        return recording.partition("/")[0]

    def action(self, recording: str) -> str:
        """Return one of the fifteen."""
        return recording.partition("/")[2].partition(" ")[0]

    def shots(self, recording: str) -> list[Shot]:
        """Return the cameras that the file has of a recording."""
        stride = self._source.stride
        return [
            Shot(
                camera, CAMERAS[NUMBERS[camera]].width, CAMERAS[NUMBERS[camera]].height,
                len(rows[::stride]), FPS / stride,
            )
            for camera, (_, rows) in sorted(self._file().rows[recording].items())
        ]  # fmt: skip

    def view(self, recording: str, camera: str) -> CameraView:
        """Return what one camera sees.

        Raises:
            SourceError: cameras are missing, or the labels do not agree with each other.
        """
        file = self._file()
        where = f"{self._source.uri}: {recording}"
        if camera not in file.rows[recording]:
            raise SourceError(f"{where} lacks camera {camera}.")
        part, rows = file.rows[recording][camera]
        number = NUMBERS[camera]
        lens = CAMERAS[number].lens
        world = _triangulated(self._source.uri, tuple(self._source.leave_out), recording)
        joints = PLACES[self.subject(recording)][number].to_camera(world)
        _check_labels(file.parts[part], rows, joints, lens.focal_px[0], f"{where}, {camera}")
        every = slice(None, None, self._source.stride)
        seen = _taken(file.parts[part], "joint_2d", rows, where)[every]
        joints = joints[every]
        confidence = _taken(file.parts[part], "confidence", rows, where)[every]
        return CameraView(
            joints_mm=joints,
            keypoints_px=lens.straightened(seen),
            truth_px=project(joints, lens.pinhole),
            camera_px=lens.pinhole,
            confidence=confidence.reshape(len(joints), -1),
        )

    def residuals(self) -> Residuals:
        """Return every 25th frame's, of the training subjects."""
        offsets, sure = [], []
        for name in self.recordings():
            for camera in self._file().rows[name] if self.trains(name) else ():
                view = self.view(name, camera)
                assert view.confidence is not None
                offsets.append((view.keypoints_px - view.truth_px)[::25])
                sure.append(view.confidence[::25])
        return Residuals(np.concatenate(offsets), np.concatenate(sure))

    def attributes(self) -> dict[str, Any]:
        """Return whose file this is, and that its 2.5D labels were turned into camera frames."""
        return {
            "name": "human36m",
            "poses": "camera",
            "poses_meaning": "mm, camera frame, triangulated from the 2.5D labels of all cameras",
            "keypoints": "sh_conf",
            "left_out": list(self._source.leave_out),
            "cameras": "published intrinsics and places; distortion taken out",
        }

    def _file(self) -> _File:
        return _read(self._source.uri, tuple(self._source.leave_out))


@functools.lru_cache(maxsize=1)  # its cameras are asked for one after the other
def _triangulated(uri: str, leave_out: tuple[str, ...], recording: str) -> Array:
    """Return the joints (T, 17, 3) of a recording in the world frame, mm."""
    file, where = _read(uri, leave_out), f"{uri}: {recording}"
    views = file.rows[recording]
    lengths = {camera: len(rows) for camera, (_, rows) in sorted(views.items())}
    if len(lengths) < 2 or len(set(lengths.values())) > 1:
        raise SourceError(
            f"{where}: the cameras have {lengths} frames. The labels are 2.5D, and become "
            "positions where two cameras or more see the same frames: a camera is missing, or "
            "frames are. Use the whole file."
        )
    places = PLACES[recording.partition("/")[0]]
    labels = {
        NUMBERS[camera]: _taken(file.parts[part], "joint3d_image", rows, where)
        for camera, (part, rows) in views.items()
    }
    # the point nearest to all rays: sum of (I - d d') x = sum of (I - d d') o
    left = np.zeros((*next(iter(labels.values())).shape[:2], 3, 3))
    right = np.zeros(left.shape[:3])
    for number, label in labels.items():
        lens, origin = CAMERAS[number].lens, np.array(places[number].position_mm)
        slopes = (label[..., :2] - lens.centre_px) / lens.focal_px
        ray = np.concatenate([slopes, np.ones((*slopes.shape[:2], 1))], axis=-1)
        ray = places[number].to_world(ray) - origin
        ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
        across = np.eye(3) - ray[..., :, None] * ray[..., None, :]
        left += across
        right += across @ origin
    world: Array = np.linalg.solve(left, right[..., None])[..., 0]
    off = [
        np.linalg.norm(
            project(places[n].to_camera(world), CAMERAS[n].lens.pinhole) - label[..., :2], axis=-1
        )
        for n, label in labels.items()
    ]  # fmt: skip
    worst = float(np.median(off, axis=(1, 2)).max())
    if worst > _MEET_PX:
        raise SourceError(
            f"{where}: the cameras' labels miss each other by {worst:.3g} px. They must be px "
            "of one moment, under the name of their own camera: frames are shifted, cameras "
            "interchanged, or labels normalised."
        )
    return world


def _check_labels(
    part: dict[str, Any], rows: NDArray[np.int64], joints_mm: Array, focal_px: float, where: str
) -> None:
    """Refuse depths and factors that are not what the module's docstring says."""
    depth = joints_mm[:, 0, 2]
    scale = focal_px / depth + 1 / 2000
    told = np.asarray(part["joint3d_image"][rows[0] : rows[-1] + 1], np.float64)[..., 2]
    told = told - told[:, :1]
    off = float(np.median(np.abs(told / scale[:, None] - (joints_mm[..., 2] - depth[:, None]))))
    if off > _DEPTH_MM:
        raise SourceError(
            f"{where}: the depths of joint3d_image are off by {off:.4g} mm against what the "
            "cameras see together. The third number must be in px, 2.5D, relative to joint 0: "
            "another unit, or a root is missing."
        )
    if "2.5d_factor" in part:
        factor = np.asarray(part["2.5d_factor"][rows[0] : rows[-1] + 1], np.float64)
        wrong = float(np.median(np.abs(factor * scale - 1)))
        if wrong > 0.02:
            raise SourceError(
                f"{where}: 2.5d_factor is off by {100 * wrong:.3g} %. It must be mm per px at the "
                "root's depth."
            )


def _taken(part: dict[str, Any], key: str, rows: NDArray[np.int64], where: str) -> Array:
    """Return rows of an array, checked; rows of a clip follow each other."""
    values = np.asarray(part[key][rows[0] : rows[-1] + 1], dtype=np.float64)
    if not np.isfinite(values).all():
        raise SourceError(f"{where}: {key} holds numbers that are not finite.")
    if key == "joint_2d" and np.abs(values).max() <= 3:
        raise SourceError(
            f"{where}: all of joint_2d is within {np.abs(values).max():.2g} of 0. Keypoints must "
            "be in px, not normalised by the image's size."
        )
    return values


@functools.lru_cache(maxsize=1)
def _read(uri: str, leave_out: tuple[str, ...]) -> _File:
    content = read_pickle(uri)
    if not isinstance(content, dict) or not {"train", "test"} <= content.keys():
        kind = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise SourceError(
            f"{uri!r} is not MotionBERT's file: it must have train and test, it has {kind}."
        )
    rows: dict[str, dict[str, tuple[str, NDArray[np.int64]]]] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name in ("train", "test"):
        parts[name] = _checked_part(content[name], f"{uri}: {name}")
        sources = np.asarray(parts[name]["source"])
        cameras = np.asarray(parts[name]["camera_name"]).astype(str)
        borders = np.flatnonzero(sources[1:] != sources[:-1]) + 1
        for piece in np.split(np.arange(len(sources)), borders):
            text = str(sources[piece[0]])
            found = _SOURCE.fullmatch(text)
            camera = str(cameras[piece[0]])
            if found is None or f"S{int(found[2])}" not in PLACES or camera not in NUMBERS:
                raise SourceError(
                    f"{uri}: {name}: the clip {text!r} of camera {camera!r} is none of Human3.6M; "
                    "names are like s_09_act_02_subact_01_ca_01, cameras "
                    f"{', '.join(NUMBERS)}."
                )
            if not 0 <= int(found[3]) - 2 < len(ACTIONS):
                raise SourceError(f"{uri}: {text!r}: act numbers are 2 to 16.")
            if found[1] in leave_out or text in leave_out:
                continue
            label = f"S{int(found[2])}/{ACTIONS[int(found[3]) - 2]} subact {int(found[4])}"
            views = rows.setdefault(label, {})
            if camera in views:
                raise SourceError(f"{uri}: {name}: the clip {text!r} comes twice, apart.")
            views[camera] = (name, piece)
    return _File(parts, rows)


def _checked_part(part: Any, where: str) -> dict[str, Any]:
    missing = [key for key in _KEYS if not isinstance(part, dict) or key not in part]
    if missing:
        raise SourceError(f"{where} has no {', '.join(missing)}; it is another file's part.")
    n = len(part["source"])
    result = dict(part)
    for key, axes in (("joint_2d", 2), ("joint3d_image", 3)):
        result[key] = np.asarray(part[key])
        if result[key].shape != (n, 17, axes):
            raise SourceError(
                f"{where}: {key} has shape {result[key].shape}; ({n}, 17, {axes}) is wanted."
            )
    result["confidence"] = np.asarray(part["confidence"])
    if result["confidence"].shape not in ((n, 17), (n, 17, 1)):
        raise SourceError(f"{where}: confidence has shape {result['confidence'].shape}.")
    return result
