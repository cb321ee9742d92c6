"""The evaluation report: what it contains and the HTML page that shows it.

The page is one file without references to anything outside it: the style sheet is inline and the
figures (`diffpose.platform.reports.plots`, `diffpose.platform.reports.poses`) are inline SVG. It is
deterministic: the same report gives the same bytes.
"""

from __future__ import annotations

from diffpose.platform.reports import sections
from diffpose.platform.reports.data import Case, Curve, MethodResult, Report
from diffpose.platform.reports.page import html
from diffpose.platform.reports.uncertainty import uncertainty_section

__all__ = ["Case", "Curve", "MethodResult", "Report", "render_html"]


def render_html(report: Report) -> str:
    """Return the report as one HTML page without outside references."""
    parts = [
        sections.page_header(report),
        sections.main_numbers(report),
        sections.methods_section(report),
        sections.actions_section(report),
        sections.cases_section(report.cases),
        sections.reverse_process_section(report.cases),
        sections.trainings_section(report.curves),
        sections.joints_section(report),
        uncertainty_section(report.methods),
        sections.provenance_section(report),
    ]
    body = "\n".join(part for part in parts if part)
    return html.page(f"{report.title} · {report.run}", body)
