"""Figures of the evaluation report, each one a small inline SVG.

Everything is drawn with matplotlib's object API. Skeletons are projected here (orthographic, from
a given azimuth and elevation) and drawn in flat axes, so a panel is a few kilobytes of vector
graphics that stays sharp on every screen. Colours leave as CSS variables, for the page's light and
dark themes to fill in. No user-supplied text enters a figure: titles and captions belong to the
page.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from diffpose.model.skeleton import EDGES, JOINT_NAMES, LEFT, RIGHT

if TYPE_CHECKING:
    from diffpose.platform.report import Case, Curve

Array = NDArray[np.float64]

# Stand-ins that matplotlib can draw with; `_themed` turns them into the page's CSS variables.
INK, FAINT, TRUTH, CONTEXT = "#010101", "#020202", "#030303", "#040404"
RIGHT_SIDE, LEFT_SIDE, TRUNK, PAPER = "#050505", "#060606", "#070707", "#080808"
CSS_COLOURS = {
    INK: "var(--ink-soft)",
    FAINT: "var(--grid)",
    TRUTH: "var(--truth)",
    CONTEXT: "var(--context)",
    RIGHT_SIDE: "var(--right)",
    LEFT_SIDE: "var(--left)",
    TRUNK: "var(--trunk)",
    PAPER: "var(--card)",
}
SIDES = (TRUNK, LEFT_SIDE, RIGHT_SIDE)

UNKNOWN = "\N{EN DASH}"
MAX_HYPOTHESES_DRAWN = 40
GRID_MM = 250.0
LOW_CONFIDENCE = 0.5
PANEL_ASPECT = 1.3  # height over width of a 3D panel
DETECTION_SHAPE = 1.92 / 2.36  # width over height of the detection's axes
MINIMUM_HALF_HEIGHT_MM = 300.0
MAX_BINS = 10
LOG_SCALE_FROM_RATIO = 20.0


@dataclass(frozen=True)
class View:
    """A direction to look from, in degrees; (0, 0) is the camera's own view.

    At azimuth 90 the viewer stands at the image's right-hand side and the camera is on the left.
    """

    azimuth: float
    elevation: float


FRONT = View(azimuth=20.0, elevation=10.0)
SIDE = View(azimuth=100.0, elevation=10.0)
OBLIQUE = View(azimuth=40.0, elevation=10.0)


@dataclass(frozen=True)
class Frame:
    """The part of the projected plane that a panel shows, shared by panels that are compared."""

    centre: tuple[float, float]
    half_height: float


@contextmanager
def _styled() -> Iterator[None]:
    """Apply the report's style to the figure made inside, and restore the caller's."""
    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "diffpose",
            "text.parse_math": False,
            "font.size": 8.0,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.linewidth": 0.6,
            "axes.unicode_minus": True,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "xtick.major.size": 2.5,
            "ytick.major.size": 2.5,
        }
    ):
        yield


def _new_axes(width: float, height: float, margins: tuple[float, float, float, float]) -> Axes:
    """Return axes on a fresh transparent figure; margins are left, bottom, right, top in inches."""
    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0.0)
    left, bottom, right, top = margins
    box = (
        left / width,
        bottom / height,
        (width - left - right) / width,
        (height - bottom - top) / height,
    )
    axes = figure.add_axes(box)
    axes.patch.set_alpha(0.0)
    return axes


def _themed(svg: str) -> str:
    for colour, variable in CSS_COLOURS.items():
        svg = svg.replace(colour, variable)
    return svg


def _with_local_ids(svg: str, key: str) -> str:
    """Drop ids that nothing refers to and number the others, so that figures can share a page."""
    used = sorted(set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", svg)))
    names = {old: f"{key}-{i}" for i, old in enumerate(used)}

    def rename(match: re.Match[str]) -> str:
        return f' id="{names[match[1]]}"' if match[1] in names else ""

    svg = re.sub(r' id="([^"]+)"', rename, svg)
    return re.sub(r"(url\(#|href=\"#)([^\")]+)", lambda match: match[1] + names[match[2]], svg)


def _to_svg(axes: Axes, key: str, label: str) -> str:
    """Return the axes' figure as an <svg> element to place in a page.

    Args:
        axes: Axes of the figure.
        key: Prefix of the ids inside, unique in the page; letters, digits and hyphens.
        label: What the figure shows, for screen readers; fixed text, not user-supplied.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    view_box = re.search(r'viewBox="([^"]+)"', text)
    assert view_box is not None
    opening = f'<svg viewBox="{view_box[1]}" role="img" aria-label="{label}">'
    text = opening + text[text.index(">") + 1 :]
    text = text.replace("xlink:href", "href")
    text = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", text)
    text = re.sub(r"\s*\n\s*", " ", text)
    return _themed(_with_local_ids(text, key)).strip()


