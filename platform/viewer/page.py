"""One HTML file to look at the answers of a film: nothing is fetched, nothing else is needed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from diffpose.platform.answers.answer import Answer
from diffpose.platform.base.errors import SourceError
from diffpose.platform.viewer.page_data import Angles, page_data

_SCRIPTS = ("data.js", "scene.js", "picture.js", "charts.js", "controls.js", "viewer.js")
Film = bytes | Sequence[tuple[float, bytes]]


def viewer_page(
    answers: Sequence[Answer],
    *,
    title: str,
    film: Film | None = None,
    angles: Angles | Sequence[Angles] | None = None,
) -> str:
    """Return a page that plays the answers of one film: film, 3D, plots.

    Args:
        answers: its people.
        title: plain text.
        film: an mp4 (H.264, upright, its time stamps those of the answers), or JPEG pictures with
            their times in seconds; None: keypoints on an empty stage.
        angles: by name, of the only answer, or such a mapping for each answer.

    Raises:
        SourceError: there is no answer, or the angles do not fit the answers.
    """
    data = page_data(answers, _for_each(angles, len(answers)))
    data["title"] = title
    data["model"] = answers[0].model
    data["hasFilm"] = film is not None
    if isinstance(film, bytes):
        data["film"] = {"mp4": base64.b64encode(film).decode("ascii")}
    elif film is not None:
        pictures = [base64.b64encode(jpeg).decode("ascii") for _, jpeg in film]
        data["film"] = {"time_s": [round(float(t), 5) for t, _ in film], "jpeg": pictures}
    # "<" may not close the script's element from within
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    script = "(() => {\n" + "\n".join(_asset(name) for name in _SCRIPTS) + "\n})();"
    parts = {
        "TITLE": escape(title),
        "STYLE": _asset("viewer.css"),
        "DATA": text,
        "SCRIPT": script,
    }
    page = _asset("viewer.html")
    for name, part in parts.items():
        before, mark, after = page.partition(f"<!--{name}-->")
        if not mark:
            raise AssertionError(f"viewer.html has no place for {name}")
        page = before + part + after
    return page


def _for_each(angles: Angles | Sequence[Angles] | None, n_answers: int) -> list[Angles]:
    if angles is None:
        return [{} for _ in range(n_answers)]
    given = [angles] if isinstance(angles, Mapping) else list(angles)
    if len(given) != n_answers:
        raise SourceError(
            f"Angles of {len(given)} people for {n_answers} answers; give one mapping for each."
        )
    return given


def _asset(name: str) -> str:
    return (files("diffpose.platform.viewer") / name).read_text(encoding="utf-8")
