"""Measure runs on held-out poses: figures, table, report; restartable."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from rich.console import Console
from rich.table import Table

from diffpose.model.lifting.sampling import Refine, Smooth
from diffpose.platform.base.config import Settings, to_yaml
from diffpose.platform.base.errors import ConfigError
from diffpose.platform.base.storage import (
    SHIPPED,
    absolute,
    join,
    read_json,
    remove_folder,
    shortest_tails,
    write_bytes,
    write_json,
)
from diffpose.platform.evaluation.evaluate import evaluate_runs, summarise, write_poses
from diffpose.platform.evaluation.figures import shown_in
from diffpose.platform.evaluation.protocol_figures import protocol, protocol_figures
from diffpose.platform.evaluation.published_table import check_comparable, grids
from diffpose.platform.evaluation.results import (
    CONTEXT,
    FIGURES_FILE,
    POSES_FILE,
    Evaluation,
    before_refinement,
)
from diffpose.platform.reports.evaluation_report import write_report
from diffpose.platform.runs.model_files import CONFIG
from diffpose.platform.store.pose_store import PoseStore


class EvaluateSettings(Settings):
    """Measure runs on held-out poses."""

    run: str = Field(description="run directory")
    store: str = Field(description="pose store with known poses")
    compare: list[str] = Field([], description="further runs, measured on the same poses")
    split: Literal["train", "validation", "test"] = Field("test", description="which poses")
    n_hypotheses: int | None = Field(None, ge=1, le=1000, description="N; default: the run's own")
    temperature: float | None = Field(None, ge=0, le=4, description="default: the run's own")
    refine: Refine | None = Field(
        None,
        description="none, frame or clip: move the poses to where heatmaps and bone lengths want "
        "them; default: the run's own",
    )
    smooth: Smooth | None = Field(
        None,
        description="none, clip or causal: smooth the poses over time by their covariances; "
        "default: the run's own",
    )
    root: Literal["subtracted", "predicted"] | None = Field(
        None,
        description="predicted: the error of the networks' own root counts; default: the run's own",
    )
    seed: int = Field(0, ge=0, description="of the hypotheses")
    workers: int | None = Field(None, ge=1, description="tasks at once; default: all CPUs")
    gpus: float = Field(
        0.0, ge=0, description="GPUs of each lifting process, 0.5: two share one; 0: on CPUs"
    )
    output: str | None = Field(None, description="folder of the report; default RUN/evaluation")
    json_file: str | None = Field(None, description="write the figures there too (--json FILE)")
    table: bool = Field(
        False, description="print the paper's tables with our row under them (--table)"
    )

    @field_validator("compare", mode="before")
    @classmethod
    def _one_or_several(cls, compare: object) -> object:
        return (
            [part.strip() for part in compare.split(",")] if isinstance(compare, str) else compare
        )

    @model_validator(mode="after")
    def _distinct(self) -> EvaluateSettings:
        runs = [uri.rstrip("/") for uri in (self.run, *self.compare)]
        if len(set(runs)) < len(runs):
            raise ValueError(f"each run can be compared once, got {runs}")
        if self.run.startswith(SHIPPED) and self.output is None:
            raise ValueError(
                f"run={self.run} comes with the package, beside which nothing is written; give "
                "output=FOLDER"
            )
        return self


def evaluate(settings: EvaluateSettings) -> None:
    """Measure, print the table, write figures and report."""
    store = absolute(settings.store)
    runs = _named([settings.run, *settings.compare])
    overrides = {
        name: value
        for name, value in (
            ("n_hypotheses", settings.n_hypotheses),
            ("temperature", settings.temperature),
            ("refine", settings.refine),
            ("smooth", settings.smooth),
            ("root", settings.root),
        )
        if value is not None
    }
    dataset = PoseStore.open(store).attributes.get("dataset", {})
    if settings.table:
        check_comparable(dataset)
    folder = absolute(settings.output or join(settings.run, "evaluation"))
    parts = join(folder, "parts")
    evaluation = evaluate_runs(
        store,
        runs,
        settings.split,
        overrides,
        settings.seed,
        settings.workers,
        keep=parts,
        gpus=settings.gpus,
    )
    figures = describe(settings, runs, evaluation)
    for name, part in ((CONTEXT, figures["context_encoder"]), *figures["runs"].items()):
        part["protocol_figures"] = protocol_figures(dataset, evaluation, name)
    figures["protocol_figures"] = figures["runs"][figures["run"]]["protocol_figures"]
    print_table(figures)
    if settings.table:
        _print_published(dataset, runs, figures)
    write_json(join(folder, FIGURES_FILE), figures)
    write_poses(join(folder, POSES_FILE), evaluation)
    write_bytes(join(folder, "evaluate.yaml"), to_yaml(settings).encode())
    remove_folder(parts)
    if settings.json_file:
        write_json(settings.json_file, figures)
    report = write_report(folder, store, runs, overrides, evaluation, figures, to_yaml(settings))
    print(f"report: {report}")


def describe(
    settings: EvaluateSettings, runs: dict[str, str], evaluation: Evaluation
) -> dict[str, Any]:
    """Return all figures; those of the run itself at the top level."""
    first = next(iter(runs))
    context = summarise(evaluation, CONTEXT)
    own = summarise(evaluation, first)
    return {
        "run": first,
        **own,
        "context_encoder": context,
        "ratio_to_context_encoder": own["mpjpe_mm"] / context["mpjpe_mm"],
        "runs": {name: own if name == first else summarise(evaluation, name) for name in runs},
        # what the diffusion itself gives, of runs whose answers are moved afterwards
        "before_refinement": {
            name: summarise(evaluation, before_refinement(name))
            for name in runs
            if before_refinement(name) in evaluation.methods
        },
        "n_poses": len(evaluation.rows),
        "split": settings.split,
        "protocol": protocol(settings.root or "subtracted"),
        "seed": settings.seed,
        "n_hypotheses": settings.n_hypotheses or "the run's own",
        "refine": settings.refine or "the run's own",
        "smooth": settings.smooth or "the run's own",
    }


def print_table(figures: dict[str, Any]) -> None:
    """Print the results, the run's own per action."""
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    title = f"{figures['split']} split, {figures['n_poses']} poses, seed {figures['seed']}"
    shown = shown_in("errors")
    table = Table("method", *(f.head for f in shown), "/ context encoder", title=title)
    reference = figures["context_encoder"]["mpjpe_mm"]
    methods = {CONTEXT: figures["context_encoder"], **figures["runs"]}
    before = {before_refinement(name): part for name, part in figures["before_refinement"].items()}
    for name, part in {**methods, **before}.items():
        cells = [figure.text(part) for figure in shown]
        table.add_row(name, *cells, f"{part['mpjpe_mm'] / reference:.3f}")
    console.print(table)
    console.print(_uncertainty_table(methods))
    actions = Table("action", "poses", CONTEXT, *figures["runs"], title="MPJPE mm per action")
    for action, part in figures["context_encoder"]["per_action"].items():
        values = [run["per_action"][action]["mpjpe_mm"] for run in figures["runs"].values()]
        cells = [f"{value:.2f}" for value in (part["mpjpe_mm"], *values)]
        actions.add_row(action, str(part["n_poses"]), *cells)
    means = [
        part["mean_of_actions"]["mpjpe_mm"]
        for part in (figures["context_encoder"], *figures["runs"].values())
    ]
    actions.add_row("mean of the actions", "", *[f"{value:.2f}" for value in means])
    console.print(actions)
    if figures["protocol_figures"] is not None:
        _print_sequences(console, figures)
    console.print(f"protocol: {figures['protocol']}")


