"""Rows within a Euclidean distance of many queries, by products that settle all but the doubtful pairs."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from hashdb.errors import ArgumentError
from hashdb.evaluation.comparing import Comparison, Rows, one_blas_thread
from hashdb.search import threads

_QUERIES = 256
_ROWS = 4096
_MOST_PAIRS = 1 << 28


def within(queries: Any, database: Any, epsilon: float, *, n_threads: int | None = None) -> tuple[Rows, Rows]:
    """List the rows whose Euclidean distance to a query is less than epsilon.

    Parameters
    ----------
    queries, database : array, shapes (n_queries, dim) and (n, dim)
        Finite numbers within float32's range.
    epsilon : float
        At least 0; the comparison is strict, with the distance in float64.
    n_threads : int, optional
        Default: ``HASHDB_NUM_THREADS``, else the CPUs available.

    Returns
    -------
    starts : ndarray of int64, shape (n_queries + 1,)
    rows : ndarray of int32, or int64 for more rows than that holds, shape (starts[-1],)
        Of query i: ``rows[starts[i]:starts[i + 1]]``, ascending.

    Raises
    ------
    ArgumentError
        Arguments that do not fit, or more than 268 million pairs within epsilon.

    Examples
    --------
    >>> starts, rows = within([[0.0], [9.0]], [[3.0], [1.0], [-0.5]], 1.5)
    >>> starts.tolist(), rows.tolist()
    ([0, 2, 2], [1, 2])
    """
    if not (isinstance(epsilon, int | float | np.number) and 0 <= float(epsilon) < math.inf):
        raise ArgumentError(f"epsilon is {epsilon!r}, expected a finite distance from 0")
    n_threads = threads.check_n_threads(n_threads)
    pair = Comparison(queries, database, "l2")
    blocks = [slice(start, min(start + _QUERIES, pair.n_queries)) for start in range(0, pair.n_queries, _QUERIES)]
    found_so_far = _Sum()
    with one_blas_thread():
        found = threads.run([partial(_search, pair, some, float(epsilon), found_so_far) for some in blocks], n_threads)
    counts = np.concatenate([counts for counts, _ in found])
    return np.concatenate([[0], np.cumsum(counts)]), np.concatenate([rows for _, rows in found])


class _Sum:
    """Pairs found by all threads, so that a radius without sense is noticed before memory runs out."""

    def __init__(self) -> None:
        self.value = 0


def _search(pair: Comparison, some: slice, epsilon: float, found_so_far: _Sum) -> tuple[Rows, Rows]:
    """List the rows of some queries, and count them."""
    asked = pair.ask(some)
    # In scaled units d < epsilon is |a|²/2 - S < epsilon²/2. Rounding epsilon² and |a|² is bounded as that of values.
    # No distance between float32 values comes near 1e60, whose square float64 still holds when scaled.
    reach = math.ldexp(min(epsilon, 1e60), -pair.exponent)
    with np.errstate(over="ignore"):
        scores = (asked.lengths**2 - reach**2) / 2 * asked.scales
        open_ = 2 * asked.constant + (pair.dim + 4) * 2.0**-52 * reach**2 * asked.scales
        lowest = np.nextafter((scores - open_).astype(np.float32), np.float32(-np.inf))
        highest = np.nextafter((scores + open_).astype(np.float32), np.float32(np.inf))
    owners_found, rows_found = [], []
    for start in range(0, pair.n, _ROWS):
        threads.checkpoint()
        block = pair.store(slice(start, start + _ROWS))
        upper = asked.augmented @ block.augmented.T
        owners, columns = np.nonzero(upper >= lowest[:, None])
        lower = upper[owners, columns] - pair.gaps(asked, owners, block.lengths[columns])
        near = lower > highest[owners]
        doubtful = np.flatnonzero(~near)
        values = pair.values(owners[doubtful] + some.start, columns[doubtful] + start)
        near[doubtful] = pair.distances(values) < epsilon
        owners_found.append(owners[near])
        rows_found.append((columns[near] + start).astype(np.int32 if pair.n < 1 << 31 else np.int64))
        found_so_far.value += int(np.count_nonzero(near))
        if found_so_far.value > _MOST_PAIRS:
            raise ArgumentError(
                f"more than {_MOST_PAIRS:,} pairs are less than epsilon = {epsilon} apart, expected a small part of "
                "the database for each query; take a smaller epsilon, or fewer queries"
            )
    owners, rows = np.concatenate(owners_found), np.concatenate(rows_found)
    return np.bincount(owners, minlength=some.stop - some.start), rows[np.argsort(owners, kind="stable")]
