"""``ray job submit --working-dir .`` against a head with token authentication."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

import pytest
from processes import Command, assert_equal_stores, run_command

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_submitted_preprocess(motion_folder: Path, small_store: str, tmp_path: Path) -> None:
    dashboard = free_port()
    # Ray's socket paths must stay short, and its heads are looked up by temporary folder.
    ray_tmp = tempfile.mkdtemp(prefix="dp")
    env = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "a-token-for-this-test-only-0123456789",
        "RAY_TMPDIR": ray_tmp,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "RAY_ADDRESS": "",
    }
    head = Command(
        [
            str(BIN / "ray"),
            "start",
            "--head",
            "--block",
            "--num-cpus=2",
            f"--port={free_port()}",
            f"--dashboard-port={dashboard}",
            # not the default: another session on this machine may hold it
            f"--dashboard-agent-listen-port={free_port()}",
            "--disable-usage-stats",
        ],
        tmp_path / "head.log",
        env,
    )
    try:
        head.wait_until(lambda: "Ray runtime started" in head.output())
        submit = [
            str(BIN / "ray"),
            "job",
            "submit",
            f"--address=http://127.0.0.1:{dashboard}",
            f"--working-dir={ROOT}",
            "--",
            "python",
            "jobs/preprocess.py",
            "--config",
            "configs/preprocess/mocap.yaml",
            f"source.uri={motion_folder}",
            "cameras.count=2",
            "mixture.spec.n_kernels=3",
            "mixture.spec.n_draws=100",
            f"store={tmp_path / 'store'}",
        ]
        for attempt in range(20):  # the head says that it runs before its job agent does
            status, output = run_command(submit, tmp_path / f"submit_{attempt}.log", env)
            if "No available agent" not in output:
                break
            time.sleep(3)
        assert status == 0, output + head.output()
        assert "succeeded" in output
        refused, output = run_command(
            submit, tmp_path / "refused.log", {**env, "RAY_AUTH_TOKEN": "another-token-0123456789"}
        )
        assert refused != 0
    finally:
        head.clean_up()
        shutil.rmtree(ray_tmp, ignore_errors=True)
    assert_equal_stores(small_store, str(tmp_path / "store"))
