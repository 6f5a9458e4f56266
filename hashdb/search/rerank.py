"""Scores of candidates, better than Hamming distances: by stored vectors, or by the margins of the query.

Smaller is nearer. Every score is a float64 sum along the contiguous last axis of one row, whose order depends on the
length of the row alone: neither the other candidates, nor batches, threads or strides change a bit of it. The score is
then rounded to float32, and ties are those of the rounded score.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import ArgumentError

METRICS = ("cosine", "l2", "ip")
Scores = NDArray[np.float32]
_BYTES_AT_ONCE = 1 << 24  # of candidates in float64


def vector_scores(
    query: NDArray[np.float32],
    candidates: NDArray[Any],
    metric: str,
    *,
    scale: NDArray[np.float32] | None = None,
    zero: NDArray[np.float32] | None = None,
) -> Scores:
    """Score candidates by their vectors.

    Parameters
    ----------
    query : ndarray of float32, shape (dim,)
    candidates : ndarray of float32, float16 or int8, shape (n, dim)
        int8 stands for ``value * scale + zero``.
    metric : str
        ``l2``: Euclidean distance. ``cosine``: 1 - cos, from 0 to 2; a zero vector has the cosine 0 with everything, so
        the score 1. ``ip``: minus the inner product.
    scale, zero : ndarray of float32, shape (dim,), optional
        Of int8 candidates, both or none.

    Returns
    -------
    ndarray of float32, shape (n,)

    Raises
    ------
    ArgumentError
        An unknown metric, or shapes that do not fit.

    Examples
    --------
    >>> vector_scores(np.array([3.0, 4.0], np.float32), np.zeros((1, 2), np.float32), "l2").tolist()
    [5.0]
    """
    check_metric(metric)
    query, candidates = np.asarray(query), np.asarray(candidates)
    if query.ndim != 1 or candidates.ndim != 2 or candidates.shape[1] != len(query):
        raise ArgumentError(
            f"query of shape {query.shape} and candidates of shape {candidates.shape} do not fit, "
            "expected (dim,) and (n, dim)"
        )
    wide = np.ascontiguousarray(query, np.float64)
    scores = np.empty(len(candidates), np.float32)
    step = max(1, _BYTES_AT_ONCE // max(1, 8 * len(query)))
    for first in range(0, len(candidates), step):
        some = slice(first, first + step)
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinitely far
            scores[some] = _score(wide, _restored(candidates[some], scale, zero), metric)
    return scores


def asymmetric_scores(
    margins: NDArray[np.float32], query_code: NDArray[np.uint64], codes: NDArray[np.uint64]
) -> Scores:
    """Score codes by the margins of the query: the sum of abs(margin) over the bits that differ.

    Parameters
    ----------
    margins : ndarray of float32, shape (n_bits,)
        Projection minus threshold of every bit of the query.
    query_code : ndarray of uint64, shape (n_words,)
    codes : ndarray of uint64, shape (n, n_words)

    Returns
    -------
    ndarray of float32, shape (n,)

    Raises
    ------
    ArgumentError
        Shapes that do not fit.

    Examples
    --------
    >>> query = np.array([0b00], np.uint64)
    >>> asymmetric_scores(np.array([-0.5, -2.0], np.float32), query, np.array([[0b01], [0b11]], np.uint64)).tolist()
    [0.5, 2.5]
    """
    n_bits, n_words = len(margins), len(query_code)
    if np.ndim(margins) != 1 or np.ndim(codes) != 2 or codes.shape[1] != n_words or -(-n_bits // 64) != n_words:
        raise ArgumentError(
            f"margins of shape {np.shape(margins)}, a code of shape {np.shape(query_code)} and codes of shape "
            f"{np.shape(codes)} do not fit, expected (n_bits,), (n_words,) and (n, n_words)"
        )
    weights: NDArray[np.float64] = np.abs(np.asarray(margins, np.float64))
    scores = np.empty(len(codes), np.float32)
    step = max(1, _BYTES_AT_ONCE // (8 * n_bits))
    for first in range(0, len(codes), step):
        some = slice(first, first + step)
        differing = np.ascontiguousarray(codes[some] ^ query_code, "<u8").view(np.uint8)
        bits = np.unpackbits(differing, axis=1, count=n_bits, bitorder="little")
        scores[some] = _row_sums(np.multiply(bits, weights, dtype=np.float64))
    return scores


def order_by_score(scores: Scores, ids: NDArray[Any]) -> NDArray[np.int64]:
    """Give the order of candidates by (score, id).

    Parameters
    ----------
    scores : ndarray of float32, shape (n,)
    ids : ndarray of int64 or fixed-width unicode, shape (n,)

    Returns
    -------
    ndarray of int64, shape (n,)
        ``scores[order]`` ascends.
    """
    return np.lexsort((ids, scores))


def check_metric(metric: str) -> str:
    """Return a metric that is known, or raise ArgumentError."""
    if metric not in METRICS:
        raise ArgumentError(f"metric {metric!r} is unknown, expected one of {', '.join(METRICS)}")
    return metric


def _restored(
    candidates: NDArray[Any], scale: NDArray[np.float32] | None, zero: NDArray[np.float32] | None
) -> NDArray[np.float64]:
    wide = np.ascontiguousarray(candidates, np.float64)
    if scale is not None and zero is not None:
        wide = wide * np.asarray(scale, np.float64) + np.asarray(zero, np.float64)
    return wide


def _score(query: NDArray[np.float64], candidates: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    if metric == "l2":
        return np.sqrt(_row_sums(np.square(candidates - query)))
    products = _row_sums(candidates * query)
    if metric == "ip":
        return np.subtract(0.0, products)  # not the negation, which would make a zero negative
    squares = _row_sums(np.square(candidates)) * np.sum(np.square(query))
    cosines = np.divide(products, np.sqrt(squares), out=np.zeros(len(candidates)), where=squares > 0)
    scores: NDArray[np.float64] = np.subtract(1.0, np.clip(cosines, -1.0, 1.0))
    return scores


def _row_sums(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    sums: NDArray[np.float64] = np.sum(np.ascontiguousarray(rows), axis=1)
    return sums