# --- Skeletons -----------------------------------------------------------------------------------


def side_of(joint: int) -> str:
    """Return the colour of a joint: the right limbs', the left limbs' or the trunk's."""
    if joint in RIGHT:
        return RIGHT_SIDE
    return LEFT_SIDE if joint in LEFT else TRUNK


def project(poses: Array, view: View) -> Array:
    """Return camera-frame points (..., 3) as seen from a view, (..., 2) with the head up."""
    azimuth, elevation = math.radians(view.azimuth), math.radians(view.elevation)
    x, height, depth = poses[..., 0], -poses[..., 1], poses[..., 2]
    across = x * math.cos(azimuth) + depth * math.sin(azimuth)
    away = depth * math.cos(azimuth) - x * math.sin(azimuth)
    up = height * math.cos(elevation) + away * math.sin(elevation)
    return np.stack([across, up], axis=-1)


def frame_around(points: Iterable[Array], views: Sequence[View]) -> dict[View, Frame]:
    """Return one frame per view, all of one scale, that hold all the points (..., 3)."""
    flat = np.concatenate([p.reshape(-1, 3) for p in points])
    flat = flat[np.isfinite(flat).all(axis=-1)]
    if not len(flat):
        flat = np.zeros((1, 3))
    centres: dict[View, tuple[float, float]] = {}
    half_height = MINIMUM_HALF_HEIGHT_MM
    for view in views:
        seen = project(flat, view)
        low, high = seen.min(axis=0), seen.max(axis=0)
        centres[view] = (float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2)
        needed = max((high[0] - low[0]) / 2 * PANEL_ASPECT, (high[1] - low[1]) / 2)
        half_height = max(half_height, 1.06 * float(needed))
    return {view: Frame(centre, half_height) for view, centre in centres.items()}


def _floor_below(poses: Sequence[Array]) -> Array:
    """Return lines (n, 2, 3) of a horizontal grid under the lowest joint of the poses."""
    flat = np.concatenate([p.reshape(-1, 3) for p in poses])
    flat = flat[np.isfinite(flat).all(axis=-1)]
    if not len(flat):
        return np.zeros((0, 2, 3))
    low = np.floor(flat.min(axis=0) / GRID_MM) * GRID_MM
    high = np.ceil(flat.max(axis=0) / GRID_MM) * GRID_MM
    y = flat[:, 1].max()
    lines = [[(x, y, low[2]), (x, y, high[2])] for x in np.arange(low[0], high[0] + 1.0, GRID_MM)]
    lines += [[(low[0], y, z), (high[0], y, z)] for z in np.arange(low[2], high[2] + 1.0, GRID_MM)]
    return np.array(lines, dtype=np.float64)


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


def _panel(frame: Frame) -> Axes:
    """Return empty axes without ticks that show the frame."""
    axes = _new_axes(2.0, 2.0 * PANEL_ASPECT, (0.0, 0.0, 0.0, 0.0))
    half_width = frame.half_height / PANEL_ASPECT
    axes.set_xlim(frame.centre[0] - half_width, frame.centre[0] + half_width)
    axes.set_ylim(frame.centre[1] - frame.half_height, frame.centre[1] + frame.half_height)
    axes.set_axis_off()
    return axes


def drawn(hypotheses: Array) -> Array:
    """Return at most MAX_HYPOTHESES_DRAWN of the hypotheses, evenly chosen."""
    if len(hypotheses) <= MAX_HYPOTHESES_DRAWN:
        return hypotheses
    chosen = np.linspace(0, len(hypotheses) - 1, MAX_HYPOTHESES_DRAWN).astype(int)
    few: Array = hypotheses[chosen]
    return few


def _draw_sample(axes: Axes, hypotheses: Array, view: View) -> None:
    if not len(hypotheses):
        return
    _draw_skeletons(axes, project(drawn(hypotheses), view), 0.5, opacity=0.4)
    mean = hypotheses.mean(axis=0, keepdims=True)
    _draw_skeletons(axes, project(mean, view), 2.4)


