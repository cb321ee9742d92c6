"""What training can be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec
from diffpose.model.networks.denoiser import DenoiserConfig
from diffpose.model.networks.encoders import ContextEncoderConfig
from diffpose.model.networks.graformer import GraformerConfig
from diffpose.platform.base.config import Settings

Stage = Literal["encoder", "contexts", "mixtures", "denoiser"]


class OptimiserSettings(Settings):
    """How one network is optimised."""

    epochs: int = Field(ge=1, description="passes over the training split")
    batch_size: int = Field(256, ge=1, description="rows per step, over all workers together")
    learning_rate: float = Field(2e-3, gt=0, description="highest learning rate")
    schedule: Literal["one_cycle", "paper"] = Field(
        "one_cycle", description="one_cycle: rise and cosine fall; paper: x 0.9 every 10 epochs"
    )
    weight_decay: float = Field(1e-3, ge=0, description="AdamW's")
    gradient_clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema_decay: float = Field(0.998, ge=0, lt=1, description="of the averaged weights")
    mirror: bool = Field(True, description="mirror half of the poses")
    redraw_detections: bool = Field(
        False,
        description="encoder: draw unimodal detections anew around the truth, with the width that "
        "their heatmaps show (right where heatmaps are honest)",
    )


class TrainSettings(Settings):
    """Context encoder, mixtures with its depth, denoiser. Restartable."""

    store: str = Field(description="pose store with detections")
    run: str = Field(description="run directory to make or go on with")
    stage: list[Stage] = Field(
        ["encoder", "contexts", "mixtures", "denoiser"], description="what to do"
    )
    encoder: str | None = Field(
        None, description="take the trained encoder of this run instead of training one"
    )
    depth: Literal["encoder", "histogram"] = Field("encoder", description="prior of z in H_K")
    mixtures: str = Field(
        "", description="mixture group of the store; default: one for this encoder or 'histogram'"
    )
    mixture: MixtureSpec = Field(MixtureSpec(), description="what is fitted, and how")
    context_encoder: ContextEncoderConfig = Field(
        GraformerConfig(), description="kind=graformer (single frames) or mixste (windows); sizes"
    )
    window_strides: list[int] = Field(
        [1],
        min_length=1,
        description="encoders of windows: take every s-th frame of the store for a window, s drawn "
        "from these; with context_encoder.time_step=told one encoder knows several frame rates",
    )
    denoiser: DenoiserConfig = Field(DenoiserConfig(), description="process and sizes")
    sampling: SamplingSettings = Field(SamplingSettings(), description="at validation and after")
    encoder_training: OptimiserSettings = Field(
        OptimiserSettings(epochs=20), description="stage encoder"
    )
    denoiser_training: OptimiserSettings = Field(
        OptimiserSettings(epochs=20), description="stage denoiser"
    )
    validation_poses: int = Field(2000, ge=1, description="poses per validation, evenly picked")
    workers: int = Field(1, ge=1, description="DDP workers")
    gpu: bool = Field(False, description="one GPU per worker (nccl) instead of CPUs (gloo)")
    threads: int = Field(1, ge=1, description="CPU threads per worker")
    memory_limit_gb: float = Field(4.0, gt=0, description="read the split at once up to this size")
    seed: int = Field(0, ge=0, description="of weights, order and noise")

    @field_validator("stage", mode="before")
    @classmethod
    def _one_or_several(cls, stage: object) -> object:
        return [part.strip() for part in stage.split(",")] if isinstance(stage, str) else stage

    @field_validator("window_strides")
    @classmethod
    def _strides_are_steps(cls, strides: list[int]) -> list[int]:
        if min(strides) < 1 or len(set(strides)) < len(strides):
            raise ValueError(f"window_strides={strides} must be different numbers of at least 1")
        return strides

    @model_validator(mode="after")
    def _own_run(self) -> TrainSettings:
        if self.encoder is not None and self.encoder.rstrip("/") == self.run.rstrip("/"):
            raise ValueError("encoder= names this very run; leave it out to use the run's own")
        return self

    @model_validator(mode="after")
    def _held_mean_has_estimates(self) -> TrainSettings:
        walks = self.denoiser.process != "single_step"
        if self.sampling.held_mean and walks and not self.denoiser.predicts.estimates_clean_pose:
            raise ValueError(
                "sampling.held_mean holds the mean of estimates of h_0, which only "
                "denoiser.parametrisation=clean_pose makes; leave it out"
            )
        return self
