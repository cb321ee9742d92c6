"""Building blocks of the report's page: numbers as text, tables, figures, sections."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.evaluation.figures import Figure
from diffpose.platform.reports.page.style import CSS, UNKNOWN

Array = NDArray[np.float64]


def number(value: float | None, digits: int = 1) -> str:
    """Return a number as text, a dash if it is not known."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:.{digits}f}"


def count(value: int | None) -> str:
    """Return a count as text with thin spaces between thousands."""
    return UNKNOWN if value is None else f"{value:,}".replace(",", "\u202f")


def millimetres(value: float | None) -> str:
    """Return a length as text with its unit, a dash if it is not known."""
    text = number(value)
    return text if text == UNKNOWN else f"{text} mm"


def ratio(value: float, reference: float) -> float:
    """Return value / reference, or NaN where the reference is not positive."""
    return value / reference if reference > 0 else math.nan


def mean(values: Iterable[float]) -> float:
    """Return the mean of the finite values, or NaN if there are none."""
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def mpjpe(poses: Array, truth: Array) -> float:
    """Return the mean joint error of poses (..., 17, 3), or NaN where there is none."""
    if not poses.size:
        return math.nan
    return float(np.linalg.norm(poses - truth, axis=-1).mean())


def bold_best(values: Sequence[float], digits: int) -> list[str]:
    """Return the values as text, the lowest one in bold if there are others to compare."""
    texts = [number(value, digits) for value in values]
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2:
        return texts
    best = number(min(known), digits)
    return [f"<strong>{text}</strong>" if text == best else text for text in texts]


def figure_column(
    shown: Figure, methods: Sequence[Mapping[str, Any]], digits: int | None = None
) -> list[str]:
    """Return a column of a table: one figure of each method, the best in bold.

    Args:
        shown: the figure.
        methods: figures of each method by key.
        digits: after the point; default: the figure's own.
    """
    places = shown.digits if digits is None else digits
    if shown.before_after:
        pairs = [[shown.in_unit(part, when) for when in ("_before", "_after")] for part in methods]
        return [" &rarr; ".join(number(value, places) for value in pair) for pair in pairs]
    values = [shown.in_unit(part) for part in methods]
    if shown.best == "lowest":
        return bold_best(values, places)
    return [number(value, places) for value in values]


def page(title: str, body: str) -> str:
    """Return a whole page around a finished body; it refers to nothing outside it.

    Args:
        title: plain text.
        body: HTML.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n{body}\n"
        "</main>\n</body>\n</html>\n"
    )


def section(heading: str, content: str, hint: str = "") -> str:
    """Return a section with its heading and, if given, a line that explains it."""
    lead = f'<p class="hint">{hint}</p>\n' if hint else ""
    return f"<section>\n<h2>{heading}</h2>\n{lead}{content}\n</section>"


def table(css: str, head: Sequence[str], rows: Sequence[str], foot: str = "") -> str:
    """Return a table from its column heads and finished rows."""
    cells = "".join(f'<th scope="col">{name}</th>' for name in head)
    tail = f"<tfoot>{foot}</tfoot>" if foot else ""
    lines = "\n".join(rows)
    return (
        f'<div class="scroll"><table class="{css}">\n<thead><tr>{cells}</tr></thead>\n'
        f"<tbody>\n{lines}\n</tbody>{tail}\n</table></div>"
    )


def row(name: str, cells: Iterable[str], last: str = "", css: str = "") -> str:
    """Return a table row; `last` is a finished cell to end it."""
    kind = f' class="{css}"' if css else ""
    body = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr{kind}><th scope="row">{name}</th>{body}{last}</tr>'


def figure(svg: str, caption: str, css: str = "") -> str:
    """Return a figure with its caption."""
    kind = f' class="{css}"' if css else ""
    return f"<figure{kind}>{svg}<figcaption>{caption}</figcaption></figure>"


def legend(*more: tuple[str, str]) -> str:
    """Return the colour key; further entries are (CSS class, text)."""
    entries = (("right", "right limbs"), ("left", "left limbs"), ("trunk", "trunk"), *more)
    items = "".join(f'<li><i class="{css}"></i>{text}</li>' for css, text in entries)
    return f'<ul class="legend">{items}</ul>'


def folded(summary: str, text: str) -> str:
    """Return preformatted text behind a summary to click on, or nothing if there is no text."""
    if not text:
        return ""
    return f"<details><summary>{summary}</summary><pre>{escape(text)}</pre></details>"
