"""Kernels of the scan: compare every code of a run of rows with a block of queries.

A tile of codes, small enough for the first cache, is compared with all queries of the block before the next one is
touched. For each query only the minimum over the tile is taken; 64-code blocks are looked into where it beats the
query's limit. Cost: one XOR and one popcount per word, a 64-bit lane each.
"""

from __future__ import annotations

from typing import Any

from numba import types

from hashdb.search.kernels.compare import distance_between, is_deleted, nearer_rows
from hashdb.search.kernels.compile import device, kernel, readable, words, writable
from hashdb.search.kernels.intrinsics import address, least_distance, lowest_bit, nearer_mask

Array = Any
_i64 = types.int64


@device
def _copy_word_major(codes: Array, first: int, n: int, tile: Array, stride: int) -> int:
    """Copy codes word-major into the tile, the last one repeated up to a multiple of 64; give that number of codes."""
    padded = (n + 63) & ~63
    # Unsigned, for a signed index might count from the end: asking takes longer than copying.
    begin, step, last = types.uint64(first), types.uint64(stride), types.uint64(n - 1)
    for word in range(types.uint64(codes.shape[1])):
        for i in range(types.uint64(n)):
            tile[word * step + i] = codes[begin + i, word]
        for i in range(types.uint64(n), types.uint64(padded)):
            tile[word * step + i] = codes[begin + last, word]
    return padded


@device
def _load_tile(codes: Array, first: int, n: int, n_queries: int, tile: Array, size: int) -> tuple[int, int, int]:
    """Make n codes ready for comparison; give their address, the stride between words and n, a multiple of 64.

    One-word codes are compared where they are, unless that splits every load over two cache lines for many queries.
    Few queries are compared with rows where they are: stride and number are 0 then, for there is no tile to speak of.
    """
    n_words = codes.shape[1]
    base = address(codes) + 8 * n_words * first
    if n_words == 1 and n & 63 == 0 and (base & 63 == 0 or n_queries < 8):
        return base, 0, n
    if n_words > 1 and n_queries < 4:
        return base, 0, 0
    return address(tile), size, _copy_word_major(codes, first, n, tile, size)


@device
def _least(base: int, stride: int, n: int, query: int, n_words: int) -> int:
    """Give the distance of the nearest code of a tile, or less where that is not known."""
    if n == 0:
        return 0
    if n_words == 1:
        return least_distance(base, stride, n, query, 1)
    if n_words == 2:
        return least_distance(base, stride, n, query, 2)
    if n_words == 4:
        return least_distance(base, stride, n, query, 4)
    return least_distance(base, stride, n, query, n_words)


@device
def _nearer(base: int, stride: int, n: int, block: int, query: int, n_words: int, limit: int) -> int:
    """Mark the codes of one 64-code block that are nearer than the limit, padding excepted."""
    if n_words > 1 and stride == 0:
        return nearer_rows(base + 8 * n_words * block, min(64, n - block), query, n_words, limit)
    mask = nearer_mask(base + 8 * block, stride, query, n_words, limit)
    if n - block < 64:
        mask &= (types.uint64(1) << types.uint64(n - block)) - types.uint64(1)
    return mask


@device
def _keep_nearest(k: int, limit: int, n_below: int, n: int, rows: Array, distances: Array) -> int:
    """Drop what can no longer be among the k nearest: all beyond the limit, and at it all but the first rows."""
    room = k - n_below
    kept = 0
    for i in range(n):
        distance = distances[i]
        if distance < limit or (distance == limit and room > 0):
            room -= distance == limit
            rows[kept] = rows[i]
            distances[kept] = distance
            kept += 1
    return kept


@kernel(
    types.void(
        words(2), _i64, _i64, _i64, words(2), words(1), _i64,
        writable(_i64, 2), writable(types.int32, 2), writable(_i64, 2), writable(types.uint16, 2),
        writable(types.uint64, 1),
    )
)  # fmt: skip
def collect_nearest(
    codes: Array,
    start: int,
    stop: int,
    first_row: int,
    queries: Array,
    deleted: Array,
    k: int,
    state: Array,
    histogram: Array,
    rows: Array,
    distances: Array,
    tile: Array,
) -> None:
    """Go through codes ``start:stop`` and keep, for each query, every row that may be among its k nearest.

    Rows are met in ascending order over the calls. The limit of a query is the least distance T such that k rows at
    most that far are kept (at first: one more than the farthest distance wanted). A later row at distance T stands
    behind those k, so only rows nearer than T enter, and each lowers T as far as the histogram allows.

    Parameters
    ----------
    codes : uint64 (m, n_words)
    start, stop, first_row : int
        Codes to compare; ``first_row`` is the segment's row of ``codes[0]``.
    queries : uint64 (n_queries, n_words)
    deleted : uint64 (ceil(n / 64),) or (0,)
        Bitmap over the segment's rows.
    k : int
        At least 1.
    state : int64 (3, n_queries)
        T, the number of rows nearer than T, and the number of rows kept.
    histogram : int32 (n_queries, n_bits + 2)
        Rows ever kept, by distance.
    rows, distances : int64 and uint16 (n_queries, capacity)
        What is kept, rows ascending. The capacity exceeds k or is at least the number of rows.
    tile : uint64 (n_words * tile size,)
        Scratch; the tile size is a multiple of 64.
    """
    n_words = codes.shape[1]
    size = tile.shape[0] // n_words
    for first in range(start, stop, size):
        n = min(size, stop - first)
        base, stride, padded = _load_tile(codes, first, n, queries.shape[0], tile, size)
        for q in range(queries.shape[0]):
            query = address(queries) + 8 * n_words * q
            limit = state[0, q]
            if _least(base, stride, padded, query, n_words) >= limit:
                continue
            below, kept = state[1, q], state[2, q]
            for block in range(0, n, 64):
                mask = _nearer(base, stride, n, block, query, n_words, limit)
                while mask != 0:
                    i = first + block + lowest_bit(mask)
                    mask &= mask - types.uint64(1)
                    distance = distance_between(address(codes) + 8 * n_words * i, query, n_words)
                    # The limit may have fallen since the mask was taken.
                    if distance >= limit or is_deleted(deleted, first_row + i):
                        continue
                    if kept == rows.shape[1]:
                        kept = _keep_nearest(k, limit, below, kept, rows[q], distances[q])
                    rows[q, kept] = first_row + i
                    distances[q, kept] = distance
                    kept += 1
                    histogram[q, distance] += 1
                    below += 1
                    while below >= k:
                        limit -= 1
                        below -= histogram[q, limit]
            state[0, q], state[1, q], state[2, q] = limit, below, kept


