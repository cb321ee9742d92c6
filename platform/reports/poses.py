"""The report's pictures of poses: the 2D detection and panels of 3D skeletons."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import EDGES
from diffpose.platform.reports.data import Case
from diffpose.platform.reports.page.style import CONTEXT, FAINT, INK, PAPER, SIDES, TRUTH, side_of
from diffpose.platform.reports.page.svg import new_axes, styled, to_svg
from diffpose.platform.reports.page.views import (
    FRONT,
    OBLIQUE,
    PANEL_ASPECT,
    SIDE,
    Frame,
    ViewDirection,
    central,
    floor_below,
    frame_around,
    project,
)

Array = NDArray[np.float64]

MAX_HYPOTHESES_DRAWN = 40
LOW_CONFIDENCE = 0.5
DETECTION_SHAPE = 1.92 / 2.36  # width over height of the detection's axes


def detection(case: Case, key: str) -> str:
    """Draw the 2D detection in pixels, with an inset that shows where it is in the image.

    Joints of low confidence are hollow.
    """
    points = np.asarray(case.keypoints_px, dtype=np.float64)
    with styled():
        axes = new_axes(2.38, 2.0 * PANEL_ASPECT, (0.36, 0.2, 0.1, 0.04))
        _draw_skeletons(axes, points[None], 1.8)
        for joint, (x, y) in enumerate(points):
            colour = side_of(joint)
            face = colour if case.confidence[joint] >= LOW_CONFIDENCE else PAPER
            axes.plot([x], [y], "o", ms=3.8, mec=colour, mfc=face, mew=0.9)
        left, right, top, bottom = _window(points, case.image_size_px)
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        axes.tick_params(labelsize=7)
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        _draw_locator(axes, points, case.image_size_px)
        return to_svg(axes, key, "2D detection in the image")


def _window(points: Array, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return left, right, top and bottom of the part of the image around the person."""
    known = points[np.isfinite(points).all(axis=-1)]
    if not len(known):
        known = np.array([[0.0, 0.0], size])
    low, high = known.min(axis=0), known.max(axis=0)
    x, y = (low + high) / 2
    half_height = max(0.7 * (high[1] - low[1]), 0.9 * (high[0] - low[0]), 8.0)
    half_width = half_height * DETECTION_SHAPE
    return (
        float(x - half_width),
        float(x + half_width),
        float(y - half_height),
        float(y + half_height),
    )


def _draw_locator(axes: Axes, points: Array, size: tuple[int, int]) -> None:
    """Draw the whole image small in the upper right corner, with the skeleton in its place."""
    width, height = size
    longest = max(width, height)
    across, up = 0.3 * width / longest, 0.3 * DETECTION_SHAPE * height / longest
    inset = axes.inset_axes((0.98 - across, 0.985 - up, across, up))
    inset.patch.set_facecolor(PAPER)
    _draw_skeletons(inset, points[None], 0.7, colour=INK)
    inset.set_xlim(0, width)
    inset.set_ylim(height, 0)
    inset.set_xticks([])
    inset.set_yticks([])


def truth_and_prediction(case: Case, key: str) -> list[str]:
    """Draw the truth, the context encoder's and the run's pose, from the front and the side."""
    poses = [case.truth_mm, case.context_mm, case.pose_mm]
    floor = floor_below(poses)
    frames = frame_around([*poses, floor], (FRONT, SIDE))
    figures = []
    for i, (view, frame) in enumerate(frames.items()):
        with styled():
            axes = _panel(frame)
            _draw_segments(axes, project(floor, view), FAINT, 0.6)
            _draw_skeletons(axes, project(case.truth_mm[None], view), 3.4, colour=TRUTH)
            _draw_skeletons(
                axes, project(case.context_mm[None], view), 0.9, colour=CONTEXT, dashed=True
            )
            _draw_skeletons(axes, project(case.pose_mm[None], view), 1.6)
            figures.append(to_svg(axes, f"{key}-{i}", "3D truth and prediction"))
    return figures


