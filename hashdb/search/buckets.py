"""Multi-index hashing: how the kernels of the buckets are driven.

Many queries are shared out over the threads. Of a single one that is likely to take long the threads share each stage,
every one with its own list and all with one view of the k-th distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashdb.search import costs, threads
from hashdb.search.kernels import nearest, probing, within
from hashdb.search.tables import Tables, address_of, read_only

Codes = NDArray[np.uint64]
_QUERIES = 64  # of a task
_STATE_BYTES = 1 << 25  # of what a task keeps
_APART = 4  # rows of states that keep those of two threads apart
_ROOM = 1 << 12  # rows that a radius search keeps at first before they are put away
_SORTED_AT_ONCE = 1 << 12  # rows found up to which those of all queries are sorted together
_NONE_DELETED = read_only(np.zeros(0, np.uint64))
_NONE = np.zeros(0, np.int64)
_NO_KEY = np.uint64(2**64 - 1)
_ROW = np.uint64(2**32 - 1)
_DISTANCE = np.int32(2**13 - 1)  # above it stands the query


class Outcome(NamedTuple):
    """What became of a bucket search.

    Attributes
    ----------
    left : ndarray of int64
        Queries whose answer is not proven: they are left to the scan.
    limits : ndarray of int64, shape (n_queries,)
        Only rows nearer than that can be among the answer, of k-NN.
    damaged : bool
        Whether a table turned out to be damaged; all queries are left then.
    n_probes, n_candidates : int
        Of all queries together.
    substring_radius : int
        Largest distance from a query's substring that was looked at; -1 for none.
    """

    left: NDArray[np.int64]
    limits: NDArray[np.int64]
    damaged: bool
    n_probes: int
    n_candidates: int
    substring_radius: int

    def followed_by(self, then: Outcome) -> Outcome:
        """Join what became of a second search, for the queries that the first one left."""
        return Outcome(
            left=self.left[then.left],
            limits=self.limits,
            damaged=then.damaged,
            n_probes=self.n_probes + then.n_probes,
            n_candidates=self.n_candidates + then.n_candidates,
            substring_radius=max(self.substring_radius, then.substring_radius),
        )


class _Search(NamedTuple):
    """What all queries of a search have in common."""

    tables: Tables
    segment: probing.Segment
    budget: float

    @classmethod
    def of(cls, tables: Tables, blocks: Sequence[Codes], deleted: Codes | None, budget: float) -> _Search:
        segment = probing.Segment(
            tables.matrix, tables.masks, tables.cuts, tables.places, tables.contributions,
            # All blocks but the last have as many rows: they are chunks of one array.
            read_only(np.array([address_of(block) for block in blocks], np.int64)), len(blocks[0]),
            tables.n, tables.n_words, _NONE_DELETED if deleted is None else read_only(deleted),
        )  # fmt: skip
        return cls(tables, segment, budget)

    def costs(self, share: float = 1.0) -> NDArray[np.float64]:
        """Give the costs as the kernels take them."""
        tables = self.tables
        each, following = costs.candidates(tables.n_words, tables.wide)
        found = costs.found(tables.n, tables.n_words)
        return read_only(np.array([costs.PROBE, each, following, costs.MANY, found, self.budget, share]))


def knn(
    tables: Tables,
    blocks: Sequence[Codes],
    queries: Codes,
    k: int,
    *,
    deleted: Codes | None,
    limits: NDArray[np.int64],
    budget: float,
    n_threads: int,
    n_sharing: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64], Outcome]:
    """Find the k nearest rows of each query.

    Parameters
    ----------
    tables : Tables
    blocks, queries, deleted
        As :func:`hashdb.search.scan.knn` has checked them.
    k : int
        1 to the number of rows.
    limits : ndarray of int64, shape (n_queries,)
        Only rows nearer than that are wanted.
    budget : float
        Estimated nanoseconds after which a thread gives a query up; infinite: never.
    n_threads : int
    n_sharing : int
        Threads that share a single query, as the planner says.

    Returns
    -------
    rows, distances, counts
        As in :class:`hashdb.search.scan.Lists`, with ``width`` k; of queries that are not finished they say nothing.
    outcome : Outcome
    """
    search = _Search.of(tables, blocks, deleted, budget)
    if n_sharing > 1:
        parts = [_nearest_of_one(search, queries, k, limits, n_sharing)]
    elif len(queries) == 1:
        parts = [_nearest(search, queries, k, limits)]
    else:
        step = max(1, min(_QUERIES, -(-len(queries) // n_threads), _STATE_BYTES // (16 * k + 4 * tables.n_bits)))
        parts = threads.run(
            [
                partial(_nearest, search, queries[first : first + step], k, limits[first : first + step])
                for first in range(0, len(queries), step)
            ],
            n_threads,
        )
    keys, states = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
    rows, distances = (keys & _ROW).astype(np.int64), (keys >> np.uint64(32)).astype(np.int32)
    if keys[:, -1].max(initial=0) < _NO_KEY:
        return rows, distances, np.full(len(keys), k), _outcome(states)
    none = keys == _NO_KEY
    rows[none], distances[none] = -1, tables.n_bits + 1
    return rows, distances, k - none.sum(axis=1), _outcome(states)


def radius(
    tables: Tables,
    blocks: Sequence[Codes],
    queries: Codes,
    radius: int,
    *,
    deleted: Codes | None,
    budget: float,
    n_threads: int,
    n_sharing: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], Outcome]:
    """Find every row within the radius of each query; arguments as in :func:`knn`.

    Returns
    -------
    lims, rows, distances
        As in :func:`hashdb.search.scan.radius`; nothing is found for queries that are not finished.
    outcome : Outcome
    """
    search = _Search.of(tables, blocks, deleted, budget)
    if n_sharing > 1:
        parts = [_within_of_one(search, queries, radius, n_sharing)]
    else:
        step = max(1, min(_QUERIES, -(-len(queries) // n_threads)))
        starts = range(0, len(queries), step)
        tasks = [partial(_within, search, queries[first : first + step], radius) for first in starts]
        parts = threads.run(tasks, n_threads)
    rows, distances, counts, states = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
    lims = np.zeros(len(queries) + 1, np.int64)
    np.cumsum(counts, out=lims[1:])
    return lims, rows, distances, _outcome(states)


class _Nearest:
    """A k-NN search for some queries, by one or several threads."""

    def __init__(self, search: _Search, queries: Codes, k: int, limits: NDArray[np.int64], n_parts: int) -> None:
        tables = search.tables
        self.search, self.queries, self.k, self.n_parts = search, queries, k, n_parts
        self.limits = limits
        self.query_keys = tables.cut(queries)
        width = -(-(tables.n_bits + 2) // 32) * 32  # whole cache lines
        self.histograms = np.zeros((len(queries), n_parts, width), np.int32)
        self.taken = np.zeros(tables.n_bits + 2, np.int64)
        self.quantile = costs.quantile(k, tables.n)

    def lists(self) -> nearest.Lists:
        """Make room for what one thread keeps."""
        n_queries = len(self.queries)
        # With room behind: threads that write to one cache line wait for each other.
        states = np.zeros((n_queries + _APART, probing.N_STATES), np.int64)[:n_queries]
        states[:, probing.LIMIT] = self.limits
        bounds = np.zeros(n_queries + 8 * _APART, np.uint64)[:n_queries]
        bounds[:] = self.limits.astype(np.uint64) << np.uint64(32)
        return nearest.Lists(
            states=states,
            bounds=bounds,
            histograms=self.histograms,
            taken=self.taken,
            keys=np.empty((n_queries, 2 * self.k + 2 * probing.NOTED), np.uint64),
            ring=np.empty((3, probing.RING), np.int64),
            noted=np.empty((2, probing.NOTED), np.int64),
        )

    def go_on(self, lists: nearest.Lists, part: int = 0, n_parts: int = 1) -> None:
        """Search, or do one part of it."""
        tables = self.search.tables
        forecast = nearest.Forecast(
            self.k, tables.sample, self.quantile, tables.found, tables.stages, self.search.costs(1 / n_parts)
        )
        nearest.search_nearest(self.search.segment, forecast, self.query_keys, self.queries, part, n_parts, lists)


def _smallest(lists: nearest.Lists, k: int) -> NDArray[np.uint64]:
    """Give the k smallest keys of each query in ascending order, with the largest of all where there are fewer."""
    n_kept = lists.states[:, probing.N_KEPT]
    if len(n_kept) == 1 and k <= n_kept[0]:
        return np.sort(lists.keys[:, : n_kept[0]])[:, :k]
    keys: NDArray[np.uint64] = lists.keys
    keys[np.arange(keys.shape[1]) >= n_kept[:, None]] = _NO_KEY
    return np.sort(keys)[:, :k]


def _nearest(
    search: _Search, queries: Codes, k: int, limits: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Give the k smallest keys of each query, and its state."""
    threads.checkpoint()
    one = _Nearest(search, queries, k, limits, 1)
    lists = one.lists()
    one.go_on(lists)
    return _smallest(lists, k), lists.states