@kernel(
    types.void(
        readable(_i64, 3), readable(_i64, 3), readable(types.uint16, 3), writable(_i64, 1),
        writable(_i64, 2), writable(types.int32, 2), writable(_i64, 1),
    )
)  # fmt: skip
def select_nearest(
    states: Array, rows: Array, distances: Array, places: Array, out_rows: Array, out_distances: Array, counts: Array
) -> None:
    """Order what was kept by (distance, row), a counting sort per query, and keep the first ``width``.

    Parameters
    ----------
    states, rows, distances : int64 (n_parts, 3, n_queries), int64 and uint16 (n_parts, n_queries, capacity)
        As :func:`collect_nearest` leaves them; the parts cover ascending ranges of rows.
    places : int64 (n_bits + 2,)
        Scratch.
    out_rows, out_distances : int64 and int32 (n_queries, width)
        What is beyond ``counts`` is left as it was.
    counts : int64 (n_queries,)
    """
    width = out_rows.shape[1]
    for q in range(out_rows.shape[0]):
        places[:] = 0
        for part in range(states.shape[0]):
            for i in range(states[part, 2, q]):
                places[distances[part, q, i] + 1] += 1
        for distance in range(1, places.shape[0]):
            places[distance] += places[distance - 1]
        counts[q] = min(width, places[places.shape[0] - 1])
        for part in range(states.shape[0]):
            for i in range(states[part, 2, q]):
                distance = distances[part, q, i]
                place = places[distance]
                places[distance] += 1
                if place < width:
                    out_rows[q, place] = rows[part, q, i]
                    out_distances[q, place] = distance


@kernel(
    types.UniTuple(_i64, 2)(
        words(2), _i64, _i64, _i64, words(2), words(1), _i64,
        writable(types.uint32, 1), writable(_i64, 1), writable(types.uint16, 1), writable(_i64, 2),
        writable(types.uint64, 1),
    )
)  # fmt: skip
def collect_within(
    codes: Array,
    start: int,
    stop: int,
    first_row: int,
    queries: Array,
    deleted: Array,
    radius: int,
    owners: Array,
    rows: Array,
    distances: Array,
    histogram: Array,
    tile: Array,
) -> tuple[int, int]:
    """Go through codes ``start:stop`` and note every row within the radius of a query, until the room may not do.

    Parameters
    ----------
    codes, start, stop, first_row, queries, deleted, tile
        As in :func:`collect_nearest`.
    radius : int
        Inclusive.
    owners, rows, distances : uint32, int64 and uint16 (room,)
        Query, row and distance of what was found, rows of a query ascending.
        The room is at least n_queries * tile size.
    histogram : int64 (n_queries, radius + 1)
        Raised by what was found.

    Returns
    -------
    next_start : int
        Where to go on, ``stop`` when done.
    n_found : int
    """
    n_words = codes.shape[1]
    size = tile.shape[0] // n_words
    found = 0
    for first in range(start, stop, size):
        n = min(size, stop - first)
        if found + queries.shape[0] * n > rows.shape[0]:
            return first, found
        base, stride, padded = _load_tile(codes, first, n, queries.shape[0], tile, size)
        for q in range(queries.shape[0]):
            query = address(queries) + 8 * n_words * q
            if _least(base, stride, padded, query, n_words) > radius:
                continue
            for block in range(0, n, 64):
                mask = _nearer(base, stride, n, block, query, n_words, radius + 1)
                while mask != 0:
                    i = first + block + lowest_bit(mask)
                    mask &= mask - types.uint64(1)
                    if not is_deleted(deleted, first_row + i):
                        distance = distance_between(address(codes) + 8 * n_words * i, query, n_words)
                        owners[found] = q
                        rows[found] = first_row + i
                        distances[found] = distance
                        histogram[q, distance] += 1
                        found += 1
    return stop, found


@kernel(
    types.void(
        readable(types.uint32, 1), readable(_i64, 1), readable(types.uint16, 1), writable(_i64, 2),
        writable(_i64, 1), writable(types.int32, 1),
    )
)  # fmt: skip
def place_within(
    owners: Array, rows: Array, distances: Array, places: Array, out_rows: Array, out_distances: Array
) -> None:
    """Put what :func:`collect_within` noted where it belongs, the scatter of a counting sort.

    Parameters
    ----------
    owners, rows, distances : uint32, int64 and uint16 (n,)
    places : int64 (n_queries, radius + 1)
        Next free place of each query and distance; moved on.
    out_rows, out_distances : int64 and int32 (n_found,)
    """
    for i in range(rows.shape[0]):
        place = places[owners[i], distances[i]]
        places[owners[i], distances[i]] += 1
        out_rows[place] = rows[i]
        out_distances[place] = distances[i]
