"""Exact nearest neighbours of many queries at little more than the cost of a matrix product.

Rows are gone through in blocks. A block costs one float32 product that bounds the scores from above
(:mod:`hashdb.evaluation.comparing`) and one comparison with the limit of each query; only what passes is looked at. The
limit is the k-th largest lower bound met so far, from a sample of rows spread over the data to begin with, so after m
rows about k/m of the next ones pass. When all rows have been met a few more than k are left a query, and their float64
values decide.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import ArgumentError
from hashdb.evaluation.comparing import Asked, Comparison, Doubles, Floats, Rows, Stored, one_blas_thread
from hashdb.search import threads

_QUERIES = 512  # of a product
_ROWS = 1024  # of a product: with the queries, what the second cache holds
_SAMPLE = 8192
_STATE_BYTES = 96 << 20  # of candidates a thread holds
_SLOT_BYTES = 16


def nearest(
    queries: Any, database: Any, k: int, *, metric: str = "l2", n_threads: int | None = None
) -> tuple[Rows, Doubles]:
    """Find the k nearest rows of each query, ordered by (distance, row).

    Distances are float64 sums over the given values, so equal rows tie exactly.

    Parameters
    ----------
    queries, database : array, shapes (n_queries, dim) and (n, dim)
        Finite numbers within float32's range; a memory map is read block by block.
    k : int
        At least 1; ``min(k, n)`` are found.
    metric : str
        ``l2``, ``cosine`` or ``ip``.
    n_threads : int, optional
        Default: ``HASHDB_NUM_THREADS``, else the CPUs available.

    Returns
    -------
    rows : ndarray of int64, shape (n_queries, min(k, n))
    distances : ndarray of float64, same shape
        ``l2``: Euclidean. ``cosine``: 1 - cos. ``ip``: minus the inner product.

    Raises
    ------
    ArgumentError
        Arguments that do not fit, see :class:`~hashdb.evaluation.comparing.Comparison`.

    Notes
    -----
    Memory beyond the result: about 150 MiB a thread, whatever the numbers of queries and rows.

    Examples
    --------
    >>> rows, distances = nearest([[0.0]], [[3.0], [1.0], [-1.0]], 2)
    >>> rows.tolist(), distances.tolist()
    ([[1, 2]], [[1.0, 1.0]])
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ArgumentError(f"k is {k!r}, expected a whole number from 1")
    n_threads = threads.check_n_threads(n_threads)
    pair = Comparison(queries, database, metric)
    k = min(int(k), pair.n)
    capacity = 2 * k + _ROWS
    most = max(1, _STATE_BYTES // (_SLOT_BYTES * capacity))
    # Every run of queries goes through all rows, so there are as few runs as memory allows, a multiple of the threads.
    n_runs = -(-pair.n_queries // (most * n_threads)) * n_threads
    edges = [pair.n_queries * run // n_runs for run in range(n_runs + 1)]
    tasks = [partial(_search, pair, start, stop, k) for start, stop in pairwise(edges) if start < stop]
    with one_blas_thread():
        found = threads.run(tasks, n_threads)
    rows, values = (np.concatenate([part[which] for part in found]) for which in (0, 1))
    return rows, pair.distances(values)


def _search(pair: Comparison, first: int, last: int, k: int) -> tuple[Rows, Doubles]:
    """Find the neighbours of some queries."""
    sample = pair.store(_spread_rows(pair.n, k))
    scratch = _Scratch()
    groups = []
    for start in range(first, last, _QUERIES):
        threads.checkpoint()
        some = slice(start, min(start + _QUERIES, last))
        groups.append(_Group(pair, some, k, sample))
    del sample
    for start in range(0, pair.n, _ROWS):
        threads.checkpoint()
        block = pair.store(slice(start, start + _ROWS))
        for group in groups:
            group.meet(block, start, scratch)
    done = [group.finish() for group in groups]
    return np.concatenate([rows for rows, _ in done]), np.concatenate([values for _, values in done])


def _spread_rows(n: int, k: int) -> Rows:
    """Choose rows for the first limits: k at least, evenly spread, as data often come sorted."""
    size = min(n, max(_SAMPLE, 4 * k))
    return np.arange(size) * n // size


class _Scratch:
    """Memory of the products and comparisons of one thread."""

    def __init__(self) -> None:
        self.products = np.empty(_QUERIES * _ROWS, np.float32)
        self.passed = np.empty(_QUERIES * _ROWS, np.bool_)


class _Group:
    """Some queries with the candidates they have so far, each in a row of slots that ascends by row number."""

    def __init__(self, pair: Comparison, some: slice, k: int, sample: Stored) -> None:
        self._pair, self._k, self._first = pair, k, some.start
        self._asked = pair.ask(some)
        n_queries, capacity = some.stop - some.start, 2 * k + _ROWS
        self._rows = np.zeros((n_queries, capacity), np.int32 if pair.n < 1 << 31 else np.int64)
        self._upper = np.empty((n_queries, capacity), np.float32)
        self._lower = np.empty((n_queries, capacity), np.float32)
        self._counts = np.zeros(n_queries, np.int64)
        self._limits = np.full(n_queries, -np.inf, np.float32)
        self._raise_limits(_lower_bounds(self._asked, sample))

    def meet(self, block: Stored, first_row: int, scratch: _Scratch) -> None:
        """Take from a block of rows what may be among the k nearest."""
        n_queries, n_rows = len(self._limits), len(block.augmented)
        size = n_queries * n_rows
        products = scratch.products[:size].reshape(n_queries, n_rows)
        np.matmul(self._asked.augmented, block.augmented.T, out=products)
        passed = scratch.passed[:size]
        np.greater_equal(products, self._limits[:, None], out=passed.reshape(n_queries, n_rows))
        places = _true_places(passed)
        if not places.size:
            return
        owners, columns = np.divmod(places, n_rows)
        upper = products.reshape(-1)[places]
        self._add(
            owners, columns + first_row, upper, upper - self._pair.gaps(self._asked, owners, block.lengths[columns])
        )
        if self._counts.max() > self._rows.shape[1] - _ROWS:
            self._tighten()

    def finish(self) -> tuple[Rows, Doubles]:
        """Decide among what is left by float64 values."""
        self._tighten()
        owners, places = np.nonzero(np.arange(self._counts.max()) < self._counts[:, None])
        values = np.full((len(self._counts), self._counts.max()), np.inf)
        values[owners, places] = self._pair.values(owners + self._first, self._rows[owners, places].astype(np.int64))
        order = np.argsort(values, axis=1, kind="stable")[:, : self._k]
        return np.take_along_axis(self._rows, order, 1).astype(np.int64), np.take_along_axis(values, order, 1)

    def _add(self, owners: Rows, rows: Rows, upper: Floats, lower: Floats) -> None:
        """Append candidates, which come by owner, each owner's rows behind those it has."""
        counts = np.bincount(owners, minlength=len(self._counts))
        places = np.arange(len(owners)) + np.repeat(self._counts - (np.cumsum(counts) - counts), counts)
        self._rows[owners, places] = rows
        self._upper[owners, places] = upper
        self._lower[owners, places] = lower
        self._counts += counts

    def _tighten(self) -> None:
        """Raise the limits to what has been met and drop the candidates below; make room for a block of rows."""
        width = int(self._counts.max())
        used = np.arange(width) < self._counts[:, None]
        self._raise_limits(np.where(used, self._lower[:, :width], np.float32(-np.inf)))
        self._keep(used & (self._upper[:, :width] >= self._limits[:, None]))
        for query in np.flatnonzero(self._counts > self._rows.shape[1] - _ROWS):
            # The bounds cannot tell them apart, as where many rows are equal: values can, and at a tie the row does.
            rows = self._rows[query, : self._counts[query]].astype(np.int64)
            values = self._pair.values(np.full(len(rows), query + self._first), rows)
            kept = np.sort(np.argsort(values, kind="stable")[: self._k])
            for slots in (self._rows, self._upper, self._lower):
                slots[query, : self._k] = slots[query, kept]
            self._counts[query] = self._k

    def _raise_limits(self, lower: Floats) -> None:
        """Raise the limit of each query to the k-th largest of some lower bounds, less what the bounds leave open."""
        if lower.shape[1] < self._k:
            return
        place = lower.shape[1] - self._k
        kth = np.partition(lower, place, axis=1)[:, place]
        limits = np.nextafter((kth - 2 * self._asked.constant).astype(np.float32), np.float32(-np.inf))
        np.maximum(self._limits, limits, out=self._limits)

    def _keep(self, keep: NDArray[np.bool_]) -> None:
        owners, places = np.nonzero(keep)
        kept = [slots[owners, places] for slots in (self._rows, self._upper, self._lower)]
        self._counts[:] = 0
        self._add(owners, *kept)


def _lower_bounds(asked: Asked, stored: Stored) -> Floats:
    """Bound the scores of all pairs from below."""
    bounds: Floats = asked.augmented @ stored.augmented.T
    bounds -= asked.per_length[:, None] * stored.lengths
    if asked.per_square.any():
        bounds -= asked.per_square[:, None] * np.square(stored.lengths)
    return bounds


def _true_places(flags: NDArray[np.bool_]) -> Rows:
    """Give the places of the few flags that are set, looking at eight at a time where that divides."""
    if flags.size % 8:
        return np.flatnonzero(flags)
    words = np.flatnonzero(flags.view(np.uint64) != 0)
    where, which = np.nonzero(flags.reshape(-1, 8)[words])
    places: Rows = words[where] * 8 + which
    return places
