"""The ablation as one self-contained page: every table, bars with spread, sweeps as curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from diffpose.platform.ablation.settings import AblationSettings
from diffpose.platform.ablation.tables import TableRow, columns
from diffpose.platform.base.config import to_yaml
from diffpose.platform.base.storage import join, write_bytes
from diffpose.platform.evaluation.results import CONTEXT
from diffpose.platform.reports.page import html
from diffpose.platform.reports.page.style import CONTEXT as REFERENCE
from diffpose.platform.reports.page.style import LEFT_SIDE, UNKNOWN
from diffpose.platform.reports.page.svg import new_axes, styled, to_svg


def write_report(
    settings: AblationSettings,
    rows: Mapping[str, Sequence[TableRow]],
    sweeps: Mapping[str, Mapping[str, Any]],
    protocol: str,
) -> str:
    """Write FOLDER/ablation.html; returns its URI."""
    parts = [
        section(f"Encoder {encoder}", part, [row.name for row in part], f"rows-{i}")
        for i, (encoder, part) in enumerate(rows.items())
        if part
    ]
    for i, (title, table) in enumerate(settings.tables.items()):
        for encoder, recipes in table.items():
            known = rows.get(encoder, ())
            if sum(row.name in recipes for row in known) > 1 or len(recipes) == 1:
                named = f"{title} (encoder {encoder})"
                parts.append(section(named, known, [CONTEXT, *recipes], f"table-{i}-{encoder}"))
    for i, (title, sweep) in enumerate(sweeps.items()):
        if sweep["mpjpe_mm"]:
            parts.append(sweep_section(title, sweep, f"sweep-{i}"))
    seeds = ", ".join(map(str, settings.seeds))
    head = (
        f"<header>\n<h1>Ablation</h1>\n<p>{escape(settings.split)} split, seeds {seeds}; "
        f"mean ± half the range over the seeds. {escape(protocol)}.</p>\n</header>"
    )
    parts = [head, *parts, html.section("Settings", html.folded("all settings", to_yaml(settings)))]
    page = html.page("Ablation", "\n".join(parts))
    uri = join(settings.folder, "ablation.html")
    write_bytes(uri, page.encode())
    return uri


def section(title: str, rows: Sequence[TableRow], names: Sequence[str], key: str) -> str:
    """Return a table of some rows with a bar each."""
    shown = [row for name in names for row in rows if row.name == name]
    heads = columns()
    lines = [
        html.row(
            _title(row.name),
            [text if (text := row.text(column.key)) != "-" else UNKNOWN for column in heads],
        )
        for row in shown
    ]
    content = html.table("methods", ("Method", *(column.head for column in heads)), lines)
    return html.section(escape(title), content + html.figure(bars(shown, key), "MPJPE per method"))


def bars(rows: Sequence[TableRow], key: str) -> str:
    """Draw MPJPE per method, a dot per seed, the context encoder as a line."""
    with styled():
        axes = new_axes(7.0, 0.5 + 0.26 * len(rows), (1.9, 0.4, 0.2, 0.08))
        places = np.arange(len(rows))[::-1]
        axes.barh(places, [row.mean("mpjpe_mm") for row in rows], color=LEFT_SIDE, height=0.6)
        for place, row in zip(places, rows, strict=True):
            values = row.figures["mpjpe_mm"]
            axes.plot(values, [place] * len(values), "o", ms=3, color=REFERENCE)
            if row.name == CONTEXT:
                axes.axvline(row.mean("mpjpe_mm"), color=REFERENCE, lw=0.8, ls=":")
        lowest = min(min(row.figures["mpjpe_mm"]) for row in rows)
        axes.set_xlim(left=0.8 * lowest)  # differences of a few mm are what is to be seen
        axes.set_yticks(places, [row.name.replace("_", " ") for row in rows])
        axes.set_xlabel("MPJPE (mm; the axis does not begin at 0)")
        return to_svg(axes, key, "MPJPE per method")


def sweep_section(title: str, sweep: Mapping[str, Any], key: str) -> str:
    """Return a curve of MPJPE over the values of one sampling setting."""
    values = list(sweep["mpjpe_mm"])
    errors = np.array([np.mean(sweep["mpjpe_mm"][value]) for value in values])
    with styled():
        axes = new_axes(4.2, 2.4, (0.6, 0.45, 0.15, 0.1))
        axes.plot(range(len(values)), errors, "o-", ms=4, color=LEFT_SIDE, lw=1)
        axes.set_xticks(range(len(values)), values)
        axes.set_xlabel(sweep["setting"].replace("_", " "))
        axes.set_ylabel("MPJPE (mm)")
        picture = to_svg(axes, key, "MPJPE over a sampling setting")
    where = f"{sweep['encoder']}, {sweep['recipe']}, {sweep['split']} split"
    line = html.row("MPJPE mm", [f"{error:.2f}" for error in errors])
    head = [escape(text) for text in (sweep["setting"], *values)]
    content = html.table("methods", head, [line]) + html.figure(picture, escape(where))
    return html.section(escape(title), content)


def _title(name: str) -> str:
    return escape(name.replace("_", " "))
