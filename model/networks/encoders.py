"""The context encoders there are, and how one is built from its sizes."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Discriminator, Tag

from diffpose.model.networks.graformer import Graformer, GraformerConfig
from diffpose.model.networks.mixste import Mixste, MixsteConfig

ContextEncoder: TypeAlias = Graformer | Mixste


def _kind(value: Any) -> str:
    # Without a word it is the encoder of single frames, as in every config before there were two.
    if isinstance(value, dict):
        return str(value.get("kind", "graformer"))
    return str(getattr(value, "kind", "graformer"))


ContextEncoderConfig: TypeAlias = Annotated[
    Annotated[GraformerConfig, Tag("graformer")] | Annotated[MixsteConfig, Tag("mixste")],
    Discriminator(_kind),
]


def build_encoder(config: GraformerConfig | MixsteConfig) -> ContextEncoder:
    """Build an untrained context encoder."""
    return Mixste(config) if isinstance(config, MixsteConfig) else Graformer(config)
