"""What an evaluation costs besides the model: every measure of 500,000 synthetic predictions."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from diffpose.benchmarks.measure import Figure, table
from diffpose.benchmarks.metrics import batched_svd
from diffpose.model.lifting.prediction import Lifted
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.uncertainty.covariances import N_VALUES, Ellipsoids
from diffpose.platform.evaluation.evaluate import (
    collect,
    context_errors,
    hidden_joints,
    run_errors,
    summarise,
    write_poses,
)
from diffpose.platform.evaluation.results import CONTEXT, Evaluation, MeasuredRange
from diffpose.platform.runs.uncertainty_file import Recalibration
from diffpose.platform.store.clips import Clip

Array = NDArray[np.float64]

RANGE = 512  # rows of a task
N_HYPOTHESES = 5
N_ACTIONS = 15  # as Human3.6M's
_RUN = "run"
_DRAWS = 100
_VARIANTS = 16  # ranges of other numbers, taken in turns
_CORES = 2


def benchmark(_folder: Path, frames: int, rounds: int) -> tuple[list[Figure], list[str]]:
    """Measure; returns figures and Markdown. 128 frames stand for 500,000 poses."""
    n = -(-500_000 * frames // 128 // RANGE) * RANGE
    ranges = [_range(seed) for seed in range(_VARIANTS)]
    fitted = _recalibration()
    clips = _clips(n)
    with threadpool_limits(1):
        _task(0, ranges, fitted)  # compiles
        seconds: dict[str, float] = {}
        found = _timed(
            seconds,
            "tasks: errors, alignment, coverage, energy scores",
            lambda: [_task(i, ranges, fitted) for i in range(n // RANGE)],
        )
        evaluation: Evaluation = _timed(seconds, "driver: joining", lambda: collect(found, clips))
        found.clear()
        figures = _timed(
            seconds,
            "driver: summaries, per action",
            lambda: [summarise(evaluation, name) for name in (CONTEXT, _RUN)],
        )
        with tempfile.TemporaryDirectory() as folder:
            target = f"{folder}/poses.parquet"
            _timed(seconds, "driver: poses.parquet", lambda: write_poses(target, evaluation))
            size_mb = Path(target).stat().st_size / 2**20
        peer: dict[str, float] = {}
        for _ in range(rounds):
            _timed(peer, "peer", lambda: [_usual_formulas(*part, _DRAWS) for part in ranges])
            _timed(peer, "short", lambda: [_usual_formulas(*part, 0) for part in ranges])
    tasks, *driver = seconds.values()
    total = tasks / _CORES + sum(driver)
    per_pose, short = (seconds / (rounds * _VARIANTS * RANGE) for seconds in peer.values())
    rows = [[name, f"{value:.1f}", f"{value / n * 1e6:.1f}"] for name, value in seconds.items()]
    figure = Figure(
        "evaluate_metrics.tasks", n / tasks, "poses/s", "numpy, the usual formulas", 1 / per_pose
    )
    text = [
        f"{n} poses, N = {N_HYPOTHESES}, {N_ACTIONS} actions, one run beside its context encoder; "
        "CPU time. Tasks are independent ranges of 512 poses, which Ray spreads over all cores; "
        f"the driver is one thread. On {_CORES} cores: {tasks:.1f} / {_CORES} + "
        f"{sum(driver):.1f} = **{total:.1f} s** (wanted: 30). The file has {size_mb:.0f} MiB. "
        f"Check: P-MPJPE {figures[1]['p_mpjpe_mm']:.2f} mm, coverage of the 90 % ellipsoids "
        f"{100 * figures[1]['coverage90']:.1f} %.",
        "",
        *table(["part", "CPU s", "us / pose"], rows),
        "",
        "What Ray takes to carry the results is not in it. The usual formulas in numpy (batched "
        "singular value decompositions, np.linalg.solve, all pairs of hypotheses by broadcasting, "
        f"a Gaussian's energy score from {_DRAWS} draws) take {per_pose * 1e6:.0f} us per pose for "
        f"what the tasks do in {tasks / n * 1e6:.0f} us, and {short * 1e6:.0f} us without that "
        "score.",
    ]
    return [figure], text


def _timed(seconds: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    start = time.thread_time()
    result = work()
    seconds[name] = seconds.get(name, 0.0) + time.thread_time() - start
    return result


def _range(seed: int) -> tuple[NDArray[np.float32], Array, NDArray[np.float32]]:
    """Return hypotheses (512, N, 17, 3), truths and the context encoder's poses (512, 17, 3)."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, [200, 400, 150], (RANGE, 17, 3))
    middle = truth + rng.normal(0, 40, truth.shape)
    hypotheses = middle[:, None] + rng.normal(0, 20, (RANGE, N_HYPOTHESES, 17, 3))
    context = truth + rng.normal(0, 50, truth.shape)
    truth[:, 0] = hypotheses[:, :, 0] = context[:, 0] = 0
    return hypotheses.astype(np.float32), truth, context.astype(np.float32)


