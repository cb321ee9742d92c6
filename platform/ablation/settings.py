"""An ablation: many denoisers on the same encoders, poses and budget, and the tables they fill.

Layout of the folder:

    store/                          detections, contexts, mixtures
    ENCODER/seed_S/encoder_run      the context encoder
    ENCODER/seed_S/RECIPE           a denoiser on it
    ENCODER/seed_S/evaluation_SPLIT.json   all of them on the same poses
    ENCODER/seed_S/speed.json       frames per second, in turns
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from diffpose.model.lifting.sampling import SamplingSettings
from diffpose.platform.base.config import Settings, merged, validate
from diffpose.platform.base.errors import ConfigError
from diffpose.platform.base.storage import join
from diffpose.platform.store.clips import Split
from diffpose.platform.training.settings import TrainSettings


class SweepSettings(Settings):
    """One trained recipe under several values of a sampling setting."""

    encoder: str = Field(description="which it is trained on")
    recipe: str = Field(description="which is measured")
    setting: str = Field(description="key of sampling")
    values: list[Any] = Field(min_length=1, description="of that setting")
    given: dict[str, Any] = Field({}, description="other sampling settings; default: the recipe's")
    split: Split | None = Field(None, description="default: the ablation's")
    most_poses: int | None = Field(
        None, ge=1, description="of the split, evenly spread; default: all"
    )

    @model_validator(mode="after")
    def _sampling_that_exists(self) -> SweepSettings:
        for value in self.values:
            SamplingSettings.model_validate({**self.given, self.setting: value})
        return self


class AblationSettings(Settings):
    """Train recipes side by side, evaluate them on the same poses, fill tables. Restartable."""

    motion: str = Field(description="folder of motion capture")
    folder: str = Field(description="where stores and runs go")
    preprocess: dict[str, Any] = Field({}, description="as for preprocess; source.uri is motion=")
    encoders: dict[str, dict[str, Any]] = Field(
        description="name -> context_encoder and encoder_training, as for train"
    )
    base: dict[str, Any] = Field({}, description="what all denoisers share, as for train")
    recipes: dict[str, dict[str, Any]] = Field(
        description="name -> departures from base, as for train"
    )
    rows: dict[str, list[str]] = Field(
        description="encoder -> recipes that are trained on it, in the order of the tables"
    )
    tables: dict[str, dict[str, list[str]]] = Field(
        {}, description="title -> a table of its own: encoder -> recipes, its rows in order"
    )
    sweeps: dict[str, SweepSettings] = Field(
        {}, description="title -> a recipe under several sampling settings, no training"
    )
    seeds: list[int] = Field([0, 1], min_length=1, description="one training of everything each")
    split: Split = Field(
        "test", description="split that is reported; choices are made on validation"
    )
    parallel: int | None = Field(
        None, ge=1, description="trainings at once; default: as many as the CPUs allow"
    )
    on: list[str] = Field([], description="encoders to run now; default: all")
    only: list[str] = Field([], description="recipes to run now; default: all")
    profile: str = Field("full", description="a name of profiles, or full")
    profiles: dict[str, dict[str, Any]] = Field(
        {}, description="name -> departures from the file; null takes tables or sweeps away"
    )
    results: str | None = Field(None, description="write the figures there as JSON")

    @model_validator(mode="after")
    def _names_that_exist(self) -> AblationSettings:
        for encoder, recipes in self.rows.items():
            if encoder not in self.encoders:
                raise ValueError(f"rows names the encoder {encoder!r}, which encoders= lacks")
            missing = [name for name in recipes if name not in self.recipes]
            if missing:
                raise ValueError(f"rows.{encoder} names {missing}, which recipes= lacks")
        if self.profile != "full" and self.profile not in self.profiles:
            raise ValueError(
                f"profile={self.profile!r} is not one of full, {', '.join(self.profiles)}"
            )
        for what, names, known in (
            ("on", self.on, self.encoders),
            ("only", self.only, self.recipes),
            ("tables", [e for t in self.tables.values() for e in t], self.encoders),
            (
                "tables",
                [n for t in self.tables.values() for p in t.values() for n in p],
                self.recipes,
            ),
            ("sweeps", [s.encoder for s in self.sweeps.values()], self.encoders),
            ("sweeps", [s.recipe for s in self.sweeps.values()], self.recipes),
        ):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise ValueError(f"{what} names {unknown}, there are {', '.join(known)}")
        return self

    def resolved(self) -> AblationSettings:
        """Return the settings with the chosen profile's departures put in."""
        if self.profile == "full":
            return self
        values = merged(self.model_dump(), self.profiles[self.profile])
        for part in ("tables", "sweeps"):  # what a profile sets to null it does without
            values[part] = {k: v for k, v in (values[part] or {}).items() if v is not None}
        return validate(AblationSettings, {**values, "profile": "full"})

    @property
    def store(self) -> str:
        """The pose store."""
        return join(self.folder, "store")

    def encoders_now(self) -> list[str]:
        """Return the encoders that are run now."""
        return [name for name in self.rows if not self.on or name in self.on]

    def recipes_on(self, encoder: str) -> list[str]:
        """Return the recipes that are trained on an encoder now."""
        return [n for n in self.rows.get(encoder, []) if not self.only or n in self.only]

    def place(self, encoder: str, seed: int) -> str:
        """Return the folder of one encoder's runs."""
        return join(self.folder, encoder, f"seed_{seed}")

    def encoder_run(self, encoder: str, seed: int) -> TrainSettings:
        """Return the training of a context encoder and its contexts.

        Raises:
            ConfigError: what the file says is no training.
        """
        values = merged(self.base, self.encoders[encoder])
        run = join(self.place(encoder, seed), "encoder_run")
        return self._train(
            values, encoder, {"run": run, "seed": seed, "stage": ["encoder", "contexts"]}
        )

    def denoiser_run(self, encoder: str, recipe: str, seed: int) -> TrainSettings:
        """Return the training of a denoiser; the mixtures carry the name of their spec.

        Raises:
            ConfigError: what the file says is no training.
        """
        values = merged(merged(self.base, self.encoders[encoder]), self.recipes[recipe])
        here = self.place(encoder, seed)
        own = {"run": join(here, recipe), "seed": seed, "encoder": join(here, "encoder_run")}
        settings = self._train(values, f"{encoder}/{recipe}", {**own, "stage": ["denoiser"]})
        spec = settings.mixture
        group = f"{encoder}-{seed}-{spec.scope}-{spec.covariance}-{spec.n_kernels}"
        return settings.model_copy(update={"mixtures": group})

    def _train(self, values: dict[str, Any], what: str, own: dict[str, Any]) -> TrainSettings:
        try:
            return validate(TrainSettings, {**values, "store": self.store, **own})
        except ConfigError as error:
            raise ConfigError(f"{what}: {error}") from None
