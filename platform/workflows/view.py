"""Answers that were written, as something to look at."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pydantic import Field

from diffpose.platform.answers.answer import Answer
from diffpose.platform.answers.files import answers_in, read_answer
from diffpose.platform.base.config import Settings
from diffpose.platform.base.errors import ConfigError, SourceError
from diffpose.platform.base.storage import absolute, join, write_bytes


class ViewSettings(Settings):
    """Look at answers: a page, an overlay film, a recording for Rerun."""

    answers: str = Field(description="folder of answers (FILE.json and FILE.npz), or one FILE.json")
    film: str | None = Field(
        None, description="the film they came from, or the folder of the films"
    )
    overlay: bool = Field(False, description="write overlay.mp4 as well; needs film=")
    ellipses: bool = Field(True, description="draw the 50 % ellipsoids into overlay.mp4")
    rerun: bool = Field(False, description="write answers.rrd as well; needs the extra [viewer]")
    film_px: int = Field(
        720, ge=64, le=4096, description="longest side of the film within the page"
    )
    out: str = Field(description="folder of viewer.html; with several films one folder for each")


def view(settings: ViewSettings) -> None:
    """Write a page for each film, and what else is asked for."""
    from diffpose.platform.viewer.mp4 import small_film
    from diffpose.platform.viewer.overlay import overlay_film
    from diffpose.platform.viewer.page import viewer_page
    from diffpose.platform.viewer.rerun_file import rerun_recording

    if settings.overlay and settings.film is None:
        raise ConfigError("overlay=true draws into the film: give film=FILM as well.")
    people = by_source([read_answer(uri) for uri in answers_in(settings.answers)])
    films = films_of(list(people), settings.film)
    for source, answers in people.items():
        own = source.rpartition("/")[2].rpartition(".")[0] or source.replace("/", "__")
        out = absolute(settings.out) if len(people) == 1 else join(absolute(settings.out), own)
        film = films.get(source)
        if settings.film is not None and film is None:
            sys.stderr.write(f"warning: film={settings.film} has no {source}: a page without it\n")
        embedded = small_film(film, settings.film_px) if film else None
        page = join(out, "viewer.html")
        write_bytes(page, viewer_page(answers, title=source, film=embedded).encode())
        print(f"page: {page}")
        if settings.overlay and film:
            written = overlay_film(
                film, answers, join(out, "overlay.mp4"), ellipses=settings.ellipses
            )
            print(f"film: {join(out, 'overlay.mp4')} ({written.frames} frames)")
            if written.damage:
                print(f"warning: {written.damage}")
        if settings.rerun:
            rerun_recording(answers, join(out, "answers.rrd"))
            print(f"recording: {join(out, 'answers.rrd')}")


def by_source(answers: Sequence[Answer]) -> dict[str, list[Answer]]:
    """Return the people of each film, by its name, in order."""
    people: dict[str, list[Answer]] = {}
    for answer in sorted(answers, key=lambda one: (one.source, one.person)):
        people.setdefault(answer.source, []).append(answer)
    return people


def films_of(sources: Sequence[str], film: str | None) -> dict[str, str]:
    """Return the URI of each source's film, where one was given.

    Raises:
        ConfigError: one film was given for answers of several.
        SourceError: none of the films has the name of a source.
    """
    if film is None:
        return {}
    from diffpose.preprocessing.videos.opening import named_videos

    named = named_videos(film)
    if len(sources) == 1 and len(named) == 1:  # it may have been renamed
        return {sources[0]: next(iter(named.values()))}
    found = {source: named[source] for source in sources if source in named}
    if not found:
        raise SourceError(
            f"film={film} holds {', '.join(list(named)[:5])}; the answers belong to "
            f"{', '.join(sources[:5])}. Give the films that they came from."
        )
    if len(named) == 1:
        raise ConfigError(
            f"film={film} is one film, the answers belong to {', '.join(sources[:5])}. Give the "
            "folder of the films, or one film's answers."
        )
    return found
