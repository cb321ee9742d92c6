"""Several evaluations side by side: the same poses, paired differences with intervals."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.model.metrics.bootstrap import FEW_CLIPS, PairedDifference, paired_difference
from diffpose.platform.base.errors import ConfigError, RunError
from diffpose.platform.base.storage import (
    absolute,
    exists,
    join,
    read_bytes,
    read_json,
    shortest_tails,
)
from diffpose.platform.evaluation.figures import shown_in
from diffpose.platform.evaluation.results import CONTEXT, FIGURES_FILE, POSES_FILE

_SAME_MM = 0.01  # truths that differ by more are other truths


@dataclass(frozen=True)
class Method:
    """One method of one evaluation on n poses.

    Attributes:
        name: unique in the comparison.
        uri: folder of its evaluation.
        figures: its part of evaluation.json.
        per_pose: (n,) each, of the figures that are compared pose by pose.
    """

    name: str
    uri: str
    figures: dict[str, Any]
    per_pose: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Poses:
    """What was evaluated: row, clip, action and truth of n poses, split and protocol."""

    rows: NDArray[np.int64]
    clips: NDArray[np.str_]
    actions: NDArray[np.str_]
    truth_mm: NDArray[np.float32]
    split: str
    protocol: str


@dataclass(frozen=True)
class Comparison:
    """Methods on the same poses, and how each differs from the first.

    Attributes:
        poses: what all were evaluated on.
        methods: the first is what the others are compared with.
        differences: method name -> figure -> method minus first; below 0: better than the first.
        warning: what to know before reading the intervals, or empty.
    """

    poses: Poses
    methods: list[Method]
    differences: dict[str, dict[str, PairedDifference]]
    warning: str

    def to_json(self) -> dict[str, Any]:
        """Return everything but the single poses as JSON values."""
        return {
            "first": self.methods[0].name,
            "n_poses": len(self.poses.rows),
            "split": self.poses.split,
            "protocol": self.poses.protocol,
            "warning": self.warning,
            "methods": {m.name: {"evaluation": m.uri, **m.figures} for m in self.methods},
            "differences": {
                name: {measure: asdict(found) for measure, found in measures.items()}
                for name, measures in self.differences.items()
            },
        }


def compare(uris: Sequence[str], every_method: bool, resamples: int, seed: int) -> Comparison:
    """Read evaluations, make sure that they are of the same poses, and compare.

    Args:
        uris: run directories (their evaluation/) or folders that diffpose evaluate wrote.
        every_method: the context encoder and the runs beside a run as well, not its own alone.
        resamples: of clips.
        seed: of the resamples.

    Raises:
        RunError: there is no evaluation, or it is damaged.
        ConfigError: other poses, fewer than two methods or fewer than two clips.
    """
    folders = [evaluation_folder(uri) for uri in uris]
    if len(set(folders)) < len(folders):
        raise ConfigError(f"Each evaluation can be compared once, got {', '.join(folders)}.")
    poses: Poses | None = None
    found: list[tuple[str, Method]] = []
    for folder in folders:
        own, methods = _read(folder, every_method)
        if poses is not None:
            _check_same(poses, own, folders[0], folder)
        poses = poses or own
        found += [(folder, method) for method in methods]
    methods = _with_own_names(found)
    if poses is None or len(methods) < 2:
        raise ConfigError(
            "A comparison needs two methods: give two evaluations, or methods=all for the context "
            "encoder and the runs that stand beside a run in its evaluation."
        )
    names, clips = np.unique(poses.clips, return_inverse=True)
    if len(names) < 2:
        raise ConfigError(
            f"All {len(poses.rows)} poses are of clip {names[0]}: resampling clips needs two or "
            "more."
        )
    first = methods[0]
    differences = {
        method.name: {
            key: paired_difference(values - first.per_pose[key], clips, resamples, seed)
            for key, values in method.per_pose.items()
        }
        for method in methods[1:]
    }
    warning = ""
    if len(names) < FEW_CLIPS:
        warning = f"only {len(names)} clips: intervals from so few are too short"
    return Comparison(poses, methods, differences, warning)


def evaluation_folder(uri: str) -> str:
    """Return the folder of evaluation.json: the given one, or RUN/evaluation.

    Raises:
        RunError: neither holds an evaluation.
    """
    uri = absolute(uri).removesuffix(f"/{FIGURES_FILE}").rstrip("/")
    for folder in (uri, join(uri, "evaluation")):
        if exists(join(folder, FIGURES_FILE)):
            return folder
    raise RunError(
        f"There is no evaluation at {uri!r}: neither {FIGURES_FILE} nor evaluation/{FIGURES_FILE}. "
        f"Make one: diffpose evaluate run={uri} store=STORE"
    )


def _read(folder: str, every_method: bool) -> tuple[Poses, list[Method]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        figures = read_json(join(folder, FIGURES_FILE))
        parts = {figures["run"]: figures["runs"][figures["run"]]}
        if every_method:
            parts = {CONTEXT: figures["context_encoder"], **parts, **figures["runs"]}
        columns = ["row", "clip", "action", "truth_mm"]
        compared = [figure.key for figure in shown_in("differences")]
        columns += [f"{name}/{key}" for name in parts for key in compared]
        file = pq.ParquetFile(io.BytesIO(read_bytes(join(folder, POSES_FILE))))
        missing = [name for name in columns if name not in file.schema_arrow.names]
        if missing:
            raise KeyError(f"{POSES_FILE} has no column {', '.join(missing)}")
        table = file.read(columns)
        truth = table["truth_mm"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        poses = Poses(
            table["row"].to_numpy(),
            np.array(table["clip"].to_pylist(), dtype=np.str_),
            np.array(table["action"].to_pylist(), dtype=np.str_),
            truth.reshape(-1, 51),
            str(figures["split"]),
            str(figures["protocol"]),
        )
    except FileNotFoundError:
        raise RunError(
            f"{join(folder, POSES_FILE)} is missing beside {FIGURES_FILE}. Run diffpose evaluate "
            "again."
        ) from None
    except (KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise RunError(
            f"The evaluation at {folder!r} is damaged or of an older version: {error!r}. Run "
            "diffpose evaluate again."
        ) from None
    return poses, [
        Method(name, folder, part, {key: table[f"{name}/{key}"].to_numpy() for key in compared})
        for name, part in parts.items()
    ]


def _check_same(one: Poses, other: Poses, one_uri: str, other_uri: str) -> None:
    """Name the first thing in which two evaluations' poses differ.

    Raises:
        ConfigError: they differ.
    """

    def refuse(what: str, a: object, b: object) -> ConfigError:
        return ConfigError(
            f"These evaluations are of other poses and cannot be compared: {what} {a} in "
            f"{one_uri!r}, {b} in {other_uri!r}. Evaluate both on the same split of the same store."
        )

    if one.split != other.split:
        raise refuse("split", one.split, other.split)
    if one.protocol != other.protocol:
        raise refuse("protocol", repr(one.protocol), repr(other.protocol))
    keys = [set(zip(p.clips.tolist(), p.rows.tolist(), strict=True)) for p in (one, other)]
    if keys[0] != keys[1]:
        a, b = (f"{len(p.rows)} poses of {len(set(p.clips.tolist()))} clips" for p in (one, other))
        alone = [len(keys[0] - keys[1]), len(keys[1] - keys[0])]
        clip, row = min(keys[0] ^ keys[1], key=lambda key: key[1])
        raise refuse(
            f"{alone[0]} poses are in the first alone and {alone[1]} in the second alone (row {row}"
            f" of clip {clip} is the earliest); there are",
            a,
            b,
        )
    if not np.array_equal(one.rows, other.rows):
        at = int(np.flatnonzero(one.rows != other.rows)[0])
        raise refuse(f"order of the poses, at place {at}: row", one.rows[at], other.rows[at])
    if not np.array_equal(one.actions, other.actions):
        at = int(np.flatnonzero(one.actions != other.actions)[0])
        raise refuse(f"action of row {one.rows[at]}", one.actions[at], other.actions[at])
    off = np.abs(one.truth_mm - other.truth_mm).max(axis=1)
    if (off > _SAME_MM).any():
        at = int(np.argmax(off))
        worst = int(np.argmax(np.abs(one.truth_mm[at] - other.truth_mm[at])))
        raise refuse(
            f"truth of row {one.rows[at]} (joint {worst // 3}, {'xyz'[worst % 3]})",
            f"{one.truth_mm[at, worst]:.2f} mm",
            f"{other.truth_mm[at, worst]:.2f} mm",
        )


def _with_own_names(found: Sequence[tuple[str, Method]]) -> list[Method]:
    """Keep names that are unique; others get what tells their folders apart."""
    names = [method.name for _, method in found]
    methods = []
    for folder, method in found:
        name = method.name
        if names.count(name) > 1:
            alike = [f.removesuffix("/evaluation") for f, other in found if other.name == name]
            tails = dict(zip(alike, shortest_tails(alike), strict=True))
            name = f"{name} ({tails[folder.removesuffix('/evaluation')]})"
        methods.append(replace(method, name=name))
    return methods