def hypotheses(case: Case, key: str) -> str:
    """Draw all hypotheses thin and their mean thick."""
    poses = [case.truth_mm, case.context_mm, case.pose_mm, case.hypotheses_mm]
    floor = floor_below(poses)
    frame = frame_around([*poses, floor], (FRONT,))[FRONT]
    with styled():
        axes = _panel(frame)
        _draw_segments(axes, project(floor, FRONT), FAINT, 0.6)
        _draw_sample(axes, case.hypotheses_mm, FRONT)
        return to_svg(axes, key, "all hypotheses and their mean")


def reverse_process(case: Case, key: str) -> list[str]:
    """Draw one panel per step of the reverse process, all in one frame and over the truth."""
    floor = floor_below([case.truth_mm])
    shown = [case.truth_mm, floor, central(case.trajectory_mm)]
    frame = frame_around(shown, (OBLIQUE,))[OBLIQUE]
    figures = []
    for i, sample in enumerate(case.trajectory_mm):
        with styled():
            axes = _panel(frame)
            _draw_segments(axes, project(floor, OBLIQUE), FAINT, 0.6)
            _draw_skeletons(axes, project(case.truth_mm[None], OBLIQUE), 3.4, colour=TRUTH)
            _draw_sample(axes, sample, OBLIQUE)
            figures.append(to_svg(axes, f"{key}-{i}", f"hypotheses at step {int(case.steps[i])}"))
    return figures


def drawn(hypotheses: Array) -> Array:
    """Return at most MAX_HYPOTHESES_DRAWN of the hypotheses, evenly chosen."""
    if len(hypotheses) <= MAX_HYPOTHESES_DRAWN:
        return hypotheses
    chosen = np.linspace(0, len(hypotheses) - 1, MAX_HYPOTHESES_DRAWN).astype(int)
    few: Array = hypotheses[chosen]
    return few


def _panel(frame: Frame) -> Axes:
    """Return empty axes without ticks that show the frame."""
    axes = new_axes(2.0, 2.0 * PANEL_ASPECT, (0.0, 0.0, 0.0, 0.0))
    half_width = frame.half_height / PANEL_ASPECT
    axes.set_xlim(frame.centre[0] - half_width, frame.centre[0] + half_width)
    axes.set_ylim(frame.centre[1] - frame.half_height, frame.centre[1] + frame.half_height)
    axes.set_axis_off()
    return axes


def _draw_sample(axes: Axes, hypotheses: Array, view: ViewDirection) -> None:
    if not len(hypotheses):
        return
    _draw_skeletons(axes, project(drawn(hypotheses), view), 0.5, opacity=0.4)
    mean = hypotheses.mean(axis=0, keepdims=True)
    _draw_skeletons(axes, project(mean, view), 2.4)


def _draw_skeletons(
    axes: Axes,
    points: Array,
    width: float,
    *,
    colour: str | None = None,
    opacity: float = 1.0,
    dashed: bool = False,
) -> None:
    """Draw projected skeletons (n, 17, 2), in the sides' colours unless one is given."""
    for side in SIDES if colour is None else (None,):
        edges = [edge for edge in EDGES if side is None or side_of(edge[1]) == side]
        segments = points[:, edges, :].reshape(-1, 2, 2)
        _draw_segments(axes, segments, side or colour or INK, width, opacity=opacity, dashed=dashed)


def _draw_segments(
    axes: Axes,
    segments: Array,
    colour: str,
    width: float,
    *,
    opacity: float = 1.0,
    dashed: bool = False,
) -> None:
    """Draw segments (n, 2, 2) as one path."""
    gap = np.full((len(segments), 1, 2), np.nan)
    path = np.concatenate([segments, gap], axis=1).reshape(-1, 2)
    axes.plot(
        path[:, 0],
        path[:, 1],
        color=colour,
        linewidth=width,
        alpha=opacity,
        linestyle=(0, (3, 2)) if dashed else "-",
        solid_capstyle="round",
    )
