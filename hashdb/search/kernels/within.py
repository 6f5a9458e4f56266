"""The kernel that finds every code within a radius through bucket tables."""

from __future__ import annotations

from typing import Any

from numba import types

from hashdb.search.kernels.compare import is_deleted
from hashdb.search.kernels.compile import device, kernel, readable, words, writable
from hashdb.search.kernels.intrinsics import address
from hashdb.search.kernels.memory import load_uint32
from hashdb.search.kernels.partition import hashed
from hashdb.search.kernels.probing import (
    BUDGET,
    DAMAGED,
    DONE,
    FOUND_COST,
    FULL,
    HASH_SHIFT,
    N_CANDIDATES,
    N_KEPT,
    N_PROBES,
    OFFSETS,
    OVER_BUDGET,
    PROBE_COST,
    RADIUS,
    REACHED,
    RING,
    RUNNING,
    SEGMENT,
    SPENT,
    STATUS,
    TABLE,
    WIDTH,
    bucket_cost,
    first_mask,
    may_hold,
    n_masks,
    n_steps,
    nearer_in_bucket,
    next_mask,
    note,
    step,
)

Array = Any
QUERY_SHIFT = 45  # a kept row is one number, query << 45 | distance << 32 | row
_LOOK_AHEAD = 1 / 32  # of its budget a query has spent when its buckets are counted, if it is their codes that cost
_TELLING = 512  # codes of a bucket that tell how many of the others are within the radius
_COUNTING = 1 / 8  # of its budget that probes may cost which only count
_i64 = types.int64
_u64 = types.uint64


@kernel(
    types.UniTuple(_i64, 2)(
        SEGMENT, readable(_u64, 2), words(2), _i64, readable(types.float64, 1), _i64, _i64, _i64,
        writable(_i64, 2), writable(_u64, 1), writable(_i64, 2), writable(_i64, 2),
    )
)  # fmt: skip
def search_within(
    segment: Any, query_keys: Array, queries: Array, radius: int, costs: Array, first: int,
    part: int, n_parts: int, states: Array, keys: Array, ring: Array, noted: Array,
) -> tuple[int, int]:  # fmt: skip
    """Keep every row within a radius of the queries from ``first`` on, until the room may not do.

    Parameters
    ----------
    segment : Segment
    query_keys : uint64 (n_queries, m)
        Substrings of the queries.
    queries : uint64 (n_queries, n_words)
    radius : int
        Inclusive.
    costs : float64 (7,)
        As in :class:`hashdb.search.kernels.nearest.Forecast`.
    first : int
        Query to begin with.
    part, n_parts : int
        Every ``n_parts``-th stage is run, from stage ``part`` on: a code counts in one stage only.
    states : int64 (n_queries, N_STATES)
        Of a query that costs more than its budget nothing is kept.
    keys : uint64 (room,)
        What is kept, in no order, as one number each.
    ring, noted : int64 (3, RING) and (2, NOTED)
        Scratch.

    Returns
    -------
    next_query : int
        Where to go on, ``n_queries`` when done.
    n_kept : int
    """
    m = segment.tables.shape[0]
    n_kept = 0
    for q in range(first, queries.shape[0]):
        query = address(queries) + 8 * segment.n_words * q
        state, before = states[q], n_kept
        state[STATUS], is_counted = RUNNING, False
        state[N_PROBES] = state[N_CANDIDATES] = state[SPENT] = 0
        # After stage `radius` every code within the radius has been met, see hashdb.search.kernels.probing.
        for stage in range(part, radius + 1, n_parts):
            state[RADIUS], state[TABLE] = stage // m, stage % m
            n_kept = _run_stage(
                segment, query_keys[q, stage % m], query, radius + 1, costs, before, state, keys, n_kept, ring, noted
            )
            if state[STATUS] == RUNNING and not is_counted and _are_full(state, costs):
                is_counted = True
                if _cost_of(segment, query_keys[q], radius, costs, part, n_parts) > costs[BUDGET]:
                    state[STATUS] = OVER_BUDGET
            if state[STATUS] != RUNNING:
                break
        if state[STATUS] == FULL:
            return q, before
        if state[STATUS] == RUNNING:
            state[STATUS] = DONE
            state[N_KEPT] = n_kept - before
            for i in range(before, n_kept):
                keys[i] |= types.uint64(q) << types.uint64(QUERY_SHIFT)
        else:
            n_kept = before
    return queries.shape[0], n_kept


