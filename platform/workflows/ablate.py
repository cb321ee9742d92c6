"""Train, measure and tabulate many recipes on the same poses; restartable."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from diffpose.platform.ablation.settings import AblationSettings, SweepSettings
from diffpose.platform.ablation.speed import frames_per_s
from diffpose.platform.ablation.tables import TableRow, as_json, mean_rows
from diffpose.platform.base.config import merged, validate
from diffpose.platform.base.errors import DiffPoseError, RunError
from diffpose.platform.base.storage import absolute, exists, join, read_json, write_json
from diffpose.platform.evaluation.evaluate import evaluate_runs, summarise
from diffpose.platform.evaluation.protocol_figures import protocol
from diffpose.platform.evaluation.results import CONTEXT, MEASURES
from diffpose.platform.execution.ray_session import cluster_cpus, ray_session
from diffpose.platform.reports.ablation_report import write_report
from diffpose.platform.runs.model_files import answer_digests, has_model, load_config
from diffpose.platform.training.settings import TrainSettings
from diffpose.platform.workflows.train import train
from diffpose.preprocessing.derived.mixtures import fit_mixture_group
from diffpose.preprocessing.pipeline import detect
from diffpose.preprocessing.settings import MixtureGroupSettings, PreprocessSettings

# Two measurements of one encoder on the same poses differ by rounding alone.
_SAME_MM = 1e-3


def ablate(settings: AblationSettings) -> int:
    """Run what is not done yet, then write tables and report; returns the exit status."""
    settings = settings.resolved().model_copy(
        update={"folder": absolute(settings.folder), "motion": absolute(settings.motion)}
    )
    given = {"source": {"uri": settings.motion}, "store": settings.store, "stages": ["detect"]}
    detect(validate(PreprocessSettings, merged(settings.preprocess, given)))
    places = [(name, seed) for name in settings.encoders_now() for seed in settings.seeds]
    with ray_session():
        _train_all([settings.encoder_run(*place) for place in places], settings.parallel, "encoder")
        denoisers = [
            settings.denoiser_run(encoder, recipe, seed)
            for encoder, seed in places
            for recipe in settings.recipes_on(encoder)
        ]
        _fit_all(denoisers)
        _train_all(denoisers, settings.parallel, "denoiser")
        for place in places:
            _evaluate(settings, *place)
        sweeps = {title: _sweep(settings, title, part) for title, part in settings.sweeps.items()}
    rows = {name: mean_rows(evaluations(settings, name)) for name in settings.rows}
    for encoder, part in rows.items():
        _print(encoder, part)
    figures = as_json(rows, settings.rows)
    write_json(join(settings.folder, "ablation.json"), {**figures, "sweeps": sweeps})
    if settings.results:
        write_json(settings.results, figures)
    print(f"report: {write_report(settings, rows, sweeps, protocol())}")
    return 0


def _train_all(runs: Sequence[TrainSettings], parallel: int | None, what: str) -> None:
    """Train runs side by side; one that fails does not end the others.

    Runs that are trained are gone through as well: train does what is left of them, such as
    contexts or the recalibration after an interruption, and nothing else.

    Raises:
        RunError: some failed; the message names each with its reason.
    """
    import ray

    before = {run.run for run in runs if has_model(join(run.run, what))}
    print(f"{what}: {len(before)} of {len(runs)} trained before", flush=True)
    if not runs:
        return
    at_once = parallel or max(1, cluster_cpus() // (runs[0].workers * runs[0].threads))
    # The task itself waits most of the time: the CPUs belong to the workers that it asks for.
    task: Any = ray.remote(num_cpus=0, max_retries=0)(_train_one)
    waiting, failed = list(runs), {}
    running: dict[Any, TrainSettings] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            run = waiting.pop(0)
            running[task.remote(run.model_dump_json())] = run
        ended, _ = ray.wait(list(running), num_returns=1)
        for reference in ended:
            run = running.pop(reference)
            error = ray.get(reference)
            if error:
                failed[run.run] = error
                print(f"{what}: {run.run} failed: {error}", flush=True)
            elif run.run not in before:
                kind = "context_encoder" if what == "encoder" else what
                figure = load_config(join(run.run, what), kind)["validation_mpjpe_mm"]
                print(f"{what}: {run.run} validation MPJPE {figure:.2f} mm, "
                      f"{len(waiting) + len(running)} left", flush=True)  # fmt: skip
    if failed:
        lines = "\n".join(f"  {run}: {error}" for run, error in failed.items())
        raise RunError(f"{len(failed)} of {len(runs)} trainings failed:\n{lines}")


def _train_one(settings_json: str) -> str:
    """Train in a worker process; returns what went wrong, in words."""
    try:
        train(TrainSettings.model_validate_json(settings_json))
    except DiffPoseError as error:
        return str(error)
    return ""


def _fit_all(runs: Sequence[TrainSettings]) -> None:
    """Fit each group of mixtures once; several recipes share one.

    Recipes without mixtures count as well: their depth prior is read from the group.
    """
    groups = {run.mixtures: run for run in runs}
    for name, run in groups.items():
        spec = MixtureGroupSettings(name=name, depth=run.depth, spec=run.mixture)
        fit_mixture_group(run.store, spec, run.encoder, run.seed, None, splits=("train",))


def _evaluate(settings: AblationSettings, encoder: str, seed: int) -> None:
    """Measure all trained recipes of an encoder on the same poses; figures go beside them."""
    import ray

    here = settings.place(encoder, seed)
    runs = {
        name: join(here, name)
        for name in settings.rows[encoder]
        if has_model(join(here, name, "denoiser"))
    }
    if not runs:
        return
    digests = {name: answer_digests(run) for name, run in runs.items()}
    uri = _evaluation_uri(settings, encoder, seed)
    wanted = {"split": settings.split, "digests": digests, "measures": MEASURES}
    if not holds(uri, wanted):
        n_poses, figures = _figures(settings, runs, digests, uri, seed)
        write_json(uri, {**wanted, "n_poses": n_poses, "methods": figures})
    uri = _speed_uri(settings, encoder, seed)
    if not holds(uri, {"digests": digests}):
        task: Any = ray.remote(num_cpus=1)(frames_per_s)
        speeds = ray.get(task.remote(settings.store, runs, settings.split, seed))
        write_json(uri, {"digests": digests, "frames_per_s": speeds})


def _figures(
    settings: AblationSettings,
    runs: dict[str, str],
    digests: dict[str, Any],
    uri: str,
    seed: int,
) -> tuple[int, dict[str, Any]]:
    """Measure the runs that the file at ``uri`` lacks; returns the number of poses, and all."""
    saved = read_json(uri) if exists(uri) else {}
    known = {
        name: saved["methods"][name]
        for name in runs
        if (saved.get("split"), saved.get("measures")) == (settings.split, MEASURES)
        and saved["digests"].get(name) == digests[name]
    }
    new = {name: run for name, run in runs.items() if name not in known}
    if not new:
        return saved["n_poses"], {CONTEXT: saved["methods"][CONTEXT], **known}

    def measured(some: dict[str, str]) -> tuple[int, dict[str, Any]]:
        found = evaluate_runs(settings.store, some, settings.split, {}, seed, None)
        return len(found.rows), {name: summarise(found, name) for name in (CONTEXT, *some)}

    n_poses, figures = measured(new)
    if known:
        before, now = saved["methods"][CONTEXT]["mpjpe_mm"], figures[CONTEXT]["mpjpe_mm"]
        if saved["n_poses"] != n_poses or abs(before - now) > _SAME_MM:  # of other poses
            n_poses, figures = measured(runs)
        else:
            figures |= {**known, CONTEXT: saved["methods"][CONTEXT]}
    return n_poses, {name: figures[name] for name in (CONTEXT, *runs)}


def holds(uri: str, wanted: dict[str, Any]) -> bool:
    """Say whether a file of figures is there and still of these weights."""
    saved = read_json(uri) if exists(uri) else {}
    return {key: saved.get(key) for key in wanted} == wanted


def evaluations(settings: AblationSettings, encoder: str) -> list[dict[str, Any]]:
    """Return the figures of every method of an encoder, a mapping per seed that is measured."""
    found = []
    for seed in settings.seeds:
        uri, speed = _evaluation_uri(settings, encoder, seed), _speed_uri(settings, encoder, seed)
        if not exists(uri):
            continue
        methods = read_json(uri)["methods"]
        speeds = read_json(speed)["frames_per_s"] if exists(speed) else {}
        found.append({n: {**m, "frames_per_s": speeds.get(n)} for n, m in methods.items()})
    return found


def _evaluation_uri(settings: AblationSettings, encoder: str, seed: int) -> str:
    return join(settings.place(encoder, seed), f"evaluation_{settings.split}.json")


def _speed_uri(settings: AblationSettings, encoder: str, seed: int) -> str:
    return join(settings.place(encoder, seed), "speed.json")


def _sweep(settings: AblationSettings, title: str, part: SweepSettings) -> dict[str, Any]:
    """Measure one recipe under several values of a sampling setting."""
    encoder, recipe, split = part.encoder, part.recipe, part.split or settings.split
    found: dict[str, list[float]] = {}
    for seed in settings.seeds:
        run = join(settings.place(encoder, seed), recipe)
        if not has_model(join(run, "denoiser")):
            continue
        uri = join(run, f"sweep_{_slug(title)}.json")
        asked = {**part.model_dump(exclude={"encoder", "recipe", "values"}), "split": split}
        wanted: dict[str, Any] = {"digest": answer_digests(run), "asked": asked}
        saved = read_json(uri) if holds(uri, wanted) else {**wanted, "values": {}}
        for value in part.values:
            if str(value) not in saved["values"]:
                if encoder not in settings.encoders_now():
                    continue  # what was measured before is told
                evaluation = evaluate_runs(
                    settings.store,
                    {recipe: run},
                    split,
                    {**part.given, part.setting: value},
                    seed,
                    None,
                    part.most_poses,
                )
                saved["values"][str(value)] = summarise(evaluation, recipe)["mpjpe_mm"]
                write_json(uri, saved)
            found.setdefault(str(value), []).append(saved["values"][str(value)])
    return {**part.model_dump(), "split": split, "mpjpe_mm": found}


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")


def _print(encoder: str, rows: Sequence[TableRow]) -> None:
    table = Table("method", "MPJPE mm", "P-MPJPE mm", "/ context encoder", "seeds", title=encoder)
    for row in rows:
        table.add_row(
            row.name, row.text("mpjpe_mm"), row.text("p_mpjpe_mm"), row.text("ratio"),
            str(row.seeds),
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 110, highlight=False).print(table)
