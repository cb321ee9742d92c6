"""Evaluation on the cluster: several runs on the same poses, per-pose errors, summaries.

Ray Data sends ranges of the split through tasks; a worker process loads the runs once.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.model.geometry.body import hidden_by_own_body
from diffpose.model.lifting.interface import Lifter
from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.lifting.prediction import Lifted
from diffpose.model.lifting.sampling import SamplingSettings, unrefined
from diffpose.model.metrics.pose_errors import align, joint_errors
from diffpose.platform.base.errors import RunError, StoreError
from diffpose.platform.base.progress import Progress
from diffpose.platform.base.storage import write_bytes
from diffpose.platform.evaluation.figures import FIGURES, figures_of, per_joint_coverage
from diffpose.platform.evaluation.parts import EvaluationParts, joined
from diffpose.platform.evaluation.results import (
    CONTEXT,
    MEASURES,
    Evaluation,
    MeasuredRange,
    PoseErrors,
    before_refinement,
)
from diffpose.platform.evaluation.uncertainty_measures import (
    PoseUncertainty,
    measure_context,
    measure_hypotheses,
)
from diffpose.platform.execution.ray_session import ray_session
from diffpose.platform.execution.ray_stages import ActorStage, actors_on_gpus, run_stages
from diffpose.platform.runs.load import load_to_sample
from diffpose.platform.runs.model_files import answer_digests
from diffpose.platform.runs.uncertainty_file import Recalibration, load_recalibration
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.observations import read_observations
from diffpose.platform.store.pose_store import PoseStore, whole_clips

_ROWS_PER_TASK = 512


class PoseRange(NamedTuple):
    """Rows first..stop of the store, whole clips of these lengths."""

    first: int
    stop: int
    lengths: tuple[int, ...]


def make_lift_fn(
    store_uri: str, runs: dict[str, str], overrides: dict[str, Any], seed: int, device: str = "cpu"
) -> Callable[[PoseRange], MeasuredRange]:
    """Return a stage that lifts a PoseRange with every run and measures the answers."""
    runs_json = json.dumps([runs, overrides])
    # Read here, not kept by the processes: the file comes after the weights that they have loaded.
    recalibrations = {name: load_recalibration(uri) for name, uri in runs.items()}

    def lift(asked: PoseRange) -> MeasuredRange:
        torch.set_num_threads(1)
        store = PoseStore.open(store_uri)
        first, stop, lengths = asked
        truth = store.read("pose_3d", first, stop).astype(np.float64)
        known: NDArray[np.bool_] = np.asarray(np.isfinite(truth).all(axis=(1, 2)))
        truth = truth[known]
        rows = np.flatnonzero(known) + first
        hidden = hidden_joints(truth, store.read("root_position", first, stop)[known])
        measured = MeasuredRange(first, rows, truth.astype(np.float32), hidden, {})
        if len(rows) == 0:
            return measured
        seen = read_observations(store, first, stop)
        seeds = row_seeds(seed, np.arange(first, stop))
        for name, (lifter, sampling) in _cached_lifters(runs_json, device).items():
            whole = lifter.lift(seen, unrefined(sampling), seeds, list(lengths))
            refined = lifter.refined(whole, seen.detections(), sampling, list(lengths), seen.time_s)
            lifted = refined.rows(known)
            fitted = recalibrations[name]
            if CONTEXT not in measured.methods:  # that of the first run
                measured.methods[CONTEXT] = context_errors(lifted.context_pose_mm, truth, fitted)
            measured.methods[name] = run_errors(lifted, truth, sampling, fitted)
            if sampling != unrefined(sampling):  # what the walk itself gives
                own = run_errors(whole.rows(known), truth, unrefined(sampling), None)
                measured.methods[before_refinement(name)] = own
        return measured

    return lift


@functools.lru_cache(maxsize=1)
def _cached_lifters(runs_json: str, device: str) -> dict[str, tuple[Lifter, SamplingSettings]]:
    lifters = load_lifters(*json.loads(runs_json))
    return {name: (own.to(torch.device(device)), how) for name, (own, how) in lifters.items()}


def load_lifters(
    runs: dict[str, str], overrides: dict[str, Any]
) -> dict[str, tuple[Lifter, SamplingSettings]]:
    """Load runs by name; ``overrides`` replace their own sampling settings."""
    return {name: load_to_sample(uri, overrides) for name, uri in runs.items()}


def evaluate_runs(
    store_uri: str,
    runs: dict[str, str],
    split: str,
    overrides: dict[str, Any],
    seed: int,
    workers: int | None,
    most_poses: int | None = None,
    keep: str | None = None,
    gpus: float = 0.0,
) -> Evaluation:
    """Lift a split with every run and measure.

    Args:
        store_uri: pose store with known poses.
        runs: run directories by the name they shall have.
        split: train, validation or test.
        overrides: of the runs' sampling settings.
        seed: of the hypotheses.
        workers: tasks at once; default all CPUs.
        most_poses: of a larger split, ranges evenly spread over it that hold about so many.
        keep: folder for what is measured, so that an interrupted evaluation goes on; the caller
            removes it when the result is written.
        gpus: of each of the processes that lift; 0: on CPUs.

    Raises:
        StoreError: the split is empty.
        RunError: a run has no trained model, or shall refine and its errors were never measured.
    """
    store = PoseStore.open(store_uri)
    clips = store.clips(split)
    if not clips:
        raise StoreError(
            f"The store at {store_uri!r} has no clip in its {split} split; diffpose inspect "
            "store=... shows the splits, split.* of preprocessing makes them."
        )
    # a missing run is said at once, not by a worker's death
    lifters = load_lifters(runs, overrides)
    imported = [name for name, (own, _) in lifters.items() if "cuda" not in own.runs_on]
    if gpus and imported:
        raise RunError(f"Imported runs lift on CPUs; leave gpus= out for {', '.join(imported)}.")
    sampling = {name: chosen.model_dump() for name, (_, chosen) in lifters.items()}
    ranges = [
        PoseRange(first, stop, tuple(lengths))
        for first, stop, lengths in whole_clips(clips, _ROWS_PER_TASK)
    ]
    if most_poses is not None:
        ranges = ranges[:: -(-_n_rows(ranges) // most_poses)]
    parts = EvaluationParts(keep, _question(store, runs, sampling, split, seed, clips))
    done = parts.load()
    left = [part for part in ranges if part.first not in done]
    found = [done[part.first] for part in ranges if part.first in done]
    known = sum(len(part.rows) for part in found)
    progress = Progress("evaluate", _n_rows(left) + known, "poses", already=known)
    if left:
        with ray_session(workers):
            device = "cuda" if gpus else "cpu"
            lift = make_lift_fn(store.uri, runs, overrides, seed, device)
            # On CPUs tasks, whose processes keep what they loaded: they take what CPUs are free.
            stage = ActorStage(lift, actors_on_gpus("gpus", gpus), gpus) if gpus else lift
            for part in run_stages(left, [stage], workers):
                parts.save(part)
                found.append(part)
                progress.advance(len(part.rows))
    found = [part for part in found if len(part.rows)]
    if not found:
        raise StoreError(f"No pose of the {split} split of {store_uri!r} is known; see pose_3d.")
    found.sort(key=lambda part: part.first)
    return collect(found, clips)


def _question(
    store: PoseStore,
    runs: dict[str, str],
    sampling: dict[str, Any],
    split: str,
    seed: int,
    clips: Sequence[Clip],
) -> dict[str, Any]:
    """Say what the measurements depend on."""
    rows = [[clip.clip, clip.first_row, clip.n_rows] for clip in clips]
    return {
        "store": store.uri,
        # a store that was made anew in the same place has the same clips, but other detections
        "made": _digest(
            [store.attributes.get(name) for name in ("config", "detector", "code_version")]
        ),
        "rows": _digest(rows),
        "rows_per_task": _ROWS_PER_TASK,
        "split": split,
        "models": {name: answer_digests(run) for name, run in runs.items()},
        "sampling": sampling,
        "seed": seed,
        "measures": MEASURES,
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _n_rows(ranges: Sequence[PoseRange]) -> int:
    return sum(part.stop - part.first for part in ranges)


def summarise(evaluation: Evaluation, name: str) -> dict[str, Any]:
    """Return a method's figures as JSON values, with those of each action and joint."""
    errors = evaluation.methods[name]
    actions, own = np.unique(evaluation.actions, return_inverse=True)
    counts = np.bincount(own)
    means = {
        key: np.bincount(own, weights=getattr(errors, key)) / counts
        for key in ("mpjpe_mm", "p_mpjpe_mm")
    }
    per_action = {
        str(action): {
            **{key: float(values[i]) for key, values in means.items()},
            "n_poses": int(counts[i]),
        }
        for i, action in enumerate(actions)
    }
    return {
        **figures_of(evaluation, name),
        # Human3.6M's headline: every action counts the same, however long it is
        "mean_of_actions": {
            key: float(np.mean([part[key] for part in per_action.values()])) for key in means
        },
        "per_action": per_action,
        "per_joint_coverage": per_joint_coverage(errors.uncertainty),
    }


