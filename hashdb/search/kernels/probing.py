"""What the kernels of multi-index hashing share: looking into buckets, and which of their codes count.

A code of n_bits is cut into m substrings; table t knows, for each value of substring t, the rows that have it. Stage
(r, t) of a search looks into every bucket of table t whose substring differs from the query's in r bits; stages are run
in the order (0, 0), (0, 1) … (0, m - 1), (1, 0) …, and stage (r, t) has the number m r + t.

After stage number D every code within D of the query has been met. For a code that has not differs in more than r bits
of each of the substrings 0 … t and in at least r bits of each of the others, so in at least
(t + 1)(r + 1) + (m - t - 1) r = D + 1 bits in all. (Norouzi, Punjani and Fleet, arXiv 1307.2982, propositions 1 and 2.)

A code may be met in several stages. It counts in the first of them, which its substring distances tell: stage (r, t) is
the first where substring t differs in r bits, those before it in more than r and those after it in at least r.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types

from hashdb.search.kernels.compare import distance_between, nearer_rows
from hashdb.search.kernels.compile import device, readable, words
from hashdb.search.kernels.intrinsics import any_nearer, lowest_bit, nearer_mask, popcount
from hashdb.search.kernels.memory import load_uint32, load_uint64, prefetch
from hashdb.search.kernels.partition import hashed, substring_of

Array = Any
_i64 = types.int64
_u64 = types.uint64

# Columns of the matrix that describes the tables: addresses of offsets, rows and codes (0: the lean layout), bits of
# the substring, the shift of its hash (0: buckets are numbered by the substring itself), and the codes that are tested
# at once because few buckets hold more (0: buckets are large).
OFFSETS, ROWS, CODES, WIDTH, HASH_SHIFT, TESTED = range(6)
N_COLUMNS = 6
# Columns of the state of a query: what is wanted of it, what is kept, the stage it is at, the substring radius of the
# last one it began, what it cost, what became of it.
LIMIT, N_WITHIN, N_KEPT, N_NOTED, RADIUS, TABLE, REACHED, N_PROBES, N_CANDIDATES, SPENT, STATUS = range(11)
N_STATES = 11
RUNNING, DONE, OVER_BUDGET, DAMAGED, FULL = range(5)
# Entries of the array of costs: of a probe, of a candidate, of one that follows many others in its bucket, how many
# these are, of a row found within a radius, the budget of a query, and the share of every stage that this call has.
PROBE_COST, CANDIDATE_COST, FOLLOWING_COST, MANY, FOUND_COST, BUDGET, SHARE = range(7)

RING = 64  # buckets under way, a power of 2
LOOK = 12  # steps between asking for a bucket's place and reading it
FETCH = 6  # and between asking for its codes and testing them
_LINES = 20  # cache lines of a bucket that are asked for; the processor's own prefetching follows from there
_ROWS_ASKED = 32  # rows of a lean bucket whose codes are asked for before it is its turn
_AHEAD = 16  # and of the others, how far ahead of theirs
NOTED_BEFORE_READ = 24  # rows that are noted before they are read
NOTED = NOTED_BEFORE_READ + 64  # and room for them
ROW = 0xFFFFFFFF  # a kept row is one number, distance << 32 | row: their order is that of (distance, row)


class Segment(NamedTuple):
    """A segment with its tables, for the kernels; every array is read-only, or numba takes it for another type.

    Attributes
    ----------
    tables : int64 (m, N_COLUMNS)
    masks : uint64 (m, n_words)
        Bits of each substring.
    cuts, places, contributions
        As :func:`hashdb.search.kernels.partition.cut` takes them.
    blocks : int64 (n_blocks,)
        Addresses of the codes in row order; all blocks but the last have ``block_rows`` rows.
    block_rows, n, n_words : int
    deleted : uint64 (ceil(n / 64),) or (0,)
    """

    tables: Array
    masks: Array
    cuts: Array
    places: Array
    contributions: Array
    blocks: Array
    block_rows: int
    n: int
    n_words: int
    deleted: Array


SEGMENT = types.NamedTuple(
    (
        readable(_i64, 2), readable(_u64, 2), readable(_i64, 1), readable(_i64, 1), readable(_u64, 1),
        readable(_i64, 1), _i64, _i64, _i64, words(1),
    ),
    Segment,
)  # fmt: skip


@device
def first_mask(radius: int) -> Any:
    """Give the smallest number with so many bits set."""
    return (types.uint64(1) << types.uint64(radius)) - types.uint64(1)


@device
def next_mask(mask: Any) -> Any:
    """Give the next larger number with as many bits set (Gosper); 0 after 0."""
    if mask == 0:
        return mask
    lowest = mask & (~mask + types.uint64(1))
    ripple = mask + lowest
    return (((ripple ^ mask) >> types.uint64(2)) >> types.uint64(lowest_bit(mask))) | ripple


@device
def n_masks(width: int, radius: int) -> int:
    """Count the buckets at a distance of ``radius`` bits, at most 2^62."""
    if radius > width:
        return 0
    total = 1.0
    for i in range(radius):
        total = total * (width - i) / (i + 1)
    return int(min(total + 0.5, 4.0e18))


@device
def bucket_cost(costs: Array, n_codes: int) -> float:
    """Estimate what looking into a bucket of so many codes costs."""
    following = max(0.0, n_codes - costs[MANY])
    return costs[PROBE_COST] + (n_codes - following) * costs[CANDIDATE_COST] + following * costs[FOLLOWING_COST]


@device
def n_steps(table: Array, n_probes: int) -> int:
    """Count the steps that looking into so many buckets takes; see :func:`step`."""
    return n_probes + LOOK + FETCH + (0 if table[CODES] else FETCH)


@device
def step(
    segment: Any, table: Array, query_key: Any, mask: Any, i: int, n_probes: int, ring: Array
) -> tuple[Any, int, int]:
    """Do what is to be done at step i of looking into buckets, so that cache misses overlap.

    A bucket is asked for, some steps later its codes are, and again some steps later it is ready to be tested. In a
    lean table there is one thing more to wait for: its rows, and then their codes.

    Returns
    -------
    mask
        The one after those that are asked for.
    n_codes : int
        Codes of the bucket whose codes were asked for, -1 where the table is damaged, -2 for none.
    ready : int
        Number of the bucket that is ready, below 0 for none.
    """
    if i < n_probes:
        key = query_key ^ mask
        bucket = hashed(key, table[HASH_SHIFT])
        ring[0, i & (RING - 1)], ring[2, i & (RING - 1)] = types.int64(bucket), types.int64(key)
        prefetch(table[OFFSETS] + types.int64(bucket << types.uint64(2)))
        mask = next_mask(mask)
    n_codes = -2
    i -= LOOK
    if 0 <= i < n_probes:
        n_codes = _place(segment, table, i & (RING - 1), ring)
    i -= FETCH
    if table[CODES] == 0:
        slot = i & (RING - 1)
        if 0 <= i < n_probes and not _ask_for_rows(segment, table, ring[0, slot], ring[1, slot]):
            n_codes = -1
        i -= FETCH
    return mask, n_codes, i


@device
def _place(segment: Any, table: Array, slot: int, ring: Array) -> int:
    """Find where a bucket begins and ends, ask for its codes, and give their number; -1 where the table is damaged."""
    offsets, bucket = table[OFFSETS], ring[0, slot]
    start = types.int64(load_uint32(offsets, bucket))
    stop = types.int64(load_uint32(offsets, bucket + 1))
    if start > stop or stop > segment.n:
        return -1
    ring[0, slot], ring[1, slot] = start, stop
    width, base = (8 * segment.n_words, table[CODES]) if table[CODES] else (4, table[ROWS])
    line = base + width * start
    if table[TESTED]:
        for _ in range(((table[TESTED] * width) >> 6) + 1):
            prefetch(line)
            line += 64
    else:
        last = min(base + width * stop, line + 64 * _LINES)
        while line < last:
            prefetch(line)
            line += 64
    return stop - start


@device
def _ask_for_rows(segment: Any, table: Array, start: int, stop: int) -> bool:
    """Ask for the codes of the first rows of a lean bucket; False where the table is damaged."""
    for i in range(start, min(stop, start + _ROWS_ASKED)):
        row = types.int64(load_uint32(table[ROWS], i))
        if row >= segment.n:
            return False
        code = _code_at(segment, row)
        prefetch(code)
        if segment.n_words > 8:
            prefetch(code + 64)
    return True


@device
def may_hold(segment: Any, table: Array, start: int, stop: int, query: int, limit: int) -> bool:
    """Tell whether a bucket may hold a code nearer than the limit, as far as that is told quickly."""
    if segment.n_words != 1 or table[CODES] == 0:
        return True
    base, word = table[CODES] + 8 * start, load_uint64(query, 0)
    tested = table[TESTED]
    if tested and stop - start <= tested and start + tested <= segment.n:
        return any_nearer(base, tested, word, limit, 1)
    size = (stop - start + 15) & ~15
    return start + size > segment.n or any_nearer(base, size, word, limit, 2)


@device
def nearer_in_bucket(
    segment: Any, table: Array, start: int, stop: int, end: int, query: int, limit: int
) -> tuple[Any, bool]:
    """Mark which of at most 64 codes of a bucket are nearer than the limit, and tell whether the table is sound.

    ``end`` is where the bucket ends.
    """
    if table[CODES] == 0:
        return _nearer_by_row(segment, table[ROWS], start, stop, end, query, limit)
    base, n_words = table[CODES], segment.n_words
    if n_words != 1 or start + 64 > segment.n:
        return nearer_rows(base + 8 * n_words * start, stop - start, query, n_words, limit), True
    mask = nearer_mask(base + 8 * start, 0, query, 1, limit)
    if stop - start < 64:
        mask &= (types.uint64(1) << types.uint64(stop - start)) - types.uint64(1)
    return mask, True


@device
def _nearer_by_row(
    segment: Any, rows: int, start: int, stop: int, end: int, query: int, limit: int
) -> tuple[Any, bool]:
    mask = types.uint64(0)
    for i in range(start, stop):
        row = types.int64(load_uint32(rows, i))
        if row >= segment.n:
            return mask, False
        if i + _AHEAD < end:
            ahead = types.int64(load_uint32(rows, i + _AHEAD))
            if ahead < segment.n:
                prefetch(_code_at(segment, ahead))
        near = distance_between(_code_at(segment, row), query, segment.n_words) < limit
        mask |= types.uint64(near) << types.uint64(i - start)
    return mask, True


@device
def _code_at(segment: Any, row: int) -> int:
    """Give the address of a row's code in the segment's own order."""
    width = 8 * segment.n_words
    if segment.blocks.shape[0] == 1:
        return segment.blocks[0] + width * row
    return segment.blocks[row // segment.block_rows] + width * (row % segment.block_rows)


@device
def _counts_here(segment: Any, code: int, query: int, radius: int, t: int) -> bool:
    """Tell whether stage (radius, t) is the first in which a code is met."""
    masks = segment.masks
    for s in range(masks.shape[0]):
        distance = 0
        for word in range(segment.n_words):
            part = masks[s, word]
            if part:
                distance += popcount((load_uint64(code, word) ^ load_uint64(query, word)) & part)
        if distance < radius or (distance == radius and s < t) or (s == t and distance != radius):
            return False
    return True


@device
def note(
    segment: Any, table: Array, mask: Any, start: int, key: Any, query: int, limit: int, radius: int, t: int,
    noted: Array, n_noted: int,
) -> int:  # fmt: skip
    """Note where the rows of the marked codes stand and how far they are; give the number noted then.

    Where a row stands was never read before: it is asked for here and read with others later. ``key`` is the substring
    whose bucket this is.
    """
    width = 8 * segment.n_words
    while mask != 0:
        i = start + lowest_bit(mask)
        mask &= mask - types.uint64(1)
        where = table[ROWS] + 4 * i
        if table[CODES]:
            prefetch(where)
            code = table[CODES] + width * i
        else:
            code = _code_at(segment, types.int64(load_uint32(where, 0)))
        distance = distance_between(code, query, segment.n_words)
        if distance >= limit or not _counts_here(segment, code, query, radius, t):
            continue
        # A hashed bucket holds other substrings too, which may be due in this very stage from another bucket.
        begin = segment.cuts[t - 1] if t else 0
        if (
            table[HASH_SHIFT] == 0
            or substring_of(code, begin, segment.cuts[t], segment.places, segment.contributions) == key
        ):
            noted[0, n_noted], noted[1, n_noted] = where, distance
            n_noted += 1
    return n_noted
