"""The sections of the report's page: pieces of HTML, empty if there is nothing to show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from diffpose.platform.evaluation.figures import shown_in
from diffpose.platform.reports import plots, poses
from diffpose.platform.reports.data import Case, Curve, Report
from diffpose.platform.reports.page import html
from diffpose.platform.reports.page.style import UNKNOWN
from diffpose.platform.reports.page.views import GRID_MM


def page_header(report: Report) -> str:
    """Return what was evaluated: title, run, date, protocol."""
    return (
        f"<header>\n<h1>{escape(report.title)}</h1>\n"
        f'<p class="run"><span class="mono">{escape(report.run)}</span> · '
        f"{escape(report.created)}</p>\n<p>{escape(report.protocol)}</p>\n</header>"
    )


def main_numbers(report: Report) -> str:
    """Return the main numbers of the run."""
    context = report.methods[0] if report.methods else None
    run = report.methods[1] if len(report.methods) > 1 else None
    ratio = html.ratio(run.mpjpe_mm, context.mpjpe_mm) if run and context else math.nan
    tiles = [
        ("MPJPE", html.number(run.mpjpe_mm if run else None), "mm"),
        ("P-MPJPE", html.number(run.figures.get("p_mpjpe_mm") if run else None), "mm"),
        ("Context encoder's MPJPE", html.number(context.mpjpe_mm if context else None), "mm"),
        ("Ratio to context encoder", html.number(ratio, 3), ""),
        ("Poses", html.count(report.n_poses), ""),
    ]
    items = "\n".join(
        f"<div><dt>{name}</dt><dd>{value}"
        + (f" <small>{unit}</small>" if unit and value != UNKNOWN else "")
        + "</dd></div>"
        for name, value, unit in tiles
    )
    return f'<dl class="tiles">\n{items}\n</dl>'


def methods_section(report: Report) -> str:
    """Return the table of all methods."""
    if not report.methods:
        return ""
    methods = report.methods
    reference = methods[0].mpjpe_mm
    shown = shown_in("errors")
    columns = [html.figure_column(figure, [m.figures for m in methods], 1) for figure in shown]
    columns.append(html.bold_best([html.ratio(m.mpjpe_mm, reference) for m in methods], 3))
    rows = [
        html.row(
            escape(method.name),
            [column[i] for column in columns],
            f'<td class="note">{escape(method.note)}</td>',
            "this" if i == 1 else "",
        )
        for i, method in enumerate(methods)
    ]
    head = ("Method", *(figure.head for figure in shown), "Ratio", "Note")
    hint = "Lower is better; the ratio is the MPJPE over the context encoder's. Best in bold."
    return html.section("Results", html.table("results", head, rows), hint)


def actions_section(report: Report) -> str:
    """Return the errors of all methods per action."""
    methods = report.methods
    listed = [*report.poses_per_action, *(a for m in methods for a in m.per_action_mpjpe_mm)]
    actions = list(dict.fromkeys(listed))
    if not actions:
        return ""
    rows = []
    for action in actions:
        scores = [m.per_action_mpjpe_mm.get(action, math.nan) for m in methods]
        count = html.count(report.poses_per_action.get(action))
        rows.append(html.row(escape(action), [count, *html.bold_best(scores, 1)]))
    means = [html.mean(m.per_action_mpjpe_mm.values()) for m in methods]
    counts = report.poses_per_action.values()
    total = html.count(sum(counts)) if counts else UNKNOWN
    foot = html.row("Mean over actions", [total, *html.bold_best(means, 1)])
    head = ["Action", "Poses", *(escape(m.name) for m in methods)]
    hint = "MPJPE in mm. The mean gives every action the same weight."
    return html.section("Per action", html.table("actions", head, rows, foot), hint)


def cases_section(cases: Sequence[Case]) -> str:
    """Return single poses in detail."""
    if not cases:
        return ""
    legend = html.legend(("truth", "truth"), ("context", "context encoder"))
    content = "\n".join(_case(case, f"case{i}") for i, case in enumerate(cases))
    hint = (
        f"Chosen by the run's MPJPE. The inset shows the person in the whole image; hollow joints "
        f"have a confidence below {poses.LOW_CONFIDENCE}. Floor grid {GRID_MM:.0f} mm. "
        f"At most {poses.MAX_HYPOTHESES_DRAWN} hypotheses are drawn; the mean is over all."
    )
    return html.section("Cases", f"{legend}\n{content}", hint)


def _case(case: Case, key: str) -> str:
    front, side = poses.truth_and_prediction(case, f"{key}-pose")
    context = html.millimetres(html.mpjpe(case.context_mm, case.truth_mm))
    n_hypotheses = len(case.hypotheses_mm)
    width, height = case.image_size_px
    figures = [
        html.figure(
            poses.detection(case, f"{key}-2d"),
            f"2D detection in pixels<br>image {int(width)} &times; {int(height)}",
        ),
        html.figure(front, f"Truth and pose, front<br>context encoder: {context}"),
        html.figure(side, "Truth and pose, side<br>(camera at the left)"),
        html.figure(
            poses.hypotheses(case, f"{key}-all"), f"Hypotheses ({n_hypotheses}) and their mean"
        ),
    ]
    return f'<article>\n{_case_title(case)}\n<div class="panels">{"".join(figures)}</div></article>'


def _case_title(case: Case) -> str:
    error = html.millimetres(case.mpjpe_mm)
    return (
        f"<h3>{escape(case.title)} <span>{error} · {escape(case.action)} · "
        f'<span class="mono">{escape(case.clip)}</span></span></h3>'
    )


def reverse_process_section(cases: Sequence[Case]) -> str:
    """Return strips of the hypotheses on their way from H_K to the pose."""
    shown = [case for case in cases if case.steps]
    if not shown:
        return ""
    content = "\n".join(_strip(case, f"strip{i}") for i, case in enumerate(shown))
    hint = (
        "From the initial distribution H<sub>K</sub> to the pose at k = 0: hypotheses thin, their "
        "mean thick, the truth in grey. “mean” is the MPJPE of the mean pose in mm, “each” "
        "the average MPJPE of the single hypotheses. Panels of a case share one scale."
    )
    return html.section("The reverse process", content, hint)


def _strip(case: Case, key: str) -> str:
    figures = []
    for i, svg in enumerate(poses.reverse_process(case, key)):
        sample = case.trajectory_mm[i]
        mean = html.mpjpe(sample.mean(axis=0), case.truth_mm) if len(sample) else math.nan
        caption = (
            f"<b>k = {int(case.steps[i])}</b><br>mean {html.number(mean)}<br>"
            f"each {html.number(html.mpjpe(sample, case.truth_mm))}"
        )
        figures.append(html.figure(svg, caption))
    return f'<article>\n{_case_title(case)}\n<div class="strip">{"".join(figures)}</div></article>'


def trainings_section(curves: Sequence[Curve]) -> str:
    """Return the courses of the trainings."""
    if not curves:
        return ""
    return html.section(
        "Training", "\n".join(_curve(curve, f"curve{i}") for i, curve in enumerate(curves))
    )


def _curve(curve: Curve, key: str) -> str:
    known = [
        (error, epoch)
        for epoch, error in zip(curve.epochs, curve.validation_mpjpe_mm, strict=False)
        if math.isfinite(error)
    ]
    best, caption = min(known, default=None), "no validation values"
    if best:
        caption = f"Validation MPJPE, lowest {html.millimetres(best[0])} in epoch {int(best[1])}"
    figures = [
        html.figure(plots.loss_curve(curve, f"{key}-loss"), "Training loss"),
        html.figure(plots.validation_curve(curve, f"{key}-error"), caption),
    ]
    return (
        f"<article>\n<h3>{escape(curve.name)}</h3>\n"
        f'<div class="charts">{"".join(figures)}</div></article>'
    )


def joints_section(report: Report) -> str:
    """Return the error per joint and the calibration of the uncertainty."""
    figures = []
    if report.per_joint_mpjpe_mm is not None:
        bars = plots.per_joint_bars(report.per_joint_mpjpe_mm, "joints")
        figures.append(html.figure(bars, "Error per joint, this run"))
    if report.predicted_std_mm is not None and report.actual_error_mm is not None:
        dots = plots.calibration(report.predicted_std_mm, report.actual_error_mm, "calibration")
        caption = (
            "Calibration: root mean square error in bins of equal count, bars from 16 to 84 % of "
            "the errors. On the dashed line the predicted spread equals the error; above it the "
            "run is too sure."
        )
        figures.append(html.figure(dots, caption))
    if not figures:
        return ""
    content = f'<div class="charts">{"".join(figures)}</div>'
    return html.section("Joints and uncertainty", f"{html.legend()}\n{content}")


def provenance_section(report: Report) -> str:
    """Return command, configuration and versions."""
    versions = "\n".join(f"{name} {version}" for name, version in report.versions.items())
    parts = [
        html.folded("Command", report.command),
        html.folded("Resolved configuration", report.config_yaml),
        html.folded("Versions", versions),
    ]
    content = "\n".join(part for part in parts if part)
    return html.section("How this was made", content) if content else ""
