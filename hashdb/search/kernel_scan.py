"""How the kernels of the scan are driven: blocks of queries, ranges of rows, state, memory and threads.

Many queries: each task takes a block of queries over all rows. Few: each takes all queries over a range of rows and
carries its own state through it; the lists of the ranges are joined at the end. A kernel call lasts some hundredths of
a second, so that an interrupt is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashdb.search import threads
from hashdb.search.costs import SHARED_FROM
from hashdb.search.kernels import scan as kernels

Codes = NDArray[np.uint64]
TILE_WORDS = 2048  # 16 KiB: half of the first cache
_QUERIES = 256  # of a block: their limits stay in the first cache, their lists in the second
_STATE_BYTES = 1 << 26  # of the lists of a block of queries
_CALL_WORK = 1 << 28  # words compared in one kernel call
_TASK_WORK = SHARED_FROM  # words compared that are worth a thread
_ROOM = 1 << 20  # found rows that a radius search notes before they are put away
_NONE_DELETED = np.zeros(0, np.uint64)


def knn(
    blocks: Sequence[Codes],
    queries: Codes,
    k: int,
    n_bits: int,
    deleted: Codes | None,
    limits: NDArray[np.int64],
    n_threads: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Find the k nearest rows of each query; arguments as :func:`hashdb.search.scan.knn` has checked them.

    Parameters
    ----------
    k : int
        1 to the number of rows.
    limits : ndarray of int64, shape (n_queries,)
        Only rows nearer than that are wanted.

    Returns
    -------
    rows, distances, counts
        As in :class:`hashdb.search.scan.Lists`.
    """
    plan = _Plan.of(blocks, queries, n_threads, bytes_per_query=10 * min(2 * k + 64, sum(map(len, blocks))))
    rows = np.full((len(queries), k), -1, np.int64)
    distances = np.full((len(queries), k), n_bits + 1, np.int32)
    counts = np.empty(len(queries), np.int64)
    search = _Knn(blocks, _NONE_DELETED if deleted is None else deleted, k, n_bits)

    def answer(some: slice, threads_here: int) -> None:
        parts = search.collect(queries[some], limits[some], plan.row_ranges, threads_here)
        places = np.empty(n_bits + 2, np.int64)
        kernels.select_nearest(*parts, places, rows[some], distances[some], counts[some])

    plan.run(answer)
    width = int(counts.max())
    if width < k:
        rows, distances = np.ascontiguousarray(rows[:, :width]), np.ascontiguousarray(distances[:, :width])
    return rows, distances, counts


