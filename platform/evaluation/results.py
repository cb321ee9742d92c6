"""What an evaluation's files are called, and the method that is in all of them."""

from __future__ import annotations

FIGURES, POSES = "evaluation.json", "poses.parquet"
CONTEXT = "context encoder"  # the first run's