def hidden_joints(
    truth_mm: NDArray[np.floating], root_mm: NDArray[np.floating]
) -> NDArray[np.int8]:
    """Tell which joints the body hides, as `Evaluation.hidden` has it.

    Args:
        truth_mm: (n, 17, 3), root-relative, camera frame.
        root_mm: (n, 3), camera frame; NaN where unknown.
    """
    placed = np.isfinite(root_mm).all(axis=1)
    hidden = np.full(truth_mm.shape[:2], -1, dtype=np.int8)
    hidden[placed] = hidden_by_own_body(truth_mm[placed] + root_mm[placed, None])
    return hidden


def context_errors(
    pose_mm: NDArray[np.float32], truth_mm: NDArray[np.float64], fitted: Recalibration | None
) -> PoseErrors:
    """Return the errors of the context encoder's poses (n, 17, 3)."""
    return _errors(pose_mm, truth_mm, None, measure_context(pose_mm, truth_mm, fitted))


def run_errors(
    lifted: Lifted,
    truth_mm: NDArray[np.float64],
    sampling: SamplingSettings,
    fitted: Recalibration | None,
) -> PoseErrors:
    """Return the errors of a run's answers: numbers per joint, no hypotheses."""
    uncertainty = measure_hypotheses(lifted.hypotheses_mm, truth_mm, sampling, fitted)
    return _errors(lifted.pose_mm, truth_mm, lifted.std_mm, uncertainty)


