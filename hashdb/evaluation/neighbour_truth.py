"""Ground truth by distances between vectors: the nearest rows, or those within epsilon."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import ArgumentError
from hashdb.evaluation.comparing import Rows
from hashdb.evaluation.neighbours import nearest
from hashdb.evaluation.radius import within
from hashdb.evaluation.saving import cache_key, cached
from hashdb.evaluation.truth import ListTruth


class NearestTruth(ListTruth):
    """The k nearest rows of each query are relevant; equal distances go by row.

    Parameters
    ----------
    queries, database : array, shapes (n_queries, dim) and (n, dim)
    k : int
        ``min(k, n)`` rows are relevant.
    metric : str
        ``l2``, ``cosine`` or ``ip``, see :func:`~hashdb.evaluation.neighbours.nearest`.
    folder : path, optional
        Where the result is kept, and found the next time.
    split : Split, optional
        Becomes part of the key it is kept under.
    n_threads : int, optional

    Attributes
    ----------
    neighbours : ndarray of int64, shape (n_queries, min(k, n))
        Nearest first.
    distances : ndarray of float64, same shape

    Examples
    --------
    >>> truth = NearestTruth([[0.0]], [[3.0], [1.0], [-1.0]], 2)
    >>> truth.neighbours.tolist(), truth.grades(0, 1).tolist()
    ([[1, 2]], [[0, 1, 1]])
    """

    def __init__(
        self,
        queries: Any,
        database: Any,
        k: int,
        *,
        metric: str = "l2",
        folder: str | os.PathLike[str] | None = None,
        split: Any = None,
        n_threads: int | None = None,
    ) -> None:
        queries, database = np.asanyarray(queries), np.asanyarray(database)

        def make() -> dict[str, NDArray[Any]]:
            rows, distances = nearest(queries, database, k, metric=metric, n_threads=n_threads)
            return {"rows": rows, "distances": distances}

        key = "" if folder is None else cache_key(queries, database, what="nearest", k=k, metric=metric, split=split)
        found = cached(folder, key, make)
        self.neighbours: Rows = found["rows"]
        self.distances: NDArray[np.float64] = found["distances"]
        n_queries, width = self.neighbours.shape
        self._hold(np.arange(n_queries + 1) * width, self.neighbours.reshape(-1), len(database))


class EpsilonTruth(ListTruth):
    """Rows are relevant whose Euclidean distance to the query is less than epsilon.

    Distances are float64; float32 products settle the pairs that they can.

    Parameters
    ----------
    queries, database : array, shapes (n_queries, dim) and (n, dim)
    epsilon : float
        See :func:`choose_epsilon`.
    folder, split, n_threads
        As of :class:`NearestTruth`.

    Notes
    -----
    The relevant rows are held as lists: epsilon is meant to leave a small part of the database relevant.

    Examples
    --------
    >>> EpsilonTruth([[0.0]], [[3.0], [1.0], [-0.5]], 1.0).grades(0, 1).tolist()
    [[0, 0, 1]]
    """

    def __init__(
        self,
        queries: Any,
        database: Any,
        epsilon: float,
        *,
        folder: str | os.PathLike[str] | None = None,
        split: Any = None,
        n_threads: int | None = None,
    ) -> None:
        queries, database = np.asanyarray(queries), np.asanyarray(database)
        self.epsilon = float(epsilon)

        def make() -> dict[str, NDArray[Any]]:
            starts, rows = within(queries, database, self.epsilon, n_threads=n_threads)
            return {"starts": starts, "rows": rows}

        facts = {"what": "epsilon", "epsilon": self.epsilon, "metric": "l2", "split": split}
        found = cached(folder, "" if folder is None else cache_key(queries, database, **facts), make)
        self._hold(found["starts"], found["rows"], len(database))


def choose_epsilon(
    vectors: Any, *, n_neighbour: int = 50, n_sample: int = 100, seed: int | None = 0, n_threads: int | None = None
) -> float:
    """Give the epsilon of the epsilon-ball truth: the mean distance of some rows to their n-th nearest row.

    A row counts as its own nearest, so the 50th nearest is the 49th among the others.

    Parameters
    ----------
    vectors : array, shape (n, dim)
        All rows of an evaluation. The survey's author takes every part of a split but the test queries.
    n_neighbour, n_sample : int
        At most n each.
    seed : int, optional
        Of the rows sampled; None takes the first ones, for rows that are in random order already.
    n_threads : int, optional

    Returns
    -------
    float

    Raises
    ------
    ArgumentError
        Fewer rows than neighbours or samples asked for.

    Examples
    --------
    >>> choose_epsilon([[0.0], [1.0], [3.0]], n_neighbour=2, n_sample=3)
    1.3333333333333333
    """
    rows = np.asanyarray(vectors)
    for name, size in (("n_neighbour", n_neighbour), ("n_sample", n_sample)):
        if not 1 <= size <= len(rows):
            raise ArgumentError(f"{name} is {size}, expected 1 to the number of rows, {len(rows):,}")
    sample = np.arange(n_sample)
    if seed is not None:
        sample = np.sort(np.random.default_rng(seed).choice(len(rows), n_sample, replace=False))
    _, distances = nearest(rows[sample], rows, n_neighbour, n_threads=n_threads)
    return float(distances[:, -1].mean())
