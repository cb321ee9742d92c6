"""The request's schema: each bad input is answered with the field and what was expected."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from diffpose.model.geometry.skeleton import JOINT_NAMES
from diffpose.platform.serving.schema import MAX_FRAMES, LiftRequest, LiftResponse


def request(**changes: Any) -> dict[str, Any]:
    keypoints = [[[float(j), float(t)] for j in range(17)] for t in range(3)]
    return {"keypoints": keypoints, "image_width": 800, "image_height": 600, **changes}


def point(value: Any, frame: int = 1, joint: int = 4) -> list[Any]:
    keypoints: list[Any] = copy.deepcopy(request()["keypoints"])
    keypoints[frame][joint] = value
    return keypoints


def sigma(value: float = 2.0, frames: int = 3) -> list[list[float]]:
    widths = [[2.0] * 17 for _ in range(frames)]
    widths[-1][6] = value
    return widths


def complaints(values: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        LiftRequest.model_validate(values)
    return [(".".join(map(str, e["loc"])), e["msg"]) for e in caught.value.errors()]


def test_a_good_request() -> None:
    made = LiftRequest.model_validate(request(sigma_px=sigma(), n_hypotheses=100, seed=2**32 - 1))
    assert np.shape(made.keypoints) == (3, 17, 2)
    assert np.shape(made.sigma_px) == (3, 17)
    plain = LiftRequest.model_validate_json(json.dumps(request()))
    assert (plain.sigma_px, plain.focal_length_px, plain.n_hypotheses) == (None, None, None)
    assert (plain.include_hypotheses, plain.seed) == (False, 0)
    assert plain.keypoints == request()["keypoints"]


FRAME = request()["keypoints"][0]
BAD = {
    "16 joints": (
        {"keypoints": [FRAME, FRAME[:16]]},
        "keypoints",
        ["[T, 17, 2]", "frame 1 has 16 joints", "expected 17"],
    ),
    "18 joints": ({"keypoints": [[*FRAME, [0, 0]]]}, "keypoints", ["frame 0 has 18 joints"]),
    "3 values": (
        {"keypoints": point([1, 2, 3])},
        "keypoints",
        ["[T, 17, 2]", f"frame 1, joint 4 ({JOINT_NAMES[4]}) has 3 values", "expected x and y"],
    ),
    "1 value": ({"keypoints": point([1])}, "keypoints", ["joint 4", "has 1 values"]),
    "nan": (
        {"keypoints": point([1, math.nan])},
        "keypoints",
        ["finite", "frame 1, joint 4 is not"],
    ),
    "inf": ({"keypoints": point([-math.inf, 1])}, "keypoints", ["finite", "frame 1, joint 4"]),
    "empty": ({"keypoints": []}, "keypoints", ["[T, 17, 2]", f"1 to {MAX_FRAMES}", "got T = 0"]),
    "empty frame": ({"keypoints": [[]]}, "keypoints", ["frame 0 has 0 joints, expected 17"]),
    "too many frames": (
        {"keypoints": [FRAME] * (MAX_FRAMES + 1)},
        "keypoints",
        [f"from 1 to {MAX_FRAMES} frames", f"got T = {MAX_FRAMES + 1}"],
    ),
    "text": ({"keypoints": point(["left", 1])}, "keypoints.1.4.0", ["valid number"]),
    "null": ({"keypoints": point(None)}, "keypoints.1.4", ["valid list"]),
    "sigma of other length": (
        {"sigma_px": sigma(frames=2)},
        "",
        ["sigma_px has 2 frames, keypoints has 3", "one entry per frame"],
    ),
    "sigma of other joints": (
        {"sigma_px": [[1.0] * 5] * 3},
        "sigma_px",
        ["[T, 17]", "frame 0 has 5 joints"],
    ),
    "sigma zero": ({"sigma_px": sigma(0.0)}, "sigma_px", ["from 0.01 to 1e+06 px", "got 0"]),
    "sigma negative": ({"sigma_px": sigma(-3.5)}, "sigma_px", ["from 0.01 to", "got -3.5"]),
    "sigma huge": ({"sigma_px": sigma(1e20)}, "sigma_px", ["to 1e+06 px", "got 1e+20"]),
    "keypoint far away": ({"keypoints": point([1e39, 0])}, "keypoints", ["1e+06 px", "1e+39"]),
    "focal length of nothing": ({"focal_length_px": 1e-50}, "focal_length_px", ["equal to 1"]),
    "sigma nan": ({"sigma_px": sigma(math.nan)}, "sigma_px", ["finite", "frame 2, joint 6"]),
    "sigma inf": ({"sigma_px": sigma(math.inf)}, "sigma_px", ["finite", "frame 2, joint 6"]),
    "sigma empty": ({"sigma_px": []}, "sigma_px", ["[T, 17]", "got T = 0"]),
    "negative width": ({"image_width": -800}, "image_width", ["greater than 0"]),
    "zero height": ({"image_height": 0}, "image_height", ["greater than 0"]),
    "huge height": ({"image_height": 100_001}, "image_height", ["less than or equal to 100000"]),
    "half a pixel": ({"image_width": 0.5}, "image_width", ["valid integer"]),
    "focal length zero": ({"focal_length_px": 0}, "focal_length_px", ["equal to 1"]),
    "focal length inf": ({"focal_length_px": math.inf}, "focal_length_px", ["finite number"]),
    "focal length nan": ({"focal_length_px": math.nan}, "focal_length_px", ["finite number"]),
    "no hypotheses": ({"n_hypotheses": 0}, "n_hypotheses", ["greater than or equal to 1"]),
    "101 hypotheses": ({"n_hypotheses": 101}, "n_hypotheses", ["less than or equal to 100"]),
    "seed negative": ({"seed": -1}, "seed", ["greater than or equal to 0"]),
    "seed of 33 bits": ({"seed": 2**32}, "seed", ["less than 4294967296"]),
    "unknown field": ({"sigma": 2}, "sigma", ["not permitted"]),
}


@pytest.mark.parametrize(("changes", "field", "expected"), BAD.values(), ids=BAD)
def test_bad_requests(changes: dict[str, Any], field: str, expected: list[str]) -> None:
    found = complaints(request(**changes))
    assert [name for name, _ in found] == [field]
    for part in expected:
        assert part in found[0][1]


@pytest.mark.parametrize("name", ["keypoints", "image_width", "image_height"])
def test_required_fields(name: str) -> None:
    values = request()
    del values[name]
    assert complaints(values) == [(name, "Field required")]


def test_all_wrong_fields_are_named_at_once() -> None:
    values = request(image_width=0, seed=-1, keypoints=[])
    assert {name for name, _ in complaints(values)} == {"keypoints", "image_width", "seed"}


def test_the_longest_request() -> None:
    made = LiftRequest.model_validate(request(keypoints=[FRAME] * MAX_FRAMES))
    assert made.camera().shape == (MAX_FRAMES, 4)


@pytest.mark.parametrize(
    ("width", "height", "focal", "expected"),
    [
        (800, 600, None, (916, 916, 400, 300)),  # 1.145 times the longer side
        (600, 1000, None, (1145, 1145, 300, 500)),
        (801, 600, 250.5, (250.5, 250.5, 400.5, 300)),
    ],
)
def test_camera(width: int, height: int, focal: float | None, expected: tuple[float, ...]) -> None:
    made = LiftRequest.model_validate(
        request(image_width=width, image_height=height, focal_length_px=focal)
    )
    camera = made.camera()
    assert (camera.shape, camera.dtype) == ((3, 4), np.float32)
    np.testing.assert_allclose(camera, np.tile(expected, (3, 1)), rtol=1e-6)


def test_requests_are_frozen() -> None:
    made = LiftRequest.model_validate(request())
    with pytest.raises(ValidationError, match="frozen"):
        made.seed = 3  # type: ignore[misc]


def test_the_answer_says_what_its_numbers_are() -> None:
    answer = LiftResponse(
        poses_mm=[[[0.0] * 3] * 17],
        std_mm=[[0.0] * 17],
        root_mm=[[0.0] * 3],
        n_hypotheses=5,
        model="r",
    )
    assert (answer.unit, answer.joints) == ("mm", list(JOINT_NAMES))
    assert "z forward" in answer.frame
    assert answer.hypotheses_mm is None
