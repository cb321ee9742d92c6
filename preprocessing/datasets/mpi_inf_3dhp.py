"""MPI-INF-3DHP (Mehta et al., 3DV 2017): true keypoints, S1 .. S8 train, TS1 .. TS6 test.

Two kinds of poses, whose errors cannot be compared: univ_annot3, every skeleton scaled to one
height (P-STMO and most papers), and annot3, true sizes (D3DP). A store names its own. Of the test
frames only the valid ones count; the others keep their keypoints, for windows of frames, and have
no pose. The cameras are fitted to poses and keypoints, view by view.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from diffpose.model.geometry.pinhole import fit_pinhole
from diffpose.model.metrics.protocols import MPI_OF_H36M
from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.datasets import mpi_inf_3dhp_files as files
from diffpose.preprocessing.datasets.interface import (
    Array,
    CameraView,
    DatasetKind,
    Residuals,
    Shot,
)

NAME = "mpi_inf_3dhp"
TRAIN = tuple(f"S{i}" for i in range(1, 9))
TEST = tuple(f"TS{i}" for i in range(1, 7))
# Those of the 14 cameras that P-STMO and its followers train on.
CAMERAS = ("0", "1", "2", "4", "5", "6", "7", "8")
_SIZE = (2048, 2048)
_OUTDOORS = {"TS5": (1920, 1080), "TS6": (1920, 1080)}
_FAST = {"S1/Seq2", "S3/Seq1", "S3/Seq2", "S5/Seq1", "S5/Seq2"}  # 50 per second, the others 25


class MpiInf3dhpSource(DatasetKind):
    """A folder with MPI-INF-3DHP: P-STMO's npz files, or the data set's own MATLAB files."""

    kind: Literal["mpi_inf_3dhp"] = "mpi_inf_3dhp"
    uri: str = Field(
        description="folder with data_train_3dhp.npz and data_test_3dhp.npz, or with "
        "S1/Seq1/annot.mat .. and TS1/annot_data.mat .."
    )
    poses: files.Poses = Field(
        "univ_annot3",
        description="univ_annot3: scaled to one height (P-STMO and most papers); annot3: true "
        "sizes (D3DP; npz files *_ori). Their errors cannot be compared",
    )
    train_subjects: list[str] = Field(list(TRAIN), description="to train on")
    test_subjects: list[str] = Field(list(TEST), description="held out: TS1 .. TS6")
    cameras: list[str] = Field(list(CAMERAS), description="of the training sequences")
    stride: int = Field(1, ge=1, description="every so-manieth frame")
    test_fps: float = Field(25.0, gt=0, description="of the test sequences; their files say none")

    @field_validator("cameras", mode="before")
    @classmethod
    def _texts(cls, cameras: Any) -> Any:
        return [str(c) for c in cameras] if isinstance(cameras, list) else cameras

    @model_validator(mode="after")
    def _known_names(self) -> MpiInf3dhpSource:
        for names, known in (
            (self.train_subjects, TRAIN),
            (self.test_subjects, TEST),
            (self.cameras, tuple(str(i) for i in range(14))),
        ):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise ValueError(f"{unknown} are none of {', '.join(known)}")
        return self


class MpiInf3dhp:
    """The data set as DataSet (datasets.interface)."""

    def __init__(self, source: MpiInf3dhpSource) -> None:
        self._source = source

    def recordings(self) -> list[str]:
        """Return "S1/Seq1" .. and "TS1" ..; raises SourceError where a file lacks one."""
        source = self._source
        wanted = [f"{s}/Seq{i}" for s in source.train_subjects for i in (1, 2)]
        in_npz = False
        for part, names in (("train", wanted), ("test", source.test_subjects)):
            found = files.sequences_of(source.uri, part, source.poses)  # type: ignore[arg-type]
            in_npz |= found is not None
            missing = [name for name in names if found is not None and name not in found]
            if missing:
                raise SourceError(
                    f"{files.npz_name(part, source.poses)} in {source.uri!r} "  # type: ignore[arg-type]
                    f"has no {', '.join(missing)}; it has {', '.join(sorted(found or []))}. Use "
                    f"the whole file, or leave them out of source.{part}_subjects."
                )
        names = sorted([*wanted, *source.test_subjects])
        if not in_npz and names and not any(files.has_mat(source.uri, name) for name in names):
            raise files.nothing_of(source.uri, names[0])
        return names

    def trains(self, recording: str) -> bool:
        """Tell whether it is one of S1 .. S8."""
        return not recording.startswith("TS")

    def subject(self, recording: str) -> str:
        """Return S1 .. S8 or TS1 .. TS6."""
        return recording.partition("/")[0]

    def action(self, recording: str) -> str:
        """Return the sequence: what the protocol averages over."""
        return recording.replace("/", " ")

    def shots(self, recording: str) -> list[Shot]:
        """Return the training cameras, or the one of a test sequence."""
        source = self._source
        size = _OUTDOORS.get(recording, _SIZE)
        if not self.trains(recording):
            seen = files.read_test(source.uri, recording, source.poses)
            fps = source.test_fps / source.stride
            return [Shot("0", *size, len(seen.poses_mm[:: source.stride]), fps)]
        fps = (50.0 if recording in _FAST else 25.0) / source.stride
        shots = []
        for camera in source.cameras:
            seen = files.read_train(source.uri, recording, camera, source.poses)
            shots.append(Shot(camera, *size, len(seen.poses_mm[:: source.stride]), fps))
        return shots

    def view(self, recording: str, camera: str) -> CameraView:
        """Return one camera's part, in Human3.6M's order of joints.

        Raises:
            SourceError: arrays are not what they should be.
        """
        source = self._source
        if self.trains(recording):
            seen = files.read_train(source.uri, recording, camera, source.poses)
        else:
            seen = files.read_test(source.uri, recording, source.poses)
        check_seen(seen, _OUTDOORS.get(recording, _SIZE))
        try:
            camera_px, _ = fit_pinhole(
                seen.unscaled_mm[seen.valid].reshape(-1, 3),
                seen.keypoints_px[seen.valid].reshape(-1, 2),
            )
        except ValueError as error:
            raise SourceError(f"{seen.where}: no camera can be fitted. {error}") from None
        every = slice(None, None, source.stride)
        order = list(MPI_OF_H36M)
        poses = np.where(seen.valid[:, None, None], seen.poses_mm, np.nan)
        # keypoints of frames that do not count may be anything
        keypoints = np.nan_to_num(seen.keypoints_px, posinf=0.0, neginf=0.0)[every][:, order]
        return CameraView(poses[every][:, order], keypoints, keypoints, camera_px)

    def residuals(self) -> Residuals:
        """Return zeros: the keypoints are the truth."""
        return Residuals(np.zeros((1, files.N_JOINTS, 2)))

    def attributes(self) -> dict[str, Any]:
        """Return the kind of poses, and that the joints were put into Human3.6M's order."""
        return {
            "name": NAME,
            "poses": self._source.poses,
            "poses_meaning": {
                "univ_annot3": "mm, camera frame, every skeleton scaled to one height",
                "annot3": "mm, camera frame, true sizes",
            }[self._source.poses],
            "joints": "MPI-INF-3DHP's 17, in the order of human36m_17 by name",
            "mpi_joint_of_ours": list(MPI_OF_H36M),
            "cameras": "pinhole, fitted to poses and keypoints of each view",
        }


