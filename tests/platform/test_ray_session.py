"""A local session whose start takes Ray too long is started again; nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from diffpose.platform.execution.ray_session import ray_session

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
