"""Exact search by comparing every code with every query.

Small work is done in NumPy (:mod:`hashdb.search.numpy_scan`) so that it need not wait for a compiler, everything else
by the kernels through :mod:`hashdb.search.kernel_scan`; both give the same answer to the last row, and so does any
number of threads and any split of rows into blocks or of queries into batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import check_codes, check_n_bits, n_words_of
from hashdb.errors import ArgumentError
from hashdb.forks import lock_of
from hashdb.search import numpy_scan, threads

Codes = NDArray[np.uint64]
# What a process does in NumPy, in units of about a nanosecond, before it loads the kernels: loading them takes half a
# second from the cache and some seconds without, so this much is never slower than twice the best choice.
NUMPY_BUDGET = 1 << 27
NUMPY_ROWS = 1 << 22  # of a segment: NumPy holds a few arrays of as many values at a time


class Lists(NamedTuple):
    """The k-lists of a segment, one per query.

    Attributes
    ----------
    rows : ndarray of int64, shape (n_queries, width)
        Rows ordered by (distance, row); -1 beyond ``counts``.
    distances : ndarray of int32, shape (n_queries, width)
        0 to ``n_bits``; ``n_bits + 1`` beyond ``counts``.
    counts : ndarray of int64, shape (n_queries,)
        Rows in each list: min(k, rows alive), fewer only where a bound left some out. ``width`` is the largest.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.int32]
    counts: NDArray[np.int64]


def knn(
    blocks: Sequence[Codes],
    queries: Codes,
    k: int,
    *,
    n_bits: int,
    deleted: Codes | None = None,
    bound: NDArray[np.int32] | None = None,
    n_threads: int | None = None,
) -> Lists:
    """Find the k nearest rows of each query in one segment, ordered by (distance, row).

    Parameters
    ----------
    blocks : sequence of ndarray of uint64, shape (m, n_words)
        Codes of consecutive rows, C-contiguous, perhaps read-only maps of files.
    queries : ndarray of uint64, shape (n_queries, n_words)
    k : int
        Neighbours wanted, from 0.
    n_bits : int
        Width of a code in bits, 1 to 4096.
    deleted : ndarray of uint64, shape (ceil(n / 64),), optional
        Bitmap of rows to leave out; row r is bit r mod 64 of word r // 64.
    bound : ndarray of int32, shape (n_queries,), optional
        Distances beyond which rows are of no interest; they are left out.
    n_threads : int, optional
        Default: ``HASHDB_NUM_THREADS``, else the CPUs available.

    Returns
    -------
    Lists

    Raises
    ------
    ArgumentError
        A wrong shape or dtype, bits set past the width, a k or n_threads out of range.

    Notes
    -----
    One XOR and popcount per word. Memory beyond the result is bounded whatever the number of queries.

    Examples
    --------
    >>> codes = np.array([[0b1111], [0b0001], [0b0011]], np.uint64)
    >>> found = knn([codes], np.array([[0]], np.uint64), 2, n_bits=4)
    >>> found.rows.tolist(), found.distances.tolist()
    ([[1, 2]], [[1, 2]])
    """
    k = check_whole(k, "k")
    blocks, queries, deleted = _check_segment(blocks, queries, n_bits, deleted)
    threads_wanted = threads.check_n_threads(n_threads)
    limits = check_bound(bound, len(queries), n_bits)
    n = sum(map(len, blocks))
    k = min(k, n)
    if k == 0 or len(queries) == 0:
        return _lists_of(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.int32), limits, n_bits)
    if n <= NUMPY_ROWS and _budget.covers(_numpy_work(n, queries) + 64 * len(queries) * k):
        rows, distances = numpy_scan.knn(blocks, queries, k, deleted)
        return _lists_of(rows, distances, limits, n_bits)
    from hashdb.search import kernel_scan

    return Lists(*kernel_scan.knn(blocks, queries, k, n_bits, deleted, limits, threads_wanted))


