"""Checkpoints: self-describing folders at any URI, weights as safetensors beside their config.

A run directory holds ``encoder/`` and ``denoiser/``, each with

    config.json           architecture, what it was trained for, held-out figures, code version
    weights.safetensors   averaged (EMA) weights, the ones to use

so that a model loads by its path alone, years later.
"""

from __future__ import annotations

import hashlib
from typing import Any

import safetensors.torch
import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from torch import Tensor

import diffpose
from diffpose.model.networks.denoiser import Denoiser, DenoiserConfig
from diffpose.model.networks.encoders import (
    ContextEncoder,
    ContextEncoderConfig,
    build_encoder,
)
from diffpose.model.observations.initial_distribution import (
    DepthPrior,
    EncoderDepth,
    HistogramDepth,
)
from diffpose.platform.base.errors import RunError
from diffpose.platform.base.storage import (
    exists,
    join,
    read_bytes,
    read_json,
    write_bytes,
    write_json,
)
from diffpose.platform.runs.uncertainty_file import digest, load_recalibration

FORMAT = 1
_AGAIN = "Train this model again, in a new run directory."
CONFIG, WEIGHTS = "config.json", "weights.safetensors"


def save_model(uri: str, kind: str, weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write a model folder; the config goes last and marks it complete."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    write_bytes(join(uri, WEIGHTS), safetensors.torch.save(tensors))
    description = {
        "format": FORMAT,
        "kind": kind,
        "code_version": diffpose.__version__,
        "torch_version": torch.__version__,
        **config,
    }
    write_json(join(uri, CONFIG), description)


def has_model(uri: str) -> bool:
    """Tell whether a complete model folder is there."""
    return exists(join(uri, CONFIG))


def load_config(uri: str, kind: str) -> dict[str, Any]:
    """Read a model folder's config.

    Raises:
        RunError: no complete model is there, or another kind or format.
    """
    if not has_model(uri):
        raise RunError(
            f"There is no trained {kind} at {uri!r} ({CONFIG} is missing). Train one: diffpose "
            "train --config configs/train/frame_cpu.yaml store=STORE run=RUN_DIR"
        )
    try:
        config: dict[str, Any] = read_json(join(uri, CONFIG))
    except ValueError as error:
        raise RunError(f"{join(uri, CONFIG)} is damaged: {error}. {_AGAIN}") from None
    if config.get("format") != FORMAT or config.get("kind") != kind:
        raise RunError(
            f"{join(uri, CONFIG)} describes kind {config.get('kind')!r} in format "
            f"{config.get('format')!r}; expected kind {kind!r} in format {FORMAT}. Give the run "
            "directory itself, whose encoder/ and denoiser/ are read."
        )
    return config


def load_encoder(uri: str) -> tuple[ContextEncoder, dict[str, Any]]:
    """Load a context encoder, ready to use, with its config.

    Raises:
        RunError: it is missing or damaged.
    """
    config = load_config(uri, "context_encoder")
    encoder = build_encoder(
        TypeAdapter(ContextEncoderConfig).validate_python(config["architecture"])
    )
    load_weights(encoder, uri)
    return encoder.eval(), config


def load_denoiser(uri: str) -> tuple[Denoiser, dict[str, Any]]:
    """Load a denoiser, ready to use, with its config.

    Raises:
        RunError: it is missing or damaged.
    """
    config = load_config(uri, "denoiser")
    denoiser = Denoiser(
        DenoiserConfig.model_validate(config["architecture"]), config["context_width"]
    )
    load_weights(denoiser, uri)
    return denoiser.eval(), config


def encoder_digest(uri: str) -> str:
    """Return a digest of an encoder's weights: mixtures and denoisers belong to one encoder.

    Raises:
        RunError: there is no encoder.
    """
    load_config(uri, "context_encoder")
    return hashlib.sha256(_read_weights(uri)).hexdigest()[:16]


def weights_digest(run_uri: str) -> str:
    """Return a digest of all weights of a run: two runs that answer differently differ here.

    Raises:
        RunError: a part is missing.
    """
    digest = hashlib.sha256()
    for part in ("encoder", "denoiser"):
        digest.update(_read_weights(join(run_uri, part)))
    return digest.hexdigest()[:16]


def answer_digests(run_uri: str) -> list[str]:
    """Return what a run's answers depend on besides sampling: digests of weights and recalibration.

    Raises:
        RunError: the run has no trained model, or its recalibration is damaged.
    """
    return [weights_digest(run_uri), digest(load_recalibration(run_uri))]


def depth_to_json(depth: DepthPrior) -> dict[str, Any]:
    """Describe a depth prior as JSON."""
    if isinstance(depth, EncoderDepth):
        return {"kind": "encoder", "sigma_mm": depth.sigma_mm.tolist()}
    if isinstance(depth, HistogramDepth):
        return {
            "kind": "histogram",
            "edges_mm": depth.edges_mm.tolist(),
            "counts": depth.counts.tolist(),
        }
    raise TypeError(f"Unknown depth prior {type(depth).__name__}.")


def depth_from_json(value: dict[str, Any]) -> DepthPrior:
    """Read what depth_to_json wrote."""
    if value["kind"] == "encoder":
        return EncoderDepth(torch.tensor(value["sigma_mm"], dtype=torch.float32))
    return HistogramDepth(
        torch.tensor(value["edges_mm"], dtype=torch.float64),
        torch.tensor(value["counts"], dtype=torch.float64),
    )


def load_weights(module: torch.nn.Module, uri: str) -> None:
    """Fill a network with the weights of a model folder.

    Raises:
        RunError: they are missing, damaged, or of another network.
    """
    try:
        module.load_state_dict(safetensors.torch.load(_read_weights(uri)))
    except (SafetensorError, RuntimeError) as error:
        raise RunError(
            f"{join(uri, WEIGHTS)} does not fit its config or is damaged: {error}. {_AGAIN}"
        ) from None


def _read_weights(uri: str) -> bytes:
    try:
        return read_bytes(join(uri, WEIGHTS))
    except FileNotFoundError:
        raise RunError(f"{join(uri, WEIGHTS)} is missing beside its config. {_AGAIN}") from None
