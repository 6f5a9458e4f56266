"""Sums over blocks of rows on all processors, each with a linear algebra library of one thread.

Products of narrow blocks are short, and a library that splits each of them waits for its slowest thread every time:
where another process wants a processor too, ten times as long as the work. Threads with a run of blocks each never
wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_BLOCK_VALUES = 1 << 19


def blocks(n_rows: int, width: int) -> list[slice]:
    """Cut rows of ``width`` values into blocks of about half a million values, which the caches hold."""
    step = max(256, _BLOCK_VALUES // width)
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def sum_over(blocks: Sequence[slice], term: Callable[[slice], np.ndarray]) -> np.ndarray:
    """Sum ``term(block)`` over the blocks, in float64.

    Parameters
    ----------
    blocks : sequence of slice
        At least one.
    term : callable
        Gives an array, of the same shape for every block; called from several threads.

    Returns
    -------
    ndarray of float64
    """
    from threadpoolctl import threadpool_limits

    n_threads = min(_n_threads(), len(blocks))
    edges = [len(blocks) * t // n_threads for t in range(n_threads + 1)]

    def run(t: int) -> np.ndarray:
        total = np.array(term(blocks[edges[t]]), dtype=np.float64)
        for block in blocks[edges[t] + 1 : edges[t + 1]]:
            total += term(block)
        return total

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(n_threads) as pool:
        return sum(pool.map(run, range(n_threads)), start=np.float64(0))


def _n_threads() -> int:
    asked = os.environ.get("HASHDB_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