def _task(
    index: int,
    ranges: list[tuple[NDArray[np.float32], Array, NDArray[np.float32]]],
    fitted: Recalibration,
) -> MeasuredRange:
    """Do what evaluation.make_lift_fn does once a range was lifted."""
    hypotheses, truth, context = ranges[index % len(ranges)]
    mean = hypotheses.mean(axis=1)
    spread = np.sqrt(((hypotheses - mean[:, None]) ** 2).sum(axis=-1).mean(axis=1))
    root = np.zeros((RANGE, 3), np.float32)
    lifted = Lifted(mean, spread, hypotheses, context, root, hypotheses[None], (0,))
    rows = np.arange(index * RANGE, (index + 1) * RANGE)
    methods = {
        CONTEXT: context_errors(context, truth, fitted),
        _RUN: run_errors(lifted, truth, SamplingSettings(), fitted),
    }
    hidden = hidden_joints(truth, np.full((RANGE, 3), [0.0, 0.0, 4000.0]))
    return MeasuredRange(index * RANGE, rows, truth.astype(np.float32), hidden, methods)


def _recalibration() -> Recalibration:
    """Of errors of 40 mm about the middle: exactly Student t with 12 degrees of freedom."""
    ones = np.ones(17)
    own = (40**2 + 20**2 / N_HYPOTHESES) / 20**2
    ellipsoids = Ellipsoids(1.0, 0 * ones, own * 1.2 * ones, 12.0)
    context = np.tile(50.0**2 * np.eye(3), (17, 1, 1))
    return Recalibration(
        ellipsoids,
        context,
        context,
        50.0**2 * np.eye(N_VALUES),
        N_HYPOTHESES,
        SamplingSettings(),
        1000,
        "validation",
    )


def _clips(n: int) -> list[Clip]:
    """Clips of 2048 frames."""
    return [
        Clip(
            clip=f"00000000-0000-5000-8000-{first:012d}", source=f"{first}.bvh", subject="S",
            action=f"action {first // 2048 % N_ACTIONS}", camera="c", split="test", fps=50,
            width=1000, height=1000, first_frame=0, first_row=first,
            n_rows=min(2048, n - first),
        )
        for first in range(0, n, 2048)
    ]  # fmt: skip


def _usual_formulas(
    hypotheses: NDArray[np.float32], truth: Array, context: NDArray[np.float32], n_draws: int
) -> list[Array]:
    """Return the same measures as they are usually written, all poses at once.

    ``n_draws`` are those of a Gaussian's energy score; 0 leaves it out.
    """
    x = hypotheses.astype(np.float64)
    mean, n = x.mean(axis=1), x.shape[1]
    centred = (x - mean[:, None])[:, :, 1:]
    sample = np.einsum("nhja,nhjb->njab", centred, centred) / (n - 1)
    constant = np.broadcast_to(50.0**2 * np.eye(3), sample.shape)
    found: list[Array] = []
    for poses, claims in (
        (mean, [sample + np.eye(3), 4 * sample + np.eye(3)]),  # before and after
        (context.astype(np.float64), [constant]),
    ):
        residual = (truth - poses)[:, 1:]
        found += [np.linalg.norm(poses - truth, axis=-1).mean(axis=-1), batched_svd(poses, truth)]
        for claim in claims:
            solved = np.linalg.solve(claim, residual[..., None])[..., 0]
            found += [(residual * solved).sum(axis=-1), np.linalg.det(claim)]
        if n_draws == 0:
            continue
        noise = np.random.default_rng(0).normal(size=(n_draws, *residual.shape))
        draws = (np.linalg.cholesky(claims[-1]) @ noise[..., None])[..., 0]
        found += [
            np.linalg.norm(draws - residual, axis=-1).mean(axis=0)
            - np.linalg.norm(np.diff(draws, axis=0), axis=-1).mean(axis=0) / 2
        ]
    far = np.linalg.norm(x - truth[:, None], axis=-1)
    pairs = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1)
    share = 2 * n * (n - 1)
    return [
        *found,
        far.mean(axis=1) - pairs.sum(axis=(1, 2)) / share,
        np.sqrt((far**2).sum(axis=-1)).mean(axis=1)
        - np.sqrt((pairs**2).sum(axis=-1)).sum(axis=(1, 2)) / share,
        far.mean(axis=-1).min(axis=1),
    ]
