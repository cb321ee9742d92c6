"""Train: context encoder, its contexts, mixtures, denoiser, its uncertainty; restartable."""

from __future__ import annotations

from diffpose.platform.base.storage import absolute, join, read_bytes, write_bytes
from diffpose.platform.evaluation.fit_uncertainty import recalibrate
from diffpose.platform.execution.ray_session import one_session
from diffpose.platform.runs.model_files import (
    CONFIG,
    WEIGHTS,
    encoder_digest,
    has_model,
    load_config,
)
from diffpose.platform.store.pose_store import PoseStore
from diffpose.platform.training.driver import train_denoiser, train_encoder
from diffpose.platform.training.settings import TrainSettings
from diffpose.platform.workflows.preprocess import print_summary
from diffpose.preprocessing.derived.contexts import encode_contexts
from diffpose.preprocessing.derived.mixtures import fit_mixture_group
from diffpose.preprocessing.settings import MixtureGroupSettings


@one_session()
def train(settings: TrainSettings) -> int:
    """Run the stages that are not done yet; returns the exit status."""
    settings = settings.model_copy(
        update={"store": absolute(settings.store), "run": absolute(settings.run)}
    )
    # opened first: a missing store is said before the run directory is begun
    store = PoseStore.open(settings.store)
    encoder = join(settings.run, "encoder")
    if settings.encoder is not None:
        _take_encoder(join(absolute(settings.encoder), "encoder"), encoder)
    if "encoder" in settings.stage and settings.encoder is None:
        if has_model(encoder):
            print(f"encoder: already trained in {settings.run}")
        else:
            train_encoder(settings)
    if settings.stage != ["encoder"]:
        load_config(encoder, "context_encoder")  # says what is missing
    group = settings.mixtures or _default_group(settings, encoder, store)
    contexts = encoder_digest(encoder)[:8] if has_model(encoder) else ""
    if "contexts" in settings.stage:
        summary = encode_contexts(
            settings.store, contexts, settings.run, None,
            mirror=settings.denoiser_training.mirror, gpu=settings.gpu,
        )  # fmt: skip
        print_summary(f"contexts/{contexts}", summary)
    if "mixtures" in settings.stage:
        mixture = MixtureGroupSettings(name=group, depth=settings.depth, spec=settings.mixture)
        run = settings.run if settings.depth == "encoder" else None
        summary = fit_mixture_group(settings.store, mixture, run, settings.seed, None)
        print_summary(f"mixtures/{group}", summary)
    if "denoiser" in settings.stage:
        if has_model(join(settings.run, "denoiser")):
            print(f"denoiser: already trained in {settings.run}")
        else:
            train_denoiser(settings, group, contexts)
        recalibrate(settings.store, settings.run, settings.seed)
    return 0


def _default_group(settings: TrainSettings, encoder: str, store: PoseStore) -> str:
    # runs on one store and encoder may want mixtures of several kinds
    spec = settings.mixture
    kind = f"{spec.scope}-{spec.covariance}-{spec.n_kernels}"
    if settings.depth == "histogram":
        if "histogram" not in store.mixture_names():
            return "histogram"
        begun = "spec" in store.group_attributes("mixtures", "histogram")  # by preprocess
        same = not begun or store.mixture_attributes("histogram").spec == spec
        return "histogram" if same else f"histogram-{kind}"
    if not has_model(encoder):
        return "encoder"
    return f"encoder-{encoder_digest(encoder)[:8]}-{kind}"


def _take_encoder(source: str, target: str) -> None:
    """Copy a trained encoder, so that the run directory is complete in itself."""
    load_config(source, "context_encoder")
    if has_model(target):
        return
    for name in (WEIGHTS, CONFIG):  # the config goes last and marks the folder complete
        write_bytes(join(target, name), read_bytes(join(source, name)))
