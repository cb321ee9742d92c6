"""Answers of one film to files, by the names of formats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from diffpose.platform.answers.answer import Answer
from diffpose.platform.base.errors import ConfigError
from diffpose.platform.base.storage import join, write_bytes, write_json
from diffpose.platform.exports.c3d import c3d
from diffpose.platform.exports.motion import motion_of
from diffpose.platform.exports.tables import csv, parquet
from diffpose.platform.exports.trc import trc

Format = Literal["trc", "c3d", "csv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)


def export(answers: Sequence[Answer], out: str, name: str, formats: Sequence[Format]) -> list[str]:
    """Write the people of one film.

    Tables hold all people; motion files one each, NAME_person_K.SUFFIX. NAME.export.json says unit,
    axes, frame of reference and rate of every file.

    Args:
        answers: of one film, at least one.
        out: folder, by path or URI.
        name: of the files, without suffix.
        formats: of FORMATS.

    Returns:
        The URIs of what was written.

    Raises:
        ConfigError: an answer cannot be written so.
    """
    if not answers:
        raise ConfigError(f"There is nobody to export as {name!r}.")
    people = sorted(answers, key=lambda answer: answer.person)
    files: dict[str, bytes] = {}
    about: dict[str, dict[str, Any]] = {}
    for format_ in dict.fromkeys(formats):
        if format_ in ("trc", "c3d"):
            for answer in people:
                file = f"{name}_person_{answer.person}.{format_}"
                motion = motion_of(answer)
                files[file] = trc(motion, file) if format_ == "trc" else c3d(motion)
                about[file] = {
                    **_common(answer), "unit": "mm", "fps": motion.fps, "up": "y",
                    "frame_of_reference": motion.frame_of_reference, "note": motion.note,
                    "time": f"0 is {motion.time_s[0]:.4f} s of the film",
                }  # fmt: skip
        else:
            first = people[0]
            known = {
                **_common(first), "unit": "mm, px, s; covariances mm^2", "fps": first.fps,
                "frame_of_reference": "x_mm, y_mm, z_mm: camera, x right, y down, z forward"
                + ("" if first.world is None else f"; world_x_mm ...: {first.world.axes}"),
                "note": first.note,
            }  # fmt: skip
            known.pop("person")
            file = f"{name}.{format_}"
            about[file] = known
            files[file] = csv(people) if format_ == "csv" else parquet(people, known)
    for file, content in files.items():
        write_bytes(join(out, file), content)
    write_json(join(out, f"{name}.export.json"), about)
    return [join(out, file) for file in files]


def _common(answer: Answer) -> dict[str, Any]:
    return {
        "source": answer.source,
        "person": answer.person,
        "model": answer.model,
        "calibrated": answer.calibrated,
    }