@device
def _are_full(state: Array, costs: Array) -> bool:
    """Tell whether codes in buckets, not finding the buckets, have made a query cost a part of its budget."""
    return state[SPENT] > max(_LOOK_AHEAD * costs[BUDGET], 2 * costs[PROBE_COST] * state[N_PROBES])


@device
def _cost_of(segment: Any, query_keys: Array, radius: int, costs: Array, part: int, n_parts: int) -> float:
    """Estimate the least that a query costs, from the codes in its buckets; once it is too much, so much."""
    m = segment.tables.shape[0]
    cost, n_left = 0.0, types.int64(min(_COUNTING * costs[BUDGET] / max(costs[PROBE_COST], 1e-3), 1e15))
    for stage in range(part, radius + 1, n_parts):
        table, key = segment.tables[stage % m], query_keys[stage % m]
        mask = first_mask(stage // m)
        for _ in range(min(n_masks(table[WIDTH], stage // m), n_left)):
            bucket = types.int64(hashed(key ^ mask, table[HASH_SHIFT]))
            mask = next_mask(mask)
            n_left -= 1
            n_codes = types.int64(load_uint32(table[OFFSETS], bucket + 1)) - types.int64(
                load_uint32(table[OFFSETS], bucket)
            )
            cost += bucket_cost(costs, max(n_codes, 0))
        if cost > costs[BUDGET]:
            break
    return cost


@device
def _run_stage(
    segment: Any, query_key: Any, query: int, limit: int, costs: Array, before: int, state: Array, keys: Array,
    n_kept: int, ring: Array, noted: Array,
) -> int:  # fmt: skip
    """Look into the buckets of one stage; give the number kept then, of which ``before`` are of earlier queries."""
    table = segment.tables[state[TABLE]]
    spent = types.float64(state[SPENT])
    state[REACHED] = state[RADIUS]
    mask = first_mask(state[RADIUS])
    n_probes = n_masks(table[WIDTH], state[RADIUS])
    for i in range(n_steps(table, n_probes)):
        mask, n_codes, ready = step(segment, table, query_key, mask, i, n_probes, ring)
        if n_codes >= 0:
            state[N_PROBES] += 1
            state[N_CANDIDATES] += n_codes
            spent += bucket_cost(costs, n_codes)
            if spent + (n_kept - before) * costs[FOUND_COST] > costs[BUDGET]:
                state[STATUS] = OVER_BUDGET
        elif n_codes == -1:
            state[STATUS] = DAMAGED
        if ready >= 0 and state[STATUS] == RUNNING:
            slot = ready & (RING - 1)
            if may_hold(segment, table, ring[0, slot], ring[1, slot], query, limit):
                # So many rows alone use up what is left: then the scan finds them sooner.
                most = before + types.int64(min(max(costs[BUDGET] - spent, 0.0) / max(costs[FOUND_COST], 1e-3), 1e15))
                n_kept = _collect(
                    segment, table, ring[0, slot], ring[1, slot], types.uint64(ring[2, slot]), query, limit, most,
                    state, keys, n_kept, noted,
                )  # fmt: skip
        if state[STATUS] != RUNNING:
            break
    state[SPENT] = types.int64(spent)
    return n_kept


@device
def _collect(
    segment: Any, table: Array, start: int, stop: int, key: Any, query: int, limit: int, most: int,
    state: Array, keys: Array, n_kept: int, noted: Array,
) -> int:  # fmt: skip
    """Keep what a bucket holds nearer than the limit, up to about ``most``; give the number kept then."""
    held = n_kept
    for first in range(start, stop, 64):
        # What a large bucket has given so far tells what it will give: the scan finds so many sooner.
        share = (stop - start) / (first - start) if first - start >= _TELLING else 1.0
        if n_kept - held > (most - held) / share:
            state[STATUS] = OVER_BUDGET
            return n_kept
        if n_kept + 64 > keys.shape[0]:
            state[STATUS] = FULL
            return n_kept
        mask, sound = nearer_in_bucket(segment, table, first, min(first + 64, stop), stop, query, limit)
        if not sound:
            state[STATUS] = DAMAGED
            return n_kept
        if mask == 0:
            continue
        n_noted = note(segment, table, mask, first, key, query, limit, state[RADIUS], state[TABLE], noted, 0)
        for i in range(n_noted):
            row = types.int64(load_uint32(noted[0, i], 0))
            if row >= segment.n:
                state[STATUS] = DAMAGED
                return n_kept
            if not is_deleted(segment.deleted, row):
                keys[n_kept] = (types.uint64(noted[1, i]) << types.uint64(32)) | types.uint64(row)
                n_kept += 1
    return n_kept
