"""MPI-INF-3DHP's files: P-STMO's two npz, and the data set's own MATLAB files.

``data_train_3dhp.npz``: key data, "S1 Seq1" -> [camera -> {data_2d (F, 17, 2) px, data_3d
(F, 17, 3) mm}, fps]. ``data_test_3dhp.npz``: key data, "TS1" -> {data_2d, data_3d, valid (F,)}.
Both hold univ_annot3; files made from annot3 carry ``_ori`` in their names (D3DP).

``S1/Seq1/annot.mat``: annot2, annot3 and univ_annot3, cells with a camera each, (F, 28 x 2 or 3).
``TS1/annot_data.mat`` (version 7.3): the same names, (2 or 3, 17, 1, F), and valid_frame.
Poses are absolute, in mm and the camera frame. Joints come out in MPI-INF-3DHP's order of 17.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.mat_files import read_mat
from diffpose.platform.base.safe_pickle import read_npz
from diffpose.platform.base.storage import exists, join, list_names

Poses = Literal["univ_annot3", "annot3"]
# Of the 28 joints of the training files, those that the test files have too.
KEPT = (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6)
N_JOINTS = 17
N_TRAIN_JOINTS = 28
_NAMES = ("annot2", "annot3", "univ_annot3", "valid_frame", "cameras")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """One camera's part of a sequence, as the file has it.

    Attributes:
        keypoints_px: (F, 17, 2).
        poses_mm: (F, 17, 3), camera frame, of the wanted kind.
        unscaled_mm: (F, 17, 3), annot3 where the file has it too, else poses_mm.
        valid: (F,), frames that count.
        where: file and place within it, for messages.
    """

    keypoints_px: Array
    poses_mm: Array
    unscaled_mm: Array
    valid: NDArray[np.bool_]
    where: str


def npz_name(part: Literal["train", "test"], poses: Poses) -> str:
    """Return the name of P-STMO's file, or of its sibling with poses of true size."""
    return f"data_{part}_3dhp{'_ori' if poses == 'annot3' else ''}.npz"


def mat_name(sequence: str) -> str:
    """Return a sequence's MATLAB file below the data set's folder."""
    return f"{sequence}/{'annot_data' if sequence.startswith('TS') else 'annot'}.mat"


def sequences_of(folder: str, part: Literal["train", "test"], poses: Poses) -> list[str] | None:
    """Return the sequences that an npz file holds ("S1/Seq1", "TS1"), None without such a file."""
    if not exists(join(folder, npz_name(part, poses))):
        return None
    return [name.replace(" ", "/") for name in _npz(folder, part, poses)]


def read_train(folder: str, sequence: str, camera: str, poses: Poses) -> Seen:
    """Return one camera's part of a training sequence.

    Raises:
        SourceError: the file is missing or something else, or has no such camera.
    """
    if sequences_of(folder, "train", poses) is not None:
        entry = _train_entry(folder, sequence, poses)
        where = f"{join(folder, npz_name('train', poses))}: {sequence}, camera {camera}"
        view = entry.get(camera)
        if not isinstance(view, dict):
            raise SourceError(
                f"{where} is missing; the file has cameras {', '.join(sorted(entry))}. Make it "
                "again with all cameras, or choose some with source.cameras=."
            )
        pose = _checked(view, "data_3d", 3, where)
        valid = np.ones(len(pose), dtype=bool)
        return Seen(_checked(view, "data_2d", 2, where), pose, pose, valid, where)
    found = _mat(folder, sequence)
    where = f"{join(folder, mat_name(sequence))}: camera {camera}"
    number = int(camera)
    if number >= len(found["annot2"]):
        raise SourceError(f"{where} is missing; the file has {len(found['annot2'])} cameras.")

    def joints(name: str, axes: int) -> Array:
        flat = np.asarray(np.ravel(found[name])[number], dtype=np.float64)
        if flat.ndim != 2 or flat.shape[1] != N_TRAIN_JOINTS * axes:
            raise SourceError(
                f"{where}: {name} has shape {flat.shape}; (F, {N_TRAIN_JOINTS * axes}) is wanted, "
                f"{N_TRAIN_JOINTS} joints. This is another version of the annotation."
            )
        return flat.reshape(len(flat), N_TRAIN_JOINTS, axes)[:, KEPT]

    seen = joints("annot2", 2)
    pose, plain = joints(poses, 3), joints("annot3", 3)
    return Seen(seen, pose, plain, np.ones(len(pose), dtype=bool), where)


