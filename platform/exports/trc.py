"""TRC, the marker files of OpenSim: tab-separated text, mm, y up.

Layout after OpenSim's documentation ("Marker (.trc) Files"): three lines of header, two of marker
names and axes, an empty one, then a row per frame. There is no place for remarks: what the axes are
stands in the .json beside it. Markers are Human3.6M's joints by their names: centres of joints,
not points on the skin, so OpenSim's marker set has to place them there.
"""

from __future__ import annotations

from diffpose.model.geometry.skeleton import JOINT_NAMES, N_JOINTS
from diffpose.platform.exports.motion import Motion


def trc(motion: Motion, file_name: str) -> bytes:
    """Return the file's content.

    Args:
        motion: one person.
        file_name: what it will be called; stands in its first line.
    """
    frames = len(motion.positions_mm)
    rate = f"{motion.fps:.6g}"
    names = ("DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units", "OrigDataRate",
             "OrigDataStartFrame", "OrigNumFrames")  # fmt: skip
    values = (rate, rate, str(frames), str(N_JOINTS), "mm", rate, "1", str(frames))
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{file_name}",
        "\t".join(names),
        "\t".join(values),
        "Frame#\tTime\t" + "\t".join(f"{name}\t\t" for name in JOINT_NAMES).rstrip("\t"),
        "\t\t" + "\t".join(f"X{i}\tY{i}\tZ{i}" for i in range(1, N_JOINTS + 1)),
        "",
    ]
    for number, (time_s, points) in enumerate(
        zip(motion.time_s - motion.time_s[0], motion.positions_mm, strict=True), 1
    ):
        row = "\t".join(f"{value:.3f}" for value in points.ravel())
        lines.append(f"{number}\t{time_s:.6f}\t{row}")
    return ("\n".join(lines) + "\n").encode("ascii")
