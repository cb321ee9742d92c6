"""What looking for people in videos needs to know: settings, where the videos are, whose boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.keypoints.recorded import RecordedSettings
from diffpose.preprocessing.settings import PreprocessSettings
from diffpose.preprocessing.videos.settings import VideoSource

BoxesFrom: TypeAlias = Literal["finder", "recording", "sidecar"]


@dataclass(frozen=True)
class VideoJob:
    """The videos of one store.

    Attributes:
        settings: of the store.
        source: those of the videos among them.
        uris: name in the store -> URI.
        recorded: recorded keypoints, where these are the detector.
    """

    settings: PreprocessSettings
    source: VideoSource
    uris: dict[str, str]
    recorded: RecordedSettings | None

    def uri_of(self, name: str) -> str:
        """Return where a video is.

        Raises:
            SourceError: it is no longer among the source's files.
        """
        if name not in self.uris:
            raise SourceError(
                f"{name} was there when the store was planned, and is no longer at source.uri. "
                "Put it back, or make a new store."
            )
        return self.uris[name]

    @property
    def boxes_from(self) -> BoxesFrom:
        """Return who says where people are: a finder in the frames, the recording, the truth."""
        if self.settings.people.finder == "sidecar":
            return "sidecar"
        if self.settings.people.finder == "auto" and self.recorded is not None:
            return "recording"
        return "finder"
