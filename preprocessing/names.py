"""What file names tell: the action."""

from __future__ import annotations

import re

DEFAULT_ACTION = r"^(?:dataset-\d+_)?(?P<action>[A-Za-z][A-Za-z-]*)"


def check_action_pattern(pattern: str) -> str:
    """Return the pattern if it is a regular expression with a group named action."""
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise ValueError(f"it is no regular expression ({error})") from None
    if "action" not in groups:
        raise ValueError("it needs a group named action: (?P<action>...)")
    return pattern


def action_in_name(pattern: str, name: str) -> str:
    """Return the action that a file name tells, or the whole stem where the pattern is silent."""
    file = name.rsplit("/", 1)[-1]
    stem = file.rpartition(".")[0] or file
    match = re.search(pattern, stem)
    return match["action"].rstrip("-_") if match and match["action"] else stem
