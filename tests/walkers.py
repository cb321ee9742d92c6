"""Answers as a run would give them, from motion of our own: two people before one camera."""

from __future__ import annotations

import numpy as np

from diffpose.model.geometry.pinhole import look_at, project
from diffpose.model.geometry.skeleton import PARENTS
from diffpose.model.motion.world import World
from diffpose.platform.answers.answer import Answer
from diffpose.preprocessing.mocap.joint_maps import choose_joint_map, h36m_positions
from diffpose.preprocessing.mocap.procedural.motion import generate_motion

CAMERA_PX = np.array([620.0, 620.0, 320.0, 180.0])
# Chi-squared with three degrees of freedom.
RADIUS = {"50": 1.538, "90": 2.5}


def positions_m(action: str, seed: int, seconds: float, fps: float) -> np.ndarray:
    """(T, 17, 3), z up."""
    motion = generate_motion(action, seed, seconds, fps)
    y_up = h36m_positions(motion, choose_joint_map(motion.names)) * 0.01
    return np.stack([y_up[..., 0], -y_up[..., 2], y_up[..., 1]], axis=-1)


def walker(
    person: int = 0,
    action: str = "walking",
    seconds: float = 4.0,
    fps: float = 30.0,
    place_m: tuple[float, float] = (0.0, 0.0),
    known_world: bool = True,
    source: str = "two people.mp4",
) -> Answer:
    """One person, seen from 4.6 m; errors grow towards hands and feet."""
    rng = np.random.default_rng(7 + person)
    there = positions_m(action, 3 + person, seconds, fps)
    there[..., :2] += np.array(place_m) - there[:, :1, :2].mean(axis=0)
    eye = np.array([0.0, -4.6, 1.5])
    rotation = look_at(eye, np.array([0.0, 0.0, 0.95]))
    in_camera = (there - eye) @ rotation.T * 1000.0
    n = len(in_camera)
    far = np.zeros(17)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            far[joint] = far[parent] + 1
    std = 16.0 + 13.0 * far + 0 * in_camera[..., 0]
    std *= 1 + 0.35 * np.sin(np.arange(n) / 17.0)[:, None]
    shape = np.diag([0.45, 0.4, 0.8]) ** 2  # depth is known least
    covariance = std[..., None, None] ** 2 * shape
    draws = rng.normal(size=(n, 5, 17, 3)) * np.sqrt(np.diagonal(covariance, 0, 2, 3))[:, None]
    smooth = np.ones(9) / 3.0
    draws = np.apply_along_axis(lambda v: np.convolve(v, smooth)[4:-4], 0, draws)
    root = in_camera[:, 0].copy()
    poses = in_camera - root[:, None]
    keypoints = project(in_camera, CAMERA_PX)
    world = World(rotation.T, rotation @ (-eye) * 1000.0, 0.8, 12.0, "given", "given")
    return Answer(
        poses_mm=poses.astype(np.float32),
        root_mm=root.astype(np.float32),
        std_mm=np.sqrt(np.trace(covariance, axis1=2, axis2=3)).astype(np.float32),
        spread_mm=std.astype(np.float32),
        keypoints_px=keypoints + rng.normal(size=keypoints.shape) * 1.2,
        confidence=np.full((n, 17), 0.6),
        seen=rng.random((n, 17)) > 0.03,
        camera_px=np.tile(CAMERA_PX, (n, 1)),
        timestamp_s=np.arange(n) / fps,
        frame=np.arange(n),
        fps=fps,
        width=640,
        height=360,
        source=source,
        person=person,
        calibrated=True,
        model="shipped://wild",
        hypotheses_mm=(poses[:, None] + draws).astype(np.float32),
        covariance_mm2=covariance.astype(np.float32),
        ellipsoid_radius=RADIUS,
        quality={"share_seen": 0.97, "reprojection_px": 1.3},
        world=world if known_world else None,
    )