def check_seen(seen: files.Seen, size: tuple[int, int]) -> None:
    """Refuse what cannot be poses in mm and keypoints in px.

    Raises:
        SourceError: naming what is wrong and the likely cause.
    """
    if len(seen.keypoints_px) != len(seen.poses_mm):
        raise SourceError(
            f"{seen.where} has {len(seen.keypoints_px)} frames of keypoints and "
            f"{len(seen.poses_mm)} of poses."
        )
    poses, points = seen.poses_mm[seen.valid], seen.keypoints_px[seen.valid]
    if len(poses) == 0:
        raise SourceError(f"{seen.where} has no valid frame.")
    for what, values in (("poses", poses), ("keypoints", points)):
        if not np.isfinite(values).all():
            raise SourceError(f"{seen.where}: the {what} hold numbers that are not finite.")
    height = _height(poses)
    if not 300 < height < 5000:
        raise SourceError(
            f"{seen.where}: a person is {height:.3g} high or wide. Positions must be in mm "
            "(multiply metres by 1000)."
        )
    if np.median(poses[:, 14, 2]) < 500 or (poses[..., 2] <= 0).any():
        raise SourceError(
            f"{seen.where}: the pelvis is {np.median(poses[:, 14, 2]):.3g} mm before the camera. "
            "Poses must be absolute, in the camera frame; these seem relative to a root joint."
        )
    if np.abs(points).max() <= 3:
        raise SourceError(
            f"{seen.where}: all coordinates are within {np.abs(points).max():.2g} of 0. Keypoints "
            f"must be in px of an image of {size[0]} x {size[1]}, not normalised."
        )


def _height(poses_mm: Array) -> float:
    return float(np.median(np.ptp(poses_mm, axis=1).max(axis=1)))