def detection(case: Case, key: str) -> str:
    """Draw the 2D detection in pixels, with an inset that shows where it is in the image.

    Joints of low confidence are hollow.
    """
    points = np.asarray(case.keypoints_px, dtype=np.float64)
    with _styled():
        axes = _new_axes(2.38, 2.0 * PANEL_ASPECT, (0.36, 0.2, 0.1, 0.04))
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
        return _to_svg(axes, key, "2D detection in the image")


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
    floor = _floor_below(poses)
    frames = frame_around([*poses, floor], (FRONT, SIDE))
    figures = []
    for i, (view, frame) in enumerate(frames.items()):
        with _styled():
            axes = _panel(frame)
            _draw_segments(axes, project(floor, view), FAINT, 0.6)
            _draw_skeletons(axes, project(case.truth_mm[None], view), 3.4, colour=TRUTH)
            _draw_skeletons(
                axes, project(case.context_mm[None], view), 0.9, colour=CONTEXT, dashed=True
            )
            _draw_skeletons(axes, project(case.pose_mm[None], view), 1.6)
            figures.append(_to_svg(axes, f"{key}-{i}", "3D truth and prediction"))
    return figures


def hypotheses(case: Case, key: str) -> str:
    """Draw all hypotheses thin and their mean thick."""
    poses = [case.truth_mm, case.context_mm, case.pose_mm, case.hypotheses_mm]
    floor = _floor_below(poses)
    frame = frame_around([*poses, floor], (FRONT,))[FRONT]
    with _styled():
        axes = _panel(frame)
        _draw_segments(axes, project(floor, FRONT), FAINT, 0.6)
        _draw_sample(axes, case.hypotheses_mm, FRONT)
        return _to_svg(axes, key, "all hypotheses and their mean")


def reverse_process(case: Case, key: str) -> list[str]:
    """Draw one panel per step of the reverse process, all in one frame and over the truth."""
    floor = _floor_below([case.truth_mm])
    shown = [case.truth_mm, floor, _central(case.trajectory_mm)]
    frame = frame_around(shown, (OBLIQUE,))[OBLIQUE]
    figures = []
    for i, sample in enumerate(case.trajectory_mm):
        with _styled():
            axes = _panel(frame)
            _draw_segments(axes, project(floor, OBLIQUE), FAINT, 0.6)
            _draw_skeletons(axes, project(case.truth_mm[None], OBLIQUE), 3.4, colour=TRUTH)
            _draw_sample(axes, sample, OBLIQUE)
            figures.append(_to_svg(axes, f"{key}-{i}", f"hypotheses at step {int(case.steps[i])}"))
    return figures


def _central(trajectory: Array) -> Array:
    """Return the corners of a box that holds all but the outermost percent of the joints."""
    flat = trajectory.reshape(-1, 3)
    flat = flat[np.isfinite(flat).all(axis=-1)]
    if not len(flat):
        return np.zeros((0, 3))
    low, high = np.percentile(flat, [1, 99], axis=0)
    inside = flat[((flat >= low) & (flat <= high)).all(axis=-1)]
    return inside if len(inside) else flat


# --- Charts --------------------------------------------------------------------------------------


def _chart(x_label: str, y_label: str) -> Axes:
    axes = _new_axes(3.6, 2.3, (0.52, 0.4, 0.12, 0.12))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def _finite_pairs(x: Sequence[float] | Array, y: Sequence[float] | Array) -> tuple[Array, Array]:
    n = min(len(x), len(y))
    xs = np.asarray(x[:n], dtype=np.float64)
    ys = np.asarray(y[:n], dtype=np.float64)
    known = np.isfinite(xs) & np.isfinite(ys)
    return xs[known], ys[known]


