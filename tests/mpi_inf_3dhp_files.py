"""Small files in MPI-INF-3DHP's real formats: made poses before made cameras, projected exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io
from human36m_files import world_poses
from numpy.typing import NDArray

from diffpose.model.metrics.protocols import H36M_OF_MPI
from diffpose.preprocessing.datasets.human36m import KEPT as KEPT_OF_32
from diffpose.preprocessing.datasets.mpi_inf_3dhp import CAMERAS, TEST, TRAIN
from diffpose.preprocessing.datasets.mpi_inf_3dhp_files import KEPT

Array = NDArray[np.float64]
SCALE = 1.08  # how much larger the skeleton of one height is than these people
OUTDOORS = ("TS5", "TS6")


def camera_of(name: str) -> Array:
    """fx, fy, cx, cy: each camera its own."""
    i = [*CAMERAS, *TEST].index(name)
    if name in OUTDOORS:
        return np.array([1920 / 10 * 8.770747185, 1685.0 + i, 955.0 + i, 530.0])
    return np.array([2048 / 10 * 7.320339203, 1497.0 + i, 1020.0 + i, 1040.0 - i])


def poses_before(name: str, frames: int, seed: int) -> Array:
    """A person in the camera frame, (F, 17, 3), mm, in MPI-INF-3DHP's order."""
    i = [*CAMERAS, *TEST].index(name)
    angle = 2 * np.pi * i / 8
    world = world_poses(frames, seed)[:, list(KEPT_OF_32)].astype(np.float64) * 1000
    across = np.cos(angle) * world[..., 0] + np.sin(angle) * world[..., 1]
    along = -np.sin(angle) * world[..., 0] + np.cos(angle) * world[..., 1]
    seen = np.stack([across, 1100 - world[..., 2], along + 3600], axis=-1)
    return seen[:, list(H36M_OF_MPI)]


def pixels(pose_mm: Array, name: str) -> Array:
    camera = camera_of(name)
    return pose_mm[..., :2] / pose_mm[..., 2:] * camera[:2] + camera[2:]


def valid_frames(frames: int) -> NDArray[np.uint8]:
    return (np.arange(frames) % 4 != 1).astype(np.uint8)


def test_pose(sequence: str, frames: int) -> tuple[Array, Array]:
    """Keypoints and poses of true size; what does not count is nonsense."""
    pose = poses_before(sequence, frames, 900 + TEST.index(sequence))
    seen = pixels(pose, sequence)
    bad = valid_frames(frames) == 0
    pose[bad], seen[bad] = 0.0, 0.0
    return seen, pose


test_pose.__test__ = False  # type: ignore[attr-defined]


def write_npz(folder: Path, frames: int = 12, *, original: bool = False) -> None:
    """data_train_3dhp.npz and data_test_3dhp.npz as P-STMO makes them; or D3DP's, of true size."""
    folder.mkdir(parents=True, exist_ok=True)
    scale, ending = (1.0, "_ori") if original else (SCALE, "")
    train = {}
    for s, subject in enumerate(TRAIN):
        for q in (1, 2):
            views = {}
            for camera in CAMERAS:
                pose = poses_before(camera, frames, 10 * s + q)
                views[camera] = {"data_2d": pixels(pose, camera), "data_3d": scale * pose}
            train[f"{subject} Seq{q}"] = [views, 50 if (subject, q) == ("S1", 2) else 25]
    test = {}
    for sequence in TEST:
        seen, pose = test_pose(sequence, frames)
        test[sequence] = {"data_2d": seen, "data_3d": scale * pose, "valid": valid_frames(frames)}
    for name, data in (("train", train), ("test", test)):
        np.savez_compressed(folder / f"data_{name}_3dhp{ending}.npz", data=np.array(data, object))


def write_mat(folder: Path, frames: int = 12, subjects: tuple[str, ...] = ("S1",)) -> None:
    """S1/Seq1/annot.mat (version 5) and TS1/annot_data.mat (version 7.3)."""
    for s, subject in enumerate(subjects):
        for q in (1, 2):
            cells = {name: np.empty((14, 1), object) for name in _NAMES}
            for number in range(14):
                camera = str(number) if str(number) in CAMERAS else "0"
                pose = poses_before(camera, frames, 10 * s + q)
                every = np.random.default_rng(number).normal(0, 300, (frames, 28, 3))
                every[..., 2] += 3600
                every[:, list(KEPT)] = pose
                flat = pixels(every, camera).reshape(frames, 56)
                cells["annot2"][number, 0] = flat
                cells["annot3"][number, 0] = every.reshape(frames, 84)
                cells["univ_annot3"][number, 0] = SCALE * every.reshape(frames, 84)
            path = folder / subject / f"Seq{q}" / "annot.mat"
            path.parent.mkdir(parents=True, exist_ok=True)
            extra = {"cameras": np.arange(14)[None], "frames": np.arange(frames)[:, None]}
            scipy.io.savemat(path, {**cells, **extra})
    for sequence in TEST:
        seen, pose = test_pose(sequence, frames)
        arrays = {"annot2": seen, "annot3": pose, "univ_annot3": SCALE * pose}
        path = folder / sequence / "annot_data.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mat73(path, {
            **{name: values[:, None] for name, values in arrays.items()},  # (F, 1, 17, 2)
            "valid_frame": valid_frames(frames)[:, None].astype(np.float64),
        })  # fmt: skip


_NAMES = ("annot2", "annot3", "univ_annot3")


def write_mat73(path: Path, reversed_arrays: dict[str, NDArray[np.generic]]) -> None:
    """HDF5 behind MATLAB's 512 bytes; arrays as h5py shows them, axes reversed."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in reversed_arrays.items():
            file[name] = values
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    with path.open("r+b") as file:
        file.write(header.ljust(512, b"\x00"))
