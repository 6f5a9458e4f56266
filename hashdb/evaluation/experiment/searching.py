"""Whole rankings from an index: what its search answers, counted by distance and grade."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import Codes
from hashdb.evaluation.counts import Counts
from hashdb.evaluation.metrics import Ordered
from hashdb.evaluation.truth import Truth
from hashdb.index import Index

_PAIRS_AT_ONCE = 1 << 21


def rank(index: Index, query_codes: Codes, truth: Truth, ordered: Ordered | None = None) -> Counts:
    """Let queries search the whole index, and count what they find.

    Parameters
    ----------
    index : Index
        Its ids are the rows of the truth's database.
    query_codes : ndarray of uint64, shape (n_queries, n_words)
    truth : Truth
    ordered : Ordered, optional
        Given each ranking, ties by row, as the index orders them.

    Returns
    -------
    Counts
        As :func:`hashdb.evaluation.count_by_distance` gives them.

    Notes
    -----
    One search for all rows, a few queries at a time: memory is bounded by some million pairs.
    """
    n, n_bins = len(index), index.model.n_stored_bits + 1
    by_grade = np.empty((len(query_codes), truth.n_grades + 1, n_bins), np.int64)
    step = max(1, _PAIRS_AT_ONCE // n)
    for start in range(0, len(query_codes), step):
        found = index.query_codes(query_codes[start : start + step], k=n)
        grades = truth.grades(start, start + len(found.ids))
        for query, (rows, distances) in enumerate(found):
            ranked = grades[query][rows]
            keys = ranked.astype(np.int64) * n_bins + distances
            by_grade[start + query] = np.bincount(keys, minlength=by_grade[0].size).reshape(by_grade[0].shape)
            if ordered is not None:
                ordered.add(start + query, ranked)
    return Counts.of(by_grade)


def curves(counts: Counts) -> dict[str, dict[str, list[float]]]:
    """Give the curves of a report, a point for each radius from 0 to the width of a code.

    Returns
    -------
    dict
        ``precision_recall``: of all pairs of a query and a row, pooled. ``candidates``: how many rows a query finds,
        and which share of the relevant ones is among them, on average.
    """
    found, hits = (np.cumsum(part.sum(axis=0)) for part in (counts.total, counts.relevant))
    n_relevant = counts.n_relevant[:, None]
    shares = np.divide(np.cumsum(counts.relevant, axis=1), n_relevant, where=n_relevant > 0, out=_zeros(counts))
    with np.errstate(invalid="ignore"):
        precision = np.where(found > 0, hits / found, 0)
    return {
        "precision_recall": {"recall": _plain(hits / max(1, hits[-1])), "precision": _plain(precision)},
        "candidates": {"candidates": _plain(found / len(counts.total)), "recall": _plain(shares.mean(axis=0))},
    }


def _zeros(counts: Counts) -> NDArray[np.float64]:
    return np.zeros(counts.relevant.shape)


def _plain(values: NDArray[np.float64]) -> list[float]:
    plain: list[float] = values.round(6).tolist()
    return plain
