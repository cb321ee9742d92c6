"""Which virtual cameras: the settings of all of them."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Tag

from diffpose.platform.base.config import by_kind
from diffpose.preprocessing.mocap.cameras.ring import RingCameras
from diffpose.preprocessing.mocap.cameras.wild import WildCameras

CameraSettings: TypeAlias = Annotated[
    Annotated[RingCameras, Tag("ring")] | Annotated[WildCameras, Tag("wild")],
    by_kind("ring"),
]