def _print_sequences(console: Console, figures: dict[str, Any]) -> None:
    """Print PCK, AUC and MPJPE of each sequence and method."""
    methods = {CONTEXT: figures["context_encoder"], **figures["runs"]}
    head = [f"{name}: PCK / AUC / MPJPE mm" for name in methods]
    table = Table("sequence", "frames", *head, title=figures["protocol_figures"]["protocol"])
    for sequence, own in figures["protocol_figures"]["sequences"].items():
        found = [m["protocol_figures"]["sequences"][sequence] for m in methods.values()]
        cells = [f"{f['pck']:.1f} / {f['auc']:.1f} / {f['mpjpe_mm']:.1f}" for f in found]
        table.add_row(sequence, f"{own['n_frames']:.0f}", *cells)
    console.print(table)


def _print_published(
    dataset: dict[str, Any], runs: dict[str, str], figures: dict[str, Any]
) -> None:
    """Print the paper's tables with our rows, for single frames and for windows apart."""
    console = Console(width=None if sys.stdout.isatty() else 170, highlight=False)
    videos = {  # an encoder of windows says of how many frames
        name: "frames" in read_json(join(uri, "encoder", CONFIG))["architecture"]
        for name, uri in runs.items()
    }
    for video in sorted(set(videos.values())):
        own = {name: figures["runs"][name] for name in runs if videos[name] == video}
        for title, head, rows in grids(dataset, own, video=video):
            table = Table(*head, title=title)
            for row in rows:
                table.add_row(*row)
            console.print(table)


def _uncertainty_table(methods: Mapping[str, dict[str, Any]]) -> Table:
    """Return coverage, sharpness and scores of every method."""
    title = "uncertainty: 50 % and 90 % ellipsoids per joint, before -> after recalibration"
    shown = shown_in("uncertainty")
    table = Table("method", "N", *(figure.head for figure in shown), title=title)
    for name, part in methods.items():
        table.add_row(name, str(part["n_hypotheses"]), *(figure.text(part) for figure in shown))
    return table


def _named(uris: Sequence[str]) -> dict[str, str]:
    """Name runs by their last path part, longer where two agree."""
    paths = [absolute(uri).rstrip("/") for uri in uris]
    if len(set(paths)) < len(paths):
        raise ConfigError(f"Each run can be compared once, got {', '.join(uris)}.")
    _, *names = shortest_tails([CONTEXT, *paths])  # no run is called like the context encoder
    return dict(zip(names, paths, strict=True))
