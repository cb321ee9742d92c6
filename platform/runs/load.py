"""A run directory as what answers: networks, their sampling, what is known of their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffpose.model.lifting.interface import Lifter
from diffpose.model.lifting.lifter import DiffusionLifter
from diffpose.model.lifting.sampling import SamplingSettings, unrefined
from diffpose.model.mixtures.gaussian_mixture import MixtureSpec
from diffpose.platform.base.config import validate
from diffpose.platform.base.errors import RunError
from diffpose.platform.base.storage import join, read_json
from diffpose.platform.runs.model_files import (
    CONFIG,
    depth_from_json,
    encoder_digest,
    has_model,
    load_denoiser,
    load_encoder,
)
from diffpose.platform.runs.official_run import load_official
from diffpose.platform.runs.uncertainty_file import Recalibration, load_recalibration


@dataclass(frozen=True)
class LoadedRun:
    """A whole run.

    Attributes:
        lifter: its networks; knows the run's errors on known poses where they were measured.
        sampling: the run's own. A run that refines but whose errors could not be measured (too few
            known poses) does not refine.
        config: of the denoiser.
        recalibration: what makes its uncertainty honest, where it was fitted.
    """

    lifter: Lifter
    sampling: SamplingSettings
    config: dict[str, Any]
    recalibration: Recalibration | None


def load_run(run_uri: str) -> LoadedRun:
    """Load encoder, denoiser, depth prior and errors on known poses.

    Raises:
        RunError: a part is missing, damaged, or encoder and denoiser do not belong together.
    """
    lifter: Lifter
    if _is_official(join(run_uri, "denoiser")):
        lifter, sampling, config = load_official(run_uri)
    else:
        lifter, sampling, config = _load_own(run_uri)
    recalibration = load_recalibration(run_uri)
    if recalibration is None:
        return LoadedRun(lifter, unrefined(sampling), config, None)
    lifter.errors_mm2 = recalibration.errors_mm2
    lifter.regions = recalibration.regions
    return LoadedRun(lifter, sampling, config, recalibration)


def load_to_sample(run_uri: str, overrides: dict[str, Any]) -> tuple[Lifter, SamplingSettings]:
    """Load a whole run and its sampling settings, some of them replaced.

    Raises:
        RunError: see load_run; or it shall refine and its errors were never measured.
        ConfigError: the settings do not go together.
    """
    run = load_run(run_uri)
    return run.lifter, sampling_of(run, run_uri, overrides)


def sampling_of(run: LoadedRun, run_uri: str, overrides: dict[str, Any]) -> SamplingSettings:
    """Return a run's sampling settings, some of them replaced.

    Raises:
        RunError: it shall refine and its errors were never measured.
        ConfigError: the settings do not go together.
    """
    chosen = validate(SamplingSettings, {**run.sampling.model_dump(), **overrides})
    if chosen.refine != "none" and run.lifter.errors_mm2 is None:
        raise RunError(
            f"refine={chosen.refine} needs the errors of {run_uri!r} on known poses, which nobody "
            "has measured: diffpose recalibrate run=RUN store=STORE does. Or take refine=none."
        )
    return chosen


def _load_own(run_uri: str) -> tuple[DiffusionLifter, SamplingSettings, dict[str, Any]]:
    encoder, _ = load_encoder(join(run_uri, "encoder"))
    denoiser, config = load_denoiser(join(run_uri, "denoiser"))
    digest = encoder_digest(join(run_uri, "encoder"))
    if config["encoder_digest"] != digest:
        raise RunError(
            f"The denoiser of {run_uri!r} was trained with encoder {config['encoder_digest']}, but "
            f"the encoder beside it is {digest}. Train the denoiser again (stage=denoiser in a "
            "new run directory)."
        )
    lifter = DiffusionLifter(
        encoder,
        denoiser,
        depth_from_json(config["depth"]),
        MixtureSpec.model_validate(config["mixture_spec"]),
    )
    return lifter, SamplingSettings.model_validate(config["sampling"]), config


def _is_official(uri: str) -> bool:
    """Tell whether a denoiser is an imported one; what cannot be read is explained elsewhere."""
    try:
        return has_model(uri) and str(read_json(join(uri, CONFIG)).get("kind")).startswith(
            "official"
        )
    except (ValueError, AttributeError):
        return False
