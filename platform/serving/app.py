"""The application that Serve files name: ``diffpose.platform.serving.app:application``."""

from __future__ import annotations

from pydantic import Field
from ray import serve

from diffpose.platform.base.config import Settings, validate
from diffpose.platform.serving.deployment import build


class ServeArguments(Settings):
    """``args`` of the Serve configuration file."""

    run: str = Field(description="run directory that all nodes can read")
    replicas: int = Field(1, ge=1, description="model replicas, one CPU each")


def application(args: dict[str, object]) -> serve.Application:
    """Build the application from the file's ``args``."""
    arguments = validate(ServeArguments, args)
    return build(arguments.run, arguments.replicas)
