"""Answers for tests: somebody who stands or moves before a camera, with honest-looking spread."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffpose.model.motion.world import World, rotation_upright
from diffpose.platform.answers.answer import Answer

# A standing person, camera frame relative to the hip (x right, y down, z forward), mm.
STANDING_MM = np.array(
    [
        [0, 0, 0], [-130, 0, 0], [-135, 430, 5], [-140, 860, 20], [130, 0, 0], [135, 430, 5],
        [140, 860, 20], [0, -240, 5], [0, -490, 0], [0, -560, -60], [0, -680, -10],
        [150, -440, 0], [180, -160, 10], [190, 80, -10], [-150, -440, 0], [-180, -160, 10],
        [-190, 80, -10],
    ],
    dtype=np.float64,
)  # fmt: skip


def made_answer(
    frames: int = 6, hypotheses: int = 5, *, seed: int = 0, level: bool = True, **changed: Any
) -> Answer:
    """Return an answer of a person who sways and walks to the right, 4 m before the camera.

    Args:
        frames: T.
        hypotheses: N; 0: not kept.
        seed: of the spread.
        level: with the world of a camera that is level, 1 m above the floor.
        changed: fields to replace.
    """
    rng = np.random.default_rng(seed)
    time_s = np.arange(frames) / 25.0
    poses = np.tile(STANDING_MM, (frames, 1, 1))
    poses[:, 12:14, 2] -= 60.0 * np.sin(2 * np.pi * time_s)[:, None]
    root = np.stack([500.0 * time_s, np.full(frames, 60.0), np.full(frames, 4000.0)], axis=-1)
    camera = np.tile([1000.0, 1000.0, 640.0, 360.0], (frames, 1))
    points = poses + root[:, None]
    pixels = points[..., :2] / points[..., 2:] * camera[:, None, :2] + camera[:, None, 2:]
    drawn = poses[:, None] + rng.normal(0.0, 20.0, (frames, hypotheses, 17, 3))
    drawn[:, :, 0] = 0.0
    if hypotheses:
        drawn += (poses - drawn.mean(axis=1))[:, None]
    covariance = np.tile(np.diag([900.0, 900.0, 2500.0]), (frames, 17, 1, 1))
    covariance[:, 0] = 0.0
    world = World(
        rotation_upright(np.array([0.0, -1.0, 0.0])),
        np.array([0.0, 1000.0, 4000.0]), 1.0, 10.0, "given", "given",
    )  # fmt: skip
    fields: dict[str, Any] = {
        "poses_mm": poses, "root_mm": root, "keypoints_px": pixels, "camera_px": camera,
        "std_mm": np.sqrt(np.einsum("...ii->...", covariance)),
        "spread_mm": np.full((frames, 17), 20.0 * np.sqrt(3)),
        "confidence": np.full((frames, 17), 0.9), "seen": np.ones((frames, 17), dtype=bool),
        "timestamp_s": time_s, "frame": np.arange(frames), "fps": 25.0, "width": 1280,
        "height": 720, "source": "walk.mp4", "calibrated": True, "model": "shipped://frames",
        "hypotheses_mm": drawn if hypotheses else None, "covariance_mm2": covariance,
        "ellipsoid_radius": {"50": 1.54, "90": 2.5}, "world": world if level else None,
        "quality": {"mean_confidence": 0.9, "warning": ""},
    }  # fmt: skip
    return Answer(**{**fields, **changed})
