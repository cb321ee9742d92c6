"""EM: the compiled engine against scikit-learn, and which mixture explains held-out draws best."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.mixture import GaussianMixture as Reference
from threadpoolctl import threadpool_limits

from diffpose.benchmarks import workload
from diffpose.benchmarks.measure import Figure, interleaved, table
from diffpose.model.mixture_fitting.fit import fit_mixtures
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec, layout, log_likelihood

POSE, JOINT = MixtureSpec(scope="pose"), MixtureSpec(scope="joint")


def benchmark(folder: Path, frames: int, rounds: int) -> tuple[list[Figure], list[str]]:
    """Measure speed and likelihood; returns figures and Markdown."""
    store = workload.simulated_store(folder, 2)
    draws = workload.hk_draws(*workload.frames_of(store, frames), 2000)
    seeds = np.arange(len(draws), dtype=np.uint64)
    torch.set_num_threads(1)
    figures, rows = [], []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's on stopping
        for name, spec, n_timed in (("pose_full", POSE, 16), ("joint", JOINT, 4)):
            figure, row = _speed(name, spec, draws[:n_timed, :1000], seeds, rounds)
            figures.append(figure)
            rows += row
        likelihood = [
            *_same_likelihood("pose, full", POSE, draws, seeds),
            *_same_likelihood("joint", JOINT, draws[: max(len(draws) // 4, 1)], seeds),
        ]
    text = [
        f"{len(draws)} frames of the simulated detector's heatmaps, M = 5, 1000 draws to fit, 1000 "
        "fresh draws to score. CPU milliseconds of one thread per frame, in turns, medians of "
        f"{rounds}. scikit-learn: GaussianMixture(5), its own k-means, reg_covar 1 mm^2.",
        "",
        *table(["fit", "engine", "ms / frame", "fits / s", "/ scikit-learn"], rows),
        "",
        "Held-out log-likelihood against scikit-learn, nats per mixture (float64, from the "
        "returned parameters). Same start: scikit-learn's EM from our k-means. Own starts: its own "
        "k-means, two seeds; its seed-to-seed spread is what chance alone does.",
        "",
        *table(
            ["fit", "mixtures", "start", "mean difference", "standard error", "spread",
             "seed-to-seed of scikit-learn"],
            likelihood,
        ),
        "",
        "Which mixture explains fresh draws of H_K (nats per pose, mean over the frames; larger is "
        "better; ms per frame of the compiled engine):",
        "",
        *_scopes(folder, store, min(frames, 48)),
    ]  # fmt: skip
    gpu = _on_gpu(draws[:, :1000])
    return figures, [*text, *gpu]


def _speed(
    name: str, spec: MixtureSpec, draws: torch.Tensor, seeds: Any, rounds: int
) -> tuple[Figure, list[list[object]]]:
    n = len(draws)
    seconds = interleaved(
        {
            "cpu": lambda: fit_mixtures(draws, spec, seeds[:n], "cpu"),
            "torch": lambda: fit_mixtures(draws, spec, seeds[:n], "torch"),
            "scikit-learn": lambda: _reference(draws, spec, 0),
        },
        rounds,
    )
    peer = seconds["scikit-learn"]
    rows: list[list[object]] = [
        [name, engine, f"{1e3 * s / n:.2f}", f"{n / s:.0f}", f"{peer / s:.1f}"]
        for engine, s in seconds.items()
    ]
    figure = Figure(f"mixture.{name}.cpu", n / seconds["cpu"], "frames/s", "scikit-learn", n / peer)
    return figure, rows


def _reference(draws: torch.Tensor, spec: MixtureSpec, seed: int) -> list[list[Any]]:
    """Fit as a user of scikit-learn would, in millimetres."""
    size = layout(spec)
    points = draws.double().numpy().reshape(*draws.shape[:2], size.groups, size.dims)
    return [
        [
            Reference(
                spec.n_kernels, reg_covar=spec.reg_covar_mm**2, max_iter=spec.max_iterations,
                tol=spec.tol, random_state=seed,
            ).fit(points[row, :, group])
            for group in range(size.groups)
        ]
        for row in range(len(points))
    ]  # fmt: skip


def _same_likelihood(
    name: str, spec: MixtureSpec, draws: torch.Tensor, seeds: Any
) -> list[list[object]]:
    train, held_out = draws[:, :1000], draws[:, 1000:]
    n, groups = len(draws), layout(spec).groups
    ours = log_likelihood(fit_mixtures(train, spec, seeds[:n], "cpu"), spec, held_out).mean(1)
    same = log_likelihood(fit_mixtures(train, spec, seeds[:n], "sklearn"), spec, held_out).mean(1)
    size = layout(spec)
    points = held_out.double().numpy().reshape(n, -1, size.groups, size.dims)
    own = np.array(
        [
            [
                sum(model.score(points[row, :, g]) for g, model in enumerate(models))
                for row, models in enumerate(_reference(train, spec, seed))
            ]
            for seed in (0, 1)
        ]
    )
    chance = (own[0] - own[1]) / groups
    rows: list[list[object]] = []
    for start, difference in (
        ("same", (ours - same).numpy() / groups),
        ("own", (ours.numpy() - own.mean(axis=0)) / groups),
    ):
        rows.append(
            [
                name, n * groups, start, f"{difference.mean():+.4f}",
                f"{difference.std(ddof=1) / n**0.5:.4f}", f"{difference.std(ddof=1):.3f}",
                f"{chance.std(ddof=1):.3f}",
            ]
        )  # fmt: skip
    return rows


def _scopes(folder: Path, simulated: str, frames: int) -> list[str]:
    """Return the table that decides the default mixture."""
    sources = {
        "simulated": simulated,
        "bundled detector on films": workload.film_store(folder),
    }
    draws = {
        name: workload.hk_draws(*workload.frames_of(store, frames), 2000)
        for name, store in sources.items()
    }
    rows: list[list[object]] = []
    for scope, covariance, m in (
        ("pose", "full", 1), ("pose", "full", 5), ("pose", "full", 9), ("pose", "block", 5),
        ("pose", "diag", 5), ("joint", "full", 1), ("joint", "full", 2), ("joint", "full", 5),
        ("joint", "full", 9), ("joint", "diag", 5),
    ):  # fmt: skip
        spec = MixtureSpec.model_validate(
            {"scope": scope, "covariance": covariance, "n_kernels": m}
        )
        cells: list[object] = []
        taken = 0.0
        for poses in draws.values():
            seeds = np.arange(len(poses), dtype=np.uint64)
            fit_mixtures(poses[:1, :1000], spec, seeds[:1], "cpu")
            start = time.thread_time()
            fitted = fit_mixtures(poses[:, :1000], spec, seeds, "cpu")
            taken += (time.thread_time() - start) / len(poses) / len(draws)
            cells += [
                f"{float(log_likelihood(fitted, spec, part).mean()):.1f}"
                for part in (poses[:, :1000], poses[:, 1000:])
            ]
        rows.append([scope, covariance, m, *cells, f"{1e3 * taken:.1f}"])
    head = [f"{name}: {part}" for name in draws for part in ("fitted draws", "fresh draws")]
    return table(["scope", "covariance", "M", *head, "ms"], rows)


def _on_gpu(draws: torch.Tensor) -> list[str]:
    """Measure the torch engine on a GPU, where there is one, against what its arithmetic needs."""
    if not torch.cuda.is_available():
        return ["", "No GPU was at hand: the torch engine was measured on the CPU alone."]
    many = draws.repeat(max(2048 // len(draws), 1), 1, 1, 1).cuda()
    seeds = np.arange(len(many), dtype=np.uint64)
    rows: list[list[object]] = []
    for name, spec in (("pose_full", POSE), ("joint", JOINT)):
        taken = []
        for _ in range(4):
            torch.cuda.synchronize()
            start = time.perf_counter()
            fit_mixtures(many, spec, seeds, "torch")
            torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
        size = layout(spec)
        features = size.groups * size.blocks * (size.block_dims * (size.block_dims + 3) // 2)
        # E and M step, a multiply and an add for each feature, kernel and draw, some ten iterations
        flops = 10 * 2 * 2 * features * spec.n_kernels * many.shape[1]
        seconds = min(taken[1:]) / len(many)
        rows.append(
            [name, f"{1 / seconds:.0f}", f"{flops / 1e6:.0f}", f"{flops / seconds / 1e12:.2f}"]
        )
    head = ["fit", "frames / s", "MFLOP / frame (10 iterations)", "TFLOP/s reached"]
    return ["", f"On {torch.cuda.get_device_name()}:", "", *table(head, rows)]
