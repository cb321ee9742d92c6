"""Which virtual cameras: the settings of all of them."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Discriminator, Tag

from diffpose.preprocessing.mocap.cameras.ring import RingCameras
from diffpose.preprocessing.mocap.cameras.wild import WildCameras


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("kind", "ring"))
    return str(getattr(value, "kind", "ring"))


CameraSettings: TypeAlias = Annotated[
    Annotated[RingCameras, Tag("ring")] | Annotated[WildCameras, Tag("wild")],
    Discriminator(_kind),
]
