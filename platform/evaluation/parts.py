"""What an evaluation has measured so far, kept so that an interrupted one goes on.

Layout of the folder: question.json says what was asked, FIRST_ROW.npz holds a range of rows. Parts
of another question are removed.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpose.platform.base.storage import (
    exists,
    join,
    list_names,
    read_bytes,
    read_json,
    remove_folder,
    write_bytes,
    write_json,
)
from diffpose.platform.evaluation.results import MeasuredRange, PoseErrors
from diffpose.platform.evaluation.uncertainty_measures import PoseUncertainty

_QUESTION = "question.json"
_UNCERTAINTY = "uncertainty."
_BROKEN = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile)


class EvaluationParts:
    """Measured ranges of rows in a folder; without a folder nothing is kept."""

    def __init__(self, folder: str | None, question: Mapping[str, Any]) -> None:
        """Open the folder.

        Args:
            folder: URI, or None.
            question: everything that the measurements depend on, as JSON values.
        """
        self.folder = folder
        if folder is None:
            return
        uri = join(folder, _QUESTION)
        if not exists(uri) or read_json(uri) != dict(question):
            remove_folder(folder)
            write_json(uri, dict(question))

    def load(self) -> dict[int, MeasuredRange]:
        """Return what is there, by the first row of each range."""
        if self.folder is None:
            return {}
        found = {}
        for name in list_names(self.folder, ".npz"):
            content = io.BytesIO(read_bytes(join(self.folder, name)))
            # what a full disk or a lost connection left of a part is measured again
            broken = contextlib.suppress(*_BROKEN)
            with broken, np.load(content) as arrays:
                first = int(name.removesuffix(".npz"))
                found[first] = _from_arrays(first, dict(arrays))
        return found

    def save(self, part: MeasuredRange) -> None:
        """Keep a range."""
        if self.folder is None:
            return
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **_to_arrays(part))
        write_bytes(join(self.folder, f"{part.first}.npz"), buffer.getvalue())


def joined(parts: Sequence[PoseErrors]) -> PoseErrors:
    """Put one method's errors on parts of the poses together."""
    columns = [_columns(part) for part in parts]
    return _errors({key: np.concatenate([c[key] for c in columns]) for key in columns[0]})


def _columns(errors: PoseErrors) -> dict[str, NDArray[Any]]:
    """Return all arrays of a method's errors by name; those of its uncertainty among them."""
    own = {f.name: getattr(errors, f.name) for f in fields(errors) if f.name != "uncertainty"}
    measured = errors.uncertainty
    return own | {f"{_UNCERTAINTY}{f.name}": getattr(measured, f.name) for f in fields(measured)}


def _errors(columns: Mapping[str, NDArray[Any]]) -> PoseErrors:
    own = {key: v for key, v in columns.items() if not key.startswith(_UNCERTAINTY)}
    measured = {
        key.removeprefix(_UNCERTAINTY): v
        for key, v in columns.items()
        if key.startswith(_UNCERTAINTY)
    }
    return PoseErrors(**own, uncertainty=PoseUncertainty(**measured))


def _to_arrays(part: MeasuredRange) -> dict[str, NDArray[Any]]:
    """Return a range as arrays; methods by number: their names are user text."""
    arrays: dict[str, NDArray[Any]] = {
        "rows": part.rows,
        "truth_mm": part.truth_mm,
        "hidden": part.hidden,
        "methods": np.array(list(part.methods), dtype=np.str_),
    }
    for i, errors in enumerate(part.methods.values()):
        arrays |= {f"{i}.{key}": values for key, values in _columns(errors).items()}
    return arrays


def _from_arrays(first: int, arrays: Mapping[str, NDArray[Any]]) -> MeasuredRange:
    methods = {}
    for i, name in enumerate(arrays["methods"].tolist()):
        start = f"{i}."
        methods[name] = _errors(
            {key.removeprefix(start): v for key, v in arrays.items() if key.startswith(start)}
        )
    return MeasuredRange(first, arrays["rows"], arrays["truth_mm"], arrays["hidden"], methods)
