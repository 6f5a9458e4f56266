"""Counts by distance: how many database codes lie at each Hamming distance of a query, and how many of each grade.

Codes at one distance are tied, so these counts are all that tie-aware measures need: no sorting. A Manhattan quantiser
stores thermometer codes, whose Hamming distance is the Manhattan one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import Codes, check_codes, check_n_bits
from hashdb.errors import ArgumentError
from hashdb.evaluation.comparing import one_blas_thread
from hashdb.evaluation.truth import Grades, Truth
from hashdb.search import threads

Numbers = NDArray[np.int64]
Visit = Callable[[int, NDArray[Any], NDArray[Any]], None]
_PAIRS_AT_ONCE = 1 << 21


@dataclass(frozen=True, eq=False)
class Counts:
    """Database codes by query, grade and distance.

    Attributes
    ----------
    by_grade : ndarray of int64, shape (n_queries, n_grades + 1, n_bits + 1)
        Codes with a grade (0: not relevant) at a distance.
    total, relevant : ndarray of int64, shape (n_queries, n_bits + 1)
        Codes at a distance, and those of a grade above 0.
    """

    by_grade: Numbers
    total: Numbers
    relevant: Numbers

    @classmethod
    def of(cls, by_grade: Numbers) -> Counts:
        """Sum over grades."""
        return cls(by_grade, by_grade.sum(axis=1), by_grade[:, 1:].sum(axis=1))

    @property
    def n_relevant(self) -> Numbers:
        """Relevant rows of each query, int64 (n_queries,)."""
        found: Numbers = self.relevant.sum(axis=1)
        return found


def count_by_distance(
    database_codes: Codes,
    query_codes: Codes,
    truth: Truth,
    *,
    n_bits: int,
    visit: Visit | None = None,
    n_threads: int | None = None,
) -> Counts:
    """Count the database codes at each distance of each query.

    Parameters
    ----------
    database_codes, query_codes : ndarray of uint64, shapes (n, n_words) and (n_queries, n_words)
    truth : Truth
        Of as many queries and rows.
    n_bits : int
        Width of a stored code.
    visit : callable, optional
        Called as ``visit(query, distances, grades)`` with uint8 or uint16 arrays (n,) that are overwritten
        afterwards; from several threads, once for each query.
    n_threads : int, optional
        Default: ``HASHDB_NUM_THREADS``, else the CPUs available.

    Returns
    -------
    Counts

    Raises
    ------
    ArgumentError
        Codes of another width, or a truth of other sizes.

    Notes
    -----
    One XOR, popcount and increment per pair. Memory beyond the counts is bounded, a few grades at a time.

    Examples
    --------
    >>> from hashdb.evaluation import LabelTruth
    >>> database, queries = np.array([[0b00], [0b01], [0b11]], np.uint64), np.array([[0b00]], np.uint64)
    >>> counts = count_by_distance(database, queries, LabelTruth([7], [7, 0, 7]), n_bits=2)
    >>> counts.total.tolist(), counts.relevant.tolist()
    ([[1, 1, 1]], [[1, 0, 1]])
    """
    n_bits = check_n_bits(n_bits)
    stored, asked = check_codes(database_codes, n_bits), check_codes(query_codes, n_bits)
    for name, codes, expected in (("query", asked, truth.n_queries), ("database", stored, truth.n_database)):
        if len(codes) != expected:
            raise ArgumentError(f"there are {len(codes):,} {name} codes, but the truth is about {expected:,}")
        if not len(codes):
            raise ArgumentError(f"there are no {name} codes, expected some to evaluate")
    words = np.ascontiguousarray(stored.T)
    by_grade = np.empty((len(asked), truth.n_grades + 1, n_bits + 1), np.int64)
    step = max(1, _PAIRS_AT_ONCE // len(stored))
    tasks = [
        partial(_count, words, asked, truth, visit, by_grade, start, min(start + step, len(asked)))
        for start in range(0, len(asked), step)
    ]
    with one_blas_thread():  # a truth may multiply matrices
        threads.run(tasks, n_threads)
    return Counts.of(by_grade)


def _count(
    words: Codes, asked: Codes, truth: Truth, visit: Visit | None, by_grade: Numbers, start: int, stop: int
) -> None:
    """Count for queries ``start:stop``."""
    threads.checkpoint()
    n_bins, n = by_grade.shape[1:], words.shape[1]
    distances: NDArray[Any] = np.empty(n, np.uint8 if n_bins[1] <= 256 else np.uint16)
    keys, differing = np.empty(n, np.int64), np.empty(n, np.uint64)
    grades: Grades = truth.grades(start, stop)
    for query in range(start, stop):
        _distances(words, asked[query], differing, distances)
        # One histogram for all grades: the key is the place in a table of grades by distances.
        np.multiply(grades[query - start], n_bins[1], out=keys, dtype=np.int64)
        keys += distances
        histogram = np.bincount(keys, minlength=n_bins[0] * n_bins[1])
        if len(histogram) > n_bins[0] * n_bins[1]:
            raise ArgumentError(f"the truth grades a row of query {query} above its n_grades of {n_bins[0] - 1}")
        by_grade[query] = histogram.reshape(n_bins)
        if visit is not None:
            visit(query, distances, grades[query - start])


def _distances(words: Codes, query: Codes, differing: Codes, distances: NDArray[Any]) -> None:
    """Write the distances of all codes, stored word by word, to a query."""
    for place, word in enumerate(query):
        np.bitwise_xor(words[place], word, out=differing)
        if place == 0:
            np.bitwise_count(differing, out=distances)
        else:
            distances += np.bitwise_count(differing)
