"""CSV and Parquet: one row per frame and joint, for spreadsheets, pandas, DuckDB, R."""

from __future__ import annotations

import io
import json
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from diffpose.platform.answers.answer import Answer


def csv(answers: list[Answer]) -> bytes:
    """Return the people of a film as CSV: to 0.01 mm, 1e-4 of a share, UTF-8."""
    table = _people(answers)
    digits = {
        name: 6 if name.endswith("_s") else 4 if name == "confidence" else 2
        for name in table.columns
    }
    text = table.round(digits).to_csv(index=False, lineterminator="\n")
    return str(text).encode()


def parquet(answers: list[Answer], about: dict[str, Any]) -> bytes:
    """Return the people of a film as Parquet; ``about`` stands in its metadata as JSON."""
    table = pa.Table.from_pandas(_people(answers), preserve_index=False)
    known = table.schema.metadata or {}
    table = table.replace_schema_metadata({**known, b"diffpose": json.dumps(about).encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _people(answers: list[Answer]) -> pd.DataFrame:
    return pd.concat([answer.to_dataframe() for answer in answers], ignore_index=True)
