from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.mocap.bvh import forward_kinematics, parse_bvh, write_bvh

# Inside the checkout or beside it.
MOCAP = next(
    (
        folder / "shared" / "mocap"
        for folder in Path(__file__).resolve().parents[2:4]
        if (folder / "shared" / "mocap").is_dir()
    ),
    Path("absent"),
)

CHAIN = """HIERARCHY
ROOT A
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition %(order)s
  JOINT B
  {
    OFFSET 2 0 0
    CHANNELS 3 %(order)s
    JOINT C
    {
      OFFSET 0 3 0
      CHANNELS 0
      End Site
      {
        OFFSET 0 0 0.5
      }
    }
  }
}
MOTION
Frames: 1
Frame Time: 0.0333333
%(values)s
"""
ZXY = "Zrotation Xrotation Yrotation"
XYZ = "Xrotation Yrotation Zrotation"


def chain(order: str, values: str) -> str:
    return CHAIN % {"order": order, "values": values}


def places(text: str) -> list[list[float]]:
    positions, _ = forward_kinematics(parse_bvh(text, "hand.bvh"))
    return np.round(positions[0], 9).tolist()


def test_rest_pose_is_the_sum_of_offsets() -> None:
    assert places(chain(ZXY, "1 2 3 0 0 0 0 0 0")) == [[1, 2, 3], [3, 2, 3], [3, 5, 3]]


def test_single_right_angle_turns() -> None:
    # z: x -> y, y -> -x.  x: y -> z.  y: x -> -z.
    assert places(chain(ZXY, "0 0 0 90 0 0 0 0 0")) == [[0, 0, 0], [0, 2, 0], [-3, 2, 0]]
    assert places(chain(ZXY, "0 0 0 0 90 0 0 0 0")) == [[0, 0, 0], [2, 0, 0], [2, 0, 3]]
    assert places(chain(ZXY, "0 0 0 0 0 90 0 0 0")) == [[0, 0, 0], [0, 0, -2], [0, 3, -2]]


def test_order_of_channels_is_the_order_of_intrinsic_turns() -> None:
    # Rz Rx Ry on x: y takes it to -z, x to y, z to -x; on y: y keeps, x to z, z keeps.
    zxy = places(chain(ZXY, "0 0 0 90 90 90 0 0 0"))
    assert zxy == [[0, 0, 0], [-2, 0, 0], [-2, 0, 3]]
    # Rx Ry Rz on x: z takes it to y, y keeps, x to z; on y: z to -x, y to z, x to -y.
    xyz = places(chain(XYZ, "0 0 0 90 90 90 0 0 0"))
    assert xyz == [[0, 0, 0], [0, 0, 2], [0, -3, 2]]


def test_rotations_compose_along_the_chain() -> None:
    # B turns about its own x, which the root has turned to the world's y: y -> -x -> z.
    assert places(chain(ZXY, "0 0 0 90 0 0 0 90 0")) == [[0, 0, 0], [0, 2, 0], [0, 2, 3]]


def test_position_channels_replace_the_offset_axis_by_axis() -> None:
    text = chain(ZXY, "0 0 0 90 0 0 7 0 0 0").replace(
        "OFFSET 2 0 0\n    CHANNELS 3", "OFFSET 2 5 6\n    CHANNELS 4 Xposition"
    )
    # B lies at (7, 5, 6) in the root's frame: 7 replaces 2, y and z keep their offsets.
    assert places(text)[1] == [-5, 7, 6]


def test_root_position_after_rotation_is_not_turned() -> None:
    text = chain(ZXY, "90 0 0 1 2 3 0 0 0").replace(
        f"Xposition Yposition Zposition {ZXY}", f"{ZXY} Xposition Yposition Zposition"
    )
    assert places(text) == [[1, 2, 3], [1, 4, 3], [-2, 4, 3]]


def test_frames_may_be_a_slice_or_indices() -> None:
    text = chain(ZXY, "\n".join(f"{i} 0 0 {10 * i} 0 0 0 0 0" for i in range(6)))
    motion = parse_bvh(text.replace("Frames: 1", "Frames: 6"), "f")
    everything, turns = forward_kinematics(motion)
    some, _ = forward_kinematics(motion, slice(1, None, 2))
    np.testing.assert_array_equal(some, everything[1::2])
    picked, picked_turns = forward_kinematics(motion, np.array([4, 0]))
    np.testing.assert_array_equal(picked, everything[[4, 0]])
    np.testing.assert_array_equal(picked_turns, turns[[4, 0]])


