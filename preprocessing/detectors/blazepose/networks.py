"""BlazePose's networks through LiteRT, one thread each: person circles, and joints in a region."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.detectors.blazepose.person_anchors import (
    ANCHORS,
    INPUT_SIDE,
    Circles,
    decoded,
)
from diffpose.preprocessing.detectors.blazepose.regions import cut_region, to_picture
from diffpose.preprocessing.detectors.blazepose.weights import (
    INSTALL,
    PERSON,
    Size,
    file_of,
    landmark_network,
    read_network,
)

LANDMARK_SIDE = 256  # px
GRID = 64  # cells of a heatmap along each side
N_POINTS = 39  # 33 landmarks; hip middle and circle point of the next region; four of no use here
_VALUES = 5  # x, y, z, visibility, presence


class Landmarks(NamedTuple):
    """What a look at a region says.

    Attributes:
        points: (39, 2), in 0 .. 1 of the region; 33 and 34 are the next region's hip middle and
            circle point.
        score: that somebody is there, 0 .. 1.
        logits: (64, 64, 39), heatmaps: value (i, j) stands at (j, i) / 64 of the region.
        world_m: (39, 3), in metres about the hips: x right, y down as the region has them, z away
            from the camera.
    """

    points: NDArray[np.float64]
    score: float
    logits: NDArray[np.float32]
    world_m: NDArray[np.float64]


class PersonNetwork:
    """Pictures to circles around people."""

    def __init__(self, folder: str | None) -> None:
        """Load it.

        Raises:
            SourceError: the file or LiteRT is missing, or it is another network.
        """
        side = INPUT_SIDE
        self._run = _Interpreter(
            PERSON, folder, (1, side, side, 3), [(1, len(ANCHORS), 12), (1, len(ANCHORS), 1)]
        )

    def look(
        self, picture: NDArray[np.uint8], region: NDArray[np.floating], least_score: float
    ) -> Circles:
        """Find the people in a region (4,) of a picture (H, W, 3); circles in px of the picture."""
        values = cut_region(picture, region, INPUT_SIDE) / 127.5 - 1.0  # trained on -1 .. 1
        raw, logits = self._run(values[None])
        found = decoded(raw[0], logits[0, :, 0], least_score)
        return Circles(to_picture(region, found.middle), to_picture(region, found.top), found.score)


class LandmarkNetwork:
    """A region with a person to its joints."""

    def __init__(self, size: Size, folder: str | None) -> None:
        """Load it.

        Raises:
            SourceError: the file or LiteRT is missing, or it is another network.
        """
        side = LANDMARK_SIDE
        shapes = [(1, N_POINTS * _VALUES), (1, 1), (1, side, side, 1), (1, GRID, GRID, N_POINTS),
                  (1, N_POINTS * 3)]  # fmt: skip
        self._run = _Interpreter(landmark_network(size), folder, (1, side, side, 3), shapes)

    def look(self, picture: NDArray[np.uint8], region: NDArray[np.floating]) -> Landmarks:
        """Find the joints of the person in a region (4,) of a picture (H, W, 3)."""
        values = cut_region(picture, region, LANDMARK_SIDE) / 255.0
        flat, score, _, logits, world = self._run(values[None])
        points = flat.reshape(N_POINTS, _VALUES)[:, :2].astype(np.float64) / LANDMARK_SIDE
        return Landmarks(
            points, float(score[0, 0]), logits[0], world.reshape(N_POINTS, 3).astype(np.float64)
        )


class _Interpreter:
    """One network; outputs in the order in which the file names them."""

    def __init__(
        self,
        name: str,
        folder: str | None,
        takes: tuple[int, ...],
        gives: list[tuple[int, ...]],
    ) -> None:
        data = read_network(name, folder)
        path = file_of(name, folder)
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise SourceError(f"BlazePose needs LiteRT ({error}): {INSTALL}") from None
        if data[4:8] != b"TFL3":  # the library may crash on what is no model at all
            raise SourceError(f"{path} is no TFLite model (it lacks the mark TFL3).")
        try:
            self._interpreter: Any = Interpreter(model_content=data, num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise SourceError(f"{path} is no TFLite model that LiteRT runs: {error}") from None
        inputs = self._interpreter.get_input_details()
        outputs = sorted(self._interpreter.get_output_details(), key=lambda one: str(one["name"]))
        found = ([tuple(one["shape"].tolist()) for one in inputs],
                 [tuple(one["shape"].tolist()) for one in outputs])  # fmt: skip
        if found != ([takes], gives):
            raise SourceError(
                f"{path} takes {found[0]} and gives {found[1]}; {name} takes {[takes]} and gives "
                f"{gives}. It is another network or another release."
            )
        self._input = inputs[0]["index"]
        self._outputs = [one["index"] for one in outputs]

    def __call__(self, values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(values, dtype=np.float32))
        self._interpreter.invoke()
        return [np.array(self._interpreter.get_tensor(index)) for index in self._outputs]
