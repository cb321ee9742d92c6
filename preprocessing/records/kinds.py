"""What the settings of every kind of source and of every detector say of themselves.

A source gives something that can be looked at, a detector reads one such thing; the two go together
where they agree. Nothing else needs a list of kinds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from diffpose.model.geometry.skeleton import N_JOINTS
from diffpose.platform.base.config import Settings
from diffpose.platform.base.storage import absolute

# What a detector turns into heatmaps.
Material: TypeAlias = Literal[
    "known motion", "pictures", "keypoint files", "a data set's keypoints"
]


class SourceKind(Settings):
    """Base of the settings of all sources.

    Attributes:
        gives: what there is for a detector to read.
        default_detectors: ``detector.kind`` where none is named: the first that is installed.
        otherwise: what to do when another detector is wanted, for the error message.
    """

    gives: ClassVar[tuple[Material, ...]]
    default_detectors: ClassVar[tuple[str, ...]]
    otherwise: ClassVar[str]

    @classmethod
    def completed(cls, _source: Any, detector: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a detector with what this source knows of them.

        Args:
            _source: this source's settings, or the values that they will be made of.
            detector: values of the detector's settings, ``kind`` included.
        """
        return dict(detector)

    def absolute(self) -> Self:
        """Return the settings with URIs that mean the same on every worker."""
        uri: str | list[str] = self.uri  # type: ignore[attr-defined]  # every source has one
        there = [absolute(one) for one in uri] if isinstance(uri, list) else absolute(uri)
        return self.model_copy(update={"uri": there})


class DetectorKind(Settings, ABC):
    """Base of the settings of all detectors.

    Attributes:
        reads: what it turns into heatmaps.
        own_finder: who looks for people in whole frames where nobody else is named.
        gives_pose: whether it also says where the joints are in space.
    """

    reads: ClassVar[Material]
    own_finder: ClassVar[Literal["bundled", "blazepose"]] = "bundled"
    gives_pose: ClassVar[bool] = False

    @classmethod
    def installed(cls) -> bool:
        """Tell whether it can be the default here: all that it needs without a word is there."""
        return True

    @abstractmethod
    def version(self) -> str:
        """Return name and version of what will write the heatmaps; others differ here."""

    def temperature(self) -> NDArray[np.float64]:
        """Return the temperature of each joint, (17,), that the detector brings along."""
        return np.ones(N_JOINTS)

    def person_weights(self) -> str | None:
        """Return the weights of its own finder of people; None: the finder's usual ones."""
        return None

    def absolute(self) -> Self:
        """Return the settings with URIs that mean the same on every worker."""
        return self