def radius(
    blocks: Sequence[Codes],
    queries: Codes,
    radius: int,
    *,
    n_bits: int,
    deleted: Codes | None = None,
    n_threads: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Find every row of one segment within ``radius`` of each query, inclusive, ordered by (distance, row).

    Parameters
    ----------
    blocks, queries, n_bits, deleted, n_threads
        As in :func:`knn`.
    radius : int
        From 0; at ``n_bits`` and beyond every row is found.

    Returns
    -------
    lims : ndarray of int64, shape (n_queries + 1,)
        What query i found is ``lims[i]:lims[i + 1]``.
    rows : ndarray of int64, shape (lims[-1],)
    distances : ndarray of int32, shape (lims[-1],)

    Raises
    ------
    ArgumentError
        A wrong shape or dtype, bits set past the width, a radius or n_threads out of range.

    Examples
    --------
    >>> codes = np.array([[0b1111], [0b0001], [0b0011]], np.uint64)
    >>> lims, rows, distances = radius([codes], np.array([[0]], np.uint64), 2, n_bits=4)
    >>> lims.tolist(), rows.tolist(), distances.tolist()
    ([0, 2], [1, 2], [1, 2])
    """
    radius = min(check_whole(radius, "radius"), check_n_bits(n_bits))
    blocks, queries, deleted = _check_segment(blocks, queries, n_bits, deleted)
    threads_wanted = threads.check_n_threads(n_threads)
    n = sum(map(len, blocks))
    small = n <= NUMPY_ROWS and _budget.covers(_numpy_work(n, queries))
    if n == 0 or len(queries) == 0 or small:
        return numpy_scan.radius(blocks, queries, radius, deleted)
    from hashdb.search import kernel_scan

    return kernel_scan.radius(blocks, queries, radius, deleted, threads_wanted)


def needs_no_kernels(n: int, queries: Codes) -> bool:
    """Tell whether a scan of ``n`` codes would be done in NumPy, because this process has done little so far."""
    return n <= NUMPY_ROWS and _budget.would_cover(_numpy_work(n, queries))


def _numpy_work(n: int, queries: Codes) -> int:
    return int(len(queries) * n * (queries.shape[1] + 4))


class _Budget:
    """Decides where work is done: in NumPy while its sum over the life of the process is small, then by the kernels.

    So one small query compiles nothing, and a server of many small ones soon has the kernels.
    """

    def __init__(self) -> None:
        self._spent = 0
        self._lock = lock_of(self)

    def covers(self, work: int) -> bool:
        with self._lock:
            self._spent += work
            return self._spent <= NUMPY_BUDGET

    def would_cover(self, work: int) -> bool:
        return self._spent + work <= NUMPY_BUDGET


_budget = _Budget()


def use_kernels() -> None:
    """Do all further work by the kernels, as where they are loaded anyway."""
    _budget.covers(NUMPY_BUDGET + 1)


def _lists_of(rows: NDArray[np.int64], distances: NDArray[np.int32], limits: NDArray[np.int64], n_bits: int) -> Lists:
    """Leave out what is not nearer than the limit of its query."""
    near = distances < limits[:, None]
    if near.all():
        return Lists(rows, distances, np.full(len(rows), rows.shape[1]))
    counts = near.sum(axis=1)
    width = int(counts.max())
    near = near[:, :width]
    return Lists(np.where(near, rows[:, :width], -1), np.where(near, distances[:, :width], n_bits + 1), counts)


def check_whole(value: Any, name: str) -> int:
    """Return a value as an int of at least 0, or raise ArgumentError."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ArgumentError(f"{name} is {value!r}, expected a whole number from 0")
    return int(value)


def check_bound(bound: NDArray[np.int32] | None, n_queries: int, n_bits: int) -> NDArray[np.int64]:
    """Give the least distance of each query that is of no interest, or raise ArgumentError."""
    if bound is None:
        return np.full(n_queries, n_bits + 1, np.int64)
    if np.shape(bound) != (n_queries,):
        raise ArgumentError(f"bound has shape {np.shape(bound)}, expected one distance for each of {n_queries} queries")
    return np.clip(np.asarray(bound, np.int64), -1, n_bits) + 1


def _check_segment(
    blocks: Sequence[Codes], queries: Codes, n_bits: int, deleted: Codes | None
) -> tuple[list[Codes], Codes, Codes | None]:
    n_words = n_words_of(check_n_bits(n_bits))
    checked = []
    for number, block in enumerate(blocks):
        if block.dtype != np.uint64 or block.ndim != 2 or block.shape[1] != n_words:
            raise ArgumentError(
                f"block {number} is {block.dtype} of shape {block.shape}, expected uint64 (m, {n_words}), "
                f"the words of {n_bits} bits"
            )
        if len(block):
            checked.append(np.require(block, requirements=("C", "A")))
    n = sum(map(len, checked))
    if deleted is not None:
        deleted = np.require(deleted, requirements=("C", "A"))
        if deleted.dtype != np.uint64 or deleted.shape != (-(-n // 64),):
            raise ArgumentError(
                f"deleted is {deleted.dtype} of shape {deleted.shape}, expected a uint64 bitmap of {-(-n // 64)} words"
            )
    return checked, np.require(check_codes(queries, n_bits), requirements="A"), deleted
