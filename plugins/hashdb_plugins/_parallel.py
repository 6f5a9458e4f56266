"""Sums over blocks of rows, and tasks, on all processors, each with a linear algebra library of one thread.

Products of narrow blocks are short, and a library that splits each of them waits for its slowest thread every time:
where another process wants a processor too, ten times as long as the work. Threads with a run of blocks each never
wait.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

Sum = Callable[[Sequence[slice], Callable[[slice], np.ndarray]], np.ndarray]

_BLOCK_VALUES = 1 << 19
_TASKS_BYTES = 1 << 30


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
    with workers() as total:
        return total(blocks, term)


@contextmanager
def workers() -> Iterator[Sum]:
    """Start the threads for many sums: gives a function that sums like :func:`sum_over`."""
    from threadpoolctl import threadpool_limits

    n_threads = _n_threads()
    # The number of a library's threads belongs to the process: two that set it and put it back would leave it at one.
    with _turn, threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(n_threads) as pool:

        def total(blocks: Sequence[slice], term: Callable[[slice], np.ndarray]) -> np.ndarray:
            n_runs = min(n_threads, len(blocks))
            edges = [len(blocks) * t // n_runs for t in range(n_runs + 1)]
            runs = pool.map(lambda t: _sum(blocks[edges[t] : edges[t + 1]], term), range(n_runs))
            return sum(runs, start=np.float64(0))

        yield total


def each(n_tasks: int, task: Callable[[int], None], done: Callable[[int], None], task_bytes: int = 0) -> None:
    """Run ``task(0)`` to ``task(n_tasks - 1)``, and call ``done`` with how many of them, in order, are finished.

    Parameters
    ----------
    n_tasks : int
    task : callable
        Called from several threads.
    done : callable
        Called from the caller's thread.
    task_bytes : int
        Memory that a task takes: so many run at a time that they stay below a gibibyte together.
    """
    from threadpoolctl import threadpool_limits

    n_threads = max(1, min(_n_threads(), _TASKS_BYTES // max(1, task_bytes)))
    with _turn, threadpool_limits(1, user_api="blas"):
        pool = ThreadPoolExecutor(n_threads)
        try:
            for number, _ in enumerate(pool.map(task, range(n_tasks)), start=1):
                done(number)
        finally:
            # An error or an interrupt does not wait for tasks that nobody wants any more.
            pool.shutdown(cancel_futures=True)


def _sum(blocks: Sequence[slice], term: Callable[[slice], np.ndarray]) -> np.ndarray:
    total = np.array(term(blocks[0]), dtype=np.float64)
    for block in blocks[1:]:
        total += term(block)
    return total


def _n_threads() -> int:
    asked = os.environ.get("HASHDB_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _renew_turn() -> None:
    global _turn
    _turn = threading.RLock()


_renew_turn()
# A thread of the parent may hold the lock at the moment of a fork, and does not exist in the child.
os.register_at_fork(after_in_child=_renew_turn)
