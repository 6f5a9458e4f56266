"""Pairs of true neighbours among training rows, for quantisers that learn from them.

The rule of Moran, Lavrenko and Osborne (SIGIR 2013): with labels, two rows are neighbours if they share one; without,
if they lie within epsilon of one another, epsilon being the mean over 100 training rows of the distance to the 50th
nearest training row, the row itself counted. Below 2,000 training rows the rank falls in proportion (n / 40, at least
2), so that a small training set is not all neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_ROWS = 2000
_EPSILON_ROWS = 100
_EPSILON_RANK = 50
_ROUNDING = 1e-9  # of a few rows epsilon is the distance of two of them, and both are rounded
_BLOCK_VALUES = 1 << 22


def choose_rows(n_rows: int, labels: NDArray[Any] | None, seed: int) -> NDArray[np.int64]:
    """Pick at most 2,000 training rows, labelled ones where labels are given.

    Parameters
    ----------
    n_rows : int
    labels : ndarray of int64 (n,) or bool (n, n_classes), or None
    seed : int

    Returns
    -------
    ndarray of int64, ascending
    """
    if labels is None:
        eligible = np.arange(n_rows)
    else:
        eligible = np.flatnonzero(labels >= 0 if labels.ndim == 1 else labels.any(axis=1))
    if len(eligible) > MAX_ROWS:
        eligible = np.sort(np.random.default_rng(seed).choice(eligible, MAX_ROWS, replace=False))
    return eligible.astype(np.int64)


def by_label(labels: NDArray[Any]) -> NDArray[np.int64]:
    """List the pairs i < j that share a label.

    Parameters
    ----------
    labels : ndarray of int64 (n,), -1 unlabelled, or bool (n, n_classes)

    Returns
    -------
    ndarray of int64, shape (m, 2), in lexicographic order
    """
    found = []
    for start, stop in _blocks(len(labels), len(labels)):
        if labels.ndim == 1:
            shared = (labels[start:stop, None] == labels) & (labels >= 0)
        else:
            shared = labels[start:stop].astype(np.float32) @ labels.astype(np.float32).T > 0
        found.append(_upper(shared, start))
    return _joined(found)


def within_epsilon(vectors: NDArray[np.float32], rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """List the pairs i < j of ``vectors[rows]`` that lie within epsilon.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim)
        All training rows; epsilon is found among them.
    rows : ndarray of int64, ascending
    seed : int

    Returns
    -------
    ndarray of int64, shape (m, 2), in lexicographic order
        Positions in ``rows``.
    """
    limit = epsilon(vectors, seed) ** 2 * (1 + _ROUNDING)
    chosen = vectors[rows].astype(np.float64)
    found = []
    for start, stop in _blocks(len(chosen), len(chosen)):
        found.append(_upper(_squared_distances(chosen[start:stop], chosen) <= limit, start))
    return _joined(found)


def epsilon(vectors: NDArray[np.float32], seed: int) -> float:
    """Find the distance within which rows are neighbours: see the module's rule.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim)
    seed : int

    Returns
    -------
    float
    """
    n = len(vectors)
    rank = min(_EPSILON_RANK, max(2, -(-n // 40)), n)
    asked = np.sort(np.random.default_rng(seed).choice(n, min(_EPSILON_ROWS, n), replace=False))
    queries = vectors[asked].astype(np.float64)
    nearest = np.full((len(asked), rank), np.inf)
    for start, stop in _blocks(n, max(len(asked), vectors.shape[1])):
        distances = _squared_distances(queries, vectors[start:stop].astype(np.float64))
        nearest = np.partition(np.hstack([nearest, distances]), rank - 1, axis=1)[:, :rank]
    return float(np.sqrt(nearest.max(axis=1)).mean())


def _squared_distances(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    products = left @ right.T
    squares = (left * left).sum(axis=1)[:, None] - 2 * products + (right * right).sum(axis=1)
    # The expanded square may come out slightly negative for equal rows.
    return np.asarray(np.maximum(squares, 0))


def _blocks(n: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, _BLOCK_VALUES // max(width, 1))
    for start in range(0, n, step):
        yield start, min(start + step, n)


def _upper(near: NDArray[np.bool_], first: int) -> NDArray[np.int64]:
    pairs = np.argwhere(near)
    pairs[:, 0] += first
    return pairs[pairs[:, 0] < pairs[:, 1]].astype(np.int64)


def _joined(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(parts) if parts else np.empty((0, 2), np.int64)
