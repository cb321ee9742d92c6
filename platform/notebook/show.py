"""The viewer's page within a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from diffpose.platform.answers.answer import Answer
from diffpose.platform.base.errors import ConfigError
from diffpose.platform.base.storage import absolute, write_bytes
from diffpose.platform.viewer.mp4 import small_film
from diffpose.platform.viewer.page import viewer_page

_HEIGHT_PX = 760


@dataclass(frozen=True)
class Shown:
    """A page that notebooks display.

    Attributes:
        page: the whole HTML file.
    """

    page: str

    def _repr_html_(self) -> str:
        """Return what a notebook displays: the page in a frame of its own."""
        inside = html.escape(self.page, quote=True)
        return (
            f'<iframe srcdoc="{inside}" style="width: 100%; height: {_HEIGHT_PX}px; border: 0" '
            'title="3D poses"></iframe>'
        )

    def save(self, path: str) -> None:
        """Write the page as a file that any browser opens."""
        write_bytes(absolute(path), self.page.encode())


def shown(answers: Answer | Sequence[Answer], film: str | None = None) -> Shown:
    """Return the page of one film's answers.

    Raises:
        ConfigError: there are no answers, or they are of several films.
        SourceError: the film cannot be read.
    """
    people = [answers] if isinstance(answers, Answer) else list(answers)
    sources = sorted({answer.source for answer in people})
    if len(sources) != 1:
        raise ConfigError(
            f"show takes the answers of one film, got {', '.join(sources) or 'none'}."
        )
    embedded = None if film is None else small_film(absolute(film))
    return Shown(viewer_page(people, title=sources[0], film=embedded))
