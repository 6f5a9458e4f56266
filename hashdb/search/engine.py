"""One search over all segments of an index: search each, keep what can still win, order by (distance, id).

Rows of a segment stand in ascending id order, so a list ordered by (distance, row) is ordered by (distance, id) too;
only the lists of several segments have to be merged by id.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import CorruptIndexError
from hashdb.search import segment_search
from hashdb.search.scan import Lists
from hashdb.search.segment_search import Report, Searchable

log = logging.getLogger(__name__)

Codes = NDArray[np.uint64]
Reports = Sequence[tuple[int, Report]]
_QUERIES_AT_ONCE = 1024
_BYTES_AT_ONCE = 1 << 27  # of the lists held while several segments are merged, unless one query needs more
_BYTES_A_ROW = 48  # of such a list, with what merging makes of it


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
    reports : sequence of (segment's number, Report)
        Of every part of the batch.
    """

    ids: NDArray[Any]
    distances: NDArray[np.int32]
    segments: NDArray[np.int64]
    rows: NDArray[np.int64]
    reports: Reports = field(default=(), repr=False)

    @cached_property
    def stats(self) -> dict[str, Any]:
        """What the search did, see :func:`stats_of`."""
        return stats_of(self.reports)


@dataclass(frozen=True)
class Within:
    """What lies within a radius; of query i it is ``lims[i]:lims[i + 1]``.

    Attributes
    ----------
    lims : ndarray of int64, shape (n_queries + 1,)
    ids : ndarray, shape (lims[-1],)
    distances : ndarray of int32, shape (lims[-1],)
    reports : sequence of (segment's number, Report)
    """

    lims: NDArray[np.int64]
    ids: NDArray[Any]
    distances: NDArray[np.int32]
    reports: Reports = field(default=(), repr=False)

    @cached_property
    def stats(self) -> dict[str, Any]:
        """What the search did, see :func:`stats_of`."""
        return stats_of(self.reports)


