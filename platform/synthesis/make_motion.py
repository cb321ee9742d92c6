"""A library of motion of our own, as BVH files."""

from __future__ import annotations

from pydantic import Field

from diffpose.platform.base.config import Settings
from diffpose.platform.base.progress import Progress
from diffpose.platform.base.storage import absolute
from diffpose.preprocessing.mocap.freestyle.library import FREE_KINDS, KIND_NAMES, write_library


class MakeMotionSettings(Settings):
    """Motion of our own, as a library of BVH files."""

    out: str = Field(description="folder of the files, local or any URI")
    kinds: list[str] = Field(
        list(FREE_KINDS), min_length=1, description=f"in turn, of {', '.join(KIND_NAMES)}"
    )
    files: int = Field(200, ge=1, description="how many; more extend fewer")
    seconds: float = Field(20.0, gt=0, description="length of each")
    fps: float = Field(30.0, gt=0, description="frames per second")
    seed: int = Field(0, ge=0, description="of everything")


def make_motion(settings: MakeMotionSettings) -> int:
    """Write the files; returns the exit status.

    Raises:
        ConfigError: a kind is unknown.
    """
    out = absolute(settings.out)
    progress = Progress("make-motion", settings.files, "files")
    for _ in write_library(
        out, settings.kinds, settings.files, settings.seconds, settings.fps, settings.seed
    ):
        progress.advance(1)
    print(f"{settings.files} motions of {settings.seconds:g} s in {out}")
    return 0
