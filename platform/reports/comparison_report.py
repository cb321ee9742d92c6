"""A comparison as one HTML page: the table, the intervals, the errors per action."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from diffpose.model.metrics.bootstrap import PairedDifference
from diffpose.platform.evaluation.comparison import Comparison
from diffpose.platform.evaluation.figures import Figure, shown_in
from diffpose.platform.reports.page import html
from diffpose.platform.reports.page.style import FAINT, INK, LEFT_SIDE, RIGHT_SIDE
from diffpose.platform.reports.page.svg import new_axes, styled, to_svg


def render_comparison(comparison: Comparison) -> str:
    """Return the page; it refers to nothing outside it."""
    poses = comparison.poses
    head = (
        f"<header>\n<h1>Comparison</h1>\n<p>{html.count(len(poses.rows))} poses of "
        f"{len(set(poses.clips.tolist()))} clips, {escape(poses.split)} split. "
        f"{escape(poses.protocol)}</p>\n</header>"
    )
    body = "\n".join([head, _methods(comparison), _differences(comparison), _actions(comparison)])
    return html.page("Comparison", body)


def interval_text(found: PairedDifference) -> str:
    """Return a difference with its interval as text."""
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def difference_chart(comparison: Comparison, figure: Figure, key: str) -> str:
    """Draw each method's difference to the first with its 95 % interval, numbered as in the table.

    Method names are user text and stand in the table; the figure has their numbers.
    """
    found = [parts[figure.key] for parts in comparison.differences.values()]
    rows = np.arange(len(found))
    with styled():
        axes = new_axes(3.6, 0.75 + 0.28 * len(found), (0.4, 0.42, 0.14, 0.08))
        axes.axvline(0.0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        for row, part in zip(rows, found, strict=True):
            colour = LEFT_SIDE if part.mean < 0 else RIGHT_SIDE
            axes.plot([part.low, part.high], [row, row], color=colour, linewidth=2.0)
            axes.plot([part.mean], [row], "o", color=colour, ms=5, mew=0)
        axes.set_yticks(rows, [f"{row + 2}" for row in rows])
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.set_xlabel(f"{figure.name} minus that of method 1 ({figure.unit})")
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right"]].set_visible(False)
        return to_svg(axes, key, f"{figure.name} differences with 95 % intervals")


def _methods(comparison: Comparison) -> str:
    methods = comparison.methods
    shown = [figure.plain for figure in shown_in("comparison")]
    columns = [html.figure_column(figure, [m.figures for m in methods]) for figure in shown]
    rows = [
        html.row(f"{i + 1}. {escape(method.name)}", [column[i] for column in columns])
        for i, method in enumerate(methods)
    ]
    head = ("Method", *(figure.head for figure in shown))
    return html.section(
        "Methods", html.table("methods", head, rows), "Lower is better but in hold."
    )


def _differences(comparison: Comparison) -> str:
    rows = []
    for i, (name, parts) in enumerate(comparison.differences.items()):
        cells = []
        for found in parts.values():
            cells += [interval_text(found), f"{100 * found.sign_flips:.1f} %"]
        rows.append(html.row(f"{i + 2}. {escape(name)}", cells))
    shown = shown_in("differences")
    head = ("Minus method 1", *(text for figure in shown for text in (figure.head, "sign flips")))
    charts = "".join(
        html.figure(difference_chart(comparison, figure, f"difference-{i}"), figure.name)
        for i, figure in enumerate(shown)
    )
    hint = (
        "Paired on the same poses; below 0: better than method 1. 95 % intervals and the share of "
        "resamples with the other sign, from resampling whole clips."
    )
    if comparison.warning:
        hint += f" <b>{escape(comparison.warning)}.</b>"
    content = f'{html.table("differences", head, rows)}<div class="charts">{charts}</div>'
    return html.section("Differences", content, hint)


def _actions(comparison: Comparison) -> str:
    actions, own = np.unique(comparison.poses.actions, return_inverse=True)
    counts = np.bincount(own)
    means = [np.bincount(own, weights=m.per_pose["mpjpe_mm"]) / counts for m in comparison.methods]
    rows = [
        html.row(
            escape(str(action)),
            [html.count(int(counts[i])), *html.bold_best([float(mean[i]) for mean in means], 1)],
        )
        for i, action in enumerate(actions)
    ]
    head = ("Action", "Poses", *(escape(m.name) for m in comparison.methods))
    return html.section("Per action", html.table("actions", head, rows), "MPJPE in mm.")


def _known(value: float | None) -> float:
    return math.nan if value is None else value
