"""What training a detector can be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from diffpose.model.detector.heatmap_network import HeatmapNetworkConfig
from diffpose.model.detector.person_network import PersonNetworkConfig
from diffpose.platform.base.config import Settings
from diffpose.platform.training.settings import OptimiserSettings

Part = Literal["heatmap", "person"]


class TrainDetectorSettings(Settings):
    """Train the heatmap network and the person finder on films with known truth. Restartable."""

    films: str = Field(description="folder of films with sidecars (diffpose render)")
    run: str = Field(description="run directory to make or go on with")
    weights: str | None = Field(
        None, description="write the finished weights to this .safetensors file as well"
    )
    init: str | None = Field(
        None, description="start from this .safetensors file of an earlier run instead of anew"
    )
    examples_per_second: float = Field(
        4.0, gt=0, description="frames of a film that become examples, per second"
    )
    heatmap_network: HeatmapNetworkConfig = Field(HeatmapNetworkConfig(), description="sizes")
    person_network: PersonNetworkConfig = Field(PersonNetworkConfig(), description="sizes")
    heatmap_training: OptimiserSettings = Field(
        OptimiserSettings(epochs=20, batch_size=128, ema_decay=0.999), description="joints"
    )
    person_training: OptimiserSettings = Field(
        OptimiserSettings(epochs=10, batch_size=64, ema_decay=0.998), description="people"
    )
    precision: Literal["bfloat16", "float32"] = Field(
        "bfloat16", description="of the convolutions in training; weights stay float32"
    )
    workers: int = Field(1, ge=1, description="DDP workers")
    gpu: bool = Field(False, description="one GPU per worker instead of CPUs")
    threads: int = Field(1, ge=1, description="CPU threads per worker")
    seed: int = Field(0, ge=0, description="of weights, order and augmentation")
