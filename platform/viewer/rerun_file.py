"""Answers as a recording for the Rerun viewer (rerun.io): an .rrd file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffpose.model.geometry.skeleton import EDGES, JOINT_NAMES
from diffpose.platform.answers.answer import Answer
from diffpose.platform.base.errors import ConfigError
from diffpose.platform.base.storage import write_bytes
from diffpose.platform.viewer.drawing import colour_of
from diffpose.platform.viewer.geometry import scene_of


def rerun_recording(answers: Sequence[Answer], out: str) -> None:
    """Write the people of one film as an .rrd file.

    Entities: scene/person_N/joints and bones (metres, z up), camera/person_N/keypoints (px),
    std_mm/person_N/JOINT (scalars); timelines "time" (seconds) and "frame".

    Args:
        answers: of one film, at least one.
        out: URI of the file.

    Raises:
        ConfigError: rerun-sdk is not installed.
    """
    try:
        import rerun as rr
    except ImportError:
        raise ConfigError(
            "A recording for Rerun needs rerun-sdk, which is not installed: "
            "pip install 'diffpose-at-scale[viewer]'."
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.rrd"
        recording = rr.RecordingStream("diffpose")
        recording.save(path)
        recording.log("scene", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        frame = scene_of(answers).frame
        for index, answer in enumerate(answers):
            points_m = frame.points_mm(answer.positions_mm) / 1000.0
            colours = [colour_of(index, len(answers), j) for j in range(len(JOINT_NAMES))]
            for row in range(len(answer)):
                _log_row(rr, recording, answer, row, points_m[row], colours)
        recording.flush()
        recording.disconnect()
        write_bytes(out, path.read_bytes())


def _log_row(
    rr: Any,
    recording: Any,
    answer: Answer,
    row: int,
    points_m: np.ndarray[Any, Any],
    colours: list[tuple[int, int, int]],
) -> None:
    recording.set_time("time", duration=float(answer.timestamp_s[row]))
    recording.set_time("frame", sequence=int(answer.frame[row]))
    who = f"person_{answer.person}"
    joints = rr.Points3D(
        points_m, colors=colours, radii=0.02, labels=JOINT_NAMES, show_labels=False
    )
    recording.log(f"scene/{who}/joints", joints)
    bones = [points_m[list(edge)] for edge in EDGES]
    bone_colours = [colours[child] for _, child in EDGES]
    recording.log(f"scene/{who}/bones", rr.LineStrips3D(bones, colors=bone_colours, radii=0.012))
    seen = np.asarray(answer.seen[row], dtype=bool)
    kept = [colour for colour, there in zip(colours, seen, strict=True) if there]
    keypoints = rr.Points2D(answer.keypoints_px[row][seen], colors=kept, radii=4.0)
    recording.log(f"camera/{who}/keypoints", keypoints)
    for joint, name in enumerate(JOINT_NAMES):
        recording.log(f"std_mm/{who}/{name}", rr.Scalars(float(answer.std_mm[row, joint])))
