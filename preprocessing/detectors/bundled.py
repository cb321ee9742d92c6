"""The detector that comes with the project: no download, one CPU core is enough.

Two small networks of ours (diffpose.model.detector.heatmap_network, person_network), trained on
rendered films (jobs/train_detector.py, configs/train-detector/bundled.yaml). It knows rendered
bodies; on real people it is a stopgap, and ``vitpose`` or an ONNX model is the better choice.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from diffpose.model.detector.heatmap_network import INPUT_SIZE, HeatmapNetwork, HeatmapNetworkConfig
from diffpose.model.detector.person_network import (
    INPUT_SIDE,
    PersonNetwork,
    PersonNetworkConfig,
    decode_people,
)
from diffpose.model.geometry.skeleton import MIRROR, N_JOINTS
from diffpose.platform.base.errors import SourceError
from diffpose.platform.base.storage import absolute, read_bytes, write_bytes
from diffpose.preprocessing.detectors.interface import (
    HeatmapDetector,
    PixelDetectorKind,
    crops_from_windows,
)
from diffpose.preprocessing.videos.cut import cut_windows

WEIGHTS = Path(__file__).with_name("bundled.safetensors")
# Crops per pass; always cut from a clip's start on, so that results do not depend on anything else.
_AT_ONCE = 32


class BundledSettings(PixelDetectorKind):
    """The detector that comes with the project."""

    when_in_doubt: ClassVar[str | None] = (
        "The bundled detector knows rendered people alone. For real ones: diffpose get-detector "
        "blazepose, then detector.kind=blazepose and another out="
    )

    kind: Literal["bundled"] = "bundled"
    weights: str | None = Field(
        None, description=".safetensors file of diffpose train-detector; default: the one we ship"
    )
    mirror: bool = Field(False, description="average with the mirrored image (half the speed)")

    def version(self) -> str:
        """Return name and digest of the weights file, and whether it looks twice."""
        return load_weights(self.weights).version + ("-mirror" if self.mirror else "")

    def temperature(self) -> NDArray[np.float64]:
        """Return the temperatures that were fitted with the weights."""
        return np.array(load_weights(self.weights).temperature, dtype=np.float64)

    def person_weights(self) -> str | None:
        """Return the weights file: it holds a person finder as well."""
        return self.weights

    def crop_size(self) -> tuple[int, int]:
        """Return rows and columns of the network's input."""
        return INPUT_SIZE

    def open(self, device: str) -> HeatmapDetector:
        """Load the network; see PixelDetectorKind."""
        return BundledDetector(self, device)


@dataclass(frozen=True)
class BundledWeights:
    """What a weights file holds.

    Attributes:
        heatmap, person: the networks' states, float32.
        description: configurations, temperatures, how it was trained.
        digest: of the file.
    """

    heatmap: dict[str, Tensor]
    person: dict[str, Tensor]
    description: dict[str, Any]
    digest: str

    @property
    def version(self) -> str:
        """Name and digest."""
        return f"bundled-{self.digest}"

    @property
    def temperature(self) -> list[float]:
        """Return the calibrated temperature of each joint."""
        found: list[float] = self.description.get("temperature", [1.0] * N_JOINTS)
        return found


def save_weights(
    uri: str,
    heatmap: dict[str, Tensor],
    person: dict[str, Tensor],
    description: dict[str, Any],
) -> None:
    """Write a weights file, float16, atomically."""
    tensors = {f"heatmap.{name}": value for name, value in heatmap.items()}
    tensors |= {f"person.{name}": value for name, value in person.items()}
    half = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    write_bytes(uri, safetensors.torch.save(half, {"diffpose_detector": json.dumps(description)}))


