"""Our figures under the published ones, in the layout of the paper's tables.

Published rows and where they come from: published_results.yaml. Ours are the last row of each
table; averages are means of the actions, as in the paper.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from diffpose.platform.base.errors import ConfigError

_SHORT = {
    "Directions": "Dir", "Discussion": "Disc", "Eating": "Eat", "Greeting": "Greet",
    "Phoning": "Phone", "Photo": "Photo", "Posing": "Pose", "Purchases": "Pur", "Sitting": "Sit",
    "SittingDown": "SitD", "Smoking": "Smoke", "Waiting": "Wait", "WalkDog": "WalkD",
    "Walking": "Walk", "WalkTogether": "WalkT",
}  # fmt: skip
Grid = tuple[str, list[str], list[list[str]]]  # title, head, rows


@functools.lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """Return the published results."""
    path = Path(__file__).with_name("published_results.yaml")
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def check_comparable(dataset: dict[str, Any]) -> None:
    """Refuse stores that no published figure is of.

    Raises:
        ConfigError: the store was made from other recordings.
    """
    if dataset.get("name") not in ("human36m", "mpi_inf_3dhp"):
        raise ConfigError(
            "--table puts results beside published ones, which are of Human3.6M and MPI-INF-3DHP; "
            "this store was made from other recordings. Leave --table out."
        )


def grids(
    dataset: dict[str, Any], figures: dict[str, dict[str, Any]], *, video: bool
) -> list[Grid]:
    """Return the tables that figures belong into.

    Args:
        dataset: what the store says of its data set.
        figures: name of a run -> what jobs.evaluate says of it.
        video: the runs look at windows of frames.
    """
    if dataset["name"] == "mpi_inf_3dhp":
        return [_mpi(dataset, figures)]
    true = dataset["keypoints"] == "gt"
    return [
        _human36m(table, figures, dataset)
        for table in published()["tables"]
        if (table["video"], table["true_keypoints"]) == (video, true)
    ]


def _human36m(
    table: dict[str, Any], figures: dict[str, dict[str, Any]], dataset: dict[str, Any]
) -> Grid:
    actions: list[str] = published()["actions"]
    unit = "MPJPE mm" if table["measure"] == "mpjpe_mm" else "P-MPJPE mm"
    rows = [[str(row[0]), *_numbers(row[1:])] for row in table["rows"]]
    rows += [
        [f"{name}, {where}, {seen}" + (f" ({note})" if note else ""), *["-"] * len(actions), value]
        for name, where, seen, is_video, mpjpe, p_mpjpe, note in published()["newer"]["human36m"]
        if is_video == table["video"] and (seen == "GT") == table["true_keypoints"]
        for value in _numbers([mpjpe if table["measure"] == "mpjpe_mm" else p_mpjpe])
        if value != "-"
    ]
    for name, own in figures.items():
        values = [own["per_action"].get(a, {}).get(table["measure"]) for a in actions]
        known = [value for value in values if value is not None]
        mean = sum(known) / len(actions) if len(known) == len(actions) else None
        rows.append([f"{name} (ours, {dataset['keypoints']})", *_numbers([*values, mean])])
    title = (
        f"{published()['paper']}, {table['name']}, {unit}; averages as printed; newer rows: "
        "averages alone"
    )
    return title, ["method", *(_SHORT[a] for a in actions), "Avg"], rows


def _mpi(dataset: dict[str, Any], figures: dict[str, dict[str, Any]]) -> Grid:
    table = published()["mpi_inf_3dhp"]
    rows = [[str(row[0]), "", *_numbers(row[1:])] for row in table["rows"]]
    rows += [
        [f"{name}, {where}" + (f" ({note})" if note else ""), poses, *_numbers(values)]
        for name, where, poses, *values, note in published()["newer"]["mpi_inf_3dhp"]
    ]
    for name, own in figures.items():
        for how in ("pooled", "mean of sequences"):
            part = own["protocol_figures"]["sequences"][how]
            values = [part["pck"], part["auc"], part["mpjpe_mm"]]
            rows.append([f"{name} (ours, {how})", dataset["poses"], *_numbers(values)])
    title = f"{published()['paper']}, {table['name']}; annot3 and univ_annot3 cannot be compared"
    return title, ["method", "poses", "PCK", "AUC", "MPJPE mm"], rows


def _numbers(values: Sequence[float | None]) -> list[str]:
    return ["-" if value is None else f"{value:.1f}" for value in values]
