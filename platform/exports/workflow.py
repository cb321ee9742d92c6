"""Answers that were written, as files for other programs."""

from __future__ import annotations

from pydantic import Field, field_validator

from diffpose.platform.answers.files import answers_in, read_answer
from diffpose.platform.base.config import Settings
from diffpose.platform.base.storage import absolute
from diffpose.platform.exports.export import FORMATS, Format, export


class ExportSettings(Settings):
    """Write answers as files that other programs open: OpenSim, spreadsheets, data frames."""

    answers: str = Field(description="folder of answers (FILE.json and FILE.npz), or one FILE.json")
    to: list[Format] = Field(
        ["trc", "csv"], min_length=1, description=f"formats: {', '.join(FORMATS)}"
    )
    out: str | None = Field(None, description="folder of the files; default: beside the answers")

    @field_validator("to", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def export_answers(settings: ExportSettings) -> None:
    """Write each film's people."""
    found = answers_in(absolute(settings.answers))
    films: dict[str, list[str]] = {}
    for uri in found:
        films.setdefault(read_answer(uri).source, []).append(uri)
    for source, uris in sorted(films.items()):
        folder, _, file = uris[0].rpartition("/")
        name = file.rpartition("_person_")[0] or file
        out = folder if settings.out is None else absolute(settings.out)
        people = [read_answer(uri) for uri in uris]
        for written in export(people, out, name, settings.to):
            print(f"{source}: {written}")