def _no_values(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center")
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_series(axes: Axes, x: Array, y: Array, colour: str) -> None:
    marker = "o" if len(x) <= 30 else ""
    axes.plot(x, y, color=colour, linewidth=1.4, marker=marker, ms=2.5, mew=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def loss_curve(curve: Curve, key: str) -> str:
    """Draw the training loss per epoch, on a logarithmic axis if it falls far."""
    with _styled():
        axes = _chart("epoch", "training loss")
        epochs, loss = _finite_pairs(curve.epochs, curve.loss)
        if not len(epochs):
            _no_values(axes)
        else:
            _draw_series(axes, epochs, loss, LEFT_SIDE)
            if loss.min() > 0 and loss.max() / loss.min() > LOG_SCALE_FROM_RATIO:
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.yaxis.set_minor_formatter(NullFormatter())
        return _to_svg(axes, key, "training loss per epoch")


def validation_curve(curve: Curve, key: str) -> str:
    """Draw the validation MPJPE per epoch and mark its minimum."""
    with _styled():
        axes = _chart("epoch", "validation MPJPE (mm)")
        epochs, error = _finite_pairs(curve.epochs, curve.validation_mpjpe_mm)
        if not len(epochs):
            _no_values(axes)
        else:
            _draw_series(axes, epochs, error, RIGHT_SIDE)
            best = int(np.argmin(error))
            axes.plot([epochs[best]], [error[best]], "o", ms=6, mfc="none", mec=INK, mew=1.0)
            axes.margins(y=0.14)
        return _to_svg(axes, key, "validation MPJPE per epoch")


def per_joint_bars(error_mm: Array, key: str) -> str:
    """Draw the MPJPE of each joint as horizontal bars; an unknown value prints as a dash."""
    values = np.asarray(error_mm, dtype=np.float64)
    known = np.isfinite(values)
    longest = float(values[known].max()) if known.any() else 1.0
    with _styled():
        axes = _new_axes(3.6, 3.5, (0.72, 0.38, 0.1, 0.06))
        rows = np.arange(len(JOINT_NAMES))
        colours = [side_of(joint) for joint in range(len(JOINT_NAMES))]
        axes.barh(rows, np.where(known, values, 0.0), color=colours, height=0.72)
        for row, value in enumerate(values):
            text, at = (f"{value:.1f}", value) if known[row] else (UNKNOWN, 0.0)
            axes.text(at + 0.012 * longest, row, text, va="center", fontsize=7)
        axes.set_yticks(rows, JOINT_NAMES)
        axes.set_ylim(len(JOINT_NAMES) - 0.4, -0.6)
        axes.set_xlim(0.0, 1.14 * longest or 1.0)
        axes.set_xlabel("MPJPE (mm)")
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right"]].set_visible(False)
        return _to_svg(axes, key, "MPJPE per joint")


def calibration_bins(predicted: Array, actual: Array) -> tuple[Array, Array, Array]:
    """Return per bin of equal count: mean predicted std, RMS error, and errors' 16-84 % range.

    Args:
        predicted: Predicted standard deviations (n,).
        actual: Errors of the same joints (n,).

    Returns:
        Arrays (b,), (b,), (2, b), ordered by predicted std; empty without finite pairs.
    """
    predicted, actual = _finite_pairs(predicted, actual)
    if not len(predicted):
        return np.zeros(0), np.zeros(0), np.zeros((2, 0))
    order = np.argsort(predicted, kind="stable")
    bins = np.array_split(order, min(MAX_BINS, len(order)))
    spread = np.array([predicted[b].mean() for b in bins])
    error = np.array([math.sqrt(float((actual[b] ** 2).mean())) for b in bins])
    ranges = np.array([np.percentile(actual[b], [16, 84]) for b in bins]).T
    return spread, error, ranges


def calibration(predicted: Array, actual: Array, key: str) -> str:
    """Draw the actual error over the predicted standard deviation, binned."""
    with _styled():
        axes = _new_axes(3.6, 3.5, (0.52, 0.38, 0.12, 0.06))
        axes.set_xlabel("predicted standard deviation (mm)")
        axes.set_ylabel("actual error (mm)")
        axes.spines[["top", "right"]].set_visible(False)
        spread, error, ranges = calibration_bins(predicted, actual)
        if not len(spread):
            _no_values(axes)
            return _to_svg(axes, key, "calibration of the uncertainty")
        top = 1.06 * max(float(spread.max()), float(error.max()), float(ranges.max())) or 1.0
        axes.grid(color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.plot([0, top], [0, top], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.vlines(spread, ranges[0], ranges[1], color=LEFT_SIDE, linewidth=1.2, alpha=0.5)
        axes.plot(spread, error, "o-", color=LEFT_SIDE, linewidth=1.2, ms=4, mew=0)
        for axis, limits in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
            limits(0, top)
            axis.set_major_locator(MaxNLocator(6))
        return _to_svg(axes, key, "calibration of the uncertainty")