def knn(
    segments: Sequence[Searchable],
    queries: Codes,
    k: int,
    *,
    n_bits: int,
    id_dtype: Any = np.int64,
    n_threads: int | None = None,
    path: str | None = None,
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
    path : {None, "scan", "buckets"}
        How every segment is searched; by default the planner chooses. The answer is the same.

    Returns
    -------
    Nearest

    Raises
    ------
    CorruptIndexError
        Codes are damaged so that rows cannot be found.
    """
    width = min(k, sum(segment.n_alive for segment in segments))
    live = [number for number, segment in enumerate(segments) if segment.n_alive]
    live.sort(key=lambda number: -segments[number].n_alive)  # large ones first: they set the tightest bound
    if width == 0 or len(queries) == 0:
        return _nothing(len(queries), width, id_dtype)
    # Damaged tables may hide rows, which a scan then finds.
    for way in dict.fromkeys((path, "scan")):
        try:
            return _Search(segments, n_bits, n_threads, way, []).run(live, queries, width)
        except _TooFew:
            log.warning("a search by %s found fewer rows than there are", way or "the planner's choice")
    raise CorruptIndexError(
        f"codes hold bits past bit {n_bits - 1}, so that rows cannot be found: their data are damaged; "
        "`hashdb verify --deep` names the file"
    )


def radius(
    segments: Sequence[Searchable],
    queries: Codes,
    radius: int,
    *,
    n_bits: int,
    id_dtype: Any = np.int64,
    n_threads: int | None = None,
    path: str | None = None,
) -> Within:
    """Find every row within ``radius`` (inclusive) of each query, ordered by (distance, id).

    Returns
    -------
    Within
    """
    found, reports = [], []
    for number, segment in enumerate(segments):
        if segment.n_alive:
            lims, rows, distances, report = segment_search.radius(
                segment, queries, radius, n_bits=n_bits, n_threads=n_threads, path=path
            )
            found.append((lims, segment.ids_at(rows), distances))
            reports.append((number, report))
    if len(found) == 1:
        return Within(*found[0], reports)
    if not found:
        return Within(np.zeros(len(queries) + 1, np.int64), np.empty(0, id_dtype), np.empty(0, np.int32))
    owners = np.concatenate([np.repeat(np.arange(len(queries)), np.diff(lims)) for lims, _, _ in found])
    ids = np.concatenate([part for _, part, _ in found])
    distances = np.concatenate([part for _, _, part in found])
    order = np.lexsort((_sortable(ids), distances, owners))
    lims = np.zeros(len(queries) + 1, np.int64)
    np.cumsum(np.bincount(owners, minlength=len(queries)), out=lims[1:])
    return Within(lims, ids[order], distances[order], reports)


def stats_of(reports: Reports) -> dict[str, Any]:
    """Sum up what the searches of segments did.

    Parameters
    ----------
    reports : sequence of (segment's number, Report)
        Of every part of the batch.

    Returns
    -------
    dict
        ``path`` (``scan``, ``buckets``, or both), ``n_compared`` (codes compared with a query), ``n_probes`` (buckets
        looked into), ``n_candidates`` (codes in them), ``substring_radius`` (the largest; -1 for none) and
        ``plan``: a dict for each segment with the plan, the estimate and what happened.
    """
    of_segments: dict[int, Report] = {}
    for number, report in reports:
        before = of_segments.get(number)
        of_segments[number] = report if before is None else before.joined(report)
    every = list(of_segments.values())
    candidates = sum(report.n_candidates for report in every)
    return {
        "path": " and ".join(sorted({part for report in every for part in report.path.split(", then ")})) or "scan",
        "n_compared": candidates + sum(report.n_scanned * report.rows for report in every),
        "n_probes": sum(report.n_probes for report in every),
        "n_candidates": candidates,
        "substring_radius": max((report.substring_radius for report in every), default=-1),
        "plan": [{"segment": number, **report.to_dict()} for number, report in of_segments.items()],
    }


def _concatenated(parts: Sequence[Nearest], reports: Reports) -> Nearest:
    return Nearest(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.distances for part in parts]),
        np.concatenate([part.segments for part in parts]),
        np.concatenate([part.rows for part in parts]),
        reports,
    )


def _nothing(n_queries: int, width: int, id_dtype: Any) -> Nearest:
    shape = (n_queries, width)
    return Nearest(
        np.empty(shape, id_dtype), np.empty(shape, np.int32), np.empty(shape, np.int64), np.empty(shape, np.int64)
    )


class _TooFew(Exception):
    """Fewer rows were found than are alive: data are damaged."""


@dataclass(frozen=True)
class _Search:
    """A k-NN search over segments."""

    segments: Sequence[Searchable]
    n_bits: int
    n_threads: int | None
    path: str | None
    reports: list[tuple[int, Report]]

    def run(self, live: list[int], queries: Codes, width: int) -> Nearest:
        """Search the segments that have rows, for few enough queries at a time."""
        if len(live) == 1:
            return self.one(live[0], queries, width)
        held = sum(min(width, self.segments[number].n_alive) for number in live) * _BYTES_A_ROW
        step = max(1, min(_QUERIES_AT_ONCE, _BYTES_AT_ONCE // held))
        parts = [self.many(live, queries[first : first + step], width) for first in range(0, len(queries), step)]
        return _concatenated(parts, self.reports)

    def one(self, number: int, queries: Codes, width: int) -> Nearest:
        """Search the only segment that there is."""
        lists = self._lists(number, queries, width, None)
        if int(lists.counts.min()) < width:
            raise _TooFew
        rows = np.ascontiguousarray(lists.rows[:, :width], np.int64)
        ids = self.segments[number].ids_at(rows.reshape(-1)).reshape(rows.shape)
        return Nearest(ids, lists.distances[:, :width], np.full(rows.shape, number, np.int64), rows, self.reports)

    def many(self, live: list[int], queries: Codes, width: int) -> Nearest:
        """Search several segments, each with the bound that those before it have set."""
        bound: NDArray[np.int32] | None = None
        distances, rows, owners = [], [], []
        for number in live:
            lists = self._lists(number, queries, width, bound)
            beyond = np.arange(lists.rows.shape[1]) >= lists.counts[:, None]
            distances.append(np.where(beyond, _FAR, lists.distances))
            rows.append(lists.rows)
            owners.append(np.full(lists.rows.shape[1], number, np.int64))
            bound = _tightened(bound, distances[-1], width)
        return _merged(self.segments, np.hstack(distances), np.hstack(rows), np.concatenate(owners), width)

    def _lists(self, number: int, queries: Codes, width: int, bound: NDArray[np.int32] | None) -> Lists:
        lists, report = segment_search.knn(
            self.segments[number],
            queries,
            width,
            n_bits=self.n_bits,
            bound=bound,
            n_threads=self.n_threads,
            path=self.path,
        )
        self.reports.append((number, report))
        return lists


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
    if distances.shape[1] < width:
        raise _TooFew
    limit = np.partition(distances, width - 1, axis=1)[:, width - 1]
    if int(limit.max()) >= _FAR:
        raise _TooFew
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