@functools.lru_cache(maxsize=2)
def load_weights(uri: str | None = None) -> BundledWeights:
    """Read a weights file; the one that is shipped when none is named.

    Raises:
        SourceError: there is no such file, or it is no weights file of this detector.
    """
    name = str(WEIGHTS) if uri is None else absolute(uri)
    try:
        data = read_bytes(name)
    except FileNotFoundError:
        raise SourceError(
            f"There is no weights file {name!r}. diffpose train-detector makes one; without "
            "detector.weights= the shipped one is used."
        ) from None
    try:
        length = int.from_bytes(data[:8], "little")
        description = json.loads(
            json.loads(data[8 : 8 + length])["__metadata__"]["diffpose_detector"]
        )
        tensors = safetensors.torch.load(data)
    except (KeyError, ValueError, safetensors.SafetensorError) as error:
        raise SourceError(
            f"{name!r} is no weights file of diffpose train-detector ({error!r})."
        ) from None
    parts: dict[str, dict[str, Tensor]] = {"heatmap": {}, "person": {}}
    for key, value in tensors.items():
        part, _, rest = key.partition(".")
        parts[part][rest] = value.float()
    digest = hashlib.sha256(data).hexdigest()[:12]
    return BundledWeights(parts["heatmap"], parts["person"], description, digest)


class BundledDetector:
    """Crops to heatmaps."""

    input_size = INPUT_SIZE

    def __init__(self, settings: BundledSettings, device: str = "cpu") -> None:
        weights = load_weights(settings.weights)
        self.version = settings.version()
        self.mirror = settings.mirror
        config = HeatmapNetworkConfig.model_validate(weights.description["heatmap_network"])
        self.network = _ready(HeatmapNetwork(config), weights.heatmap, device)
        self.device = device

    @torch.inference_mode()
    def detect(
        self, pixels: NDArray[np.uint8], windows: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Find the joints of B people; see HeatmapDetector."""
        parts = []
        for i in range(0, len(pixels), _AT_ONCE):
            images = _as_tensor(pixels[i : i + _AT_ONCE], self.device)
            probability = self.network(images).flatten(2).softmax(dim=-1)
            if self.mirror:
                other = self.network(images.flip(-1))[:, list(MIRROR)].flip(-1)
                probability = (probability + other.flatten(2).softmax(dim=-1)) / 2
            parts.append(probability.unflatten(2, (64, 48)).cpu().numpy())
        return np.concatenate(parts), crops_from_windows(windows, INPUT_SIZE, "edges")


class BundledFinder:
    """Whole frames to person boxes."""

    def __init__(
        self, weights_uri: str | None = None, threshold: float = 0.3, device: str = "cpu"
    ) -> None:
        weights = load_weights(weights_uri)
        self.version = weights.version
        self.threshold = threshold
        config = PersonNetworkConfig.model_validate(weights.description["person_network"])
        self.network = _ready(PersonNetwork(config), weights.person, device)
        self.device = device

    @torch.inference_mode()
    def find(self, frames: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Find people in B frames; see PersonFinder."""
        height, width = frames.shape[1:3]
        scale = max(height, width) / INPUT_SIDE
        window = np.array([[0.0, 0.0, scale, scale]])
        people: list[NDArray[np.float32]] = []
        for i in range(0, len(frames), _AT_ONCE):
            small = np.concatenate(
                [cut_windows(f, window, (INPUT_SIDE, INPUT_SIDE)) for f in frames[i : i + _AT_ONCE]]
            )
            found = self.network(_as_tensor(small, self.device)).cpu()
            people += decode_people(found, self.threshold)
        limit = np.array([width, height, width, height], dtype=np.float32)
        for boxes in people:
            boxes[:, :4] = np.clip(boxes[:, :4] * scale, 0, limit)
        return people


def _as_tensor(pixels: NDArray[np.uint8], device: str) -> Tensor:
    images = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
    return images.permute(0, 3, 1, 2).float().div_(255)  # channels stay last in memory


def _ready(network: nn.Module, state: dict[str, Tensor], device: str) -> nn.Module:
    """Load, and fold batch normalisation into the convolutions (exact, a third faster)."""
    try:
        result = network.load_state_dict(state, strict=False)
    except RuntimeError as error:  # sizes differ
        raise SourceError(
            f"The detector's weights are of another version of the network "
            f"({str(error).splitlines()[1].strip()}). Train it again with diffpose train-detector."
        ) from None
    missing = [name for name in result.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        raise SourceError(
            f"The detector's weights do not fit its description: missing {missing}, unknown "
            f"{result.unexpected_keys}. Train it again with diffpose train-detector."
        )
    network.eval()
    for module in list(network.modules()):
        if not isinstance(module, nn.Sequential):
            continue
        for i in range(len(module) - 1):
            convolution, norm = module[i], module[i + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[i], module[i + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    ready: nn.Module = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ready