def radius(
    blocks: Sequence[Codes], queries: Codes, radius: int, deleted: Codes | None, n_threads: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Find every row within the radius; arguments as :func:`hashdb.search.scan.radius` has checked them.

    Returns
    -------
    lims, rows, distances
        As in :func:`hashdb.search.scan.radius`.
    """
    plan = _Plan.of(blocks, queries, n_threads, bytes_per_query=8 * (radius + 1))
    search = _Radius(blocks, _NONE_DELETED if deleted is None else deleted, radius)

    def answer(some: slice, threads_here: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        return search.answer(queries[some], plan.row_ranges, threads_here)

    counts, rows, distances = zip(*plan.run(answer), strict=True)
    lims = np.zeros(len(queries) + 1, np.int64)
    np.cumsum(np.concatenate(counts), out=lims[1:])
    if len(rows) == 1:
        return lims, rows[0], distances[0]
    return lims, np.concatenate(rows), np.concatenate(distances)


class _Plan(NamedTuple):
    """Which queries and rows go together."""

    query_blocks: list[slice]
    row_ranges: list[tuple[int, int]]
    n_threads: int

    @classmethod
    def of(cls, blocks: Sequence[Codes], queries: Codes, n_threads: int, bytes_per_query: int) -> _Plan:
        n, n_queries = sum(map(len, blocks)), len(queries)
        n_threads = min(n_threads, 1 + n_queries * n * queries.shape[1] // _TASK_WORK)
        # Each thread reads all codes when queries are split, which only pays where reading is a small part of the work.
        split_rows = n_queries < 16 * n_threads
        largest = max(1, min(_QUERIES, _STATE_BYTES // bytes_per_query))
        n_blocks = -(-n_queries // largest)
        if not split_rows:
            n_blocks = min(n_queries, -(-n_blocks // n_threads) * n_threads)
        ranges = _split(n, n_threads if split_rows else 1)
        return cls([slice(*ends) for ends in _split(n_queries, n_blocks)], ranges, n_threads)

    def run(self, answer: Any) -> list[Any]:
        """Call ``answer(queries, threads)`` for every block: in turn where rows are split, else side by side."""
        if len(self.row_ranges) > 1:
            return [answer(some, self.n_threads) for some in self.query_blocks]
        return threads.run([partial(answer, some, 1) for some in self.query_blocks], self.n_threads)


class _Knn(NamedTuple):
    """A k-NN search over the rows of a segment."""

    blocks: Sequence[Codes]
    deleted: Codes
    k: int
    n_bits: int

    def collect(
        self, queries: Codes, limits: NDArray[np.int64], row_ranges: list[tuple[int, int]], n_threads: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint16]]:
        """Give what each range of rows may contribute, as ``select_nearest`` takes it."""
        longest = max(stop - start for start, stop in row_ranges)
        shape = (len(row_ranges), len(queries), min(2 * self.k + 64, longest))
        states = np.zeros((shape[0], 3, shape[1]), np.int64)
        states[:, 0] = limits
        rows, distances = np.empty(shape, np.int64), np.empty(shape, np.uint16)

        def collect(part: int) -> None:
            histogram = np.zeros((len(queries), self.n_bits + 2), np.int32)
            tile = _tile(queries.shape[1])
            for block, start, stop, first_row in _calls(self.blocks, *row_ranges[part], len(queries)):
                threads.checkpoint()
                kernels.collect_nearest(
                    block, start, stop, first_row, queries, self.deleted, self.k,
                    states[part], histogram, rows[part], distances[part], tile,
                )  # fmt: skip

        threads.run([partial(collect, part) for part in range(len(row_ranges))], n_threads)
        return states, rows, distances


class _Radius(NamedTuple):
    """A radius search over the rows of a segment."""

    blocks: Sequence[Codes]
    deleted: Codes
    radius: int

    def answer(
        self, queries: Codes, row_ranges: list[tuple[int, int]], n_threads: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Give the number of rows of each query, and rows and distances of all, ordered by (query, distance, row)."""
        tasks = [partial(self._collect, queries, *ends) for ends in row_ranges]
        parts = threads.run(tasks, n_threads)
        histogram = np.sum([counts for counts, _ in parts], axis=0)
        places = np.zeros(histogram.size + 1, np.int64)
        np.cumsum(histogram.reshape(-1), out=places[1:])
        rows, distances = np.empty(places[-1], np.int64), np.empty(places[-1], np.int32)
        places = places[:-1].reshape(histogram.shape)
        for _, chunks in parts:
            for chunk in chunks:
                threads.checkpoint()
                kernels.place_within(*chunk, places, rows, distances)
        return histogram.sum(axis=1), rows, distances

    def _collect(self, queries: Codes, first: int, last: int) -> tuple[NDArray[np.int64], list[tuple[Any, ...]]]:
        histogram = np.zeros((len(queries), self.radius + 1), np.int64)
        tile = _tile(queries.shape[1])
        room = max(_ROOM, len(queries) * len(tile) // queries.shape[1])
        buffers = np.empty(room, np.uint32), np.empty(room, np.int64), np.empty(room, np.uint16)
        chunks = []
        for block, start, stop, first_row in _calls(self.blocks, first, last, len(queries)):
            while start < stop:
                threads.checkpoint()
                start, n_found = kernels.collect_within(
                    block, start, stop, first_row, queries, self.deleted, self.radius, *buffers, histogram, tile
                )
                if n_found:
                    chunks.append(tuple(buffer[:n_found].copy() for buffer in buffers))
        return histogram, chunks


def _split(n: int, n_parts: int) -> list[tuple[int, int]]:
    ends = [n * part // n_parts for part in range(n_parts + 1)]
    return list(pairwise(ends))


def _calls(blocks: Sequence[Codes], first: int, last: int, n_queries: int) -> Iterator[tuple[Codes, int, int, int]]:
    """Cut rows ``first:last`` into kernel calls: block, start and stop in it, and the row of its first code."""
    size = _tile_size(blocks[0].shape[1])
    step = max(1, _CALL_WORK // (n_queries * blocks[0].shape[1] * size)) * size
    first_row = 0
    for block in blocks:
        start, stop = max(0, first - first_row), min(len(block), last - first_row)
        for begin in range(start, stop, step):
            yield block, begin, min(begin + step, stop), first_row
        first_row += len(block)


def _tile_size(n_words: int) -> int:
    return max(64, TILE_WORDS // n_words // 64 * 64)


def _tile(n_words: int) -> Codes:
    """Give scratch for a tile that starts on a cache line, so that no load touches two."""
    n = _tile_size(n_words) * n_words
    room = np.empty(n + 8, np.uint64)
    skip = -room.ctypes.data // 8 % 8
    return room[skip : skip + n]
