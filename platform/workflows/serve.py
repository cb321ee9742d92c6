"""Serve a run over HTTP within a block, or until a signal."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Iterator

from pydantic import Field

from diffpose.platform.base.config import Settings
from diffpose.platform.base.errors import ConfigError, RunError
from diffpose.platform.base.storage import absolute
from diffpose.platform.execution.ray_session import ray_session
from diffpose.platform.runs.load import load_to_sample


class ServeSettings(Settings):
    """Serve a run over HTTP."""

    run: str = Field(
        "shipped://frames",
        description="run directory; default: the one that comes along (docs/shipped-runs.md)",
    )
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    replicas: int = Field(1, ge=1, description="model replicas, one CPU each")


@contextlib.contextmanager
def serving(settings: ServeSettings) -> Iterator[str]:
    """Serve within a block; yields the base URL once the model answers.

    Raises:
        RunError: the run has no trained model, or Ray Serve is not installed.
    """
    run = absolute(settings.run)
    load_to_sample(run, {})  # says what is wrong before anything is started
    _check_port(settings)
    with ray_session():
        try:
            from ray import serve

            from diffpose.platform.serving.deployment import build
        except ImportError as error:
            raise RunError(
                f"Serving needs the extra packages of [serve] ({error}): "
                "pip install 'diffpose-at-scale[serve]'."
            ) from None
        # At least one CPU per replica; Serve waits forever for CPUs that are not there.
        serve.start(
            http_options={"host": settings.host, "port": settings.port},
            logging_config={"log_level": "WARNING"},
        )
        logging.getLogger("ray.serve").setLevel(logging.WARNING)  # serve.start sets it to INFO
        serve.run(build(run, settings.replicas), name="diffpose", route_prefix="/")
        try:
            yield f"http://{settings.host}:{settings.port}"
        finally:
            # Ours alone: a cluster that was joined may serve other applications.
            serve.delete("diffpose")


def _check_port(settings: ServeSettings) -> None:
    """Serve's proxy shares ports; a second service would get some of the first one's requests."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise ConfigError(
                f"Cannot listen on {settings.host}:{settings.port} ({error.strerror}). Give "
                "another port= or end the program that uses this one."
            ) from None


def run_service(settings: ServeSettings) -> None:
    """Serve until SIGINT or SIGTERM."""
    over = threading.Event()
    with serving(settings) as url:
        # only now: ray.init sets handlers of its own
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: over.set())
        print(f"serving {settings.run} at {url}; {url}/docs describes it; Ctrl-C ends", flush=True)
        over.wait()
    print("ended", flush=True)
