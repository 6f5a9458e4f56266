"""Measures of hash lookup: a query finds every code within a Hamming radius, however many these are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashdb.evaluation.ties import Doubles, ratio

Numbers = NDArray[np.int64]


class Lookup(NamedTuple):
    """Means over queries of the measures within a radius.

    Attributes
    ----------
    precision : float
        Relevant codes among those found; 0 for a query that finds nothing.
    recall : float
        Relevant codes found among all relevant ones; 0 for a query to which nothing is relevant.
    f1 : float
        Mean of the harmonic means of a query's precision and recall; 0 where both are 0.
    nothing_found : float
        Share of the queries that find nothing.
    """

    precision: float
    recall: float
    f1: float
    nothing_found: float


def lookup(total: Numbers, relevant: Numbers, radius: int) -> Lookup:
    """Measure what is found within a radius, inclusive.

    Parameters
    ----------
    total, relevant : ndarray of int64, shape (n_queries, n_distances)
        Codes at each distance, and the relevant ones among them.
    radius : int
        From 0.

    Returns
    -------
    Lookup

    Examples
    --------
    >>> lookup(np.array([[2, 2], [0, 4]]), np.array([[1, 1], [0, 4]]), 0)
    Lookup(precision=0.25, recall=0.25, f1=0.25, nothing_found=0.5)
    """
    return Lookup(*(float(np.mean(values)) for values in lookup_by_query(total, relevant, radius)))


def lookup_by_query(total: Numbers, relevant: Numbers, radius: int) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Measure what each query finds within a radius, inclusive.

    Parameters
    ----------
    total, relevant, radius
        As of :func:`lookup`.

    Returns
    -------
    precision, recall, f1, nothing_found : ndarray of float64, shape (n_queries,)
        As in :class:`Lookup`; ``nothing_found`` is 1 for a query that finds nothing, else 0.

    Examples
    --------
    >>> lookup_by_query(np.array([[2, 2], [0, 4]]), np.array([[1, 1], [0, 4]]), 0)[0].tolist()
    [0.5, 0.0]
    """
    found = total[:, : radius + 1].sum(axis=1)
    good = relevant[:, : radius + 1].sum(axis=1)
    n_relevant = relevant.sum(axis=1)
    nothing = (found == 0).astype(np.float64)
    return ratio(good, found), ratio(good, n_relevant), ratio(2 * good, found + n_relevant), nothing


def precision_recall(total: Numbers, relevant: Numbers, *, to_the_end: bool = False) -> tuple[Doubles, Doubles]:
    """Give the micro-averaged curve of precision over recall, a point for each radius.

    All pairs of a query and a code are pooled. The radii are 0, 1, … up to one less than the largest distance that
    occurs, as in the evaluation of the survey's author.

    Parameters
    ----------
    total, relevant : ndarray of int64, shape (n_queries, n_distances)
    to_the_end : bool
        Whether the largest distance itself, where everything is found, is a point too.

    Returns
    -------
    recall, precision : ndarray of float64, shape (n_radii,)
        0 where nothing is found, or nothing is relevant.

    Examples
    --------
    >>> recall, precision = precision_recall(np.array([[1, 2, 1]]), np.array([[1, 1, 0]]))
    >>> recall.tolist(), precision.round(3).tolist()
    ([0.5, 1.0], [1.0, 0.667])
    """
    pairs, good = total.sum(axis=0), relevant.sum(axis=0)
    n_radii = int(np.flatnonzero(pairs).max(initial=0)) + (1 if to_the_end else 0)
    found, hits = np.cumsum(pairs)[:n_radii], np.cumsum(good)[:n_radii]
    return ratio(hits, good.sum()), ratio(hits, found)


def auprc(total: Numbers, relevant: Numbers, *, to_the_end: bool = False) -> float:
    """Compute the area under :func:`precision_recall` by the trapezoid rule; it is not extended to a recall of 0.

    Parameters
    ----------
    total, relevant : ndarray of int64, shape (n_queries, n_distances)
    to_the_end : bool
        As of :func:`precision_recall`.

    Returns
    -------
    float
        0 for a curve of fewer than two points.

    Examples
    --------
    >>> round(auprc(np.array([[1, 2, 1]]), np.array([[1, 1, 0]])), 4)
    0.4167
    """
    recall, precision = precision_recall(total, relevant, to_the_end=to_the_end)
    return float(np.trapezoid(precision, recall))
