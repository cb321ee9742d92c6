"""The memory of a command and of all its offspring, over time."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil

_EVERY_S = 0.5


def memory_mb(pid: int) -> tuple[float, float]:
    """Return the memory of a process and of it with all its offspring, shared pages divided."""
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0.0, 0.0
    values = []
    for process in processes:
        try:
            values.append(process.memory_full_info().pss / 2**20)
        except psutil.Error:
            values.append(0.0)
    return values[0], sum(values)


class MemoryWatch:
    """Looks at a process and its offspring every half second within a block.

    Attributes:
        mb: what was seen, all of them together.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.mb: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self.mb.append(memory_mb(self.pid)[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
