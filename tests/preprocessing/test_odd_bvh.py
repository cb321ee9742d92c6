"""BVH files of other hands: rest poses, people who lie, units between two, names in Shift-JIS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.mocap.source import MocapSource, Motion, read_motion

# A rig of Mixamo's names in cm, y up, z forward: joint, parent, offset.
RIG: list[tuple[str, str, tuple[float, float, float]]] = [
    ("Hips", "", (0, 95, 0)),
    ("Spine", "Hips", (0, 12, 0)), ("Spine1", "Spine", (0, 14, 0)),
    ("Spine2", "Spine1", (0, 14, 0)), ("Neck", "Spine2", (0, 14, 0)), ("Head", "Neck", (0, 10, 2)),
    *[(f"{side}{joint}", f"{side}{parent}" if parent[0] != "*" else parent[1:], (s * x, y, z))
      for side, s in (("Left", 1), ("Right", -1))
      for joint, parent, (x, y, z) in (
          ("UpLeg", "*Hips", (10, -4, 0)), ("Leg", "UpLeg", (0, -43, 0)),
          ("Foot", "Leg", (0, -42, 0)), ("ToeBase", "Foot", (0, -6, 12)),
          ("Arm", "*Spine2", (18, 8, 0)),
          ("ForeArm", "Arm", (28, 0, 0)), ("Hand", "ForeArm", (25, 0, 0)),
      )],
]  # fmt: skip


def bvh(
    path: Path,
    *,
    z_up: bool = False,
    scale: float = 1.0,
    lying: bool = False,
    prefix: str = "",
    encoding: str = "utf-8",
) -> Path:
    """Two frames of the rig at rest; ``lying``: turned by 90 degrees about x at the hips."""

    def vector(v: tuple[float, float, float]) -> str:
        x, y, z = (scale * value for value in v)
        return f"{x:.6f} {-z:.6f} {y:.6f}" if z_up else f"{x:.6f} {y:.6f} {z:.6f}"

    def block(name: str, depth: int) -> list[str]:
        pad = "  " * depth
        (offset,) = (o for n, _, o in RIG if n == name)
        offset = (0, 0, 0) if depth == 0 else offset
        channels = "3 Zrotation Xrotation Yrotation"
        if depth == 0:
            channels = "6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
        lines = [f"{pad}{'JOINT' if depth else 'ROOT'} {prefix}{name}", f"{pad}{{"]
        lines += [f"{pad}  OFFSET {vector(offset)}", f"{pad}  CHANNELS {channels}"]
        children = [n for n, parent, _ in RIG if parent == name]
        for child in children:
            lines += block(child, depth + 1)
        if not children:
            lines += [f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET 0 0 0", f"{pad}  }}"]
        return [*lines, f"{pad}}}"]

    place = (0.0, 12.0, 0.0) if lying else RIG[0][2]
    turn = "0 90 0" if lying else "0 0 0"
    zeros = " ".join(["0 0 0"] * (len(RIG) - 1))
    frame = f"{vector(place)} {turn} {zeros}"
    text = ["HIERARCHY", *block("Hips", 0), "MOTION", "Frames: 2", "Frame Time: 0.1", frame, frame]
    path.write_bytes("\n".join(text).encode(encoding))
    return path


def read(path: Path, **changes: Any) -> Motion:
    return read_motion(validate(MocapSource, {"uri": str(path.parent), **changes}), path.name)


def joint(motion: Motion, name: str) -> np.ndarray:
    return motion.positions_m[0, JOINT_NAMES.index(name)]


def test_a_rest_pose_with_z_up_gives_the_same_head(tmp_path: Path) -> None:
    plain, turned = read(bvh(tmp_path / "y.bvh")), read(bvh(tmp_path / "z.bvh", z_up=True))
    np.testing.assert_allclose(turned.positions_m, plain.positions_m, atol=1e-6)
    assert joint(plain, "Head")[2] > joint(plain, "Nose")[2] > joint(plain, "Thorax")[2]
    assert joint(plain, "Nose")[1] < joint(plain, "Head")[1] - 0.03  # the face looks to -y


def test_who_lies_is_a_question(tmp_path: Path) -> None:
    path = bvh(tmp_path / "lying.bvh", lying=True)
    with pytest.raises(SourceError, match=r"y is up in the rest pose.*set source\.up"):
        read(path)
    motion = read(path, up="y")
    hip, head = joint(motion, "Hip"), joint(motion, "Head")
    assert abs(head[2] - hip[2]) < 0.15
    assert np.linalg.norm(head - hip) > 0.5
    with_z = read(path, up="z")  # whoever says so stands
    assert joint(with_z, "Head")[2] - joint(with_z, "Hip")[2] > 0.5


@pytest.mark.parametrize(("scale", "legs"), [(0.2558, "0.55 m"), (0.24, "0.52 m")])
def test_a_unit_between_two_is_a_question(tmp_path: Path, scale: float, legs: str) -> None:
    path = bvh(tmp_path / "between.bvh", scale=scale)
    with pytest.raises(SourceError, match=rf"inch: {legs}.*cmu.*set source\.unit"):
        read(path)
    assert joint(read(path, unit="inch"), "Head")[2] < joint(read(path, unit="cmu"), "Head")[2]


@pytest.mark.parametrize(
    ("scale", "unit"), [(1.0, "cm"), (0.01, "m"), (10.0, "mm"), (1 / 2.54, "inch"), (0.177, "cmu")]
)
def test_a_unit_that_makes_a_person_is_taken(tmp_path: Path, scale: float, unit: str) -> None:
    path = bvh(tmp_path / "a.bvh", scale=scale)
    np.testing.assert_allclose(read(path).positions_m, read(path, unit=unit).positions_m)


@pytest.mark.parametrize("encoding", ["cp932", "utf-8", "utf-8-sig"])
def test_names_in_other_encodings_stay_apart(tmp_path: Path, encoding: str) -> None:
    """A prefix that all names have, whatever its letters, is passed over."""
    named = read(bvh(tmp_path / "a.bvh", prefix="骨:", encoding=encoding))
    plain = read(bvh(tmp_path / "b.bvh"))
    np.testing.assert_allclose(named.positions_m, plain.positions_m)
