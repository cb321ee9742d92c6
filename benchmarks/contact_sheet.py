#!/usr/bin/env python
"""Answers of diffpose predict as a picture: what was seen, and the pose in space from two sides.

    python benchmarks/contact_sheet.py answers=[OUT/FILM_person_0.npz] out=SHEET.png [films=[FILM]]

One row per answer, frames evenly spread: the 2D skeleton (over the film's picture where films=
gives it), beside it the pose from the camera and from its left, joints with their standard
deviation as circles.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from numpy.typing import NDArray
from pydantic import Field

from diffpose.model.geometry.skeleton import EDGES, LEFT
from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings
from diffpose.preprocessing.videos.decode import decode

Array = NDArray[np.float64]
_COLOURS = ("#1f5fa8", "#c8452e")  # right, left


class SheetSettings(Settings):
    """A contact sheet of answers."""

    answers: list[str] = Field(min_length=1, description=".npz files of diffpose predict")
    films: list[str] = Field([], description="their films, in the same order; default: no pictures")
    frames: int = Field(5, ge=1, description="of each answer")
    out: str = Field(description="picture to write")


def sheet(settings: SheetSettings) -> int:
    """Draw it; returns the exit status."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows, columns = len(settings.answers), 2 * settings.frames
    figure, axes = plt.subplots(rows, columns, figsize=(1.5 * columns, 2.6 * rows), squeeze=False)
    for row, name in enumerate(settings.answers):
        answer = np.load(name)
        n = len(answer["poses_mm"])
        chosen = np.linspace(0.05 * n, 0.95 * n - 1, settings.frames).astype(int)
        pictures: dict[int, NDArray[np.uint8]] = {}
        if settings.films:
            times = answer["timestamp_s"][chosen]
            pictures = _pictures(settings.films[row], times)
        for k, frame in enumerate(chosen.tolist()):
            _draw_2d(axes[row, 2 * k], answer["keypoints_px"][frame], pictures.get(k))
            spread = answer["std_mm"][frame]
            _draw_3d(axes[row, 2 * k + 1], answer["poses_mm"][frame], spread)
    figure.tight_layout(pad=0.2)
    figure.savefig(settings.out, dpi=80)
    print(f"written: {settings.out}")
    return 0


def _pictures(film: str, times_s: Array) -> dict[int, NDArray[np.uint8]]:
    found: dict[int, NDArray[np.uint8]] = {}
    for frame in decode(film):
        for k, time_s in enumerate(times_s.tolist()):
            if k not in found and frame.time_s >= time_s - 1e-3:
                found[k] = frame.pixels
        if len(found) == len(times_s):
            break
    return found


def _lines(axis: Axes, points: Array, joined: Sequence[tuple[int, int]], **how: Any) -> None:
    for a, b in joined:
        colour = _COLOURS[int(b in LEFT)]
        axis.plot(points[[a, b], 0], points[[a, b], 1], color=colour, **how)


def _draw_2d(axis: Axes, keypoints_px: Array, picture: NDArray[np.uint8] | None) -> None:
    low, high = keypoints_px.min(axis=0), keypoints_px.max(axis=0)
    half = 0.6 * float((high - low).max())
    middle = (low + high) / 2
    if picture is not None:
        axis.imshow(picture)
    _lines(axis, keypoints_px, EDGES, lw=1.5)
    axis.set_xlim(middle[0] - 0.6 * half, middle[0] + 0.6 * half)
    axis.set_ylim(middle[1] + half, middle[1] - half)
    axis.set_aspect("equal")
    axis.axis("off")


def _draw_3d(axis: Axes, pose_mm: Array, spread_mm: Array) -> None:
    """Draw a pose from the camera, and beside it from its left side."""
    side = np.stack([pose_mm[:, 2] + 1300.0, pose_mm[:, 1]], axis=-1)
    for points in (pose_mm[:, :2], side):
        for joint, (x, y) in enumerate(points.tolist()):
            circle = Circle((x, y), float(spread_mm[joint]), color="#888888", alpha=0.25, lw=0)
            axis.add_patch(circle)
        _lines(axis, points, EDGES, lw=1.5)
    axis.set_xlim(-700, 2000)
    axis.set_ylim(1150, -950)
    axis.set_aspect("equal")
    axis.axis("off")


if __name__ == "__main__":
    raise SystemExit(command_line.run(SheetSettings, sheet, sys.argv[1:]))
