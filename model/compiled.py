"""How the numerical kernels are compiled: one set of promises for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

# Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"}
)
