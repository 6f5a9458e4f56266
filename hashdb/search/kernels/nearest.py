"""The kernel that finds the k nearest codes through bucket tables."""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types

from hashdb.search.kernels.compare import distance_between, is_deleted
from hashdb.search.kernels.compile import device, kernel, readable, words, writable
from hashdb.search.kernels.intrinsics import address
from hashdb.search.kernels.memory import load_uint32, take
from hashdb.search.kernels.probing import (
    BUDGET,
    DAMAGED,
    DONE,
    LIMIT,
    N_CANDIDATES,
    N_KEPT,
    N_NOTED,
    N_PROBES,
    N_WITHIN,
    NOTED,
    NOTED_BEFORE_READ,
    OVER_BUDGET,
    RADIUS,
    REACHED,
    RING,
    ROW,
    ROWS,
    RUNNING,
    SEGMENT,
    SHARE,
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
_i64 = types.int64
_u64 = types.uint64
_f64 = types.float64
_CHUNK = 64  # buckets that one of several parts takes at a time
_EMPTIEST = 0.1  # how much less than usual a forecast expects buckets to hold
_EXPLORED = 0.1  # share of the budget that the next radius may cost without a look at where it leads


class Forecast(NamedTuple):
    """What a query's cost is foretold from; every array is read-only.

    Attributes
    ----------
    k : int
        At least 1.
    sample : uint64 (s, n_words)
        Some codes of the segment.
    quantile : float
        Of the standard normal distribution: below it lies k / n.
    found : float64 (n_radii, n_bits + 1)
        Probability that a code at a distance has been met after all stages of a substring radius.
    stages : float64 (n_stages,)
        What all stages up to each may cost.
    costs : float64 (7,)
        As :mod:`hashdb.search.kernels.probing` numbers them.
    """

    k: int
    sample: Array
    quantile: float
    found: Array
    stages: Array
    costs: Array


FORECAST = types.NamedTuple((_i64, words(2), _f64, readable(_f64, 2), readable(_f64, 1), readable(_f64, 1)), Forecast)


class Lists(NamedTuple):
    """What a thread keeps of its queries; every array is written.

    Attributes
    ----------
    states : int64 (n_queries, N_STATES)
        In: the least distance of no interest, else zeros.
    bounds : uint64 (n_queries,)
        Keys from there on are of no interest; a key is ``distance << 32 | row``.
    histograms : int32 (n_queries, n_parts, n_bits + 2)
        Rows kept by distance; all parts see them.
    taken : int64 (n_stages,)
        Buckets of each stage that are taken by one of the parts; all parts share it, for a single query.
    keys : uint64 (n_queries, capacity)
        What is kept, in no order. The capacity is at least k + 2 NOTED.
    ring, noted : int64 (3, RING) and (2, NOTED)
        Scratch.
    """

    states: Array
    bounds: Array
    histograms: Array
    taken: Array
    keys: Array
    ring: Array
    noted: Array


LISTS = types.NamedTuple(
    (
        writable(_i64, 2), writable(_u64, 1), writable(types.int32, 3), writable(_i64, 1), writable(_u64, 2),
        writable(_i64, 2), writable(_i64, 2),
    ),
    Lists,
)  # fmt: skip


@kernel(types.void(SEGMENT, FORECAST, readable(_u64, 2), words(2), _i64, _i64, LISTS))
def search_nearest(
    segment: Any, forecast: Any, query_keys: Array, queries: Array, part: int, n_parts: int, lists: Any
) -> None:
    """Keep, for each query, every row that may be among its k nearest, until that is proven or costs too much.

    Parameters
    ----------
    segment : Segment
    forecast : Forecast
    query_keys : uint64 (n_queries, m)
        Substrings of the queries.
    queries : uint64 (n_queries, n_words)
    part, n_parts : int
        Several parts share the buckets of every stage. Each goes on to the next one without waiting for what another
        has taken: it ends where all buckets up to a stage are taken that proves the limit, the limits only fall, and
        what is taken is searched by the end of all parts.
    lists : Lists
    """
    m = segment.tables.shape[0]
    for q in range(queries.shape[0]):
        query = address(queries) + 8 * segment.n_words * q
        state, counts, keys = lists.states[q], lists.histograms[q], lists.keys[q]
        bound = lists.bounds[q]
        while state[STATUS] == RUNNING:
            stage = state[RADIUS] * m + state[TABLE]
            if n_parts > 1:
                bound = min(bound, _joint_bound(forecast.k, part, state, counts))
                if state[LIMIT] <= stage:
                    state[STATUS] = DONE  # the stages before are taken, and prove what all parts have found together
                    break
            if state[TABLE] == 0 and stage > 0 and _is_hopeless(forecast, state, counts, stage, m, query, n_parts):
                state[STATUS] = OVER_BUDGET
                break
            bound = _run_stage(
                segment, forecast, query_keys[q, state[TABLE]], query, part, n_parts, lists.taken, stage,
                state, bound, counts, keys, lists.ring, lists.noted,
            )  # fmt: skip
            if state[STATUS] != RUNNING:
                break
            # Every code within `stage` of the query has been met, see hashdb.search.kernels.probing: none that is
            # missing can be nearer than what is kept, or as near with a smaller row.
            if state[LIMIT] - 1 <= stage:
                state[STATUS] = DONE
            state[TABLE] += 1
            if state[TABLE] == m:
                state[RADIUS], state[TABLE] = state[RADIUS] + 1, 0
        lists.bounds[q] = bound


@device
def _run_stage(
    segment: Any, forecast: Any, query_key: Any, query: int, part: int, n_parts: int, taken: Array, stage: int,
    state: Array, bound: Any, counts: Array, keys: Array, ring: Array, noted: Array,
) -> Any:  # fmt: skip
    """Look into the buckets of one stage, or those that no other part takes; give the bound then."""
    state[REACHED] = state[RADIUS]
    mask = first_mask(state[RADIUS])
    n_left = n_masks(segment.tables[state[TABLE], WIDTH], state[RADIUS])
    if n_parts == 1:
        _, bound = _look_into(
            segment, forecast, query_key, query, mask, n_left, part, n_parts, state, bound, counts, keys, ring, noted
        )
        return bound
    at = 0
    while state[STATUS] == RUNNING and state[LIMIT] > stage:
        begin = take(address(taken) + 8 * stage, _CHUNK)
        if begin >= n_left:
            break
        for _ in range(at, begin):
            mask = next_mask(mask)
        at = min(begin + _CHUNK, n_left)
        mask, bound = _look_into(
            segment, forecast, query_key, query, mask, at - begin, part, n_parts, state, bound, counts, keys, ring,
            noted,
        )  # fmt: skip
        bound = min(bound, _joint_bound(forecast.k, part, state, counts))
    return bound


@device
def _look_into(
    segment: Any, forecast: Any, query_key: Any, query: int, mask: Any, n_probes: int, part: int, n_parts: int,
    state: Array, bound: Any, counts: Array, keys: Array, ring: Array, noted: Array,
) -> tuple[Any, Any]:  # fmt: skip
    """Look into the buckets of the next masks; give the mask after them, and the bound then."""
    table = segment.tables[state[TABLE]]
    costs = forecast.costs
    probes, candidates = state[N_PROBES], state[N_CANDIDATES]
    spent = types.float64(state[SPENT])
    for i in range(n_steps(table, n_probes)):
        mask, n_codes, ready = step(segment, table, query_key, mask, i, n_probes, ring)
        if n_codes >= 0:
            probes += 1
            candidates += n_codes
            spent += bucket_cost(costs, n_codes)
            if spent > costs[BUDGET]:
                state[STATUS] = OVER_BUDGET
        elif n_codes == -1:
            state[STATUS] = DAMAGED
        if ready >= 0 and state[STATUS] == RUNNING:
            slot = ready & (RING - 1)
            if may_hold(segment, table, ring[0, slot], ring[1, slot], query, state[LIMIT]):
                bound = _search_bucket(
                    segment, forecast.k, table, ring[0, slot], ring[1, slot], types.uint64(ring[2, slot]), query,
                    part, state, bound, counts, keys, noted,
                )  # fmt: skip
        if state[STATUS] != RUNNING:
            break
    state[N_PROBES], state[N_CANDIDATES], state[SPENT] = probes, candidates, types.int64(spent)
    return mask, _keep(segment, forecast.k, part, state, bound, counts, keys, noted)


@device
def _is_hopeless(forecast: Any, state: Array, counts: Array, stage: int, m: int, query: int, n_parts: int) -> bool:
    """Tell whether a query is likely to cost more than its budget from here on."""
    stages, costs = forecast.stages, forecast.costs
    if stage >= stages.shape[0]:
        return True
    so_far = stages[stage - 1]
    following = stages[min(stage + m, stages.shape[0]) - 1]
    if (following - so_far) * costs[SHARE] <= _EXPLORED * costs[BUDGET]:
        return False
    likely = _likely_distance(forecast, counts, state[LIMIT], state[RADIUS] - 1, query)
    last = min(max(likely, stage), stages.shape[0] - 1)
    # Where the buckets so far were fuller than is usual, or emptier, those to come will be too.
    fuller = max(_EMPTIEST, state[SPENT] / so_far) if n_parts == 1 and so_far > 0 else 1.0
    return (stages[last] - so_far) * costs[SHARE] * fuller > costs[BUDGET]


@device
def _likely_distance(forecast: Any, counts: Array, limit: int, radius: int, query: int) -> int:
    """Estimate the distance of the k-th neighbour from what has been met so far and from a sample of the segment.

    A code at distance d has been met by now with the probability ``found[radius, d]``, so each that was met stands for
    one over it. Where too few were, codes are taken to lie around the query as the sample does: normally distributed.
    """
    found, sample, k = forecast.found, forecast.sample, forecast.k
    radius = min(radius, found.shape[0] - 1)
    likely, met = 0.0, 0
    for distance in range(limit):
        here = 0
        for part in range(counts.shape[0]):
            here += counts[part, distance]
        met += here
        likely += here / max(found[radius, distance], 1e-9)
        if met >= k or (likely >= k and met >= min(k, 4)):
            return distance
    total, squares = 0.0, 0.0
    for i in range(sample.shape[0]):
        far = distance_between(address(sample) + 8 * sample.shape[1] * i, query, sample.shape[1])
        total += far
        squares += far * far
    mean = total / sample.shape[0]
    spread = max(squares / sample.shape[0] - mean * mean, 0.0) ** 0.5
    return max(0, min(limit - 1, types.int64(mean + forecast.quantile * spread + 0.5)))


@device
def _joint_bound(k: int, part: int, state: Array, counts: Array) -> Any:
    """Lower the limit to what all parts together have found; the others go on meanwhile, and only lower it further."""
    within, own = 0, 0
    for distance in range(state[LIMIT]):
        own += counts[part, distance]
        for one in range(counts.shape[0]):
            within += counts[one, distance]
        if within >= k:
            state[LIMIT], state[N_WITHIN] = distance + 1, own
            break
    return types.uint64(state[LIMIT]) << types.uint64(32)


@device
def _search_bucket(
    segment: Any, k: int, table: Array, start: int, stop: int, key: Any, query: int,
    part: int, state: Array, bound: Any, counts: Array, keys: Array, noted: Array,
) -> Any:  # fmt: skip
    """Note what a bucket holds of interest, keep what was noted when it is enough, and give the bound then."""
    limit = state[LIMIT]
    for first in range(start, stop, 64):
        last = min(first + 64, stop)
        mask, sound = nearer_in_bucket(segment, table, first, last, stop, query, limit)
        if not sound:
            state[STATUS] = DAMAGED
            return bound
        if mask == 0:
            continue
        state[N_NOTED] = note(
            segment, table, mask, first, key, query, limit, state[RADIUS], state[TABLE], noted, state[N_NOTED]
        )
        if state[N_NOTED] >= NOTED_BEFORE_READ:
            bound = _keep(segment, k, part, state, bound, counts, keys, noted)
            limit = min(limit, state[LIMIT])
            tie = bound & types.uint64(ROW)
            if tie and load_uint32(table[ROWS], last - 1) > tie:
                # Rows ascend in a bucket: those that follow, at the bound's own distance, stand behind it.
                limit = min(limit, types.int64(bound >> types.uint64(32)))
    return bound


@device
def _keep(segment: Any, k: int, part: int, state: Array, bound: Any, counts: Array, keys: Array, noted: Array) -> Any:
    """Keep what was noted and is alive, lower the limit, make room where there is little; give the bound then."""
    limit, within, kept = state[LIMIT], state[N_WITHIN], state[N_KEPT]
    for i in range(state[N_NOTED]):
        row, distance = types.int64(load_uint32(noted[0, i], 0)), noted[1, i]
        key = (types.uint64(distance) << types.uint64(32)) | types.uint64(row)
        if row >= segment.n:
            state[STATUS] = DAMAGED
            break
        if key >= bound or is_deleted(segment.deleted, row):
            continue
        keys[kept] = key
        kept += 1
        counts[part, distance] += 1
        within += 1
        while within - counts[part, limit - 1] >= k:
            limit -= 1
            within -= counts[part, limit]
            bound = types.uint64(limit) << types.uint64(32)
    state[N_NOTED] = 0
    if kept + NOTED > keys.shape[0]:
        bound = min(bound, _smallest_first(keys, kept, k))
        kept = k
        limit = min(limit, types.int64(bound >> types.uint64(32)) + 1)
        # What was dropped does not count any more, so that the rows kept are those that are counted.
        within = 0
        for distance in range(counts.shape[1]):
            counts[part, distance] = 0
        for i in range(k):
            distance = types.int64(keys[i] >> types.uint64(32))
            counts[part, distance] += 1
            within += distance < limit
    state[LIMIT], state[N_WITHIN], state[N_KEPT] = limit, within, kept
    return bound


@device
def _smallest_first(keys: Array, n: int, k: int) -> Any:
    """Bring the k smallest of n different keys to the front and give the largest of them (Hoare's selection)."""
    low, high, last = 0, n - 1, k - 1
    while low < high:
        pivot = keys[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i += 1
                j -= 1
        if last <= j:
            high = j
        elif last >= i:
            low = i
        else:
            break
    return keys[last]
