"""One search over all segments of an index: scan each, keep what can still win, order by (distance, id).

Rows of a segment stand in ascending id order, so a list ordered by (distance, row) is ordered by (distance, id) too;
only the lists of several segments have to be merged by id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hashdb.search import scan

Codes = NDArray[np.uint64]
_QUERIES_AT_ONCE = 1024
_BYTES_AT_ONCE = 1 << 27  # of the lists held while several segments are merged, unless one query needs more
_BYTES_A_ROW = 48  # of such a list, with what merging makes of it


class Searchable(Protocol):
    """What a search needs of a segment."""

    @property
    def n_alive(self) -> int:
        """Rows that are not deleted."""

    @property
    def code_blocks(self) -> Sequence[Codes]:
        """Codes in row order, each block uint64 (m, n_words)."""

    @property
    def deleted(self) -> Codes | None:
        """Bitmap of deleted rows, or None."""

    def ids_at(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Ids of rows, int64 or fixed-width unicode."""


@dataclass(frozen=True)
class Nearest:
    """k-NN lists with the place of every row.

    Attributes
    ----------
    ids : ndarray, shape (n_queries, width)
    distances : ndarray of int32, shape (n_queries, width)
    segments : ndarray of int64, shape (n_queries, width)
        Number of the segment that holds the row.
    rows : ndarray of int64, shape (n_queries, width)
    """

    ids: NDArray[Any]
    distances: NDArray[np.int32]
    segments: NDArray[np.int64]
    rows: NDArray[np.int64]


