"""Figures of several seeds as rows of tables: mean and spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffpose.platform.evaluation.results import CONTEXT

# What evaluation.summarise and ablation_speed give, and here a row has a mean and a spread of.
FIGURES = (
    "mpjpe_mm",
    "p_mpjpe_mm",
    "n_mpjpe_mm",
    "coverage50",
    "coverage90",
    "sharpness_mm",
    "energy_score_mm",
    "gaussian_energy_score_mm",
    "oracle_best_of_n_mpjpe_mm",
    "frames_per_s",
)


@dataclass(frozen=True)
class Row:
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

    def text(self, figure: str, digits: int = 2) -> str:
        """Return mean and spread as text, a dash where there is nothing."""
        if not self.figures.get(figure):
            return "-"
        if self.seeds == 1:
            return f"{self.mean(figure):.{digits}f}"
        return f"{self.mean(figure):.{digits}f} ± {self.spread(figure):.{digits}f}"


def mean_rows(evaluations: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[Row]:
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
            for figure in FIGURES
            if all(e[name].get(figure) is not None for e in evaluations)
        }
        figures["ratio"] = [
            float(e[name]["mpjpe_mm"]) / float(e[CONTEXT]["mpjpe_mm"]) for e in evaluations
        ]
        rows.append(Row(name, figures, len(evaluations)))
    return rows


def as_json(
    rows: Mapping[str, Sequence[Row]], order: Mapping[str, Sequence[str]]
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
                **{figure: _or_none(row.mean(figure)) for figure in FIGURES},
                "ratio_to_context_encoder": row.mean("ratio"),
                "seeds": row.seeds,
                "mpjpe_mm_of_seeds": list(row.figures["mpjpe_mm"]),
            }
    return result


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def markdown(rows: Sequence[Row], names: Sequence[str], titles: Mapping[str, str]) -> list[str]:
    """Return a Markdown table of some rows, the context encoder first.

    Args:
        rows: of one encoder.
        names: recipes to show.
        titles: what a recipe is called in words.
    """
    known = {row.name: row for row in rows}
    lines = [
        "| method | MPJPE mm | P-MPJPE mm | / context encoder | 50 % holds | 90 % | frames/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in (CONTEXT, *names):
        if name not in known:
            continue
        row = known[name]
        cells = [row.text("mpjpe_mm"), row.text("p_mpjpe_mm"), row.text("ratio", 3)]
        cells += [row.text("coverage50", 3), row.text("coverage90", 3), row.text("frames_per_s", 0)]
        lines.append(f"| {titles.get(name, name)} | {' | '.join(cells)} |")
    return lines
