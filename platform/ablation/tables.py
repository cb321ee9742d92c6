"""Figures of several seeds as rows of tables: mean and spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffpose.platform.evaluation.figures import shown_in
from diffpose.platform.evaluation.results import CONTEXT

SPEED = "frames_per_s"  # of ablation.speed
# What a row has a mean and a spread of.
KEYS = (*(figure.key for figure in shown_in("ablation")), SPEED)


@dataclass(frozen=True)
class Column:
    """A column of an ablation's tables.

    Attributes:
        head: in words.
        key: of a row's figures.
        digits: after the point.
        factor: by which a value is multiplied.
    """

    head: str
    key: str
    digits: int = 2
    factor: float = 1.0


_COLUMNS = {
    **{f.key: Column(f.head, f.key, f.digits, f.factor) for f in shown_in("ablation")},
    "ratio": Column("/ context encoder", "ratio", 3),
    SPEED: Column("frames/s", SPEED, 0),
}


def columns() -> list[Column]:
    """Return the columns of a table: errors, their ratio, the other figures, the speed."""
    shown = shown_in("ablation table")
    errors = [figure.key for figure in shown if "errors" in figure.shown]
    others = [figure.key for figure in shown if figure.key not in errors]
    return [_COLUMNS[key] for key in (*errors, "ratio", *others, SPEED)]


@dataclass(frozen=True)
class TableRow:
    """One method over several seeds.

    Attributes:
        name: of the recipe, or of the context encoder.
        figures: name -> one value per seed; ``ratio`` is MPJPE over that of the same seed's
            context encoder.
        seeds: how many there are.
    """

    name: str
    figures: Mapping[str, Sequence[float]]
    seeds: int

    def mean(self, figure: str) -> float:
        """Return the mean over the seeds, NaN where the method has no such figure."""
        values = self.figures.get(figure, ())
        return float(np.mean(values)) if len(values) else float("nan")

    def spread(self, figure: str) -> float:
        """Return half the range over the seeds: a standard deviation of two means little."""
        values = self.figures.get(figure, ())
        return float(np.ptp(values)) / 2 if len(values) else float("nan")

    def text(self, key: str) -> str:
        """Return mean and spread of a figure as text, a dash where there is nothing."""
        column = _COLUMNS[key]
        if not self.figures.get(column.key):
            return "-"
        mean, spread = (column.factor * of(column.key) for of in (self.mean, self.spread))
        if self.seeds == 1:
            return f"{mean:.{column.digits}f}"
        return f"{mean:.{column.digits}f} ± {spread:.{column.digits}f}"


def mean_rows(evaluations: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[TableRow]:
    """Return a row per method that all evaluations hold, in their order.

    Args:
        evaluations: one per seed: method -> figures of evaluation.summarise.
    """
    if not evaluations:
        return []
    names = [n for n in evaluations[0] if all(n in evaluation for evaluation in evaluations)]
    rows = []
    for name in names:
        figures: dict[str, list[float]] = {
            figure: [float(e[name][figure]) for e in evaluations]
            for figure in KEYS
            if all(e[name].get(figure) is not None for e in evaluations)
        }
        figures["ratio"] = [
            float(e[name]["mpjpe_mm"]) / float(e[CONTEXT]["mpjpe_mm"]) for e in evaluations
        ]
        rows.append(TableRow(name, figures, len(evaluations)))
    return rows


def as_json(
    rows: Mapping[str, Sequence[TableRow]], order: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """Return {encoder: {recipe: figures}}; the context encoder is called context_encoder."""
    result: dict[str, dict[str, Any]] = {}
    for encoder, part in rows.items():
        known = {row.name: row for row in part}
        result[encoder] = {}
        for name in (CONTEXT, *order[encoder]):
            if name not in known:
                continue
            row = known[name]
            key = "context_encoder" if name == CONTEXT else name
            result[encoder][key] = {
                **{figure: _or_none(row.mean(figure)) for figure in KEYS},
                "ratio_to_context_encoder": row.mean("ratio"),
                "seeds": row.seeds,
                "mpjpe_mm_of_seeds": list(row.figures["mpjpe_mm"]),
            }
    return result


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def markdown(
    rows: Sequence[TableRow], names: Sequence[str], titles: Mapping[str, str]
) -> list[str]:
    """Return a Markdown table of some rows, the context encoder first.

    Args:
        rows: of one encoder.
        names: recipes to show.
        titles: what a recipe is called in words.
    """
    known = {row.name: row for row in rows}
    shown = columns()
    lines = [
        f"| method | {' | '.join(column.head for column in shown)} |",
        "|---|" + "---|" * len(shown),
    ]
    for name in (CONTEXT, *names):
        if name not in known:
            continue
        cells = [known[name].text(column.key) for column in shown]
        lines.append(f"| {titles.get(name, name)} | {' | '.join(cells)} |")
    return lines