def test_tolerated_spellings() -> None:
    plain = parse_bvh(chain(ZXY, "1 2 3 4 5 6 7 8 9"), "f")
    odd = chain(ZXY, "1e0 2 3\n\t4 5 6\n\n7 8.0E+00 9").replace("Frame Time: ", "Frame Time:\t")
    odd = odd.replace("Frames: 1", "Frames:1").replace("  ", "\t").replace("\n", "\r\n")
    odd = odd.replace("ROOT A\r\n{", "ROOT A {").replace("Xposition", "XPOSITION")
    read = parse_bvh("\ufeff" + odd, "f")
    np.testing.assert_array_equal(read.values, plain.values)
    assert read.names == plain.names
    assert read.channels == plain.channels
    assert read.fps == pytest.approx(30, rel=1e-5)


def test_names_may_contain_blanks() -> None:
    motion = parse_bvh(chain(ZXY, "0 " * 9).replace("JOINT B", "JOINT Bip01 L Thigh"), "f")
    assert motion.names == ("A", "Bip01 L Thigh", "C")


def test_written_text_reads_back_exactly() -> None:
    motion = parse_bvh(chain(ZXY, "0 " * 9), "f")
    rng = np.random.default_rng(3)
    motion = replace(motion, values=rng.normal(size=(4, 9)), offsets=rng.normal(size=(3, 3)))
    back = parse_bvh(write_bvh(motion), "back")
    np.testing.assert_array_equal(back.values, motion.values)
    np.testing.assert_array_equal(back.offsets, motion.offsets)
    assert (back.names, back.parents, back.channels) == (
        motion.names,
        motion.parents,
        motion.channels,
    )
    assert back.end_sites == motion.end_sites
    assert back.frame_time_s == motion.frame_time_s


GOOD = chain(ZXY, "0 0 0 0 0 0 0 0 0\n0 0 0 0 0 0 0 0 0").replace("Frames: 1", "Frames: 2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("  \n\n", "empty"),
        ("\x00\x01PK\x03", "expected HIERARCHY"),
        ("{'json': 1}", "expected HIERARCHY"),
        (GOOD.split("MOTION")[0], "no MOTION"),
        (GOOD[: GOOD.index("CHANNELS 3")], "no MOTION"),
        (GOOD[:-6], r"1 of 2 frames are complete \(15 values, expected 2 frames x 9"),
        (GOOD.replace("Frames: 2", "Frames: 1"), "more values than frames"),
        (GOOD.replace("Frames: 2", "Frames: 0"), "line 21.*positive count, found '0'"),
        (GOOD.replace("Frames: 2", "Frames: -4"), "positive count, found '-4'"),
        (GOOD.replace("0.0333333", "0"), "line 23: 'Frame Time:'"),
        (GOOD.replace("0.0333333", "fast"), "above 0, found 'fast'"),
        (GOOD[: GOOD.index("Frame Time")], "found nothing"),
        (GOOD[:-2] + "nan\n", "line 25: 'nan'"),
        (GOOD[:-2] + "x9\n", "line 25: 'x9'"),
        (GOOD.replace("Yposition", "Wposition"), "line 5: unknown channel 'Wposition'"),
        (GOOD.replace("CHANNELS 3", "CHANNELS 4"), "unknown channel 'Joint'"),
        (GOOD.replace("CHANNELS 3", "CHANNELS three"), "line 9: .*found 'three'"),
        (GOOD.replace("OFFSET 2 0 0", "OFFSET 2 0"), "line 9: OFFSET needs 3 numbers"),
        (GOOD.replace("}\nMOTION", "MOTION"), "1 '{' not closed"),
        (GOOD.replace("}\nMOTION", "}\n}\nMOTION"), "line 21: unexpected '}'"),
        (GOOD.replace("JOINT B", "JOINT A"), "line 6: joint name 'A' is used twice"),
        (GOOD.replace("}\nMOTION", "}\nROOT D\n{\n}\nMOTION"), "second ROOT 'D' after 'A'"),
    ],
)
def test_broken_files_say_where_and_why(text: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        parse_bvh(text, "take7.bvh")
    assert str(caught.value).startswith("take7.bvh")


def test_real_bandai_file() -> None:
    files = sorted((MOCAP / "bandai-1").glob("*.bvh"))
    if not files:
        pytest.skip("shared/mocap is not here")
    motion = parse_bvh(files[0].read_text(), files[0].name)
    positions, _ = forward_kinematics(motion)
    at = motion.names.index
    thigh = np.linalg.norm(positions[:, at("UpperLeg_L")] - positions[:, at("LowerLeg_L")], axis=-1)
    np.testing.assert_allclose(thigh, 39.08, atol=0.01)  # 78 would mean that offsets were added
    assert (positions[:, at("Head"), 1] > positions[:, at("Hips"), 1]).all()
    back = parse_bvh(write_bvh(motion), "back")
    np.testing.assert_array_equal(back.values, motion.values)
