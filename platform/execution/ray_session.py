"""Starting or joining Ray, with the settings that every job of ours needs."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

# scikit-learn and BLAS get 6 to 40 times slower when several tasks each start a thread per core.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}

# Ray gives a local session 30 s to start, which no setting changes: a busy machine needs more.
_TOO_SLOW = "timed out during startup"
_LOCAL_STARTS = 3


@dataclass
class _Kept:
    """A session that outlives the block that opened it; see one_session.

    Attributes:
        cpus: that it was started with.
        open_blocks: ray_session blocks that use it now.
        started: by us, and not ended yet.
    """

    cpus: int | None = None
    open_blocks: int = 0
    started: bool = False


_kept: _Kept | None = None


@contextlib.contextmanager
def one_session() -> Iterator[None]:
    """Let the sessions that are opened inside be one: the first starts Ray, this block ends it.

    Ray and its workers take many seconds to start, and work in stages would start them for each. A
    local session that is to have another number of CPUs than the one before is started anew; where
    nothing opens one, nothing is started.
    """
    global _kept  # noqa: PLW0603  # Ray itself is one per process
    if _kept is not None:
        yield
        return
    _kept = _Kept()
    try:
        yield
    finally:
        started, _kept = _kept.started, None
        if started:
            import ray

            ray.shutdown()


@contextlib.contextmanager
def ray_session(cpus: int | None = None) -> Iterator[None]:
    """Join the cluster that RAY_ADDRESS names (a submitted job's does), else start a local one.

    A session started here is ended here, or at the end of one_session; a cluster that was joined,
    or a session that the caller had already opened, stays as it was.

    Args:
        cpus: CPUs of a local session; default all. Ignored on a cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    address = os.environ.get("RAY_ADDRESS")
    local = address in (None, "", "local")
    kept = _kept
    if kept is not None and kept.started and ray.is_initialized():
        if local and kept.cpus != cpus and not kept.open_blocks:
            ray.shutdown()
            kept.started = False
    elif ray.is_initialized():
        yield
        return
    if kept is None or not kept.started:
        _start(cpus if local else None, "local" if local else address)
    if kept is None:
        try:
            yield
        finally:
            ray.shutdown()
        return
    if not kept.started:
        kept.started, kept.cpus = True, cpus
    kept.open_blocks += 1
    try:
        yield
    finally:
        kept.open_blocks -= 1


def _start(cpus: int | None, address: str | None) -> None:
    """Start a local session, or join the cluster at an address."""
    import ray

    local = address == "local"
    for attempt in range(_LOCAL_STARTS):
        try:
            ray.init(
                address=address,
                num_cpus=cpus,
                include_dashboard=False if local else None,
                runtime_env={"env_vars": ONE_THREAD},
                log_to_driver=False,  # jobs print what their workers report
                logging_level=logging.ERROR,
            )
            break
        except Exception as error:  # Ray has no class of its own for it
            again = local and _TOO_SLOW in str(error) and attempt + 1 < _LOCAL_STARTS
            if not again:
                raise
            ray.shutdown()
    _quieten_data()


def cluster_cpus() -> int:
    """Return the CPUs of the connected cluster."""
    import ray

    return int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]


def cluster_gpus() -> float:
    """Return the GPUs of the connected cluster."""
    import ray

    return float(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]


def _quieten_data() -> None:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
