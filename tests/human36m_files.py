"""Small files in Human3.6M's real formats, with real geometry: made poses in the real cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import EDGES, MIRROR
from diffpose.preprocessing.datasets.human36m import KEPT
from diffpose.preprocessing.datasets.human36m_cameras import CAMERAS, PLACES

ACTIONS = ("Directions", "Directions 1", "Walking", "WalkDog 1")
# Height above the floor and place across of the 17 joints of a standing person, mm.
_STANDING = np.array(
    [[0, 0, 930], [-130, 0, 930], [-130, 20, 480], [-130, 0, 60], [130, 0, 930], [130, 20, 480],
     [130, 0, 60], [0, 0, 1160], [0, 0, 1420], [0, 60, 1500], [0, 0, 1640], [170, 0, 1380],
     [320, 40, 1150], [330, 120, 930], [-170, 0, 1380], [-320, 40, 1150], [-330, 120, 930]],
    dtype=np.float64,
)  # fmt: skip
assert len(MIRROR) == len(_STANDING)


def world_poses(frames: int, seed: int) -> NDArray[np.float32]:
    """A person who sways, turns and walks a little: (T, 32, 3), metres, world frame."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / 50
    angle = rng.uniform(0, 2 * np.pi) + 0.4 * time[:, 0]
    sway = 60 * np.sin(2 * np.pi * time[..., None] * rng.uniform(0.3, 1.5, 17)[:, None])
    loose = _STANDING + sway * rng.uniform(-1, 1, (17, 3))
    pose = loose.copy()
    for parent, child in EDGES:  # bones keep their lengths
        bone = loose[:, child] - loose[:, parent]
        length = np.linalg.norm(_STANDING[child] - _STANDING[parent])
        bone *= length / np.linalg.norm(bone, axis=-1, keepdims=True)
        pose[:, child] = pose[:, parent] + bone
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    turned = np.stack(
        [cos * pose[..., 0] - sin * pose[..., 1], sin * pose[..., 0] + cos * pose[..., 1],
         pose[..., 2]], axis=-1
    )  # fmt: skip
    turned[..., :2] += rng.uniform(-500, 500, 2)
    every = np.zeros((frames, 32, 3))
    every[:, list(KEPT)] = turned
    return (every / 1000).astype(np.float32)


def write_human36m(
    folder: Path, frames: int = 24, noise_px: float = 4.0, subjects: tuple[str, ...] = tuple(PLACES)
) -> None:
    """Write data_3d_h36m.npz, and detections of two names: gt and cpn_ft_h36m_dbb."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    poses: dict[str, dict[str, NDArray[np.float32]]] = {}
    exact: dict[str, dict[str, list[NDArray[np.float32]]]] = {}
    noisy: dict[str, dict[str, list[NDArray[np.float32]]]] = {}
    for s, subject in enumerate(subjects):
        poses[subject], exact[subject], noisy[subject] = {}, {}, {}
        for a, action in enumerate(ACTIONS):
            if subject == "S11" and action == "Directions":
                continue  # corrupt in the original, and absent from the files
            world = world_poses(frames, 100 * s + a)
            poses[subject][action] = world
            exact[subject][action], noisy[subject][action] = [], []
            for camera, place in zip(CAMERAS, PLACES[subject], strict=True):
                seen = camera.lens.project(place.to_camera(world[:, list(KEPT)] * 1000.0))
                exact[subject][action].append(seen.astype(np.float32))
                # detections are a frame longer than the poses, as in the real file
                longer = np.concatenate([seen, seen[-1:]])
                wide = rng.random((*longer.shape[:2], 1)) < 0.05
                error = rng.normal(0, noise_px, longer.shape) * np.where(wide, 6, 1)
                noisy[subject][action].append((longer + error).astype(np.float32))
    symmetry = [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]
    meta = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": symmetry}
    np.savez_compressed(folder / "data_3d_h36m.npz", positions_3d=np.array(poses, dtype=object))
    for name, views in (("gt", exact), ("cpn_ft_h36m_dbb", noisy)):
        extra = {"S2": {"Directions": []}} if name != "gt" else {}  # detections without poses
        np.savez_compressed(
            folder / f"data_2d_h36m_{name}.npz",
            positions_2d=np.array({**views, **extra}, dtype=object),
            metadata=np.array(meta, dtype=object),
        )
