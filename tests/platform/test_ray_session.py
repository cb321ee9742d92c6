"""A local session whose start takes Ray too long is started again; nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from diffpose.platform.execution.ray_session import one_session, ray_session

SLOW = "The current node timed out during startup. This could happen because ..."


class Starts:
    """Stands before ray.init: fails with the texts given, then succeeds without starting Ray."""

    def __init__(self, *failures: str) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self, **_: Any) -> None:
        self.calls += 1
        if self.failures:
            raise Exception(self.failures.pop(0))


@pytest.fixture
def not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)


@pytest.mark.parametrize(
    ("address", "failures", "calls", "error"),
    [
        ("local", [], 1, None),
        ("local", [SLOW, SLOW], 3, None),
        ("local", [SLOW, SLOW, SLOW], 3, "timed out during startup"),
        ("local", ["no space left on device"], 1, "no space left"),
        ("10.0.0.1:6379", [SLOW], 1, "timed out during startup"),  # a cluster's start is not ours
    ],
)
def test_slow_starts(
    not_started: None,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    failures: list[str],
    calls: int,
    error: str | None,
) -> None:
    starts = Starts(*failures)
    monkeypatch.setattr(ray, "init", starts)
    monkeypatch.setenv("RAY_ADDRESS", address)
    if error is None:
        with ray_session(1):
            pass
    else:
        with pytest.raises(Exception, match=error), ray_session(1):
            pass
    assert starts.calls == calls


class Sessions:
    """Stands before Ray: what is started and ended, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.running = False
        monkeypatch.setattr(ray, "init", self.start)
        monkeypatch.setattr(ray, "shutdown", self.end)
        monkeypatch.setattr(ray, "is_initialized", lambda: self.running)
        monkeypatch.setenv("RAY_ADDRESS", "local")

    def start(self, **given: Any) -> None:
        self.running = True
        self.events.append(f"start {given['num_cpus']}")

    def end(self) -> None:
        self.running = False
        self.events.append("end")


def test_stages_in_one_session_start_ray_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(monkeypatch)
    with one_session(), one_session():
        for _ in range(3):
            with ray_session(2), ray_session(2):
                assert sessions.running
        assert sessions.running
    assert sessions.events == ["start 2", "end"]
    with ray_session(2):  # nothing is kept afterwards
        pass
    assert sessions.events == ["start 2", "end", "start 2", "end"]


def test_one_session_starts_nothing_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(monkeypatch)
    with one_session():
        pass
    assert sessions.events == []
    with ray_session(4), one_session(), ray_session(1):  # somebody's session stays as it is
        pass
    assert sessions.events == ["start 4", "end"]


def test_other_cpus_are_another_session(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(monkeypatch)
    with one_session():
        with ray_session(1), ray_session(3):  # not while it is used
            assert sessions.events == ["start 1"]
        with ray_session(3):
            pass
    assert sessions.events == ["start 1", "end", "start 3", "end"]


def test_a_stage_that_fails_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(monkeypatch)
    with pytest.raises(ValueError, match="a stage"), one_session(), ray_session(1):
        raise ValueError("a stage")
    assert sessions.events == ["start 1", "end"]
