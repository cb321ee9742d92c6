"""What file names tell: the action."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from diffpose.preprocessing.records.kinds import SourceKind

DEFAULT_ACTION = r"^(?:dataset-\d+_)?(?P<action>[A-Za-z][A-Za-z-]*)"


class NamedFiles(SourceKind):
    """What all sources of files are told of their names."""

    action_pattern: str = Field(
        DEFAULT_ACTION,
        description="regular expression with a group 'action', searched in the file name",
    )

    @field_validator("action_pattern")
    @classmethod
    def _names_action(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"it is no regular expression ({error})") from None
        if "action" not in groups:
            raise ValueError("it needs a group named action: (?P<action>...)")
        return pattern

    def action_of(self, name: str) -> str:
        """Return the action that a file name tells, or the whole stem where it tells none."""
        file = name.rsplit("/", 1)[-1]
        stem = file.rpartition(".")[0] or file
        match = re.search(self.action_pattern, stem)
        return match["action"].rstrip("-_") if match and match["action"] else stem
