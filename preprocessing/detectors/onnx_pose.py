"""Any top-down pose model in ONNX, with heatmap or SimCC output (RTMPose, HRNet, CPN exports)."""

from __future__ import annotations

import functools
import hashlib
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from diffpose.model.heatmaps.grid import HEIGHT, WIDTH
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import read_bytes
from diffpose.preprocessing.detectors.interface import (
    Alignment,
    HeatmapDetector,
    PixelDetectorKind,
    crops_from_windows,
)
from diffpose.preprocessing.keypoints.combine import combined
from diffpose.preprocessing.keypoints.joint_layouts import NAMES, Layout, to_h36m

_AT_ONCE = 32


class OnnxPoseSettings(PixelDetectorKind):
    """A top-down pose model in an .onnx file (extra [onnx])."""

    kind: Literal["onnx"] = "onnx"
    model: str = Field(description=".onnx file, local or by URI")
    layout: Layout = Field("coco_17", description="the joints that it finds, in order")
    alignment: Alignment = Field(
        "edges",
        description="how heatmap cells lie over the input: edges, corners (UDP) or stride; SimCC "
        "bins need none",
    )
    input_size: tuple[int, int] | None = Field(
        None, description="rows, columns of the input, where the file leaves them open"
    )
    mean: tuple[float, float, float] = Field(
        (123.675, 116.28, 103.53), description="subtracted from 0 .. 255, per channel"
    )
    std: tuple[float, float, float] = Field((58.395, 57.12, 57.375), description="then divided by")
    simcc_beta: float = Field(
        10.0,
        gt=0,
        description="SimCC outputs times this are log-probabilities: 10 for RTMPose (the beta of "
        "its training loss), 1 for models trained with plain cross-entropy",
    )
    channels: Literal["rgb", "bgr"] = Field("rgb", description="order of the input's channels")

    def version(self) -> str:
        """Return layout and digest of the file; what its outputs are, its graph alone tells."""
        return _looked_at(self).version

    def crop_size(self) -> tuple[int, int]:
        """Return rows and columns of the input, as the file has them or as they were given."""
        return _looked_at(self).input_size

    def open(self, device: str) -> HeatmapDetector:
        """Load the model; see PixelDetectorKind."""
        return OnnxPoseDetector(self, device)


class _SimCC(NamedTuple):
    """Bins per input pixel, and which output is across and which down."""

    per_pixel: int
    order: tuple[int, int]


