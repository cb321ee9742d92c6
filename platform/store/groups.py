"""What the named groups of a store say of themselves: mixtures/NAME, contexts/NAME."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from diffpose.model.mixtures.gaussian_mixture import MixtureSpec
from diffpose.platform.base.errors import StoreError
from diffpose.platform.store.clips import Split


class MixtureAttributes(BaseModel, frozen=True, extra="ignore"):
    """What a group of mixtures was fitted with, and how far that went.

    Attributes:
        spec: what was fitted.
        seed: of the draws from H_K.
        depth: the prior of z, as diffpose.platform.runs.model_files writes it.
        encoder_digest: of the encoder that gave z, with a depth of that kind.
        encoder: its folder.
        bridging_pose_mm: (17, 3), the pose that gives the scale, with a histogram.
        origin: the file and its format, of imported mixtures.
        failed_clips: ids of the clips without mixtures.
        complete: whether every span is done.
        complete_splits: the splits whose spans are all done.
    """

    spec: MixtureSpec
    seed: int
    depth: dict[str, Any]
    encoder_digest: str | None = None
    encoder: str | None = None
    bridging_pose_mm: list[list[float]] | None = None
    origin: dict[str, str] | None = None
    failed_clips: list[str] = []
    complete: bool = False
    complete_splits: list[Split] = []

    @classmethod
    def of(cls, name: str, attributes: dict[str, Any]) -> MixtureAttributes:
        """Read the attributes of a group.

        Raises:
            StoreError: the group was begun, and does not say yet with what.
        """
        try:
            return cls.model_validate(attributes)
        except ValidationError as error:
            wrong = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
            raise StoreError(
                f"The mixtures {name!r} do not say what they were fitted with ({wrong}). Run the "
                "command that makes them again."
            ) from None

    @property
    def depth_kind(self) -> str:
        """Return "histogram" or "encoder"."""
        return str(self.depth["kind"])

    def holds(self, split: Split) -> bool:
        """Tell whether every frame of a split has been through."""
        return self.complete or split in self.complete_splits

    def fitted_with(self) -> dict[str, Any]:
        """Return what the group's attributes are written with before any fit."""
        progress = {"failed_clips", "complete", "complete_splits"}
        return self.model_dump(mode="json", exclude_none=True, exclude=progress)


class ContextAttributes(BaseModel, frozen=True, extra="ignore"):
    """Whose contexts a group holds, and which.

    Attributes:
        encoder_digest: of the encoder.
        encoder: its folder.
        complete: whether every frame has been encoded.
        mirrored_complete: whether its mirror image has, as well.
    """

    encoder_digest: str = ""
    encoder: str = ""
    complete: bool = False
    mirrored_complete: bool = False

    def holds(self, *, mirrored: bool) -> bool:
        """Tell whether training finds all that it reads."""
        return self.mirrored_complete or (self.complete and not mirrored)
