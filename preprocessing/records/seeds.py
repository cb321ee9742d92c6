"""Random generators named by what they are for, so that results depend on nothing else."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a generator that depends on the seed and the names alone, on any machine."""
    return np.random.default_rng(number(seed, *names))


def number(seed: int, *names: str | int) -> int:
    """Return a 64-bit number that depends on the seed and the names alone."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
