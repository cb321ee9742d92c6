"""From stored heatmaps to stored mixtures: one process, two workers, and the bill for Human3.6M."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import torch

from diffpose.benchmarks import workload
from diffpose.benchmarks.measure import Figure, table
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec, field_shapes
from diffpose.platform.base.storage import read_json
from diffpose.platform.execution.ray_session import ray_session
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.derived import mixture_stages
from diffpose.preprocessing.derived.mixture_attributes import mixture_attributes
from diffpose.preprocessing.derived.mixtures import fit_mixture_group
from diffpose.preprocessing.planning.plan import Plan
from diffpose.preprocessing.planning.span_row import SpanRow, make_write_fn
from diffpose.preprocessing.settings import MixtureGroupSettings

H36M_TRAIN_FRAMES, H36M_FRAMES = 1_559_752, 2_126_672  # MotionBERT's file: train, train + test
VCPU_HOUR_DOLLARS, GPU_HOUR_DOLLARS, GB_MONTH_DOLLARS = 0.05, 4.0, 0.023  # round cloud list prices


def benchmark(folder: Path, frames: int, rounds: int) -> tuple[list[Figure], list[str]]:
    """Measure; returns figures and Markdown."""
    store = workload.simulated_store(folder, max(frames // 16, 2), 30.0)
    n_rows = sum(clip.n_rows for clip in PoseStore.open(store).clips())
    rows: list[list[object]] = []
    rates: dict[str, float] = {}
    for engine in ("cpu", "sklearn"):
        stages = _one_process(store, engine, None if engine == "cpu" else 1)
        total = sum(stages.values())
        rates[engine] = 1 / total
        parts = ", ".join(f"{name} {1e3 * s:.2f}" for name, s in stages.items())
        rows.append([f"one process, engine {engine}", f"{1 / total:.0f}", parts])
    walls = {1: [], 2: []}  # type: dict[int, list[float]]
    with ray_session(2):
        _workers(store, 2)  # Ray's processes start and compile
        for _ in range(max(rounds // 2, 2)):
            for workers, taken in walls.items():
                taken.append(_workers(store, workers))
    one, two = (n_rows / float(np.median(walls[workers])) for workers in (1, 2))
    rows += [
        ["Ray, 1 worker, wall time", f"{one:.0f}", ""],
        ["Ray, 2 workers, wall time", f"{two:.0f}", f"{two / one:.2f} of one"],
    ]
    figures = [
        Figure(
            "preprocess.heatmaps_to_store", rates["cpu"], "frames/s", "the same with scikit-learn",
            rates["sklearn"],
        ),
        Figure("preprocess.two_workers", two, "frames/s", "one worker", one),
    ]  # fmt: skip
    text = [
        f"{n_rows} frames: read heatmaps (zstd), draw 1000 poses, fit 17 mixtures of 5 kernels, "
        "write float16 factors. One process: CPU time of all its threads, reading and writing "
        "included; Ray: wall time of a whole run in a session that is open, its start not counted.",
        "",
        *table(["way", "frames / s", "ms / frame"], rows),
        "",
        *_human36m(rates["cpu"], two / 2),
    ]
    return figures, text


def _one_process(store_uri: str, engine: str, spans: int | None) -> dict[str, float]:
    """Run the stages here; return seconds per frame of each."""
    torch.set_num_threads(1)
    store = PoseStore.open(store_uri, mode="r+")
    mixture = MixtureGroupSettings.model_validate({"name": f"alone_{engine}", "engine": engine})
    attributes = mixture_attributes(mixture, None, 0, store, store.clips())
    plan = Plan.model_validate(read_json(f"{store.uri}/plan.json"))
    for field in mixture_stages.mixture_fields(mixture.spec):
        store.require_array(f"mixtures/{mixture.group}", field, plan.n_rows)
    load = mixture_stages.make_load_fn(store.uri)
    fit = mixture_stages.make_fit_fn(attributes, mixture.engine)
    log = store.log_uri("mixtures", mixture.group)
    write = make_write_fn(store.uri, log, f"mixtures/{mixture.group}")
    rows = [SpanRow(span) for span in plan.spans]
    if engine == "cpu":
        write(fit(load(rows[0])))  # compiles
    taken = dict.fromkeys(("read", "draw and fit", "write"), 0.0)
    frames = 0
    for row in rows[:spans]:
        marks = [time.process_time()]
        loaded = load(row)
        marks.append(time.process_time())
        fitted = fit(loaded)
        marks.append(time.process_time())
        frames += write(fitted).rows
        marks.append(time.process_time())
        for name, start, stop in zip(taken, marks, marks[1:], strict=False):
            taken[name] += stop - start
    return {name: seconds / frames for name, seconds in taken.items()}


def _workers(store_uri: str, workers: int) -> float:
    """Fit a group anew with so many workers; return the wall seconds."""
    name = f"workers_{workers}"
    for part in (Path(store_uri) / "mixtures" / name, Path(store_uri) / "log" / "mixtures" / name):
        shutil.rmtree(part, ignore_errors=True)
    start = time.perf_counter()
    fit_mixture_group(store_uri, MixtureGroupSettings(name=name), None, 0, workers)
    return time.perf_counter() - start


def _human36m(rate: float, rate_of_core: float) -> list[str]:
    """Return the bill for Human3.6M, on paper, from the measured rates."""
    hours = H36M_TRAIN_FRAMES / rate / 3600
    slower = H36M_TRAIN_FRAMES / rate_of_core / 3600
    rows: list[list[object]] = [
        [cores, f"{hours / cores:.2f} .. {slower / cores:.2f}",
         f"{hours:.1f} .. {slower:.1f}", f"{slower * VCPU_HOUR_DOLLARS:.2f}"]
        for cores in (1, 16, 256)
    ]  # fmt: skip
    sizes: list[list[object]] = []
    for scope, covariance in (("joint", "full"), ("pose", "full")):
        spec = MixtureSpec.model_validate({"scope": scope, "covariance": covariance})
        shapes = field_shapes(spec)
        row_bytes = sum(
            int(np.prod(shape)) * (2 if name.startswith("scale") else 4)
            for name, shape in shapes.items()
        )
        total = row_bytes * H36M_FRAMES / 1e9
        sizes.append(
            [f"{scope}, {covariance}", row_bytes, f"{total:.1f}", f"{total * GB_MONTH_DOLLARS:.2f}"]
        )
    return [
        f"Human3.6M on paper: {H36M_TRAIN_FRAMES} training frames at the rates above (first: one "
        "process; second: half of two Ray workers, all overheads in), "
        f"{VCPU_HOUR_DOLLARS} dollars a core-hour; a GPU was "
        + ("at hand. " if torch.cuda.is_available() else "not at hand, its row would be a guess. ")
        + "Reading video and running a detector come on top.",
        "",
        *table(["cores", "hours", "core-hours", "dollars"], rows),
        "",
        f"Storage of {H36M_FRAMES} frames' mixtures, M = 5, float16 factors, "
        f"{GB_MONTH_DOLLARS} dollars a GB and month:",
        "",
        *table(["mixture", "bytes a frame", "GB", "dollars a month"], sizes),
    ]
