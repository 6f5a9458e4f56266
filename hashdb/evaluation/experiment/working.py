"""Units over processes: each works alone with one thread a library call, so that jobs change no result."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from threadpoolctl import threadpool_limits

from hashdb.errors import HashDBError
from hashdb.evaluation.experiment.keeping import Cells
from hashdb.evaluation.experiment.material import Material
from hashdb.evaluation.experiment.measuring import Measuring
from hashdb.evaluation.experiment.protocol import Protocol
from hashdb.evaluation.experiment.rounds import Round, prepare
from hashdb.evaluation.experiment.units import Unit
from hashdb.search.threads import VARIABLE

_THREADS = (VARIABLE, "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def work(units: Sequence[Unit], material: Material, protocol: Protocol, cells: Cells, jobs: int) -> Iterator[Unit]:
    """Measure units and keep each; yield it when it is finished.

    Parameters
    ----------
    units : sequence of Unit
    material : Material
    protocol : Protocol
        Settled.
    cells : Cells
    jobs : int
        Processes. With one the units are measured here.
    """
    if min(jobs, len(units)) <= 1:
        worker = _Worker(material, protocol, cells)
        for unit in units:
            # Sums of products depend on how many threads share them; between units a caller may use all.
            with threadpool_limits(1):
                worker.measure(unit)
            yield unit
        return
    with tempfile.TemporaryDirectory() as folder:
        material.save(Path(folder))
        yield from _in_processes(units, (folder, protocol, cells), min(jobs, len(units)))


class _Worker:
    """Measures units one after another; the last round is kept, as its units come together."""

    def __init__(self, material: Material, protocol: Protocol, cells: Cells) -> None:
        self._material, self._protocol, self._cells = material, protocol, cells
        self._round = lru_cache(maxsize=1)(self._prepare)

    def measure(self, unit: Unit) -> None:
        """Measure a unit and keep it."""
        record, arrays = Measuring(self._material, self._protocol, unit, self._round(unit.run)).measure()
        self._cells.keep(unit, record, arrays)

    def _prepare(self, run: int) -> Round:
        return prepare(self._material, self._protocol, run, self._cells.truths, n_threads=1)


def _in_processes(units: Sequence[Unit], shared: tuple[str, Protocol, Cells], jobs: int) -> Iterator[Unit]:
    # Spawned, not forked: a fork copies locks of threads that it does not copy.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=shared)
    try:
        with _one_thread_each(), _undisturbed():
            pending: dict[Future[None], Unit] = {executor.submit(_measure, unit): unit for unit in units}
        while pending:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                yield pending.pop(future)
    except BrokenProcessPool as error:
        raise HashDBError(
            "a process of the experiment ended before its time, perhaps for want of memory; what is finished is kept, "
            "so begin again with fewer jobs"
        ) from error
    except BaseException:
        # Nobody waits for what is being measured: it is measured again next time.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes that start now use one thread for everything."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let ctrl-C wait, and not reach processes that start now, which would each print where it struck them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker: _Worker | None = None


def _begin(folder: str, protocol: Protocol, cells: Cells) -> None:
    """Open the data in a process that has just begun; the parent answers to ctrl-C."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = folder  # a process that is terminated removes nothing, but the parent removes this
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threadpool_limits(1)
    _worker = _Worker(Material.open(Path(folder)), protocol, cells)


def _end_with_parent() -> None:
    """Leave no process behind where the parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _measure(unit: Unit) -> None:
    if _worker is None:
        raise HashDBError("a process was to measure before it had been given the data")
    _worker.measure(unit)
