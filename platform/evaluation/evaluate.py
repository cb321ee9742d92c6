"""Evaluation on the cluster: several runs on the same poses, per-pose errors, summaries.

Ray Data sends ranges of the split through tasks; a worker process loads the runs once.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffpose.model.lifting.interface import Lifter
from diffpose.model.lifting.lifter import row_seeds
from diffpose.model.lifting.prediction import Lifted
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.metrics.pose_errors import align, joint_errors
from diffpose.model.metrics.protocols import mpjve, n_mpjpe
from diffpose.model.uncertainty.covariances import MOVING
from diffpose.platform.base.errors import RunError, StoreError
from diffpose.platform.base.progress import Progress
from diffpose.platform.base.storage import write_bytes
from diffpose.platform.evaluation.parts import EvaluationParts
from diffpose.platform.evaluation.results import CONTEXT
from diffpose.platform.evaluation.uncertainty_figures import (
    PoseUncertainty,
    from_columns,
    measure_context,
    measure_hypotheses,
    summarise_uncertainty,
    to_columns,
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


@dataclass(frozen=True)
class PoseErrors:
    """Errors of one method on n poses, mm.

    Attributes:
        joint_mm: (n, 17), distances.
        aligned_mm: (n, 17), distances after similarity alignment.
        std_mm: (n, 17), predicted spread; NaN for a method that predicts none.
        pose_mm: (n, 17, 3), the predicted poses, root-relative, camera frame.
        uncertainty: covariances, coverage and energy scores, if they were measured.
    """

    joint_mm: NDArray[np.float64]
    aligned_mm: NDArray[np.float64]
    std_mm: NDArray[np.float64]
    pose_mm: NDArray[np.float32]
    uncertainty: PoseUncertainty | None = None

    @property
    def mpjpe_mm(self) -> NDArray[np.float64]:
        """MPJPE of each pose, (n,)."""
        errors: NDArray[np.float64] = self.joint_mm.mean(axis=1)
        return errors

    @property
    def p_mpjpe_mm(self) -> NDArray[np.float64]:
        """P-MPJPE of each pose, (n,)."""
        errors: NDArray[np.float64] = self.aligned_mm.mean(axis=1)
        return errors


@dataclass(frozen=True)
class Evaluation:
    """Errors of all methods on the same poses, in row order.

    Attributes:
        rows: (n,), rows of the store.
        actions: (n,), their actions.
        clips: (n,), ids of their clips.
        truth_mm: (n, 17, 3), the true poses.
        methods: by name; the context encoder of the first run is one.
    """

    rows: NDArray[np.int64]
    actions: NDArray[np.str_]
    clips: NDArray[np.str_]
    truth_mm: NDArray[np.float32]
    methods: dict[str, PoseErrors]

    @property
    def stretches(self) -> NDArray[np.int64]:
        """Lengths of the stretches of frames that follow each other, (k,), adding up to n."""
        follows = (np.diff(self.rows) == 1) & (self.clips[1:] == self.clips[:-1])
        borders = np.flatnonzero(~follows) + 1
        return np.diff(np.concatenate([[0], borders, [len(self.rows)]])).astype(np.int64)


def make_lift_fn(
    store_uri: str, runs: dict[str, str], overrides: dict[str, Any], seed: int, device: str = "cpu"
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a stage on rows {"first", "stop", "lengths"}: lifts whole clips with every run."""
    runs_json = json.dumps([runs, overrides])
    # Read here, not kept by the processes: the file comes after the weights that they have loaded.
    recalibrations = {name: load_recalibration(uri) for name, uri in runs.items()}

    def lift(row: dict[str, Any]) -> dict[str, Any]:
        torch.set_num_threads(1)
        store = PoseStore.open(store_uri)
        first, stop = int(row["first"]), int(row["stop"])
        truth = store.read("pose_3d", first, stop).astype(np.float64)
        known: NDArray[np.bool_] = np.asarray(np.isfinite(truth).all(axis=(1, 2)))
        rows = np.flatnonzero(known) + first
        result: dict[str, Any] = {
            "first": first,
            "rows": rows,
            "truth_mm": truth[known].astype(np.float32),
        }
        if len(rows) == 0:
            return result
        seen = read_observations(store, first, stop)
        lengths, seeds = json.loads(row["lengths"]), row_seeds(seed, np.arange(first, stop))
        for name, (lifter, sampling) in _cached_lifters(runs_json, device).items():
            lifted = lifter.lift(seen, sampling, seeds, lengths).rows(known)
            fitted = recalibrations[name]
            if f"{CONTEXT}/joint_mm" not in result:  # that of the first run
                result |= context_columns(lifted.context_pose_mm, truth[known], fitted)
            result |= run_columns(name, lifted, truth[known], sampling, fitted)
        return result

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
        {"first": first, "stop": stop, "lengths": json.dumps(lengths)}
        for first, stop, lengths in whole_clips(clips, _ROWS_PER_TASK)
    ]
    if most_poses is not None:
        ranges = ranges[:: -(-_n_rows(ranges) // most_poses)]
    parts = EvaluationParts(keep, _question(store, runs, sampling, split, seed, clips))
    done = parts.load()
    left = [part for part in ranges if part["first"] not in done]
    found = [done[part["first"]] for part in ranges if part["first"] in done]
    known = sum(len(row["rows"]) for row in found)
    progress = Progress("evaluate", _n_rows(left) + known, "poses", already=known)
    if left:
        with ray_session(workers):
            device = "cuda" if gpus else "cpu"
            lift = make_lift_fn(store.uri, runs, overrides, seed, device)
            # On CPUs tasks, whose processes keep what they loaded: they take what CPUs are free.
            stage = ActorStage(lift, actors_on_gpus("gpus", gpus), gpus) if gpus else lift
            for row in run_stages(left, [stage], workers):
                parts.save(int(row["first"]), row)
                found.append(row)
                progress.advance(len(row["rows"]))
    found = [row for row in found if len(row["rows"])]
    if not found:
        raise StoreError(f"No pose of the {split} split of {store_uri!r} is known; see pose_3d.")
    found.sort(key=lambda row: int(row["rows"][0]))
    return collect(found, runs, clips)


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
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _n_rows(ranges: Sequence[dict[str, Any]]) -> int:
    return sum(part["stop"] - part["first"] for part in ranges)


def summarise(evaluation: Evaluation, name: str) -> dict[str, Any]:
    """Return a method's figures as JSON values."""
    errors = evaluation.methods[name]
    mpjpe_mm, p_mpjpe_mm = errors.mpjpe_mm, errors.p_mpjpe_mm
    actions, own = np.unique(evaluation.actions, return_inverse=True)
    counts = np.bincount(own)
    means = [np.bincount(own, weights=values) / counts for values in (mpjpe_mm, p_mpjpe_mm)]
    per_action = {
        str(action): {
            "mpjpe_mm": float(means[0][i]),
            "p_mpjpe_mm": float(means[1][i]),
            "n_poses": int(counts[i]),
        }
        for i, action in enumerate(actions)
    }
    lengths = evaluation.stretches
    moving = bool((lengths > 1).any())
    return {
        "mpjpe_mm": float(mpjpe_mm.mean()),
        "p_mpjpe_mm": float(p_mpjpe_mm.mean()),
        "mpjpe_16_mm": float(errors.joint_mm[:, MOVING].mean()),
        "n_mpjpe_mm": float(n_mpjpe(errors.pose_mm, evaluation.truth_mm).mean()),
        "mpjve_mm_per_frame": mpjve(errors.pose_mm, evaluation.truth_mm, lengths)
        if moving
        else None,
        # Human3.6M's headline: every action counts the same, however long it is
        "mean_of_actions": {
            key: float(np.mean([part[key] for part in per_action.values()]))
            for key in ("mpjpe_mm", "p_mpjpe_mm")
        },
        "per_action": per_action,
        **({} if errors.uncertainty is None else summarise_uncertainty(errors.uncertainty)),
    }


def context_columns(
    pose_mm: NDArray[np.float32], truth_mm: NDArray[np.float64], fitted: Recalibration | None
) -> dict[str, Any]:
    """Return what a task sends back of the context encoder's poses (n, 17, 3)."""
    measured = measure_context(pose_mm, truth_mm, fitted)
    return _columns(CONTEXT, pose_mm, truth_mm, None) | to_columns(CONTEXT, measured)


def run_columns(
    name: str,
    lifted: Lifted,
    truth_mm: NDArray[np.float64],
    sampling: SamplingSettings,
    fitted: Recalibration | None,
) -> dict[str, Any]:
    """Return what a task sends back of a run's answers: numbers per joint, no hypotheses."""
    measured = measure_hypotheses(lifted.hypotheses_mm, truth_mm, sampling, fitted)
    return _columns(name, lifted.pose_mm, truth_mm, lifted.std_mm) | to_columns(name, measured)


def _columns(
    name: str,
    poses_mm: NDArray[np.float32],
    truth_mm: NDArray[np.float64],
    std_mm: NDArray[np.float32] | None,
) -> dict[str, Any]:
    unknown = np.full(poses_mm.shape[:2], np.nan)
    return {
        f"{name}/joint_mm": joint_errors(poses_mm, truth_mm),
        f"{name}/aligned_mm": joint_errors(align(poses_mm, truth_mm), truth_mm),
        f"{name}/pose_mm": poses_mm.astype(np.float32),
        f"{name}/std_mm": unknown if std_mm is None else std_mm.astype(np.float64),
    }


def collect(
    found: Sequence[dict[str, Any]], runs: dict[str, str], clips: Sequence[Clip]
) -> Evaluation:
    """Join what the tasks sent back, in row order."""

    def joined(column: str) -> NDArray[Any]:
        return np.concatenate([np.asarray(row[column]) for row in found])

    rows = joined("rows").astype(np.int64)
    starts = np.array([clip.first_row for clip in clips])
    own = np.searchsorted(starts, rows, side="right") - 1
    methods = {
        name: PoseErrors(
            joined(f"{name}/joint_mm"),
            joined(f"{name}/aligned_mm"),
            joined(f"{name}/std_mm"),
            joined(f"{name}/pose_mm"),
            from_columns(name, found),
        )
        for name in (CONTEXT, *runs)
    }
    actions, ids = (np.array([getattr(c, name) for c in clips]) for name in ("action", "clip"))
    return Evaluation(rows, actions[own], ids[own], joined("truth_mm"), methods)


def write_poses(uri: str, evaluation: Evaluation) -> None:
    """Write every pose with its errors as parquet, for later study.

    Columns: row, clip, action, truth_mm, and for each method NAME/mpjpe_mm, NAME/p_mpjpe_mm,
    NAME/pose_mm (51 numbers: 17 joints, x y z, root-relative, camera frame), NAME/covariance_mm2
    (102 numbers: 17 joints, xx xy xz yy yz zz, as the method answers, recalibrated where that was
    fitted), NAME/energy_score_mm (mean of the joints but the root) and
    NAME/oracle_best_of_n_mpjpe_mm; NaN where a method has no such thing.
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
        columns[f"{name}/mpjpe_mm"] = pa.array(errors.mpjpe_mm)
        columns[f"{name}/p_mpjpe_mm"] = pa.array(errors.p_mpjpe_mm)
        columns[f"{name}/pose_mm"] = poses(errors.pose_mm)
        measured = errors.uncertainty
        if measured is not None:
            columns[f"{name}/covariance_mm2"] = poses(measured.covariance_mm2, 102)
            energy = measured.energy_mm[:, MOVING].mean(axis=1)
            columns[f"{name}/energy_score_mm"] = pa.array(energy)
            columns[f"{name}/oracle_best_of_n_mpjpe_mm"] = pa.array(measured.oracle_mm)
    buffer = io.BytesIO()
    # Measured numbers repeat nowhere: dictionaries of them cost time and save nothing.
    pq.write_table(pa.table(columns), buffer, use_dictionary=["clip", "action"])
    write_bytes(uri, buffer.getvalue())
