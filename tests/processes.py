"""Running the command line as a user does, and finding, killing and cleaning up its processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import zarr

_MARK = "DIFFPOSE_TEST_PROCESS"
DIFFPOSE = [sys.executable, "-m", "diffpose.jobs.main"]


class Command:
    """A diffpose command in its own processes, all of which end with the test."""

    def __init__(self, arguments: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.mark = uuid.uuid4().hex
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                arguments,
                env={**os.environ, "RAY_ADDRESS": "local", **(env or {}), _MARK: self.mark},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, timeout_s: float = 480) -> int:
        """Return the exit status."""
        return self.process.wait(timeout=timeout_s)

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 300) -> None:
        """Wait for a condition while the command runs; fail with its output otherwise."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, f"ended too early:\n{self.output()}"
            assert time.monotonic() < end, f"timed out:\n{self.output()}"
            time.sleep(0.02)

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Return the living processes of this command whose title contains ``name``."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) != self.mark:
                    continue
                if name in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill_driver(self) -> None:
        """SIGKILL the command itself, then what is left of its Ray session."""
        self.process.kill()
        self.process.wait()
        self.clean_up()

    def clean_up(self) -> None:
        """End every process of the command."""
        for _ in range(3):  # the raylet may start a worker while we look
            for process in self.processes():
                try:
                    process.kill()
                except psutil.Error:
                    continue
            time.sleep(0.1)

    def output(self) -> str:
        """Return what the command printed."""
        return self.log.read_text(errors="replace")


def run_command(
    arguments: list[str], log: Path, env: dict[str, str] | None = None, timeout_s: float = 480
) -> tuple[int, str]:
    """Run a command to its end; returns exit status and output."""
    command = Command(arguments, log, env)
    try:
        return command.wait(timeout_s), command.output()
    finally:
        command.clean_up()


def assert_equal_stores(one: str, other: str) -> None:
    """Compare two stores array by array, bit by bit.

    Contexts, and mixtures named after an encoder, that training added to one of them are left out.
    """
    a, b = zarr.open_group(one, mode="r"), zarr.open_group(other, mode="r")
    names = _array_names(a)
    assert names == _array_names(b)
    assert "pose_3d" in names
    for name in names:
        left, right = np.asarray(a[name][...]), np.asarray(b[name][...])
        np.testing.assert_array_equal(left, right, err_msg=name)


def _array_names(group: zarr.Group) -> list[str]:
    return sorted(
        path
        for path, node in group.members(max_depth=None)
        if isinstance(node, zarr.Array) and not path.startswith(("mixtures/encoder-", "contexts/"))
    )