def _errors(
    pose_mm: NDArray[np.float32],
    truth_mm: NDArray[np.float64],
    std_mm: NDArray[np.float32] | None,
    uncertainty: PoseUncertainty,
) -> PoseErrors:
    unknown = np.full(pose_mm.shape[:2], np.nan)
    return PoseErrors(
        joint_mm=joint_errors(pose_mm, truth_mm),
        aligned_mm=joint_errors(align(pose_mm, truth_mm), truth_mm),
        std_mm=unknown if std_mm is None else std_mm.astype(np.float64),
        pose_mm=pose_mm.astype(np.float32),
        uncertainty=uncertainty,
    )


def collect(found: Sequence[MeasuredRange], clips: Sequence[Clip]) -> Evaluation:
    """Join what the tasks measured, in row order."""
    rows = np.concatenate([part.rows for part in found]).astype(np.int64)
    starts = np.array([clip.first_row for clip in clips])
    own = np.searchsorted(starts, rows, side="right") - 1
    methods = {name: joined([part.methods[name] for part in found]) for name in found[0].methods}
    actions, ids = (np.array([getattr(c, name) for c in clips]) for name in ("action", "clip"))
    truth = np.concatenate([part.truth_mm for part in found])
    hidden = np.concatenate([part.hidden for part in found])
    return Evaluation(rows, actions[own], ids[own], truth, hidden, methods)


def write_poses(uri: str, evaluation: Evaluation) -> None:
    """Write every pose with its errors as parquet, for later study.

    Columns: row, clip, action, truth_mm, and for each method NAME/KEY of the figures that have a
    value per pose, NAME/pose_mm (51 numbers: 17 joints, x y z, root-relative, camera frame) and
    NAME/covariance_mm2 (102 numbers: 17 joints, xx xy xz yy yz zz, as the method answers,
    recalibrated where that was fitted); NaN where a method has no such thing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def poses(values: NDArray[np.float32], width: int = 51) -> pa.Array:
        flat = pa.array(values.astype(np.float32).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, width)

    columns = {
        "row": pa.array(evaluation.rows),
        "clip": pa.array(evaluation.clips.tolist()).dictionary_encode(),
        "action": pa.array(evaluation.actions.tolist()).dictionary_encode(),
        "truth_mm": poses(evaluation.truth_mm),
    }
    for name, errors in evaluation.methods.items():
        for figure in FIGURES:
            if figure.per_pose is not None:
                columns[f"{name}/{figure.key}"] = pa.array(figure.per_pose(errors))
        columns[f"{name}/pose_mm"] = poses(errors.pose_mm)
        columns[f"{name}/covariance_mm2"] = poses(errors.uncertainty.covariance_mm2, 102)
    buffer = io.BytesIO()
    # Measured numbers repeat nowhere: dictionaries of them cost time and save nothing.
    pq.write_table(pa.table(columns), buffer, use_dictionary=["clip", "action"])
    write_bytes(uri, buffer.getvalue())
