"""Progress of long work: one line that moves on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time


class Progress:
    """Counts finished work and says how much is left."""

    def __init__(self, what: str, total: int, unit: str, already: int = 0) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, already
        self._started_with = already
        self._start = time.monotonic()
        self._last_print = float("-inf")
        self._live = sys.stderr.isatty()

    def advance(self, amount: int) -> None:
        """Count ``amount`` more units and print, at most every 5 seconds where this is a log."""
        self.done += amount
        now = time.monotonic()
        if not self._live and now - self._last_print < 5.0 and self.done < self.total:
            return
        self._last_print = now
        rate = (self.done - self._started_with) / max(now - self._start, 1e-9)
        left_s = (self.total - self.done) / rate if rate > 0 else float("inf")
        left = f", {left_s:.0f} s left" if 0 < left_s < float("inf") else ""
        line = f"{self.what}: {self.done}/{self.total} {self.unit}, {rate:.1f}/s{left}"
        end = "\n" if not self._live or self.done >= self.total else ""
        sys.stderr.write(("\r\x1b[K" if self._live else "") + line + end)
        sys.stderr.flush()
