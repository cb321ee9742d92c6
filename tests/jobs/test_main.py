"""The diffpose command itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from diffpose.jobs import main
from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings
from diffpose.platform.base.errors import StoreError

ROOT = Path(__file__).resolve().parents[2]


class Nothing(Settings):
    """A job of one setting."""

    number: int = 1


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 0, ["usage:", "preprocess", "serve"]),
        (["--help"], 0, ["usage:"]),
        (["help"], 0, ["usage:"]),
        (["--version"], 0, ["diffpose 0."]),
        (["help", "serve"], 0, ["shipped://frames", "port"]),
        (["evaluete"], 2, ["unknown job 'evaluete'", "Did you mean 'evaluate'?"]),
        (["zzz"], 2, ["Jobs:", "train"]),
        (["preprocess"], 2, ["'source' is required", "'store' is required"]),
        (["preprocess", "stroe=x"], 2, ["Unknown setting 'stroe'", "Did you mean 'store'?"]),
        (["train", "store=s", "run=r", "workers=two"], 2, ["workers='two'", "integer"]),
        (["serve", "--help"], 0, ["run", "shipped://frames", "port"]),
    ],
)
def test_command(
    arguments: list[str],
    status: int,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["diffpose", *arguments])
    try:
        found = main.main()
    except SystemExit as leaving:
        found = int(str(leaving.code))
    assert found == status
    printed = capsys.readouterr()
    for word in words:
        assert word in printed.out + printed.err


@pytest.mark.parametrize("job", sorted(main.JOBS))
def test_jobs_run_as_scripts(job: str) -> None:
    """``python jobs/JOB.py``: a job's folder comes first on its path."""
    done = subprocess.run(
        [sys.executable, f"jobs/{main.file_of(job)}.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Settings (key=value" in done.stdout


def test_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    def wrong(_: Nothing) -> int:
        raise StoreError("the store is upside down; turn it over")

    def interrupted(_: Nothing) -> int:
        raise KeyboardInterrupt

    def broken(_: Nothing) -> int:
        raise ZeroDivisionError

    assert command_line.run(Nothing, lambda _: None, []) == 0
    assert command_line.run(Nothing, lambda settings: settings.number, ["number=3"]) == 3
    assert command_line.run(Nothing, wrong, []) == 2
    assert "error: the store is upside down; turn it over" in capsys.readouterr().err
    assert command_line.run(Nothing, interrupted, []) == 130
    with pytest.raises(ZeroDivisionError):  # a defect of ours keeps its traceback
        command_line.run(Nothing, broken, [])