def knn(
    segments: Sequence[Searchable],
    queries: Codes,
    k: int,
    *,
    n_bits: int,
    id_dtype: Any = np.int64,
    n_threads: int | None = None,
) -> Nearest:
    """Find the k nearest rows of each query over all segments, ordered by (distance, id).

    Parameters
    ----------
    segments : sequence of Searchable
    queries : ndarray of uint64, shape (n_queries, n_words)
    k : int
        Neighbours wanted; ``min(k, rows alive)`` are returned.
    n_bits : int
        Width of a code in bits.
    id_dtype : dtype
        Type of ids where nothing is found.
    n_threads : int, optional

    Returns
    -------
    Nearest
    """
    width = min(k, sum(segment.n_alive for segment in segments))
    live = [number for number, segment in enumerate(segments) if segment.n_alive]
    live.sort(key=lambda number: -segments[number].n_alive)  # large ones first: they set the tightest bound
    if width == 0 or len(queries) == 0:
        return _nothing(len(queries), width, id_dtype)
    if len(live) == 1:
        return _knn_of_one(segments[live[0]], live[0], queries, width, n_bits, n_threads)
    held = sum(min(width, segments[number].n_alive) for number in live) * _BYTES_A_ROW
    step = max(1, min(_QUERIES_AT_ONCE, _BYTES_AT_ONCE // held))
    parts = [
        _knn_of_many(segments, live, queries[first : first + step], width, n_bits, n_threads)
        for first in range(0, len(queries), step)
    ]
    return Nearest(*(np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS))


def radius(
    segments: Sequence[Searchable],
    queries: Codes,
    radius: int,
    *,
    n_bits: int,
    id_dtype: Any = np.int64,
    n_threads: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int32]]:
    """Find every row within ``radius`` (inclusive) of each query, ordered by (distance, id).

    Returns
    -------
    lims : ndarray of int64, shape (n_queries + 1,)
    ids : ndarray, shape (lims[-1],)
    distances : ndarray of int32, shape (lims[-1],)
    """
    found = []
    for segment in segments:
        if segment.n_alive:
            lims, rows, distances = scan.radius(
                segment.code_blocks, queries, radius, n_bits=n_bits, deleted=segment.deleted, n_threads=n_threads
            )
            found.append((lims, segment.ids_at(rows), distances))
    if len(found) == 1:
        return found[0]
    if not found:
        return np.zeros(len(queries) + 1, np.int64), np.empty(0, id_dtype), np.empty(0, np.int32)
    owners = np.concatenate([np.repeat(np.arange(len(queries)), np.diff(lims)) for lims, _, _ in found])
    ids = np.concatenate([part for _, part, _ in found])
    distances = np.concatenate([part for _, _, part in found])
    order = np.lexsort((_sortable(ids), distances, owners))
    lims = np.zeros(len(queries) + 1, np.int64)
    np.cumsum(np.bincount(owners, minlength=len(queries)), out=lims[1:])
    return lims, ids[order], distances[order]


_FIELDS = ("ids", "distances", "segments", "rows")


def _nothing(n_queries: int, width: int, id_dtype: Any) -> Nearest:
    shape = (n_queries, width)
    return Nearest(
        np.empty(shape, id_dtype), np.empty(shape, np.int32), np.empty(shape, np.int64), np.empty(shape, np.int64)
    )


def _knn_of_one(
    segment: Searchable, number: int, queries: Codes, width: int, n_bits: int, n_threads: int | None
) -> Nearest:
    lists = scan.knn(segment.code_blocks, queries, width, n_bits=n_bits, deleted=segment.deleted, n_threads=n_threads)
    rows = np.ascontiguousarray(lists.rows[:, :width], np.int64)
    ids = segment.ids_at(rows.reshape(-1)).reshape(rows.shape)
    return Nearest(ids, lists.distances[:, :width], np.full(rows.shape, number, np.int64), rows)


def _knn_of_many(
    segments: Sequence[Searchable], live: list[int], queries: Codes, width: int, n_bits: int, n_threads: int | None
) -> Nearest:
    bound: NDArray[np.int32] | None = None
    distances, rows, owners = [], [], []
    for number in live:
        segment = segments[number]
        lists = scan.knn(
            segment.code_blocks,
            queries,
            width,
            n_bits=n_bits,
            deleted=segment.deleted,
            bound=bound,
            n_threads=n_threads,
        )
        beyond = np.arange(lists.rows.shape[1]) >= lists.counts[:, None]
        distances.append(np.where(beyond, _FAR, lists.distances))
        rows.append(lists.rows)
        owners.append(np.full(lists.rows.shape[1], number, np.int64))
        bound = _tightened(bound, distances[-1], width)
    return _merged(segments, np.hstack(distances), np.hstack(rows), np.concatenate(owners), width)


_FAR = np.int32(2**30)  # beyond any distance: marks padding of a k-list


def _tightened(bound: NDArray[np.int32] | None, distances: NDArray[np.int32], width: int) -> NDArray[np.int32]:
    """Lower the bound where one segment alone has ``width`` rows at most that far."""
    last = distances[:, width - 1] if distances.shape[1] >= width else np.full(len(distances), _FAR, np.int32)
    return last if bound is None else np.minimum(bound, last)


def _merged(
    segments: Sequence[Searchable],
    distances: NDArray[np.int32],
    rows: NDArray[np.int64],
    owners: NDArray[np.int64],
    width: int,
) -> Nearest:
    # Only rows up to the k-th distance can stay, so only their ids are read.
    limit = np.partition(distances, width - 1, axis=1)[:, width - 1]
    queries, columns = np.nonzero(distances <= limit[:, None])
    chosen, row = owners[columns], rows[queries, columns]
    ids = _ids_of(segments, chosen, row)
    near = distances[queries, columns]
    order = np.lexsort((_sortable(ids), near, queries))
    starts = np.searchsorted(queries, np.arange(len(distances)))  # nonzero lists queries in ascending order
    take = order[starts[:, None] + np.arange(width)]
    return Nearest(ids[take], near[take], chosen[take], row[take])


def _ids_of(segments: Sequence[Searchable], chosen: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[Any]:
    wanted = [(number, chosen == number) for number in np.unique(chosen).tolist()]
    parts = [(where, segments[number].ids_at(rows[where])) for number, where in wanted]
    ids = np.empty(len(rows), np.result_type(*(part.dtype for _, part in parts)))
    for where, part in parts:
        ids[where] = part
    return ids


def _sortable(ids: NDArray[Any]) -> NDArray[np.int64]:
    """Give ids as integers of the same order; code points order as UTF-8 bytes do."""
    if ids.dtype.kind == "U":
        return np.unique(ids, return_inverse=True)[1].reshape(-1)
    return ids