def _nearest_of_one(
    search: _Search, query: Codes, k: int, limits: NDArray[np.int64], n_threads: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Give the k smallest keys of a single query, found by several threads, and its state."""
    one = _Nearest(search, query, k, limits, n_threads)
    parts = [one.lists() for _ in range(n_threads)]
    threads.run([partial(one.go_on, lists, part, n_threads) for part, lists in enumerate(parts)], n_threads)
    keys = np.sort(np.concatenate([_smallest(lists, k) for lists in parts], axis=1))[:, :k]
    return keys, _joined(np.stack([lists.states for lists in parts]))


def _joined(states: NDArray[np.int64]) -> NDArray[np.int64]:
    """Make one state of those of several threads, int64 (n_parts, n_queries, N_STATES)."""
    joined: NDArray[np.int64] = states.max(axis=0)  # of the status too: the worst counts
    joined[:, probing.LIMIT] = states[:, :, probing.LIMIT].min(axis=0)
    for column in (probing.N_PROBES, probing.N_CANDIDATES):
        joined[:, column] = states[:, :, column].sum(axis=0)
    return joined


class _Found(NamedTuple):
    """Rows within a radius of some queries, ordered by (query, distance, row), the number of each query, the states."""

    rows: NDArray[np.int64]
    distances: NDArray[np.int32]
    counts: NDArray[np.int64]
    states: NDArray[np.int64]

    @classmethod
    def of(cls, keys: NDArray[np.uint64], counts: NDArray[np.int64], states: NDArray[np.int64]) -> _Found:
        """Order keys that stand in the order of their queries, and take them apart."""
        ends = np.cumsum(counts)
        if len(keys) < _SORTED_AT_ONCE:
            keys.sort()
        else:
            for start, end in zip((ends - counts).tolist(), ends.tolist(), strict=True):
                keys[start:end].sort()
        distances = (keys >> np.uint64(32)).astype(np.int32)
        distances &= _DISTANCE
        keys &= _ROW
        return cls(keys.view(np.int64), distances, counts, states)


def _within_of_one(search: _Search, query: Codes, radius: int, n_threads: int) -> _Found:
    """Find what :func:`_within` finds for a single query, whose stages several threads share."""
    tasks = [partial(_keys_within, search, query, radius, part, n_threads) for part in range(n_threads)]
    keys, counts, every = zip(*threads.run(tasks, n_threads), strict=True)
    states = _joined(np.stack(every))
    if states[0, probing.STATUS] != probing.DONE:  # one of them gave it up: what the others found is not all
        return _Found.of(np.empty(0, np.uint64), np.zeros(1, np.int64), states)
    return _Found.of(np.concatenate(keys), np.sum(counts, axis=0), states)


def _within(search: _Search, queries: Codes, radius: int) -> _Found:
    """Find all that is within the radius of some queries."""
    return _Found.of(*_keys_within(search, queries, radius))


def _keys_within(
    search: _Search, queries: Codes, radius: int, part: int = 0, n_parts: int = 1
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Give the keys of all that is within the radius, by query, their number for each query, and the states."""
    tables = search.tables
    states = np.zeros((len(queries), probing.N_STATES), np.int64)
    ring, noted = np.empty((3, probing.RING), np.int64), np.empty((2, probing.NOTED), np.int64)
    substrings, costs_of_all = tables.cut(queries), search.costs()
    room = np.empty(_ROOM, np.uint64)
    parts: list[NDArray[np.uint64]] = []
    first = 0
    while first < len(queries):
        threads.checkpoint()
        first, n_kept = within.search_within(
            search.segment, substrings, queries, radius, costs_of_all, first, part, n_parts, states, room, ring, noted
        )
        if n_kept:
            parts.append(room[:n_kept].copy() if first < len(queries) else room[:n_kept])
        if first < len(queries):
            room = np.empty(4 * len(room), np.uint64)  # for the query that it did not do for, and those that follow
    keys = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.uint64), *parts])
    return keys, states[:, probing.N_KEPT].copy(), states


def _outcome(states: NDArray[np.int64]) -> Outcome:
    worst = states.max(axis=0, initial=-1).tolist()
    total = states.sum(axis=0).tolist()
    damaged = worst[probing.STATUS] == probing.DAMAGED
    if worst[probing.STATUS] <= probing.DONE:
        left = _NONE
    else:
        left = np.arange(len(states)) if damaged else np.flatnonzero(states[:, probing.STATUS] != probing.DONE)
    return Outcome(
        left=left,
        limits=states[:, probing.LIMIT],
        damaged=damaged,
        n_probes=total[probing.N_PROBES],
        n_candidates=total[probing.N_CANDIDATES],
        substring_radius=worst[probing.REACHED],
    )
