#!/usr/bin/env python
r"""Sidecars for Human3.6M's own videos, so that any detector can look at them.

diffpose human36m-videos videos=FOLDER poses=FOLDER_OF_NPZ
diffpose preprocess --config configs/preprocess/videos.yaml store=STORE \
                    source.uri='FOLDER/S*/Videos/[!_]*.mp4'

Writes NAME.json and NAME.truth.npz beside every S1/Videos/NAME.mp4: subject, action, camera, split,
intrinsics, distortion, true poses (of data_3d_h36m.npz in poses=).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pydantic import Field

from diffpose.platform.base import command_line
from diffpose.platform.base.config import Settings
from diffpose.platform.base.storage import absolute
from diffpose.preprocessing.datasets.human36m_videos import write_sidecars


class Human36mVideosSettings(Settings):
    """Sidecars for the official videos, S1/Videos .. S11/Videos."""

    videos: str = Field(description="folder with S1 .. S11; sidecars are written into it")
    poses: str = Field(description="folder with data_3d_h36m.npz")
    validation_share: float = Field(0.1, ge=0, lt=1, description="of the training recordings")
    seed: int = Field(0, ge=0, description="of the choice of validation recordings")


def human36m_videos(settings: Human36mVideosSettings) -> None:
    """Write them and say what was passed over."""
    done = write_sidecars(
        absolute(settings.videos),
        absolute(settings.poses),
        settings.validation_share,
        settings.seed,
    )
    print(f"{len(done.with_truth)} videos with true poses, {len(done.without_truth)} without")
    for name in done.without_truth:
        print(f"  without: {name}")
    for name, reason in done.passed_over.items():
        print(f"  passed over: {name}: {reason}")
    print(f"next: source.uri='{settings.videos.rstrip('/')}/S*/Videos/[!_]*.mp4'")


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    return command_line.run(Human36mVideosSettings, human36m_videos, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
