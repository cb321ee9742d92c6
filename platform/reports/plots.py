"""The report's charts: courses of trainings, error per joint, calibration of the uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.platform.reports.data import Curve
from diffpose.platform.reports.page.style import FAINT, INK, LEFT_SIDE, RIGHT_SIDE, UNKNOWN, side_of
from diffpose.platform.reports.page.svg import new_axes, styled, to_svg

Array = NDArray[np.float64]

MAX_BINS = 10
LOG_SCALE_FROM_RATIO = 20.0


def loss_curve(curve: Curve, key: str) -> str:
    """Draw the training loss per epoch, on a logarithmic axis if it falls far."""
    with styled():
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
        return to_svg(axes, key, "training loss per epoch")


def validation_curve(curve: Curve, key: str) -> str:
    """Draw the validation MPJPE per epoch and mark its minimum."""
    with styled():
        axes = _chart("epoch", "validation MPJPE (mm)")
        epochs, error = _finite_pairs(curve.epochs, curve.validation_mpjpe_mm)
        if not len(epochs):
            _no_values(axes)
        else:
            _draw_series(axes, epochs, error, RIGHT_SIDE)
            best = int(np.argmin(error))
            axes.plot([epochs[best]], [error[best]], "o", ms=6, mfc="none", mec=INK, mew=1.0)
            axes.margins(y=0.14)
        return to_svg(axes, key, "validation MPJPE per epoch")


def per_joint_bars(error_mm: Array, key: str) -> str:
    """Draw the MPJPE of each joint as horizontal bars; an unknown value prints as a dash."""
    values = np.asarray(error_mm, dtype=np.float64)
    known = np.isfinite(values)
    longest = float(values[known].max()) if known.any() else 1.0
    with styled():
        axes = new_axes(3.6, 3.5, (0.72, 0.38, 0.1, 0.06))
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
        return to_svg(axes, key, "MPJPE per joint")


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
    with styled():
        axes = new_axes(3.6, 3.5, (0.52, 0.38, 0.12, 0.06))
        axes.set_xlabel("predicted standard deviation (mm)")
        axes.set_ylabel("actual error (mm)")
        axes.spines[["top", "right"]].set_visible(False)
        spread, error, ranges = calibration_bins(predicted, actual)
        if not len(spread):
            _no_values(axes)
            return to_svg(axes, key, "calibration of the uncertainty")
        top = 1.06 * max(float(spread.max()), float(error.max()), float(ranges.max())) or 1.0
        axes.grid(color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.plot([0, top], [0, top], color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.vlines(spread, ranges[0], ranges[1], color=LEFT_SIDE, linewidth=1.2, alpha=0.5)
        axes.plot(spread, error, "o-", color=LEFT_SIDE, linewidth=1.2, ms=4, mew=0)
        for axis, limits in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
            limits(0, top)
            axis.set_major_locator(MaxNLocator(6))
        return to_svg(axes, key, "calibration of the uncertainty")


def _chart(x_label: str, y_label: str) -> Axes:
    axes = new_axes(3.6, 2.3, (0.52, 0.4, 0.12, 0.12))
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
