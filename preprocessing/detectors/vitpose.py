"""ViTPose through Hugging Face transformers (Xu et al., NeurIPS 2022): heatmaps of COCO joints."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.detectors.interface import (
    HeatmapDetector,
    PixelDetectorKind,
    crops_from_windows,
)
from diffpose.preprocessing.keypoints.combine import combined
from diffpose.preprocessing.keypoints.joint_layouts import NAMES, to_h36m

# Statistics of ImageNet, with which ViTPose was trained.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_AT_ONCE = 32
# Left and right exchanged, in COCO's order.
_COCO_MIRROR = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


class VitPoseSettings(PixelDetectorKind):
    """ViTPose through transformers (extra [vitpose])."""

    kind: Literal["vitpose"] = "vitpose"
    model: str = Field(
        "usyd-community/vitpose-base-simple", description="folder of save_pretrained, or hub name"
    )
    revision: str = Field("main", description="of a hub model")
    dataset_index: int = Field(0, ge=0, description="expert of vitpose-plus models; 0 is COCO")
    mirror: bool = Field(False, description="average with the mirrored image (half the speed)")

    def version(self) -> str:
        """Return name of the model and digest of its weights, and whether it looks twice."""
        mirrored = "-mirror" if self.mirror else ""
        digest = _file_digest(self.model, self.revision)
        if digest is None:  # no single safetensors file: the network itself must tell
            return _looked_at(self).version
        return f"vitpose-{_short(self.model)}-{digest}{mirrored}"

    def crop_size(self) -> tuple[int, int]:
        """Return rows and columns of the network's input, from its configuration."""
        config = load_pretrained("VitPoseConfig", self.model, self.revision)
        return _input_size(config)

    def open(self, device: str) -> HeatmapDetector:
        """Load the network; see PixelDetectorKind."""
        return VitPoseDetector(self, device)


class VitPoseDetector:
    """Crops to heatmaps."""

    def __init__(self, settings: VitPoseSettings, device: str = "cpu") -> None:
        """Load the model.

        Raises:
            SourceError: transformers is not installed, or the model cannot be found or is none.
        """
        self.settings, self.device = settings, device
        self.network = load_pretrained(
            "VitPoseForPoseEstimation", settings.model, settings.revision
        ).to(device)
        config = self.network.config
        self.input_size = _input_size(config)
        n_joints = int(getattr(config, "num_labels", 17))
        if n_joints != len(NAMES["coco_17"]):
            raise SourceError(
                f"The model {settings.model!r} finds {n_joints} joints; ViTPose models with COCO's "
                "17 joints are supported."
            )
        self.version = f"vitpose-{_short(settings.model)}-{weights_digest(self.network)}" + (
            "-mirror" if settings.mirror else ""
        )

    def detect(
        self, pixels: NDArray[np.uint8], windows: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Find the joints of B people; see HeatmapDetector."""
        parts = [
            combined(self._scores(pixels[i : i + _AT_ONCE]), to_h36m("coco_17"))
            for i in range(0, len(pixels), _AT_ONCE)
        ]
        # UDP: the grid's corner cells lie on the input's corner pixels (Huang et al., CVPR 2020)
        return np.concatenate(parts), crops_from_windows(windows, self.input_size, "corners")

    def _scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            images = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device)
            values = images.permute(0, 3, 1, 2).float() / 255
            mean, std = (torch.tensor(v, device=self.device)[:, None, None] for v in (_MEAN, _STD))
            values = (values - mean) / std
            found = self._forward(values)
            if self.settings.mirror:
                found = (found + self._forward(values.flip(-1))[:, _COCO_MIRROR].flip(-1)) / 2
            scores: NDArray[np.float32] = found.float().cpu().numpy()
        return scores

    def _forward(self, values: Any) -> Any:
        import torch

        more = {}
        if getattr(self.network.config.backbone_config, "num_experts", 1) > 1:
            index = torch.full((len(values),), self.settings.dataset_index, device=self.device)
            more["dataset_index"] = index
        return self.network(pixel_values=values, **more).heatmaps


def _input_size(config: Any) -> tuple[int, int]:
    rows, columns = config.backbone_config.image_size
    return int(rows), int(columns)


@functools.lru_cache(maxsize=1)
def _looked_at(settings: VitPoseSettings) -> VitPoseDetector:
    return VitPoseDetector(settings)


@functools.lru_cache(maxsize=2)
def _file_digest(model: str, revision: str) -> str | None:
    """Return weights_digest of the network in a model's one safetensors file, without building it.

    None where its weights are kept otherwise.
    """
    name = "model.safetensors"
    file: str | None = str(Path(model, name)) if Path(model, name).is_file() else None
    if file is None and not Path(model).is_dir():
        from transformers.utils.hub import cached_file

        try:
            file = cached_file(model, name, revision=revision)
        except (OSError, ValueError):
            file = None  # loading the model says what is wrong
    if file is None:
        return None
    from safetensors import safe_open

    digest = hashlib.sha256()
    with safe_open(file, framework="np") as tensors:
        for tensor in sorted(tensors.keys()):
            digest.update(tensor.encode())
            digest.update(np.ascontiguousarray(tensors.get_tensor(tensor)).tobytes())
    return digest.hexdigest()[:12]


def load_pretrained(architecture: str, model: str, revision: str = "main") -> Any:
    """Load a transformers model for inference, or its configuration alone.

    Raises:
        SourceError: transformers is not installed, or there is no such model.
    """
    try:
        import transformers
    except ImportError as error:
        raise SourceError(
            f"This detector needs transformers ({error}): pip install 'diffpose-at-scale[vitpose]'."
        ) from None
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    local = Path(model).is_dir()
    try:
        network = getattr(transformers, architecture).from_pretrained(
            model, revision=revision, local_files_only=local
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()
        raise SourceError(
            f"There is no {architecture} at {model!r}: give a folder written by save_pretrained, "
            f"or the name of a model on the hub ({reason[0] if reason else error!r})."
        ) from None
    return network.eval() if hasattr(network, "eval") else network


def weights_digest(network: Any) -> str:
    """Return a short digest of a network's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def _short(model: str) -> str:
    return model.rstrip("/").rsplit("/", 1)[-1]