class OnnxPoseDetector:
    """Crops to heatmaps."""

    def __init__(self, settings: OnnxPoseSettings, device: str = "cpu") -> None:
        """Load the model.

        Raises:
            SourceError: onnxruntime is not installed, the file is no model, or its input and
                outputs are not those of a pose model of the given layout.
        """
        self.settings = settings
        self.session, digest = _session(settings.model, device)
        self.input_size = _input_size(self.session, settings)
        self.version = f"onnx-{settings.layout}-{digest}"
        name = self.session.get_inputs()[0].name
        blank = np.zeros((1, 3, *self.input_size), dtype=np.float32)
        try:
            outputs = self.session.run(None, {name: blank})
        except Exception as error:  # onnxruntime has no common base class of its errors
            raise SourceError(
                f"{settings.model!r} does not take an image of (1, 3, {self.input_size[0]}, "
                f"{self.input_size[1]}): {error}"
            ) from None
        self.simcc = _simcc(settings, outputs, self.input_size)
        rows, columns = (0, 0) if self.simcc else np.shape(outputs[0])[2:]
        self.grid = (int(rows), int(columns))
        if self.simcc:
            self.version += f"-beta{settings.simcc_beta:g}"
        self.input_name = name
        self.matrix = to_h36m(settings.layout)

    def detect(
        self, pixels: NDArray[np.uint8], windows: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Find the joints of B people; see HeatmapDetector."""
        parts = [
            combined(self._scores(pixels[i : i + _AT_ONCE]), self.matrix)
            for i in range(0, len(pixels), _AT_ONCE)
        ]
        if self.simcc:
            crops = crops_from_windows(windows, self.input_size, "edges")
            # Bin b of r per pixel stands for pixel index b / r, whose place is b / r + 0.5; the
            # middle of the b-th r-th of a pixel lies at (b + 0.5) / r.
            crops[:, :2] += (0.5 - 0.5 / self.simcc.per_pixel) * windows[:, 2:]
        else:
            crops = crops_from_windows(windows, self.input_size, self.settings.alignment, self.grid)
            # combined() keeps the edges of the grid and makes 64 x 48 cells of it
            crops[:, 2] *= self.grid[1] / WIDTH
            crops[:, 3] *= self.grid[0] / HEIGHT
        return np.concatenate(parts), crops

    def _scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        images = pixels[..., ::-1] if self.settings.channels == "bgr" else pixels
        values = (images.astype(np.float32) - self.settings.mean) / self.settings.std
        batch = np.ascontiguousarray(values.transpose(0, 3, 1, 2), dtype=np.float32)
        outputs = self.session.run(None, {self.input_name: batch})
        if not self.simcc:
            return np.asarray(outputs[0], dtype=np.float64)
        across, down = (
            _probabilities(np.asarray(outputs[i], dtype=np.float64), self.settings.simcc_beta)
            for i in self.simcc.order
        )
        product = np.einsum("bky,bkx->bkyx", _pooled(down, 2 * HEIGHT), _pooled(across, 2 * WIDTH))
        return np.asarray(product)


@functools.lru_cache(maxsize=2)
def _looked_at(settings: OnnxPoseSettings) -> OnnxPoseDetector:
    return OnnxPoseDetector(settings)


def _session(model: str, device: str) -> tuple[Any, str]:
    try:
        import onnxruntime
    except ImportError as error:
        raise SourceError(
            f"This detector needs onnxruntime ({error}): pip install 'diffpose-at-scale[onnx]'."
        ) from None
    try:
        data = read_bytes(model)
    except OSError as error:
        raise SourceError(f"The ONNX model {model!r} cannot be read: {error}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    wanted = ["CUDAExecutionProvider"] if device != "cpu" else []
    known = onnxruntime.get_available_providers()
    providers = [p for p in [*wanted, "CPUExecutionProvider"] if p in known]
    try:
        session = onnxruntime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # onnxruntime has no common base class of its errors
        raise SourceError(f"{model!r} is no ONNX model that onnxruntime takes: {error}") from None
    return session, hashlib.sha256(data).hexdigest()[:12]


def _input_size(session: Any, settings: OnnxPoseSettings) -> tuple[int, int]:
    inputs = session.get_inputs()
    shapes = ", ".join(f"{i.name} {i.shape}" for i in inputs)
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise SourceError(
            f"{settings.model!r} takes {shapes}; a top-down pose model takes one image (batch, 3, "
            "rows, columns)."
        )
    if settings.input_size is not None:
        return settings.input_size
    rows, columns = inputs[0].shape[2:]
    if not (isinstance(rows, int) and isinstance(columns, int)):
        raise SourceError(
            f"{settings.model!r} leaves the size of its input open ({shapes}); give "
            "detector.input_size=[rows,columns], for example [256,192]."
        )
    return rows, columns


def _simcc(
    settings: OnnxPoseSettings, outputs: list[NDArray[Any]], input_size: tuple[int, int]
) -> _SimCC | None:
    """Tell SimCC from heatmaps (None) by the outputs' shapes.

    Raises:
        SourceError: they are neither, or of another number of joints than the layout.
    """
    shapes = [tuple(np.shape(output)) for output in outputs]
    heatmap = len(shapes[0]) == 4
    simcc = len(shapes) >= 2 and len(shapes[0]) == len(shapes[1]) == 3
    if not heatmap and not simcc:
        raise SourceError(
            f"{settings.model!r} gives {shapes}; expected heatmaps (batch, joints, rows, columns), "
            "or SimCC: (batch, joints, bins across) and (batch, joints, bins down)."
        )
    n_joints = len(NAMES[settings.layout])
    if shapes[0][1] != n_joints:
        raise SourceError(
            f"{settings.model!r} finds {shapes[0][1]} joints; layout {settings.layout!r} has "
            f"{n_joints}. Give detector.layout= one of {', '.join(NAMES)}."
        )
    if heatmap:
        return None
    rows, columns = input_size
    for per_pixel in (1, 2, 3, 4):
        wanted = (columns * per_pixel, rows * per_pixel)
        for order in ((0, 1), (1, 0)):
            if (shapes[order[0]][2], shapes[order[1]][2]) == wanted:
                return _SimCC(per_pixel, order)
    raise SourceError(
        f"{settings.model!r} gives {shapes[0][2]} and {shapes[1][2]} bins, which are no multiples "
        f"of its input's {columns} columns and {rows} rows."
    )


def _probabilities(vectors: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
    """Return probabilities over the last axis; others go through softmax(beta x)."""
    sums = vectors.sum(axis=-1, keepdims=True)
    if vectors.min() >= 0 and np.abs(sums - 1).max() < 1e-2:
        return vectors
    powers = np.exp(beta * (vectors - vectors.max(axis=-1, keepdims=True)))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def _pooled(vectors: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Add neighbouring bins up until at most n are left (where that divides evenly)."""
    bins = vectors.shape[-1]
    if bins <= n or bins % n:
        return vectors
    return np.asarray(vectors.reshape(*vectors.shape[:-1], n, bins // n).sum(axis=-1))
