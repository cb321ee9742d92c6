"""Sending records through stages with Ray Data: plain functions in tasks, large models in actors.

A record is any picklable object; a stage is a function from one record to the next. Neighbouring
functions become one task, so what they hand on stays in its process; between tasks and actors a
record travels as one column of bytes, whatever it holds.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from diffpose.platform.base.errors import ConfigError
from diffpose.platform.execution.ray_session import cluster_gpus

Stage: TypeAlias = Callable[[Any], Any]
_RECORD = "record"


@dataclass(frozen=True)
class ActorStage:
    """A stage in processes of its own, which keep what they load: for large models and GPUs."""

    stage: Stage
    actors: int
    gpus: float = 0.0


class _Actor:
    """What Ray starts for an ActorStage."""

    def __init__(self, stage: Stage) -> None:
        self.stage = _on_rows([stage])

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return self.stage(row)


def run_stages(
    records: Sequence[Any], stages: Sequence[Stage | ActorStage], workers: int | None
) -> Iterator[Any]:
    """Send records through stages in parallel, one per task; results come as they finish.

    An ActorStage runs apart from the functions before and after it; Ray Data holds these back while
    its actors are behind.
    """
    if not records:
        return
    import ray.data

    rows = [_packed(record) for record in records]
    dataset: ray.data.Dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    functions: list[Stage] = []
    for stage in [*stages, None]:
        if stage is not None and not isinstance(stage, ActorStage):
            functions.append(stage)
            continue
        if functions:
            # one CPU: the stages are single-threaded by design (see ray_session.ONE_THREAD)
            dataset = dataset.map(_on_rows(functions), num_cpus=1, concurrency=workers)
            functions = []
        if stage is not None:
            dataset = dataset.map(
                _Actor,  # type: ignore[arg-type]  # Ray takes classes, its stubs do not say so
                fn_constructor_args=(stage.stage,),
                compute=ray.data.ActorPoolStrategy(size=stage.actors),
                # not quite one CPU: equal requests would be fused with the tasks before them
                num_cpus=0.99,
                num_gpus=stage.gpus or None,
            )
    for row in dataset.iter_rows():
        yield pickle.loads(row[_RECORD])


def _packed(record: Any) -> dict[str, Any]:
    # Ray's pickler takes classes of the script that is run along: no worker could import them
    from ray import cloudpickle

    return {_RECORD: cloudpickle.dumps(record)}  # type: ignore[no-untyped-call]


def _on_rows(stages: Sequence[Stage]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the stages, one after another, as a function on Ray's rows, named after them."""
    chain = list(stages)

    def run(row: dict[str, Any]) -> dict[str, Any]:
        record = pickle.loads(row[_RECORD])
        for stage in chain:
            record = stage(record)
        return _packed(record)

    run.__name__ = run.__qualname__ = " -> ".join(map(_name, chain))
    return run


def _name(stage: Stage) -> str:
    function = getattr(stage, "func", stage)  # of a functools.partial
    return str(getattr(function, "__name__", type(function).__name__)).lstrip("_")


def actors_on_gpus(setting: str, share: float) -> int:
    """Return how many processes with this share of a GPU the cluster holds."""
    gpus = cluster_gpus()
    if gpus < share:
        raise ConfigError(
            f"{setting}={share:g} asks for more than the cluster's {gpus:g} GPUs. Leave it out to "
            "work on CPUs."
        )
    return int(gpus / share)
