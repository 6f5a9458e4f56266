"""The least memory that hashdb works in, and what is said where there is less.

Below it the libraries that compute do not fail in an orderly way: under a limit on the address space (``ulimit -v``)
OpenBLAS may try for ever, or end the process, when it is refused a buffer. So the limit itself is looked at first.
"""

from __future__ import annotations

import os
import resource

from hashdb.errors import OutOfMemoryError

# Address space, much of it never touched: code of the libraries, their compiler, and buffers and stacks a thread.
_BASE_BYTES = 1280 << 20
_THREAD_BYTES = 128 << 20
_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


def least_bytes() -> int:
    """Count the address space that hashdb asks for: some for the process, some for each thread of OpenBLAS."""
    n_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for name in _VARIABLES:
        asked = os.environ.get(name, "")
        if asked.isascii() and asked.isdigit() and int(asked) > 0:
            n_threads = min(n_threads, int(asked))
            break
    return _BASE_BYTES + n_threads * _THREAD_BYTES


def check_memory() -> None:
    """Raise :class:`OutOfMemoryError` where this process may not have the address space that hashdb asks for."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < (least := least_bytes()):
        raise OutOfMemoryError(
            f"this process is limited to {limit >> 20:,} MiB of address space (ulimit -v), expected at least "
            f"{least >> 20:,}; raise the limit, or have fewer threads (OPENBLAS_NUM_THREADS)"
        )
