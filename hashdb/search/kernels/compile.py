"""Compile a function with numba on first use and keep the machine code in a cache that can only help.

numba's own cache raises where no folder can be written and where a file is damaged, trusts whatever bytes it reads, and
does not notice that another module of the package changed. Here a cache that cannot be read is compiled over, one that
cannot be written is done without, every file carries a digest that binds it to its signature and to the sources of the
whole package, and nothing of that ever reaches the caller.

>>> import numpy as np
>>> from numba import types
>>> @kernel(types.int64(words(1)))
... def count_zeros(codes):
...     n = 0
...     for i in range(codes.shape[0]):
...         n += codes[i] == 0
...     return n
>>> count_zeros(np.array([0, 3, 0], np.uint64))
2
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable
from functools import cache, update_wrapper
from pathlib import Path
from typing import Any

import numba
from numba import types
from numba.core import caching

_log = logging.getLogger(__name__)
_DIGEST_SIZE = hashlib.sha256().digest_size
_kernels: list[Kernel] = []

# Where no array is made no reference need be counted: counting takes longer than looking into a bucket.
_UNCOUNTED: dict[str, Any] = {"_nrt": False}
# Decorates a helper that kernels call: it becomes part of each of them and is not cached by itself.
device: Any = numba.njit(forceinline=True, **_UNCOUNTED)


def words(n_dims: int) -> Any:
    """Give the numba type of a C-contiguous uint64 array that may be read-only (a mapped file)."""
    return readable(types.uint64, n_dims)


def readable(dtype: Any, n_dims: int) -> Any:
    """Give the numba type of a C-contiguous array that is only read; writable and read-only arrays both pass."""
    return types.Array(dtype, n_dims, "C", readonly=True)


def writable(dtype: Any, n_dims: int) -> Any:
    """Give the numba type of a C-contiguous array that is written."""
    return types.Array(dtype, n_dims, "C")


def kernel(*signatures: Any, makes_arrays: bool = False) -> Callable[[Callable[..., Any]], Kernel]:
    """Turn a function into a :class:`Kernel` with the given numba signatures.

    Parameters
    ----------
    *signatures
        numba signatures, such as ``types.void(words(2), types.int64)``. The first one that the arguments fit is used.
    makes_arrays : bool
        Whether the function makes arrays of its own; it is slower then to pass arrays on.

    Returns
    -------
    callable
        A decorator. Decorating compiles nothing. Helpers that kernels call in turn are decorated with ``device``, or
        are intrinsics: they become part of each kernel that calls them.
    """

    def decorate(function: Callable[..., Any]) -> Kernel:
        return Kernel(function, signatures, {} if makes_arrays else _UNCOUNTED)

    return decorate


class Kernel:
    """A function that numba compiles when it is first called, with ``nogil`` and a cache.

    Attributes
    ----------
    name : str
        Module and function name.
    py_func : callable
        The Python function, which computes the same (slowly) where it uses no intrinsics.
    is_compiled : bool
    """

    def __init__(self, function: Callable[..., Any], signatures: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.py_func = function
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"
        self._signatures = signatures
        self._options = options
        self._compiled: Callable[..., Any] | None = None
        update_wrapper(self, function)
        _kernels.append(self)

    def __call__(self, *arguments: Any) -> Any:
        """Run the kernel, compiling it before if need be."""
        compiled = self._compiled
        return (self.compile() if compiled is None else compiled)(*arguments)

    @property
    def is_compiled(self) -> bool:
        """Whether the machine code is loaded."""
        return self._compiled is not None

    def compile(self) -> Callable[..., Any]:
        """Load the machine code from the cache, or compile it; later calls cost nothing."""
        with _lock:
            if self._compiled is None:
                self._compiled = _compiled(self.py_func, self._signatures, self._options)
            return self._compiled

    def __repr__(self) -> str:
        return f"<Kernel {self.name}{'' if self.is_compiled else ', not compiled'}>"


def all_kernels() -> list[Kernel]:
    """List the kernels of every kernel module imported so far."""
    return list(_kernels)


def _compiled(function: Callable[..., Any], signatures: tuple[Any, ...], options: dict[str, Any]) -> Callable[..., Any]:
    dispatcher: Any = numba.njit(nogil=True, **options)(function)
    try:
        dispatcher._cache = _Cache(function)
    except Exception as error:  # numba raises RuntimeError or OSError, and its internals may change
        _log.info("no cache folder for the kernel %s (%s); it is compiled in memory", function.__qualname__, error)
    for signature in signatures:
        dispatcher.compile(signature)
    dispatcher.disable_compile()
    compiled: Callable[..., Any] = dispatcher
    return compiled


class _Cache(caching.FunctionCache):
    """numba's cache of one function, with checked files and without exceptions."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _CheckedFiles(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=_source_stamp(Path(function.__code__.co_filename).parent),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load the code of one signature; None where there is none that can be trusted."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:
            _log.info("cached code of %s is not usable (%s); it is compiled again", self._name, error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save the code of one signature where that is possible."""
        try:
            super().save_overload(sig, data)
        except Exception as error:
            _log.info("compiled code of %s cannot be cached (%s)", self._name, error)


class _CheckedFiles(caching.IndexDataCacheFile):
    """Cache files that end in a digest of their content, the signature and the sources.

    A flipped bit in machine code would not raise but crash, and two processes that compile two signatures at once may
    give both the same file. numba ignores what follows the end of its data, so its own code reads these files.
    """

    _key: Any = None

    def save(self, key: Any, data: Any) -> None:
        self._key = key
        super().save(key, data)

    def load(self, key: Any) -> Any:
        self._key = key
        return super().load(key)

    def _load_index(self) -> dict[Any, str]:
        try:
            overloads: dict[Any, str] = super()._load_index()
        except Exception as error:
            _log.info("cache index %s is damaged (%s); it is written anew", self._index_path, error)
            return {}
        return overloads

    def _load_data(self, name: str) -> Any:
        content = Path(self._data_path(name)).read_bytes()
        if content[-_DIGEST_SIZE:] != self._digest(content[:-_DIGEST_SIZE]):
            raise OSError(f"{name} does not match its digest")
        return super()._load_data(name)

    def _dump(self, obj: Any) -> bytes:
        body: bytes = super()._dump(obj)
        return body + self._digest(body)

    def _digest(self, body: bytes) -> bytes:
        return hashlib.sha256(repr((self._key, self._source_stamp)).encode() + body).digest()


@cache
def _source_stamp(folder: Path) -> str:
    """Digest the sources of a package: its kernels use each other's helpers, so one change outdates them all."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


_lock = threading.RLock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


# A thread of the parent may hold the lock at the moment of a fork, and does not exist in the child.
os.register_at_fork(after_in_child=_renew_lock)
