"""Compile a kernel when its module is first imported, with numba's cache where that works and without it elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba import types


def readable(dtype: Any, n_dims: int) -> Any:
    """Give the numba type of a C-contiguous array that is only read; writable and read-only arrays both pass."""
    return types.Array(dtype, n_dims, "C", readonly=True)


def writable(dtype: Any, n_dims: int) -> Any:
    """Give the numba type of a C-contiguous array that is written."""
    return types.Array(dtype, n_dims, "C")


def kernel(signature: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Turn a function into a serial kernel of this numba signature that lets go of the interpreter's lock."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(signature, nogil=True, cache=True)(function)
        except Exception:  # no folder that can be written, or damaged files in it: compile in memory
            return numba.njit(signature, nogil=True)(function)

    return decorate
