"""Which recordings train, validate and test."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

from pydantic import Field

from diffpose.platform.base.config import Settings
from diffpose.platform.base.errors import SourceError
from diffpose.platform.store.clips import Split
from diffpose.preprocessing.records.seeds import number


class SplitSettings(Settings):
    """Which motions train, validate and test; file-name patterns first, then shares of the rest.

    A pattern is a shell pattern on the file's path below the source folder, such as ``*_guide_*``.
    """

    test: list[str] = Field([], description="patterns of test motions")
    validation: list[str] = Field([], description="patterns of validation motions")
    test_share: float = Field(0.2, ge=0, lt=1, description="share without any test pattern")
    validation_share: float = Field(0.1, ge=0, lt=1, description="share without any pattern")


def check_patterns(names: Iterable[str], split: SplitSettings) -> None:
    """Make sure that every pattern of split.test and split.validation means some file.

    Raises:
        SourceError: one means none; its files would train.
    """
    known = list(names)
    for which in ("test", "validation"):
        for pattern in getattr(split, which):
            if not fnmatch.filter(known, pattern):
                some = ", ".join(map(repr, sorted(known)[:3]))
                raise SourceError(
                    f"split.{which}: {pattern!r} means none of the {len(known)} files (names are "
                    f"relative to source.uri, such as {some}). Mend the pattern or leave it out."
                )


def assign_splits(names: Iterable[str], split: SplitSettings, seed: int) -> dict[str, Split]:
    """Assign each file to a split: patterns first, then shares, by a seeded order of the names."""
    assigned: dict[str, Split] = {}
    rest = []
    for name in names:
        if _matches(name, split.test):
            assigned[name] = "test"
        elif _matches(name, split.validation):
            assigned[name] = "validation"
        else:
            rest.append(name)
    rest.sort(key=lambda name: number(seed, "split", name))
    n_test = 0 if split.test else _share(split.test_share, len(rest))
    n_validation = 0 if split.validation else _share(split.validation_share, len(rest))
    while len(rest) >= 3 and n_test + n_validation >= len(rest):  # training keeps a file
        n_test, n_validation = (
            (n_test - 1, n_validation) if n_test >= n_validation else (n_test, n_validation - 1)
        )
    for place, name in enumerate(rest):
        if place < n_test:
            assigned[name] = "test"
        else:
            assigned[name] = "validation" if place < n_test + n_validation else "train"
    return assigned


def _share(share: float, total: int) -> int:
    # A share above zero of three or more files is at least one file: no split stays empty.
    return max(round(share * total), 1) if share > 0 and total >= 3 else 0


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
