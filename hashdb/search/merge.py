"""Join what several segments found into one answer, ordered by (distance, id)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[Any]
_FAR = np.int32(2**30)  # beyond any distance: what stands past the counts of a list


def merge_knn(
    parts: Sequence[tuple[Ids, NDArray[np.int32], NDArray[np.int64]]], k: int
) -> tuple[Ids, NDArray[np.int32]]:
    """Merge k-lists of the same queries.

    Parameters
    ----------
    parts : sequence of (ids, distances, counts)
        At least one. ``ids`` (n_queries, w) are int64 or fixed-width unicode, ``distances`` int32 of the same shape,
        ``counts`` int64 (n_queries,): entries beyond a count are ignored. No id is in two parts.
    k : int
        From 0.

    Returns
    -------
    ids : ndarray, shape (n_queries, width)
        ``width`` is k, or the number of entries where that is less. Queries with different numbers of entries below k
        do not occur where the lists hold all rows they should; if they do, the least number is the width.
    distances : ndarray of int32, shape (n_queries, width)

    Examples
    --------
    >>> left = np.array([[4, 9]]), np.array([[1, 3]], np.int32), np.array([2])
    >>> right = np.array([[2, 7]]), np.array([[1, 2]], np.int32), np.array([1])
    >>> ids, distances = merge_knn([left, right], 2)
    >>> ids.tolist(), distances.tolist()
    ([[2, 4]], [[1, 1]])
    """
    counts = np.stack([part[2] for part in parts]).sum(axis=0)
    n_queries = len(counts)
    width = min(k, int(counts.min())) if n_queries else 0
    if width == 0:
        return np.empty((n_queries, 0), _id_dtype([part[0] for part in parts])), np.empty((n_queries, 0), np.int32)
    if len(parts) == 1:
        ids, distances, _ = parts[0]
        return ids[:, :width], distances[:, :width]
    distances = np.hstack([_without_padding(near, count) for _, near, count in parts])
    ids = np.hstack([part[0] for part in parts])
    # Only what is at most at the k-th distance can stay, and only that is sorted.
    kth = np.partition(distances, width - 1, axis=1)[:, width - 1]
    owners, places = np.nonzero(distances <= kth[:, None])
    ids, distances = ids[owners, places], distances[owners, places]
    order = np.lexsort((sortable(ids), distances, owners))
    take = order[np.searchsorted(owners, np.arange(n_queries))[:, None] + np.arange(width)]
    return ids[take], distances[take]


def merge_radius(
    parts: Sequence[tuple[NDArray[np.int64], Ids, NDArray[np.int32]]],
) -> tuple[NDArray[np.int64], Ids, NDArray[np.int32]]:
    """Merge radius results of the same queries.

    Parameters
    ----------
    parts : sequence of (lims, ids, distances)
        At least one; ``lims`` int64 (n_queries + 1,), ``ids`` and ``distances`` (lims[-1],).

    Returns
    -------
    lims : ndarray of int64, shape (n_queries + 1,)
    ids : ndarray, shape (lims[-1],)
    distances : ndarray of int32, shape (lims[-1],)
    """
    if len(parts) == 1:
        return parts[0]
    lims = np.stack([part[0] for part in parts]).sum(axis=0)
    owners = np.concatenate([np.repeat(np.arange(len(part[0]) - 1), np.diff(part[0])) for part in parts])
    ids = np.concatenate([part[1] for part in parts])
    distances = np.concatenate([part[2] for part in parts])
    order = np.lexsort((sortable(ids), distances, owners))
    return lims, ids[order], distances[order]


def sortable(ids: Ids) -> NDArray[np.int64]:
    """Give integers that order as the ids do; strings order by code points, which is the order of their UTF-8 bytes.

    Parameters
    ----------
    ids : ndarray, shape (n,)
        int64 or fixed-width unicode.
    """
    if ids.dtype.kind == "U":
        return np.unique(ids, return_inverse=True)[1].reshape(-1).astype(np.int64, copy=False)
    return ids


def _without_padding(distances: NDArray[np.int32], counts: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.where(np.arange(distances.shape[1]) < counts[:, None], distances, _FAR)


def _id_dtype(ids: Sequence[Ids]) -> Any:
    return np.result_type(*(some.dtype for some in ids))
