"""From axes to a small inline SVG that can share a page with others and follows its theme.

Everything is drawn with matplotlib's object API. Colours leave as CSS variables, for the page's
light and dark themes to fill in. No user-supplied text enters a figure: titles and captions belong
to the page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from diffpose.platform.reports.page.style import CSS_COLOURS, INK


@contextmanager
def styled() -> Iterator[None]:
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


def new_axes(width: float, height: float, margins: tuple[float, float, float, float]) -> Axes:
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


def to_svg(axes: Axes, key: str, label: str) -> str:
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
