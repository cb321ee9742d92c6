"""P-MPJPE: the closed form against a batched singular value decomposition in numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from diffpose.benchmarks.measure import Figure, interleaved, table
from diffpose.model.metrics.pose_errors import p_mpjpe

Poses = NDArray[np.float64]


def benchmark(_folder: Path, frames: int, rounds: int) -> tuple[list[Figure], list[str]]:
    """Measure; returns figures and Markdown."""
    n = 32 * frames
    rng = np.random.default_rng(0)
    target = rng.normal(0, [200, 400, 150], (n, 17, 3))
    predicted = target + rng.normal(0, 50, target.shape)
    with threadpool_limits(1):
        seconds = interleaved(
            {
                "ours, quaternion": lambda: p_mpjpe(predicted, target),
                "numpy, batched SVD": lambda: batched_svd(predicted, target),
            },
            rounds,
        )
    worst = float(np.abs(p_mpjpe(predicted, target) - batched_svd(predicted, target)).max())
    peer = seconds["numpy, batched SVD"]
    rows = [[name, f"{n / s / 1e3:.0f}", f"{peer / s:.1f}"] for name, s in seconds.items()]
    figure = Figure(
        "metrics.p_mpjpe", n / seconds["ours, quaternion"], "poses/s", "numpy, batched SVD",
        n / peer,
    )  # fmt: skip
    text = [
        f"{n} poses of 17 joints, CPU time of one thread, in turns, medians of {rounds}; the two "
        f"differ by at most {worst:.1e} mm.",
        "",
        *table(["P-MPJPE", "thousand poses / s", "/ batched SVD"], rows),
    ]
    return [figure], text


def batched_svd(predicted: Poses, target: Poses) -> Poses:
    """Return P-MPJPE by the usual formulas, all poses at once (protocol 2 of Human3.6M)."""
    mean_t, mean_p = target.mean(axis=1, keepdims=True), predicted.mean(axis=1, keepdims=True)
    t, p = target - mean_t, predicted - mean_p
    size_t = np.sqrt((t**2).sum(axis=(1, 2), keepdims=True))
    size_p = np.sqrt((p**2).sum(axis=(1, 2), keepdims=True))
    u, s, vt = np.linalg.svd(np.matmul((t / size_t).transpose(0, 2, 1), p / size_p))
    v = vt.transpose(0, 2, 1)
    rotation = np.matmul(v, u.transpose(0, 2, 1))
    sign = np.sign(np.linalg.det(rotation))[:, None]
    v[:, :, -1] *= sign
    s[:, -1] *= sign[:, 0]
    rotation = np.matmul(v, u.transpose(0, 2, 1))
    scale = s.sum(axis=1)[:, None, None] * size_t / size_p
    moved = scale * np.matmul(predicted, rotation) + mean_t - scale * np.matmul(mean_p, rotation)
    errors: Poses = np.linalg.norm(moved - target, axis=-1).mean(axis=-1)
    return errors
