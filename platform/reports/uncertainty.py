"""The report's section on uncertainty: what the ellipsoids hold, their size, their scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from diffpose.platform.reports.data import MethodResult
from diffpose.platform.reports.page import html

_SCORES = ("energy_score_mm", "gaussian_energy_score_mm", "oracle_best_of_n_mpjpe_mm")


def uncertainty_section(methods: Sequence[MethodResult]) -> str:
    """Return the table of the methods whose uncertainty was measured; empty without any."""
    shown = [method for method in methods if method.uncertainty]
    if not shown:
        return ""
    columns = [
        [_pair(method, key, factor) for method in shown]
        for key, factor in (("coverage50", 100.0), ("coverage90", 100.0), ("sharpness_mm", 1.0))
    ]
    for key in _SCORES:
        values = [method.uncertainty.get(key) for method in shown]
        numbers = [math.nan if value is None else value for value in values]
        columns.append(html.bold_best(numbers, 1))
    rows = [
        html.row(escape(method.name), [column[i] for column in columns])
        for i, method in enumerate(shown)
    ]
    head = (
        "Method", "50 % hold %", "90 % hold %", "50 % size mm", "Energy score mm",
        "as Gaussian mm", "Oracle best of N mm",
    )  # fmt: skip
    hint = (
        "Ellipsoids per joint without the root, before &rarr; after recalibration on validation "
        "poses. Size: radius of the sphere as large as the 50 % ellipsoid. Energy score: lower is "
        "better, of the hypotheses, and of the Gaussian with the predicted covariance; the context "
        "encoder has the Gaussian of its errors on validation poses. The oracle knows the truth "
        "and picks each pose&rsquo;s best hypothesis: no method can answer so."
    )
    return html.section("Uncertainty", html.table("uncertainty", head, rows), hint)


def _pair(method: MethodResult, key: str, factor: float) -> str:
    def text(name: str) -> str:
        value = method.uncertainty.get(name)
        return html.number(None if value is None else factor * value)

    return f"{text(f'{key}_before')} &rarr; {text(f'{key}_after')}"
