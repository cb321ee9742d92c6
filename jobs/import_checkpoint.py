#!/usr/bin/env python
"""Make a run directory of the networks that DiffPose's authors released.

diffpose import-checkpoint context=gcn_xyz_cpn.pth denoiser=diffpose_uvxyz_cpn.pth run=RUN
diffpose import-checkpoint context=mixste_cpn_243f.bin denoiser=diffpose_video_uvxyz_cpn.pth run=RUN

The run then answers diffpose evaluate, predict and serve with the authors' own schedule, sampler
and inputs (model/released/official_lifter.py). Files are read without running any code in them.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from typing import Literal, TypeAlias

from pydantic import Field

from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings
from diffpose.platform.base.errors import ConfigError, RunError
from diffpose.platform.base.storage import absolute, exists, join, read_bytes
from diffpose.preprocessing.datasets.human36m_cameras import CAMERAS

Weights: TypeAlias = Literal["plain", "ema"]


class ImportSettings(Settings):
    """Make a run directory of released checkpoints."""

    context: str = Field(description="GCNpose or GraFormer (.pth), or MixSTE (.bin)")
    denoiser: str = Field(description="GCNdiff (.pth)")
    run: str = Field(description="run directory to make")
    weights: Weights = Field(
        "plain",
        description="of the denoiser: plain, as the authors' evaluation takes them, or ema, the "
        "averaged ones at the end of the file",
    )
    context_weights: Weights = Field("plain", description="of the context encoder, in the same way")
    visited: list[int] | None = Field(
        None,
        description="steps as the authors count them, rising. Default by what the files' names "
        "say of the keypoints: _gt (true ones) [0, 6]; _cpn (detected) [0, 12] for frames, [0] for "
        "MixSTE",
    )
    n_steps: int = Field(51, ge=1, description="T of the schedule")
    first_beta: float = Field(1e-4, gt=0, lt=1, description="beta of the first step")
    last_beta: float = Field(1e-3, gt=0, lt=1, description="beta of the last step")
    context_heads: int | None = Field(None, ge=1, description="default: 4, for MixSTE 8")
    denoiser_heads: int | None = Field(None, ge=1, description="default: 4")


def visited_by_name(settings: ImportSettings, *, of_windows: bool) -> list[int]:
    """Return the steps of the authors' settings for the keypoints that the files' names tell.

    The wrong ones move joints by millimetres, and nothing in the files says which are right.

    Raises:
        ConfigError: the names tell nothing, or contradict each other.
    """
    names = [uri.rstrip("/").rpartition("/")[2] for uri in (settings.denoiser, settings.context)]
    said = {kind for name in names for kind in re.split(r"[^a-z0-9]+", name.lower())}
    kinds = said & {"gt", "cpn"}
    if kinds == {"gt"}:
        return [0, 6]
    if kinds == {"cpn"}:
        return [0] if of_windows else [0, 12]
    detected = "[0]" if of_windows else "[0,12]"
    what = "contradict each other" if kinds else "do not say"
    raise ConfigError(
        f"The names {names[0]!r} and {names[1]!r} {what} whether the networks are for detected "
        f"keypoints (_cpn) or true ones (_gt), which take other steps. Give visited={detected} for "
        "detected or visited=[0,6] for true keypoints."
    )


def import_checkpoint(settings: ImportSettings) -> None:
    """Read, convert, write.

    Raises:
        RunError: a file is none of these checkpoints, or there is a run already.
        ConfigError: the steps do not fit the schedule, or nobody says which they are.
    """
    from pydantic import ValidationError

    from diffpose.model.networks.mixste import Mixste
    from diffpose.model.released.official_lifter import OfficialCamera, OfficialProcess
    from diffpose.platform.runs.model_files import CONFIG
    from diffpose.platform.runs.official_checkpoint import read_context, read_denoiser
    from diffpose.platform.runs.official_run import load_official, save_official

    run = absolute(settings.run)
    for part in ("encoder", "denoiser"):
        if exists(join(run, part, CONFIG)):
            raise RunError(f"{settings.run!r} holds a run already; give another run=.")
    context = read_context(
        absolute(settings.context), settings.context_weights, settings.context_heads
    )
    denoiser = read_denoiser(
        absolute(settings.denoiser), settings.weights, settings.denoiser_heads, settings.n_steps
    )
    of_windows = isinstance(context, Mixste)
    visited = settings.visited or visited_by_name(settings, of_windows=of_windows)
    try:
        process = OfficialProcess(
            n_steps=settings.n_steps,
            first_beta=settings.first_beta,
            last_beta=settings.last_beta,
            visited=tuple(step + 1 for step in reversed(visited)),
            mirror_context=of_windows,
            context_root=not of_windows,
            cameras=tuple(
                OfficialCamera(
                    name=camera.name, width=camera.width, height=camera.height,
                    focal_px=camera.lens.focal_px, centre_px=camera.lens.centre_px,
                    radial=camera.lens.radial, tangential=camera.lens.tangential,
                )
                for camera in CAMERAS
            ),
        )  # fmt: skip
    except ValidationError as error:
        raise ConfigError(f"visited={visited} does not fit: {error.errors()[0]['msg']}.") from None
    origin = {
        "context": _origin(settings.context, settings.context_weights),
        "denoiser": _origin(settings.denoiser, settings.weights),
    }
    save_official(run, context, denoiser, process, origin)
    load_official(run)  # what was written can be used
    for name, network in (("context", context), ("denoiser", denoiser)):
        count = sum(parameter.numel() for parameter in network.parameters())
        print(f"{name}: {origin[name]['file']}, {count} parameters")
    print(f"{settings.run}: try diffpose evaluate run={settings.run} store=STORE")


def _origin(uri: str, weights: str) -> dict[str, str]:
    digest = hashlib.sha256(read_bytes(absolute(uri))).hexdigest()
    return {"file": uri.rsplit("/", 1)[-1], "sha256": digest, "weights": weights}


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(ImportSettings, import_checkpoint, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
