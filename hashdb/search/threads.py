"""The thread pool of the search: few long tasks, the caller works too, forks and interrupts are survived.

Kernels release the GIL, so Python threads are enough. The calling thread takes tasks like any other: a search goes on
where the pool is busy with another caller's, and nothing can wait for itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from hashdb.errors import ArgumentError, brief

Result = TypeVar("Result")
VARIABLE = "HASHDB_NUM_THREADS"
MAX_THREADS = 1024
_POOL_THREADS = 64  # idle threads cost nothing; they are started when first needed


def n_threads_default() -> int:
    """Count the threads that a search takes when it is not told.

    Returns
    -------
    int
        ``HASHDB_NUM_THREADS`` where that is set, else the CPUs that this process may use.

    Raises
    ------
    ArgumentError
        The variable is not a whole number from 1 to 1024.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if text:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MAX_THREADS):
            raise ArgumentError(
                f"environment variable {VARIABLE} is {brief(text)!r}, expected a whole number from 1 to {MAX_THREADS}; "
                "correct or unset it"
            )
        return int(text)
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def check_n_threads(n_threads: Any) -> int:
    """Return a number of threads as an int, the default one for None.

    Raises
    ------
    ArgumentError
        Not a whole number from 1 to 1024.
    """
    if n_threads is None:
        return n_threads_default()
    try:
        if isinstance(n_threads, bool):
            raise TypeError
        number = n_threads.__index__()
    except (AttributeError, TypeError):
        number = 0
    if not 1 <= number <= MAX_THREADS:
        raise ArgumentError(f"n_threads is {brief(n_threads)}, expected a whole number from 1 to {MAX_THREADS}")
    return int(number)


def run(tasks: Sequence[Callable[[], Result]], n_threads: int | None = None) -> list[Result]:
    """Run tasks on up to ``n_threads`` threads, the calling one among them.

    Parameters
    ----------
    tasks : sequence of callables without arguments
        Started in the order given, each once. Long ones call :func:`checkpoint` now and then.
    n_threads : int, optional
        Default: :func:`n_threads_default`.

    Returns
    -------
    list
        What each task returned, in the order of the tasks.

    Raises
    ------
    Exception
        What a task raised; the others are stopped at their next checkpoint and waited for, as upon ctrl-C.

    Examples
    --------
    >>> run([lambda: 1, lambda: 2], n_threads=2)
    [1, 2]
    """
    if len(tasks) == 1:
        return [tasks[0]()]
    batch = _Batch(tasks)
    n_helpers = min(check_n_threads(n_threads), len(tasks)) - 1
    helpers: list[Future[None]] = []
    try:
        if getattr(_local, "batch", None) is None:
            _start(batch, n_helpers, helpers)
        batch.work()
    except BaseException:
        batch.stopped = True
        raise
    finally:
        # Also upon ctrl-C: helpers read arrays whose files the caller may be about to close.
        _wait(helpers, batch)
    if batch.error is not None:
        raise batch.error
    return batch.results


def checkpoint() -> None:
    """Stop the current task if its run failed elsewhere or was interrupted; call it every tenth of a second or so."""
    batch = getattr(_local, "batch", None)
    if batch is not None and batch.stopped:
        raise Stopped


class Stopped(BaseException):
    """Unwinds a task whose run has failed elsewhere; never leaves :func:`run`."""


class _Batch:
    """Tasks of one run, taken one by one by the threads that work on it."""

    def __init__(self, tasks: Sequence[Callable[[], Any]]) -> None:
        self.results: list[Any] = [None] * len(tasks)
        self.error: BaseException | None = None
        self.stopped = False
        self._waiting: Iterator[tuple[int, Callable[[], Any]]] = iter(list(enumerate(tasks)))
        self._lock = threading.Lock()

    def work(self) -> None:
        """Take tasks until none is left; what a task raises is kept for the caller and stops the others."""
        outer = getattr(_local, "batch", None)
        _local.batch = self
        try:
            while (item := self._next()) is not None:
                number, task = item
                self.results[number] = task()
        except Stopped:
            self.stopped = True
        except Exception as error:
            self.error = self.error or error
            self.stopped = True
        finally:
            _local.batch = outer

    def _next(self) -> tuple[int, Callable[[], Any]] | None:
        with self._lock:
            return None if self.stopped else next(self._waiting, None)


class _Pool:
    """The threads of this process."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], None]) -> Future[None] | None:
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(_POOL_THREADS, thread_name_prefix="hashdb")
            try:
                return self._executor.submit(work)
            except RuntimeError:
                # The interpreter is shutting down or no thread can be started: the caller does all the work.
                return None


def _start(batch: _Batch, n_helpers: int, helpers: list[Future[None]]) -> None:
    for _ in range(n_helpers):
        if (future := _pool.submit(batch.work)) is None:
            return
        helpers.append(future)


def _wait(helpers: list[Future[None]], batch: _Batch) -> None:
    for future in helpers:
        # One that has not begun has nothing left to do.
        if not future.cancel():
            try:
                future.result()
            except BaseException:
                batch.stopped = True
                future.result()
                raise


_local = threading.local()
_pool = _Pool()


def _renew_pool() -> None:
    global _pool
    _pool = _Pool()
    _local.batch = None


if hasattr(os, "register_at_fork"):
    # Threads do not survive a fork; a child that kept the parent's executor would wait for ever.
    os.register_at_fork(after_in_child=_renew_pool)
