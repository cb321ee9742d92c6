"""What an evaluation has measured so far, kept so that an interrupted one goes on.

Layout of the folder: question.json says what was asked, FIRST_ROW.npz holds a range of rows. Parts
of another question are removed.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

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

_QUESTION = "question.json"


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

    def load(self) -> dict[int, dict[str, Any]]:
        """Return what is there: first row of a range -> its columns."""
        if self.folder is None:
            return {}
        found = {}
        for name in list_names(self.folder, ".npz"):
            content = io.BytesIO(read_bytes(join(self.folder, name)))
            # what a full disk or a lost connection left of a part is measured again
            broken = contextlib.suppress(ValueError, OSError, EOFError, zipfile.BadZipFile)
            with broken, np.load(content) as arrays:
                found[int(name.removesuffix(".npz"))] = dict(arrays)
        return found

    def save(self, first: int, columns: Mapping[str, Any]) -> None:
        """Keep a range."""
        if self.folder is None:
            return
        buffer = io.BytesIO()
        arrays = {name: np.asarray(values) for name, values in columns.items()}
        np.savez(buffer, allow_pickle=False, **arrays)
        write_bytes(join(self.folder, f"{first}.npz"), buffer.getvalue())
