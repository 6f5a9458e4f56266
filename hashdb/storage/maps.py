"""Mapping a file read-only without holding a descriptor, on every Python.

Since Python 3.13 ``mmap`` can do without one; before, the C library is asked directly. A mapping is undone when the
last array that looks into it is gone.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

Map = Callable[[int, int], np.ndarray]


def map_tracked(handle: int, size: int) -> np.ndarray:
    """Map `size` bytes of a file, read-only; the mapping holds a descriptor of its own."""
    return np.frombuffer(mmap.mmap(handle, size, access=mmap.ACCESS_READ), np.uint8)


@functools.cache
def untracked_map() -> Map | None:
    """Return a function like :func:`map_tracked` whose mappings hold no descriptor; None where there is no way."""
    if sys.version_info >= (3, 13):
        return _map_without_tracking
    try:
        return _LibC().map
    except (AttributeError, OSError, TypeError, ValueError):
        return None


def _map_without_tracking(handle: int, size: int) -> np.ndarray:
    options: dict[str, Any] = {"access": mmap.ACCESS_READ, "trackfd": False}
    return np.frombuffer(mmap.mmap(handle, size, **options), np.uint8)


class _Area:
    """Memory that NumPy may look into but never write to: the interface says so, and there is no buffer to ask."""

    def __init__(self, address: int, size: int) -> None:
        self.__array_interface__ = {"data": (address, True), "shape": (size,), "typestr": "|u1", "version": 3}


class _LibC:
    """``mmap`` and ``munmap`` of the C library.

    Raises
    ------
    AttributeError, OSError, TypeError, ValueError
        They cannot be called here.
    """

    def __init__(self) -> None:
        if ctypes.sizeof(ctypes.c_void_p) != 8 or ctypes.sizeof(ctypes.c_long) != 8:
            raise ValueError("the offset's type is not known on such a system")
        library = ctypes.CDLL(None, use_errno=True)
        self._mmap, self._munmap = library.mmap, library.munmap
        self._mmap.restype = ctypes.c_void_p
        self._mmap.argtypes = [
            *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
        ]
        self._munmap.restype = ctypes.c_int
        self._munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

    def map(self, handle: int, size: int) -> np.ndarray:
        """Map `size` bytes of a file, read-only."""
        ctypes.set_errno(0)
        address = self._mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, handle, 0)
        if address is None or address == ctypes.c_void_p(-1).value:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        area = _Area(address, size)
        undo = weakref.finalize(area, self._munmap, address, size)
        # Threads may still be looking into it when the interpreter ends; the system undoes it then.
        undo.atexit = False
        return np.asarray(area)
