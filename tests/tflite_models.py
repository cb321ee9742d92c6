"""Small real TFLite files with the inputs and outputs of BlazePose's networks.

They find one person: the circle is where ``person_network`` is told, the next region is where
``landmark_network`` is told, and a landmark's heatmap is high where the picture is red (even
landmarks) or green (odd ones).
"""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from diffpose.preprocessing.detectors.blazepose.person_anchors import ANCHORS, INPUT_SIDE

N_POINTS = 39


class _Model:
    """A graph under construction."""

    def __init__(self) -> None:
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes, self.model.subgraphs = [], [self.graph]
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []

    def tensor(
        self, name: str, shape: tuple[int, ...], value: NDArray[np.float32] | None = None
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), schema.TensorType.FLOAT32
        tensor.buffer = 0
        if value is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(value.astype("<f4").tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(
        self, code: int, options_type: int, options: object, inputs: list[int], output: int
    ) -> None:
        kind = schema.OperatorCodeT()
        kind.builtinCode = kind.deprecatedBuiltinCode = code
        kind.version = 1
        self.model.operatorCodes.append(kind)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = options_type, options
        self.graph.operators.append(operator)

    def convolution(self, given: int, weights: NDArray[np.float32], bias: float, out: int) -> None:
        """One by one; weights (to, from)."""
        options = schema.Conv2DOptionsT()
        options.padding, options.strideW, options.strideH = schema.Padding.VALID, 1, 1
        options.dilationWFactor = options.dilationHFactor = 1
        w = self.tensor("w", (len(weights), 1, 1, weights.shape[1]), weights)
        b = self.tensor("b", (len(weights),), np.full(len(weights), bias, np.float32))
        self.operator(
            schema.BuiltinOperator.CONV_2D, schema.BuiltinOptions.Conv2DOptions, options,
            [given, w, b], out,
        )  # fmt: skip

    def pooled(self, given: int, side: int, out: int) -> None:
        options = schema.Pool2DOptionsT()
        options.padding = schema.Padding.VALID
        options.strideW = options.strideH = options.filterWidth = options.filterHeight = side
        self.operator(
            schema.BuiltinOperator.AVERAGE_POOL_2D, schema.BuiltinOptions.Pool2DOptions, options,
            [given], out,
        )  # fmt: skip

    def save(self, path: Path) -> None:
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))


def person_network(path: Path, people: list[tuple[float, float, float, float, float]]) -> None:
    """Write a pose_detection that sees the same people in every picture.

    Args:
        path: of the file.
        people: hip middle x, y and circle point x, y, in 0 .. 1 of the input, and score's logit.
    """
    raw = np.zeros((1, len(ANCHORS), 12), np.float32)
    logits = np.full((1, len(ANCHORS), 1), -50.0, np.float32)
    for i, (x, y, top_x, top_y, logit) in enumerate(people):
        anchor = 1000 + i
        places = (np.array([[x, y], [top_x, top_y]]) - ANCHORS[anchor]) * INPUT_SIDE
        raw[0, anchor, 4:8] = places.ravel()
        logits[0, anchor, 0] = logit
    made = _Model()
    made.graph.inputs = [made.tensor("input_1", (1, INPUT_SIDE, INPUT_SIDE, 3))]
    # outputs out of their names' order, as LiteRT may give them
    made.graph.outputs = [
        made.tensor("Identity_1", logits.shape, logits), made.tensor("Identity", raw.shape, raw)
    ]  # fmt: skip
    made.save(path)


def landmark_network(
    path: Path,
    hips: tuple[float, float] = (0.5, 0.5),
    top: tuple[float, float] = (0.5, 0.1),
    score: float = 1.0,
    world_m: NDArray[np.float64] | None = None,
    side: int = 256,
) -> None:
    """Write a pose_landmark_*: score and the points that tell the next region are always the same.

    Args:
        path: of the file.
        hips: point 33, in 0 .. 1 of the input.
        top: point 34.
        score: that somebody is there.
        world_m: (39, 3).
        side: of its input, px.
    """
    flat = np.zeros((1, N_POINTS, 5), np.float32)
    flat[0, :33, :2] = np.random.default_rng(0).uniform(0.2, 0.8, (33, 2)) * side
    flat[0, 33, :2], flat[0, 34, :2] = np.array(hips) * side, np.array(top) * side
    world = np.zeros((N_POINTS, 3)) if world_m is None else world_m
    made = _Model()
    image = made.tensor("input_1", (1, side, side, 3))
    made.graph.inputs = [image]
    small = made.tensor("pooled", (1, side // 4, side // 4, 3))
    mask = made.tensor("Identity_2", (1, side, side, 1))
    heatmaps = made.tensor("Identity_3", (1, side // 4, side // 4, N_POINTS))
    made.pooled(image, 4, small)
    made.convolution(image, np.ones((1, 3), np.float32), 0.0, mask)
    channels = np.zeros((N_POINTS, 3), np.float32)
    channels[0::2, 0] = channels[1::2, 1] = 20.0
    made.convolution(small, channels, -12.0, heatmaps)
    made.graph.outputs = [
        made.tensor("Identity", (1, N_POINTS * 5), flat.reshape(1, -1)),
        made.tensor("Identity_1", (1, 1), np.array([[score]], np.float32)),
        mask,
        heatmaps,
        made.tensor("Identity_4", (1, N_POINTS * 3), world.reshape(1, -1).astype(np.float32)),
    ]
    made.save(path)


def blazepose_folder(folder: Path) -> None:
    """Write all networks that detector.kind=blazepose may take, of one person in the middle."""
    person_network(folder / "pose_detection.tflite", [(0.5, 0.5, 0.5, 0.15, 3.0)])
    for size in ("lite", "full", "heavy"):
        landmark_network(folder / f"pose_landmark_{size}.tflite")
