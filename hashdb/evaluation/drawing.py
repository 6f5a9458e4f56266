"""Draws of rows, at random or balanced over classes, for :mod:`hashdb.evaluation.splits`.

A class or label gives at most half of the rows that it still has free, rounded down, to a balanced draw: a query whose
whole class is asked for could find nothing. A class of one row is never drawn from. Rows without a label are never
drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import unmasked
from hashdb.errors import ArgumentError

Rows = NDArray[np.int64]


def check_labels(labels: Any, n: int) -> NDArray[Any]:
    """Return labels as int64 (n,) with -1 for none, or bool (n, n_labels), or raise ArgumentError."""
    array = np.asarray(unmasked(labels, "labels"))
    if array.dtype.kind not in "biu" or array.ndim not in (1, 2) or array.shape[0] != n:
        raise ArgumentError(
            f"labels are {array.dtype} of shape {array.shape}, expected whole numbers ({n},) or 0 and 1 ({n}, n_labels)"
        )
    if array.ndim == 1:
        return array.astype(np.int64)
    if array.size and (array.min() < 0 or array.max() > 1):
        raise ArgumentError(f"labels of several columns range from {array.min()} to {array.max()}, expected 0 and 1")
    return array.astype(np.bool_)


def draw_at_random(free: NDArray[np.bool_], count: int, rng: np.random.Generator) -> Rows:
    """Draw rows that are free, each as likely as any other, in random order.

    Parameters
    ----------
    free : ndarray of bool, shape (n,)
    count : int
        At most the number of free rows.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of int64, shape (count,)

    Examples
    --------
    >>> sorted(draw_at_random(np.array([True, False, True]), 2, np.random.default_rng(0)).tolist())
    [0, 2]
    """
    return rng.permutation(np.flatnonzero(free))[:count]


def draw_by_class(labels: Rows, free: NDArray[np.bool_], count: int, rng: np.random.Generator, part: str) -> Rows:
    """Draw equally many free rows of each class, in random order.

    What does not divide goes, one row each, to classes chosen at random; what a class cannot give is shared by the
    others.

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
        Class of each row, negative for none.
    free : ndarray of bool, shape (n,)
    count : int
    rng : numpy.random.Generator
    part : str
        For the message.

    Returns
    -------
    ndarray of int64, shape (count,)

    Raises
    ------
    ArgumentError
        The classes cannot give so many.

    Examples
    --------
    >>> labels = np.repeat([0, 1], [10, 90])
    >>> rows = draw_by_class(labels, np.ones(100, bool), 6, np.random.default_rng(0), "test_queries")
    >>> np.bincount(labels[rows]).tolist()
    [3, 3]
    """
    rows = np.flatnonzero(free & (labels >= 0))
    classes, codes = np.unique(labels[rows], return_inverse=True)
    shares = _equal_shares(np.bincount(codes, minlength=len(classes)) // 2, count, rng, part)
    drawn = [rng.permutation(rows[codes == one])[:share] for one, share in enumerate(shares)]
    return rng.permutation(np.concatenate([np.empty(0, np.int64), *drawn]))


def draw_by_labels(
    labels: NDArray[np.bool_], free: NDArray[np.bool_], count: int, rng: np.random.Generator, part: str
) -> Rows:
    """Draw free rows of several labels each, so that every label has about as many.

    Rows are drawn one by one. Each is a random one of those that have the label with the fewest rows drawn so far (of
    several such labels the first in an order drawn once), and counts for all of its labels.

    Parameters
    ----------
    labels : ndarray of bool, shape (n, n_labels)
    free, count, rng, part
        As in :func:`draw_by_class`.

    Returns
    -------
    ndarray of int64, shape (count,)

    Raises
    ------
    ArgumentError
        The labels cannot give so many.

    Examples
    --------
    >>> labels = np.repeat([[True, False], [True, True], [False, True]], 8, axis=0)
    >>> rows = draw_by_labels(labels, np.ones(24, bool), 4, np.random.default_rng(0), "test_queries")
    >>> bool(np.ptp(labels[rows].sum(axis=0)) <= 1)
    True
    """
    order = rng.permutation(np.flatnonzero(free & labels.any(axis=1)))
    ranks = rng.permutation(labels.shape[1])
    queues = [order[labels[order, one]] for one in range(labels.shape[1])]
    limits = [len(queue) // 2 for queue in queues]
    places = [0] * len(queues)
    counts = np.zeros(len(queues), np.int64)
    taken = np.zeros(len(labels), np.bool_)
    drawn: list[int] = []
    open_labels = set(range(len(queues)))
    while len(drawn) < count and open_labels:
        one = min(open_labels, key=lambda label: (counts[label], ranks[label]))
        while places[one] < len(queues[one]) and taken[queues[one][places[one]]]:
            places[one] += 1
        if places[one] == len(queues[one]) or counts[one] >= limits[one]:
            open_labels.remove(one)
            continue
        row = int(queues[one][places[one]])
        taken[row] = True
        counts += labels[row]
        drawn.append(row)
    if len(drawn) < count:
        raise _too_many(part, count, len(drawn))
    return np.array(drawn, np.int64)


def _equal_shares(most: Rows, count: int, rng: np.random.Generator, part: str) -> Rows:
    """Share ``count`` out as equally as ``most`` allows."""
    if most.sum() < count:
        raise _too_many(part, count, int(most.sum()))
    shares = np.zeros(len(most), np.int64)
    while (left := count - int(shares.sum())) > 0:
        able = np.flatnonzero(shares < most)
        if left < len(able):
            shares[rng.permutation(able)[:left]] += 1
        else:
            shares[able] = np.minimum(shares[able] + left // len(able), most[able])
    return shares


def _too_many(part: str, count: int, possible: int) -> ArgumentError:
    return ArgumentError(
        f"{part} asks for {count:,} rows balanced over the labels, but these give {possible:,} (half of the free rows "
        "of a class at most); ask for fewer, or for rows at random (balanced=False)"
    )
