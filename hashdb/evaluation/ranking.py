"""Measures of a ranking by Hamming distance, from counts by distance; ties as in :mod:`hashdb.evaluation.ties`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import ArgumentError
from hashdb.evaluation.ties import chances, ratio, tie_sums

Numbers = NDArray[np.int64]
Doubles = NDArray[np.float64]

TIES = ("expected", "optimistic", "pessimistic")
NORMALISERS = ("found", "possible")
MOST_CODES = (1 << 63) - 1  # that int64 counts


def average_precision(
    total: Numbers, relevant: Numbers, *, ties: str = "expected", at: int | None = None, normaliser: str = "found"
) -> Doubles:
    """Compute the average precision of each query.

    Parameters
    ----------
    total, relevant : ndarray of int64, shape (n_queries, n_distances)
        Codes at each distance, and the relevant ones among them.
    ties : str
        ``expected``: mean over all orders of tied codes. ``optimistic``, ``pessimistic``: the largest and the least
        value that an order can give.
    at : int, optional
        Cut the ranking after so many codes. None: the whole ranking.
    normaliser : str
        What a cut sum is divided by. ``found``: the relevant codes within the cut, as in most code of the field, which
        rewards a ranking that finds one relevant code early and then none. ``possible``: the most that the cut can
        hold, min(at, relevant codes in the database). Without a cut both are the number of relevant codes.

    Returns
    -------
    ndarray of float64, shape (n_queries,)
        0 for a query to which nothing is relevant, or nothing within the cut.

    Raises
    ------
    ArgumentError
        Counts that do not fit, an unknown name, a cut below 1.

    Examples
    --------
    >>> total, relevant = np.array([[2, 1]]), np.array([[1, 1]])
    >>> [round(average_precision(total, relevant, ties=ties).item(), 4) for ties in TIES]
    [0.7083, 0.8333, 0.5833]
    """
    total, relevant = _checked(total, relevant)
    _check_ties(ties)
    if normaliser not in NORMALISERS:
        raise ArgumentError(f"normaliser is {normaliser!r}, expected one of {', '.join(NORMALISERS)}")
    before, found = np.cumsum(total, axis=1) - total, np.cumsum(relevant, axis=1) - relevant
    n_relevant = relevant.sum(axis=1)
    if at is None:
        return ratio(tie_sums(before, total, found, relevant, ties).sum(axis=1), n_relevant)
    at = _check_cut(at)
    whole = before + total <= at
    sums = tie_sums(before, total * whole, found, relevant * whole, ties).sum(axis=1)
    divisors = (relevant * whole).sum(axis=1) if normaliser == "found" else np.minimum(n_relevant, at)
    values = ratio(sums, divisors)
    for query, place in np.argwhere((before < at) & ~whole):
        s, t, c, r = (int(counts[query, place]) for counts in (before, total, found, relevant))
        few, weights = chances(t, r, at - s)
        cut = sums[query] + tie_sums(np.int64(s), np.int64(at - s), np.int64(c), few, ties)
        options = ratio(cut, c + few if normaliser == "found" else divisors[query])
        if ties == "expected":
            values[query] = options @ weights
        else:
            values[query] = options.max() if ties == "optimistic" else options.min()
    return values


def ranks_of_relevant(distances: NDArray[Any], relevant: NDArray[Any]) -> Numbers:
    """Give the ranks of relevant rows where ties are ordered by row.

    Parameters
    ----------
    distances : ndarray of uint8 or uint16, shape (n,)
    relevant : ndarray, shape (n,)
        Not 0 where a row is relevant.

    Returns
    -------
    ndarray of int64, shape (n_relevant,)
        Ascending, from 1.

    Examples
    --------
    >>> ranks_of_relevant(np.array([1, 0, 1], np.uint8), np.array([0, 0, 1])).tolist()
    [3]
    """
    order = np.argsort(distances, kind="stable")
    return np.flatnonzero(relevant[order]) + 1


def average_precision_of_ranks(ranks: Numbers, *, at: int | None = None, normaliser: str = "found") -> float:
    """Compute the average precision of a ranking without ties.

    Parameters
    ----------
    ranks : ndarray of int64, shape (n_relevant,)
        Of the relevant rows, ascending from 1.
    at, normaliser
        As of :func:`average_precision`.

    Returns
    -------
    float

    Examples
    --------
    >>> average_precision_of_ranks(np.array([1, 4]))
    0.75
    """
    within = ranks if at is None else ranks[: np.searchsorted(ranks, at, side="right")]
    if not within.size:
        return 0.0
    divisor = len(within) if normaliser == "found" or at is None else min(len(ranks), at)
    return float((np.arange(1, len(within) + 1) / within).sum() / divisor)


def precision_at(total: Numbers, relevant: Numbers, k: int, *, ties: str = "expected") -> Doubles:
    """Give the share of relevant codes among the k nearest.

    Parameters
    ----------
    total, relevant : ndarray of int64, shape (n_queries, n_distances)
    k : int
        The divisor, also where the database has fewer codes.
    ties : str
        As of :func:`average_precision`.

    Returns
    -------
    ndarray of float64, shape (n_queries,)

    Examples
    --------
    >>> precision_at(np.array([[2, 2]]), np.array([[1, 0]]), 1).tolist()
    [0.5]
    """
    return _hits(total, relevant, k, ties) / k


def recall_at(total: Numbers, relevant: Numbers, k: int, *, ties: str = "expected") -> Doubles:
    """Give the share of the relevant codes that is among the k nearest.

    With the truth of the nearest rows by float vectors this is the recall of the search for neighbours.

    Parameters
    ----------
    total, relevant : ndarray of int64, shape (n_queries, n_distances)
    k : int
    ties : str
        As of :func:`average_precision`.

    Returns
    -------
    ndarray of float64, shape (n_queries,)
        0 for a query to which nothing is relevant.

    Examples
    --------
    >>> recall_at(np.array([[2, 2]]), np.array([[1, 1]]), 1).tolist()
    [0.25]
    """
    return ratio(_hits(total, relevant, k, ties), np.asarray(relevant).sum(axis=1))


def ndcg_at(by_grade: Numbers, k: int, *, gain: str = "exponential", ties: str = "expected") -> Doubles:
    """Compute the normalised discounted cumulative gain of the k nearest.

    A code of grade g at position p gains 2^g - 1, divided by log2(p + 1). A tie gains its mean gain at each of its
    positions (McSherry and Najork 2008), and the ideal order does not depend on ties, so the mean over all orders is
    exact. The best order of a tie has the grades descending, the worst ascending.

    Parameters
    ----------
    by_grade : ndarray of int64, shape (n_queries, n_grades + 1, n_distances)
        Codes of each grade, from 0, at each distance.
    k : int
    gain : str
        ``exponential``, or ``linear`` for a gain of g.
    ties : str
        As of :func:`average_precision`.

    Returns
    -------
    ndarray of float64, shape (n_queries,)
        0 for a query to which nothing is relevant.

    Examples
    --------
    >>> ndcg_at(np.array([[[1, 0], [0, 1]]]), 2).round(4).tolist()
    [0.6309]
    """
    _check_ties(ties)
    # No further than there are codes: each rank takes memory.
    k = min(_check_cut(k), max(1, int(by_grade.sum(axis=(1, 2)).max(initial=0))))
    gains = _gains(np.arange(by_grade.shape[1]), gain)
    ideal = _discounted(by_grade.sum(axis=2)[:, ::-1], gains[::-1], k)
    if ties == "expected":
        total = by_grade.sum(axis=1)
        return ratio(_discounted(total, ratio(np.einsum("g,qgd->qd", gains, by_grade), total), k), ideal)
    step = -1 if ties == "optimistic" else 1
    in_order = by_grade[:, ::step].transpose(0, 2, 1)
    return ratio(_discounted(in_order.reshape(len(by_grade), -1), np.tile(gains[::step], in_order.shape[1]), k), ideal)


def ndcg_of_ranking(grades: NDArray[Any], k: int, *, gain: str = "exponential") -> float:
    """Compute the normalised discounted cumulative gain of a ranking without ties.

    Parameters
    ----------
    grades : ndarray of int, shape (n,)
        Of all rows, in the order of the ranking.
    k, gain
        As of :func:`ndcg_at`.

    Returns
    -------
    float

    Examples
    --------
    >>> round(ndcg_of_ranking(np.array([0, 1]), 2), 4)
    0.6309
    """
    k = min(_check_cut(k), max(1, len(grades)))
    counts = np.bincount(grades)[::-1]
    best = np.repeat(np.arange(len(counts))[::-1], np.minimum(counts, k))[:k]
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = float(_gains(best, gain) @ discounts[: len(best)])
    top = _gains(grades[:k], gain)
    return float(top @ discounts[: len(top)]) / ideal if ideal else 0.0


def _gains(grades: NDArray[Any], gain: str) -> Doubles:
    if gain not in ("exponential", "linear"):
        raise ArgumentError(f"gain is {gain!r}, expected exponential or linear")
    gains: Doubles = np.asarray(grades, np.float64)
    return np.exp2(gains) - 1 if gain == "exponential" else gains


def _discounted(counts: Numbers, each: Doubles, k: int) -> Doubles:
    """Sum the discounted gains of the first k, runs of ``counts`` codes that gain ``each``."""
    discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    ends = np.minimum(np.cumsum(counts, axis=1), k)
    starts = np.concatenate([np.zeros((len(ends), 1), np.int64), ends[:, :-1]], axis=1)
    sums: Doubles = ((discounts[ends] - discounts[starts]) * each).sum(axis=1)
    return sums


def _hits(total: Numbers, relevant: Numbers, k: int, ties: str) -> Doubles:
    """Count the relevant codes among the k nearest."""
    total, relevant = _checked(total, relevant)
    _check_ties(ties)
    kept = np.clip(_check_cut(k) - (np.cumsum(total, axis=1) - total), 0, total)
    if ties == "optimistic":
        return np.asarray(np.minimum(relevant, kept).sum(axis=1), np.float64)
    if ties == "pessimistic":
        return np.asarray(np.maximum(0, kept - (total - relevant)).sum(axis=1), np.float64)
    hits: Doubles = (relevant * ratio(kept, total)).sum(axis=1)
    return hits


def _check_ties(ties: str) -> None:
    if ties not in TIES:
        raise ArgumentError(f"ties is {ties!r}, expected one of {', '.join(TIES)}")


def _checked(total: Any, relevant: Any) -> tuple[Numbers, Numbers]:
    total, relevant = np.asarray(total), np.asarray(relevant)
    if total.ndim != 2 or total.shape != relevant.shape or total.dtype.kind not in "iu":
        raise ArgumentError(
            f"counts are {total.dtype} of shape {total.shape} and {relevant.shape}, expected whole numbers "
            "(n_queries, n_distances), the same for both"
        )
    if (relevant < 0).any() or (relevant > total).any():
        raise ArgumentError("more codes are relevant at some distance than lie there, or fewer than none")
    return total.astype(np.int64), relevant.astype(np.int64)


def _check_cut(k: Any) -> int:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= MOST_CODES:
        raise ArgumentError(f"a ranking is cut after {k!r} codes, expected a whole number from 1 to {MOST_CODES}")
    return int(k)
