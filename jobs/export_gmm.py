#!/usr/bin/env python
"""Write DiffPose's own mixture file (data_2d_..._gmm.npz) from any pose store.

diffpose export-gmm store=STORE out=data_2d_h36m_cpn_ft_h36m_dbb_gmm.npz
diffpose export-gmm store=STORE out=FILE n_kernels=3

The authors' code trains and tests on such a file; they link their own (three kernels with weights
1, 0, 0, says a user's thread), and never released the code that makes it. Format and units:
platform/store/gmm_file.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings
from diffpose.platform.base.errors import StoreError
from diffpose.platform.base.progress import Progress
from diffpose.platform.base.storage import absolute
from diffpose.platform.execution.ray_session import ray_session
from diffpose.platform.execution.ray_stages import run_stages
from diffpose.platform.store.clips import Clip
from diffpose.platform.store.gmm_file import clip_mixtures, write_gmm_file
from diffpose.platform.store.pose_store import PoseStore
from diffpose.preprocessing.datasets.human36m_cameras import CAMERAS


class ExportGmmSettings(Settings):
    """One 2D mixture per joint, frame and camera, in the authors' format."""

    store: str = Field(description="pose store with detections")
    out: str = Field(description="npz file to write")
    n_kernels: int = Field(5, ge=1, description="M; the paper has 5, the authors' file had 3")
    n_draws: int = Field(1000, ge=10, description="draws from each heatmap")
    seed: int = Field(0, ge=0, description="of the draws")
    workers: int | None = Field(None, ge=1, description="tasks at once; default: all CPUs")


def export_gmm(settings: ExportGmmSettings) -> None:
    """Fit, gather, write.

    Raises:
        StoreError: the store is empty, or a recording's cameras differ in length.
    """
    store_uri = absolute(settings.store)
    clips = PoseStore.open(store_uri).clips()
    if not clips:
        raise StoreError(f"The store at {settings.store!r} holds no finished clip.")
    progress = Progress("export-gmm", sum(clip.n_rows for clip in clips), "frames")

    def fit(clip: Clip) -> tuple[Clip, NDArray[np.float32]]:
        mixtures = clip_mixtures(
            PoseStore.open(store_uri), clip, settings.n_kernels, settings.n_draws, settings.seed
        )
        return clip, in_file_units(mixtures, clip)

    pieces: list[tuple[Clip, NDArray[np.float32]]] = []
    with ray_session(settings.workers):
        for clip, mixtures in run_stages(clips, [fit], settings.workers):
            pieces.append((clip, mixtures))
            progress.advance(clip.n_rows)
    views = gathered(pieces)
    write_gmm_file(absolute(settings.out), views)
    n_views = sum(len(cameras) for actions in views.values() for cameras in actions.values())
    print(f"{settings.out}: {len(views)} subjects, {n_views} views, M = {settings.n_kernels}")


def in_file_units(mixtures: NDArray[np.float32], clip: Clip) -> NDArray[np.float32]:
    """Return mixtures with u, v where the original image has them, s in screen units."""
    result = mixtures.copy()
    lens = next((camera.lens for camera in CAMERAS if camera.name == clip.camera), None)
    if lens is not None:  # the store has Human3.6M's points without their distortion
        rays = (mixtures[..., 1:3].astype(np.float64) - lens.centre_px) / lens.focal_px
        result[..., 1:3] = lens.bend(rays) * lens.focal_px + lens.centre_px
    result[..., 3:] *= 2.0 / clip.width
    return result


def gathered(
    pieces: Sequence[tuple[Clip, NDArray[np.float32]]],
) -> dict[str, dict[str, list[NDArray[np.float32]]]]:
    """Join the clips of a recording: subject -> action -> cameras in the order of their names.

    Raises:
        StoreError: the cameras of a recording differ in length.
    """
    found: dict[tuple[str, str], dict[str, list[tuple[int, Any]]]] = {}
    for clip, mixtures in pieces:
        _, _, name = clip.source.rpartition("/")
        camera = clip.camera if clip.track == 0 else f"{clip.camera}#{clip.track}"
        views = found.setdefault((clip.subject, name.rsplit(".", 1)[0]), {})
        views.setdefault(camera, []).append((clip.first_frame, mixtures))
    result: dict[str, dict[str, list[NDArray[np.float32]]]] = {}
    for (subject, action), views in sorted(found.items()):
        whole = [
            np.concatenate([part for _, part in sorted(views[camera], key=lambda piece: piece[0])])
            for camera in sorted(views)
        ]
        if len({len(view) for view in whole}) > 1:
            raise StoreError(
                f"{subject}/{action}: the cameras have {[len(view) for view in whole]} frames. "
                "Clips failed: run the same diffpose preprocess again."
            )
        result.setdefault(subject, {})[action] = whole
    return result


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(ExportGmmSettings, export_gmm, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
