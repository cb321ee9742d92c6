"""Errors that a user can act on: what was wrong, the value received, the repair.

Jobs print these without a traceback and exit with status 2; anything else is a defect of ours.
"""

from __future__ import annotations


class DiffPoseError(Exception):
    """Base of all errors that are the input's fault and say how to repair it."""


class ConfigError(DiffPoseError, ValueError):
    """A configuration key or value is wrong."""


class StoreError(DiffPoseError):
    """A pose store is missing, of another schema, or lacks what was asked of it."""


class RunError(DiffPoseError):
    """A run directory is missing, incomplete, or belongs to other settings."""


class SourceError(DiffPoseError, ValueError):
    """An input file or folder cannot be used."""
