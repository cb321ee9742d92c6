"""C3D, the binary marker files of motion capture, written by ezc3d (Michaud and Begon, JOSS 2021).

mm, y up, markers by the names of Human3.6M's joints. The residual, which capture systems fill with
how well their cameras agreed, holds our standard deviation in mm, in 255 steps up to the largest.
What was not seen has a large one and is kept: C3D's negative residual would drop the place.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.platform.base.errors import ConfigError
from diffpose.platform.exports.motion import Motion

_STEPS = 255  # the file keeps a residual in one byte, times a scale


def c3d(motion: Motion) -> bytes:
    """Return the file's content.

    Raises:
        ConfigError: ezc3d is not installed.
    """
    try:
        import ezc3d
    except ImportError as error:
        raise ConfigError(
            f"C3D needs the extra [export] ({error}): pip install 'diffpose-at-scale[export]'. "
            "TRC holds the same without."
        ) from None
    frames = len(motion.positions_mm)
    scale = max(float(motion.std_mm.max()) / _STEPS, 1e-3)
    file = ezc3d.c3d()
    point = file["parameters"]["POINT"]
    point["RATE"]["value"] = [float(motion.fps)]
    point["UNITS"]["value"] = ["mm"]
    point["LABELS"]["value"] = list(JOINT_NAMES)
    point["SCALE"]["value"] = [-scale]  # negative: places are floating-point numbers
    file.add_parameter("POINT", "X_SCREEN", "+X")
    file.add_parameter("POINT", "Y_SCREEN", "+Y")
    file.add_parameter("MANUFACTURER", "SOFTWARE", "DiffPose at scale")
    file.add_parameter("DIFFPOSE", "FRAME_OF_REFERENCE", motion.frame_of_reference)
    file.add_parameter("DIFFPOSE", "RESIDUAL", "standard deviation of the joint's error, mm")
    points = np.ones((4, len(JOINT_NAMES), frames))
    points[:3] = motion.positions_mm.transpose(2, 1, 0)
    file["data"]["points"] = points
    file["data"]["meta_points"]["residuals"] = motion.std_mm.T[None]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "motion.c3d"
        file.write(str(path))
        return path.read_bytes()
