"""Records through stages: whole, in order, in the processes that were asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from diffpose.platform.base.errors import ConfigError
from diffpose.platform.execution.ray_stages import ActorStage, actors_on_gpus, run_stages


@dataclass
class Sample:
    """A record of what Ray's own columns would not keep as it is."""

    number: int
    values: np.ndarray
    names: dict[int, str | None]
    processes: tuple[int, ...] = ()


def samples(n: int) -> list[Sample]:
    return [Sample(i, np.full((i, 3), i, np.float16), {i: None, -1: "x"}) for i in range(n)]


def visited(sample: Sample) -> Sample:
    sample.values += 1  # arrays can be written into, wherever they come from
    sample.processes += (os.getpid(),)
    return sample


def test_nothing_needs_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    assert list(run_stages([], [visited], 2)) == []


@pytest.mark.cluster
def test_records_come_back_whole(ray_local: None) -> None:
    found = sorted(run_stages(samples(5), [visited, visited], 2), key=lambda s: s.number)
    assert [s.number for s in found] == list(range(5))
    for sample, before in zip(found, samples(5), strict=True):
        assert sample.names == before.names
        assert sample.values.dtype == np.float16
        np.testing.assert_array_equal(sample.values, before.values + 2)
        first, second = sample.processes
        assert first == second != os.getpid()  # neighbours share a process


@pytest.mark.cluster
def test_actors_work_apart_and_keep_what_they_load(ray_local: None) -> None:
    stages = [visited, ActorStage(visited, 1), visited]
    found = list(run_stages(samples(4), stages, 1))
    assert sorted(s.number for s in found) == [0, 1, 2, 3]
    assert len({s.processes[1] for s in found}) == 1
    assert all(s.processes[0] != s.processes[1] != s.processes[2] for s in found)
    np.testing.assert_array_equal(max(found, key=lambda s: s.number).values, 3 + 3)


@pytest.mark.cluster
def test_a_stage_that_fails_says_why(ray_local: None) -> None:
    def broken(sample: Sample) -> Sample:
        raise ZeroDivisionError(f"sample {sample.number} is odd")

    with pytest.raises(Exception, match="sample 0 is odd"):
        list(run_stages(samples(1), [broken], 1))


@pytest.mark.cluster
def test_gpus_that_are_not_there_are_named(ray_local: None) -> None:
    with pytest.raises(ConfigError, match=r"some\.gpus=0\.5 asks for more than the cluster's 0"):
        actors_on_gpus("some.gpus", 0.5)


SCRIPT = """
from typing import NamedTuple
from diffpose.platform.execution.ray_session import ray_session
from diffpose.platform.execution.ray_stages import run_stages

class Pair(NamedTuple):
    a: int
    b: int

def swapped(pair):
    return Pair(pair.b, pair.a)

with ray_session(1):
    print(list(run_stages([Pair(1, 2)], [swapped], 1)))
"""


@pytest.mark.cluster
def test_classes_of_a_script_travel(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, check=False
    )
    assert "[Pair(a=2, b=1)]" in done.stdout, done.stderr
