"""The report's section on uncertainty: what the ellipsoids hold, their size, their scores."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from diffpose.platform.evaluation.figures import shown_in
from diffpose.platform.reports.data import MethodResult
from diffpose.platform.reports.page import html


def uncertainty_section(methods: Sequence[MethodResult]) -> str:
    """Return the table of the methods whose uncertainty was measured; empty without any."""
    figures = shown_in("uncertainty")
    shown = [m for m in methods if any(m.figures.get(f.key) is not None for f in figures)]
    if not shown:
        return ""
    columns = [html.figure_column(figure, [m.figures for m in shown], 1) for figure in figures]
    rows = [
        html.row(escape(method.name), [column[i] for column in columns])
        for i, method in enumerate(shown)
    ]
    head = ("Method", *(figure.head for figure in figures))
    hint = (
        "Ellipsoids per joint without the root, before &rarr; after recalibration on validation "
        "poses. Size: radius of the sphere as large as the 50 % ellipsoid. Energy score: lower is "
        "better, of the hypotheses, and of the Gaussian with the predicted covariance; the context "
        "encoder has the Gaussian of its errors on validation poses. The oracle knows the truth "
        "and picks each pose&rsquo;s best hypothesis: no method can answer so."
    )
    return html.section("Uncertainty", html.table("uncertainty", head, rows), hint)