def read_test(folder: str, sequence: str, poses: Poses) -> Seen:
    """Return a test sequence.

    Raises:
        SourceError: the file is missing or something else.
    """
    if sequences_of(folder, "test", poses) is not None:
        where = f"{join(folder, npz_name('test', poses))}: {sequence}"
        entry = _npz(folder, "test", poses).get(sequence)
        if not isinstance(entry, dict):
            raise SourceError(f"{where} is missing. Use the whole file.")
        pose = _checked(entry, "data_3d", 3, where)
        seen = _checked(entry, "data_2d", 2, where)
        valid = np.ravel(np.asarray(entry.get("valid", np.ones(len(pose)))))
        return Seen(seen, pose, pose, _checked_mask(valid, len(pose), where), where)
    found = _mat(folder, sequence)
    where = join(folder, mat_name(sequence))

    def joints(name: str, axes: int) -> Array:
        values = np.asarray(found[name], dtype=np.float64)
        if values.ndim != 4 or values.shape[:3] != (axes, N_JOINTS, 1):
            raise SourceError(
                f"{where}: {name} has shape {values.shape}; ({axes}, {N_JOINTS}, 1, F) is wanted, "
                "as the test set's annot_data.mat has it. Training sequences have annot.mat."
            )
        return values[:, :, 0].transpose(2, 1, 0)

    if "valid_frame" not in found:
        raise SourceError(f"{where} has no valid_frame, which says what frames are to be tested.")
    pose = joints(poses, 3)
    valid = _checked_mask(np.ravel(found["valid_frame"]), len(pose), where)
    return Seen(joints("annot2", 2), pose, joints("annot3", 3), valid, where)


@functools.lru_cache(maxsize=2)
def _npz(folder: str, part: Literal["train", "test"], poses: Poses) -> dict[str, Any]:
    """Read an npz file; a worker process reads each once."""
    uri = join(folder, npz_name(part, poses))
    values = read_npz(uri)
    content = values.get("data")
    names = "S1 Seq1" if part == "train" else "TS1"
    if not isinstance(content, dict):
        raise SourceError(
            f"{uri!r} has {', '.join(sorted(values))} instead of data: it is another kind of file "
            "(Human3.6M's have positions_3d or positions_2d)."
        )
    if not content or not all(str(k).startswith("TS") == (part == "test") for k in content):
        raise SourceError(
            f"{uri!r} has the sequences {', '.join(map(str, list(content)[:4]))}; {part}ing "
            f"sequences are named like {names}. Training and test files are interchanged."
        )
    return content


def _train_entry(folder: str, sequence: str, poses: Poses) -> dict[str, Any]:
    entry = _npz(folder, "train", poses).get(sequence.replace("/", " "))
    uri = join(folder, npz_name("train", poses))
    if entry is None:
        raise SourceError(f"{uri}: {sequence} is missing. Use the whole file.")
    first = entry[0] if isinstance(entry, list | tuple | np.ndarray) and len(entry) else None
    if not isinstance(first, dict):
        raise SourceError(f"{uri}: {sequence} is no pair of cameras and frames per second.")
    return first


def has_mat(folder: str, sequence: str) -> bool:
    """Tell whether a folder holds the data set's own file of a sequence."""
    return exists(join(folder, mat_name(sequence)))


def nothing_of(folder: str, sequence: str) -> SourceError:
    """Return the error that a folder holds a sequence in neither form."""
    uri = join(folder, mat_name(sequence))
    npz = npz_name("test" if sequence.startswith("TS") else "train", "univ_annot3")
    inside = ", ".join(list_names(folder)[:6]) or "no file"
    return SourceError(
        f"There is no {uri!r}, and no {npz} in {folder!r} (it holds {inside}). Give the folder "
        "with P-STMO's npz files, or the data set's own with S1 .. S8 and TS1 .. TS6; "
        "source.train_subjects and source.test_subjects choose some."
    )


@functools.lru_cache(maxsize=2)
def _mat(folder: str, sequence: str) -> dict[str, Any]:
    uri = join(folder, mat_name(sequence))
    if not exists(uri):
        raise nothing_of(folder, sequence)
    found = read_mat(uri, _NAMES)
    missing = sorted({"annot2", "annot3", "univ_annot3"} - set(found))
    if missing:
        raise SourceError(
            f"{uri!r} has no {', '.join(missing)}; it is another version of the annotation, or "
            f"another file. {mat_name(sequence)} of the data set has annot2, annot3, univ_annot3."
        )
    return found


def _checked(entry: dict[str, Any], key: str, axes: int, where: str) -> Array:
    if key not in entry:
        raise SourceError(f"{where} has {', '.join(sorted(entry))} and no {key}.")
    values = np.asarray(entry[key], dtype=np.float64)
    if values.ndim != 3 or values.shape[1:] != (N_JOINTS, axes):
        hint = (
            " These are the 28 joints of annot.mat; choose the 17 as P-STMO does."
            if values.ndim == 3 and values.shape[1] == N_TRAIN_JOINTS
            else ""
        )
        raise SourceError(
            f"{where}: {key} has shape {values.shape}; (F, {N_JOINTS}, {axes}) is wanted.{hint}"
        )
    return values


def _checked_mask(valid: NDArray[Any], n_frames: int, where: str) -> NDArray[np.bool_]:
    if len(valid) != n_frames or not np.isin(valid, (0, 1)).all():
        raise SourceError(
            f"{where}: the mask of valid frames must be {n_frames} times 0 or 1; it has "
            f"{len(valid)} values from {valid.min(initial=0)} to {valid.max(initial=0)}."
        )
    mask: NDArray[np.bool_] = valid.astype(bool)
    return mask
