"""Sending rows through stages with Ray Data: plain functions in tasks, large models in actors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from diffpose.platform.base.errors import ConfigError
from diffpose.platform.execution.ray_session import cluster_gpus

Row: TypeAlias = dict[str, Any]
RowFunction: TypeAlias = Callable[[Row], Row]


@dataclass(frozen=True)
class ActorStage:
    """A stage in processes of its own, which keep what they load: for large models and GPUs."""

    stage: RowFunction
    actors: int
    gpus: float = 0.0


class _Actor:
    """What Ray starts for an ActorStage."""

    def __init__(self, stage: RowFunction) -> None:
        self.stage = stage

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return self.stage(row)


def run_stages(
    rows: Sequence[dict[str, Any]],
    stages: Sequence[RowFunction | ActorStage],
    workers: int | None,
) -> Iterator[dict[str, Any]]:
    """Send rows through stages in parallel, one row per task; results come as they finish.

    Neighbouring functions ask for the same resources, so Ray fuses them into one task per row and
    arrays never leave the process between them. An ActorStage runs apart from them; Ray Data holds
    decoding back while its actors are behind.
    """
    import ray.data

    dataset: ray.data.Dataset = ray.data.from_items(list(rows), override_num_blocks=len(rows))
    for stage in stages:
        if isinstance(stage, ActorStage):
            dataset = dataset.map(
                _Actor,  # type: ignore[arg-type]  # Ray takes classes, its stubs do not say so
                fn_constructor_args=(stage.stage,),
                compute=ray.data.ActorPoolStrategy(size=stage.actors),
                # not quite one CPU: equal requests would be fused with the tasks before them
                num_cpus=0.99,
                num_gpus=stage.gpus or None,
            )
            continue
        # one CPU: the stages are single-threaded by design (see ray_session.ONE_THREAD)
        dataset = dataset.map(stage, num_cpus=1, concurrency=workers)
    yield from dataset.iter_rows()


def actors_on_gpus(setting: str, share: float) -> int:
    """Return how many processes with this share of a GPU the cluster holds."""
    gpus = cluster_gpus()
    if gpus < share:
        raise ConfigError(
            f"{setting}={share:g} asks for more than the cluster's {gpus:g} GPUs. Leave it out to "
            "work on CPUs."
        )
    return int(gpus / share)
