"""A small file in the format of MotionBERT's pickle, from the poses of human36m_files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from human36m_files import world_poses

from diffpose.preprocessing.datasets.human36m import KEPT
from diffpose.preprocessing.datasets.human36m_cameras import CAMERAS, PLACES

ACTS = ((2, 1), (14, 1), (5, 2))  # Directions, Walking, Greeting
TEST = ("S9", "S11")


def pickle_content(frames: int = 16, noise_px: float = 4.0) -> dict[str, dict[str, Any]]:
    """The dictionary: every array over all frames of all cameras, clip after clip."""
    rng = np.random.default_rng(5)
    parts: dict[str, dict[str, list[Any]]] = {"train": {}, "test": {}}
    for s, subject in enumerate(PLACES):
        part = parts["test" if subject in TEST else "train"]
        for a, (act, take) in enumerate(ACTS):
            world = world_poses(frames, 100 * s + a)[:, list(KEPT)] * 1000.0
            for c, (camera, place) in enumerate(zip(CAMERAS, PLACES[subject], strict=True)):
                joints = place.to_camera(world)
                depth = joints[:, :1, 2]
                scale = camera.lens.focal_px[0] / depth + 1 / 2000  # px per mm at the root
                uv = joints[..., :2] / joints[..., 2:] * camera.lens.focal_px
                label = np.concatenate(
                    [uv + camera.lens.centre_px, (scale * (joints[..., 2] - depth))[..., None]], -1
                )
                sure = rng.uniform(0.2, 1.0, (frames, 17))
                off = rng.normal(size=(frames, 17, 2)) * (noise_px * (1.6 - sure))[..., None]
                subject_number = int(subject[1:])
                name = f"s_{subject_number:02d}_act_{act:02d}_subact_{take:02d}_ca_{c + 1:02d}"
                values: dict[str, Any] = {
                    "joint_2d": camera.lens.project(joints) + off,
                    "confidence": sure[..., None],
                    "joint3d_image": label,
                    "camera_name": [camera.name] * frames,
                    "source": [name] * frames,
                }
                if subject in TEST:
                    values["2.5d_factor"] = 1 / scale[:, 0]
                    values["joints_2.5d_image"] = label / scale[..., None]
                    values["action"] = ["name"] * frames
                for key, value in values.items():
                    part.setdefault(key, []).append(value)
    return {
        name: {
            key: [one for piece in pieces for one in piece] if isinstance(pieces[0], list)
            else np.concatenate(pieces).astype(np.float32)
            for key, pieces in part.items()
        }
        for name, part in parts.items()
    }  # fmt: skip


def write_pickle(path: Path, content: dict[str, dict[str, Any]] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(pickle_content() if content is None else content, protocol=4))
