"""Run directories of imported networks: saved by diffpose import-checkpoint, used like any run."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import ValidationError

from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.model.networks.mixste import Mixste, MixsteConfig
from diffpose.model.released.chebyshev_gcn import ChebyshevGcn, ChebyshevGcnConfig
from diffpose.model.released.official_lifter import (
    OfficialLifter,
    OfficialProcess,
    frame_context,
    window_context,
)
from diffpose.platform.base.errors import RunError
from diffpose.platform.base.storage import join, read_bytes
from diffpose.platform.runs.model_files import WEIGHTS, load_config, load_weights, save_model

CONTEXT_KIND, DENOISER_KIND = "official_context", "official_denoiser"


def save_official(
    run_uri: str,
    context: ChebyshevGcn | Mixste,
    denoiser: ChebyshevGcn,
    process: OfficialProcess,
    origin: dict[str, dict[str, str]],
) -> None:
    """Write a run directory.

    Args:
        run_uri: the run.
        context: GCNpose, GraFormer or MixSTE.
        denoiser: GCNdiff.
        process: schedule, sampler, inputs.
        origin: of ``context`` and ``denoiser``: what is to be known of the files they came from.
    """
    encoder_uri = join(run_uri, "encoder")
    network = "mixste" if isinstance(context, Mixste) else "chebyshev_gcn"
    save_model(
        encoder_uri,
        CONTEXT_KIND,
        context.state_dict(),
        {
            "network": network,
            "architecture": context.config.model_dump(mode="json"),
            "origin": origin["context"],
        },
    )
    save_model(
        join(run_uri, "denoiser"),
        DENOISER_KIND,
        denoiser.state_dict(),
        {
            "architecture": {
                # what reports say of a run
                "process": "official",
                "parametrisation": "noise",
                "condition": "none",
                "n_steps": process.n_steps,
                "n_visited_steps": len(process.visited),
                "network": denoiser.config.model_dump(mode="json"),
            },
            "official": process.model_dump(mode="json"),
            "encoder_digest": _digest(encoder_uri),
            "sampling": SamplingSettings(n_hypotheses=1).model_dump(),
            # The networks do not look at widths; requests without any get this many heatmap cells.
            "typical_sigma_cells": [1.0] * N_JOINTS,
            "origin": origin["denoiser"],
        },
    )


def load_official(run_uri: str) -> tuple[OfficialLifter, SamplingSettings, dict[str, Any]]:
    """Load what save_official wrote; see load.load_run.

    Raises:
        RunError: a part is missing, damaged, or the two networks do not belong together.
    """
    encoder_uri, denoiser_uri = join(run_uri, "encoder"), join(run_uri, "denoiser")
    encoder_config = load_config(encoder_uri, CONTEXT_KIND)
    config = load_config(denoiser_uri, DENOISER_KIND)
    context: ChebyshevGcn | Mixste
    try:
        sizes = encoder_config["architecture"]
        if encoder_config["network"] == "mixste":
            context = Mixste(MixsteConfig.model_validate(sizes))
        else:
            context = ChebyshevGcn(ChebyshevGcnConfig.model_validate(sizes))
        denoiser = ChebyshevGcn(
            ChebyshevGcnConfig.model_validate(config["architecture"]["network"])
        )
        process = OfficialProcess.model_validate(config["official"])
        sampling = SamplingSettings.model_validate(config["sampling"])
        digest = config["encoder_digest"]
    except (KeyError, ValidationError) as error:
        raise RunError(
            f"The configuration of the imported run {run_uri!r} is damaged: {error}. Import it "
            "again: diffpose import-checkpoint."
        ) from None
    load_weights(context, encoder_uri)
    load_weights(denoiser, denoiser_uri)
    if digest != _digest(encoder_uri):
        raise RunError(
            f"The two networks of {run_uri!r} were not imported together. Import them again: "
            "diffpose import-checkpoint."
        )
    poses = window_context(context) if isinstance(context, Mixste) else frame_context(context)
    return OfficialLifter(poses, denoiser, process), sampling, config


def _digest(uri: str) -> str:
    return hashlib.sha256(read_bytes(join(uri, WEIGHTS))).hexdigest()[:16]
