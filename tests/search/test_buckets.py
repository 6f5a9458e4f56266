"""Search through bucket tables equals a slow oracle and the scan, whatever the codes, tables, deletes and threads."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashdb.errors import ArgumentError
from hashdb.search import costs, engine

from .conftest import PROPERTY, Segment, StoredTables, as_integers, nearest_rows, oracle_lists, random_codes

pytestmark = pytest.mark.usefixtures("kernels_always")

FOREVER = math.inf
HASH_FACTOR = 0x9E3779B97F4A7C15  # docs/format.md, section 7
# Bits, and substrings so that all buckets together are few: with up to 10 bits each they are numbered directly by a
# segment of 1000 rows, with more by a hash. Most do not come out even.
SHAPES = [
    (1, 1), (8, 1), (8, 3), (8, 8), (30, 3), (30, 4), (64, 7), (64, 8), (70, 7), (100, 11), (128, 13), (256, 26),
    (1024, 103),
    (30, 2), (64, 5), (70, 6), (100, 8), (128, 10), (256, 20), (1024, 90),
]  # fmt: skip


def complement(codes, n_bits):
    """The codes that are farthest from the given ones."""
    full = (1 << n_bits) - 1
    words = [(full >> (64 * word)) & (2**64 - 1) for word in range(codes.shape[1])]
    return codes ^ np.array(words, np.uint64)


def queries_of(rng, codes, n_bits):
    """Queries among the codes, near one, anywhere, and as far as can be."""
    some = codes[rng.integers(0, len(codes), 2)]
    near = some[:1].copy()
    near[0, 0] ^= np.uint64(1)
    return np.concatenate([some, near, random_codes(rng, 1, n_bits), complement(some[:1], n_bits)])


@st.composite
def segments(draw):
    """A segment with tables, perhaps in blocks, with deletes, equal codes or bits that hardly change; and queries."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_bits = draw(st.sampled_from((1, 8, 30, 64, 70, 100, 128, 256)))
    n = draw(st.sampled_from((1, 2, 63, 64, 65, 200, 600)))
    codes = random_codes(rng, n, n_bits, draw(st.sampled_from((0.02, 0.5, 0.98))))
    if draw(st.booleans()):
        codes = codes[rng.integers(0, draw(st.integers(1, min(n, 4))), n)]
    dead = np.flatnonzero(rng.random(n) < draw(st.sampled_from((0.0, 0.1, 0.9, 1.0)))).tolist()
    segment = Segment(codes, n_bits, n_blocks=draw(st.integers(1, 4)), dead=dead)
    segment.with_tables(draw(st.integers(-(-n_bits // 12), min(n_bits, 32))), wide=draw(st.booleans()))
    return segment, queries_of(rng, codes, n_bits)


budgets = st.sampled_from((FOREVER, 1e6, 3e4, 1e3, 0.0))
n_threads_wanted = st.integers(1, 3)


@PROPERTY
@given(case=segments(), budget=budgets, n_threads=n_threads_wanted, data=st.data())
def test_knn_equals_oracle(set_budget, case, budget, n_threads, data):
    set_budget(budget)
    segment, queries = case
    n = len(segment.codes)
    k = data.draw(st.sampled_from((0, 1, 2, 10, n, n + 5)), label="k")
    found, report = segment.knn(queries, k, n_threads=n_threads)
    assert found == [every[:k] for every in segment.oracle(queries)]
    assert report.n_queries == len(queries)
    if k and budget == FOREVER:
        assert (report.path, report.n_scanned) == ("buckets", 0)


@PROPERTY
@given(case=segments(), budget=budgets, n_threads=n_threads_wanted, data=st.data())
def test_knn_of_a_single_query_equals_oracle(set_budget, case, budget, n_threads, data):
    set_budget(budget)
    segment, queries = case
    query = queries[data.draw(st.integers(0, len(queries) - 1), label="query"), None]
    k = data.draw(st.sampled_from((1, 2, 10, len(segment.codes))), label="k")
    found, _ = segment.knn(query, k, n_threads=n_threads)
    assert found == [every[:k] for every in segment.oracle(query)]


@PROPERTY
@given(case=segments(), budget=budgets, n_threads=n_threads_wanted, data=st.data())
def test_radius_equals_oracle(set_budget, case, budget, n_threads, data):
    set_budget(budget)
    segment, queries = case
    n_bits = segment.n_bits
    radius = data.draw(st.sampled_from((0, 1, 2, n_bits // 3, n_bits // 2, n_bits, n_bits + 9)), label="radius")
    found, report = segment.radius(queries, radius, n_threads=n_threads)
    assert found == [[pair for pair in every if pair[0] <= radius] for every in segment.oracle(queries)]
    if budget == FOREVER:
        assert (report.path, report.n_scanned) == ("buckets", 0)


@PROPERTY
@given(case=segments(), budget=budgets, n_threads=n_threads_wanted, data=st.data())
def test_bound_leaves_out_exactly_what_is_farther(set_budget, case, budget, n_threads, data):
    set_budget(budget)
    segment, queries = case
    n_bits = segment.n_bits
    bounds = st.sampled_from((-1, 0, 1, n_bits // 2, n_bits - 1, n_bits, 2**30))
    bound = np.array([data.draw(bounds, label="bound") for _ in queries], np.int32)
    k = data.draw(st.sampled_from((1, 10, len(segment.codes))), label="k")
    found, _ = segment.knn(queries, k, bound=bound, n_threads=n_threads)
    expected = zip(segment.oracle(queries), bound.tolist(), strict=True)
    assert found == [[pair for pair in every[:k] if pair[0] <= most] for every, most in expected]


@pytest.mark.parametrize("wide", [True, False], ids=["wide", "lean"])
@pytest.mark.parametrize(("n_bits", "n_substrings"), SHAPES)
def test_every_shape_of_tables_gives_the_oracles_answer(set_budget, n_bits, n_substrings, wide):
    set_budget(FOREVER)
    rng = np.random.default_rng(n_bits * n_substrings)
    codes = random_codes(rng, 1000, n_bits, 0.3)
    segment = Segment(codes, n_bits, n_blocks=3, dead=range(0, 1000, 7)).with_tables(n_substrings, wide=wide)
    assert {table.description["directory"] for table in segment.stored.tables} == {
        "hashed" if -(-n_bits // n_substrings) > 10 else "direct"
    }
    queries = queries_of(rng, codes, n_bits)
    oracle = segment.oracle(queries)
    for k in (1, 25, 1000):
        found, report = segment.knn(queries, k)
        assert found == [every[:k] for every in oracle]
        assert (report.path, report.tables) == ("buckets", f"{n_substrings} {'wide' if wide else 'lean'}")
    for radius in {0, 1, n_bits // 4, n_bits // 2, n_bits, n_bits + 7}:
        found, report = segment.radius(queries, radius)
        assert found == [[pair for pair in every if pair[0] <= radius] for every in oracle]
        assert report.path == "buckets"


@pytest.mark.parametrize("wide", [True, False], ids=["wide", "lean"])
@pytest.mark.parametrize(("n_bits", "n_substrings"), [(64, 2), (64, 1), (128, 2), (256, 4), (1024, 16)])
def test_substrings_of_a_whole_word_find_what_is_near(set_budget, n_bits, n_substrings, wide):
    set_budget(1e6)  # of the buckets at a distance of 3 there are more than anyone waits for
    rng = np.random.default_rng(n_bits)
    centres = random_codes(rng, 40, n_bits)
    codes = centres[rng.integers(0, 40, 1000)]
    codes[:, 0] ^= np.uint64(1) << rng.integers(0, 64, 1000).astype(np.uint64)
    segment = Segment(codes, n_bits).with_tables(n_substrings, wide=wide)
    oracle = segment.oracle(centres)
    found, report = segment.knn(centres, 5)
    assert found == [every[:5] for every in oracle]
    assert report.n_scanned == 0
    found, report = segment.radius(centres, n_substrings)
    assert found == [[pair for pair in every if pair[0] <= n_substrings] for every in oracle]
    assert report.n_scanned == 0


# The order of ties, and crowds in one bucket.


@pytest.mark.parametrize("wide", [True, False], ids=["wide", "lean"])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_buckets_break_ties_by_row(set_budget, wide, n_threads):
    set_budget(FOREVER)
    rng = np.random.default_rng(1)
    codes = random_codes(rng, 6000, 8)  # 23 rows of every code
    segment = Segment(codes, 8, n_blocks=2).with_tables(2, wide=wide)
    queries = random_codes(rng, 20, 8)
    for k in (1, 2, 23, 24, 300, 2999, 6000, 7000):
        expected = nearest_rows(codes, queries, k)
        assert segment.knn(queries, k, n_threads=n_threads)[0] == expected
        assert segment.knn(queries[:1], k, n_threads=n_threads)[0] == expected[:1]


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("n_substrings", [4, 5], ids=["hashed", "direct"])
def test_a_bucket_of_20_000_equal_codes_gives_the_first_rows(set_budget, n_substrings, n_threads):
    set_budget(FOREVER)
    rng = np.random.default_rng(2)
    codes = random_codes(rng, 30_000, 64)
    crowd = np.sort(rng.permutation(30_000)[:20_000])
    codes[crowd] = codes[crowd[0]]
    queries = np.concatenate([codes[crowd[:1]], codes[crowd[:1]] ^ np.uint64(1 << 40), codes[crowd[:1]] ^ 7])
    for dead in ((), crowd[:500], crowd):
        for wide in (True, False):
            segment = Segment(codes, 64, dead=dead).with_tables(n_substrings, wide=wide)
            for k in (1, 10, 1000):
                found, report = segment.knn(queries, k, n_threads=n_threads)
                assert found == nearest_rows(codes, queries, k, dead)
                assert report.n_scanned == 0
            found, _ = segment.radius(queries, 1, n_threads=n_threads)
            alive = np.setdiff1d(crowd, dead).tolist()
            assert found == [[(0, row) for row in alive], [(1, row) for row in alive], []]


@pytest.mark.parametrize("budget", [0.0, 1e4, FOREVER])
@pytest.mark.parametrize("k", [1, 2, 100, 1000, 9999, 10_000, 10_001])
def test_codes_that_are_all_equal_are_listed_by_row(set_budget, k, budget):
    set_budget(budget)
    codes = np.full((10_000, 1), 12345, np.uint64)
    segment = Segment(codes, 24).with_tables(3)
    for far, flipped in ((0, 0), (1, 1 << 20), (24, (1 << 24) - 1)):
        query = codes[:1] ^ np.uint64(flipped)
        for n_threads in (1, 2):
            assert segment.knn(query, k, n_threads=n_threads)[0] == [[(far, row) for row in range(min(k, 10_000))]]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_first_row_is_kept_where_a_search_is_left_to_the_scan(set_budget, n_threads):
    set_budget(4e4)
    rng = np.random.default_rng(3)
    codes = random_codes(rng, 1 << 17, 64)
    codes[rng.permutation(np.arange(1, 1 << 17))[:400]] = codes[0]
    segment = Segment(codes, 64).with_tables(3)
    others = [table.description["bits"] for table in segment.stored.tables[1:]]
    # The row and its likes are in the query's own bucket, and so far that it is the scan that proves them nearest.
    query = codes[:1] ^ np.uint64(sum(1 << bit for bit in np.concatenate(others).tolist()[::4]))
    expected = nearest_rows(codes, query, 1)
    assert expected[0][0][1] == 0
    for n_queries in (1, 50):
        found, report = segment.knn(np.repeat(query, n_queries, axis=0), 1, n_threads=n_threads)
        assert report.path == "buckets, then scan"
        assert found == expected * n_queries


@pytest.mark.parametrize("density", [0.003, 0.05, 0.97])
def test_bits_that_hardly_change_are_searched_all_the_same(set_budget, density):
    set_budget(FOREVER)
    rng = np.random.default_rng(4)
    codes = random_codes(rng, 4000, 64, density)
    queries = queries_of(rng, codes, 64)
    for wide in (True, False):
        segment = Segment(codes, 64).with_tables(6, wide=wide)
        for k in (1, 50, 700):
            assert segment.knn(queries, k)[0] == nearest_rows(codes, queries, k)


# Deletes.


@pytest.mark.parametrize("wide", [True, False], ids=["wide", "lean"])
def test_what_lies_behind_deleted_rows_is_found(set_budget, wide):
    set_budget(FOREVER)
    rng = np.random.default_rng(5)
    codes = random_codes(rng, 2000, 30)
    query = codes[:1]
    oracle = oracle_lists(codes, query)[0]
    for n_dead in (1, 5, 300, 1990, 1999, 2000):
        segment = Segment(codes, 30, dead=[row for _, row in oracle[:n_dead]]).with_tables(3, wide=wide)
        for k in (1, 10, 2000):
            assert segment.knn(query, k)[0] == [oracle[n_dead : n_dead + k]]
        radius = oracle[min(n_dead, 1999)][0]
        assert segment.radius(query, radius)[0] == [[pair for pair in oracle[n_dead:] if pair[0] <= radius]]


def test_a_bucket_of_dead_rows_hides_nothing(set_budget):
    set_budget(FOREVER)
    rng = np.random.default_rng(6)
    codes = random_codes(rng, 3000, 30)
    codes[:2000] = codes[0]
    codes[2500] = codes[0]
    query = codes[:1]
    segment = Segment(codes, 30, dead=range(2000)).with_tables(3)
    for k in (1, 2, 40):
        found = segment.knn(query, k)[0]
        assert found == nearest_rows(codes, query, k, range(2000))
        assert found[0][0] == (0, 2500)
    assert segment.radius(query, 0)[0] == [[(0, 2500)]]


# What must change nothing.


@PROPERTY
@given(case=segments(), seed=st.integers(0, 99), k=st.integers(1, 30))
def test_flipping_the_same_bits_everywhere_changes_nothing(set_budget, case, seed, k):
    set_budget(FOREVER)
    segment, queries = case
    mask = random_codes(np.random.default_rng(seed), 1, segment.n_bits)[0]
    flipped = Segment(segment.codes ^ mask, segment.n_bits, dead=segment.dead).with_tables(len(segment.stored.tables))
    assert flipped.knn(queries ^ mask, k)[0] == segment.knn(queries, k)[0]
    assert flipped.radius(queries ^ mask, 3)[0] == segment.radius(queries, 3)[0]


@PROPERTY
@given(case=segments(), seed=st.integers(0, 99), k=st.integers(1, 30))
def test_another_order_of_bits_changes_nothing(set_budget, case, seed, k):
    set_budget(FOREVER)
    segment, queries = case
    order = np.random.default_rng(seed).permutation(segment.n_bits)

    def permuted(codes):
        result = np.zeros_like(codes)
        for to, bit in enumerate(order.tolist()):
            one = (codes[:, bit // 64] >> np.uint64(bit % 64)) & np.uint64(1)
            result[:, to // 64] |= one << np.uint64(to % 64)
        return result

    other = Segment(permuted(segment.codes), segment.n_bits, dead=segment.dead).with_tables(len(segment.stored.tables))
    assert other.knn(permuted(queries), k)[0] == segment.knn(queries, k)[0]
    assert other.radius(permuted(queries), 3)[0] == segment.radius(queries, 3)[0]


@PROPERTY
@given(
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(0, 150), max_size=5),
    path=st.sampled_from((None, "buckets")),
    n_threads=n_threads_wanted,
)
def test_any_split_of_a_batch_gives_the_same_answers(shared_segment, seed, cuts, path, n_threads):
    segment, queries = shared_segment
    queries = queries[np.random.default_rng(seed).permutation(len(queries))]
    parts = np.split(queries, sorted(cuts))
    options = {"path": path, "n_threads": n_threads}
    whole = segment.knn(queries, 12, path="scan")[0]
    assert [one for part in parts if len(part) for one in segment.knn(part, 12, **options)[0]] == whole
    whole = segment.radius(queries, 5, path="scan")[0]
    assert [one for part in parts if len(part) for one in segment.radius(part, 5, **options)[0]] == whole


@pytest.fixture(scope="module")
def shared_segment():
    """A segment of clusters with 150 queries, half of them in none."""
    rng = np.random.default_rng(7)
    centres = random_codes(rng, 60, 64)
    codes = centres[rng.integers(0, 60, 4000)] ^ random_codes(rng, 4000, 64, 0.06)
    segment = Segment(codes, 64, n_blocks=3, dead=range(0, 4000, 9)).with_tables(5)
    return segment, np.concatenate([codes[:75], random_codes(rng, 75, 64)])


def test_a_batch_with_queries_like_none_leaves_only_those_to_the_scan(set_budget, shared_segment):
    segment, queries = shared_segment
    set_budget(5e4)
    expected = segment.knn(queries, 12, path="scan")[0]
    found, report = segment.knn(queries, 12)
    assert found == expected
    assert report.path == "buckets, then scan"
    assert 0 < report.n_scanned < len(queries)


def test_queries_need_not_lie_in_order_in_memory(shared_segment):
    segment, queries = shared_segment
    expected = segment.knn(queries[::3].copy(), 5)[0]
    assert segment.knn(queries[::3], 5)[0] == expected
    read_only = queries[::3].copy()
    read_only.flags.writeable = False
    assert segment.knn(read_only, 5)[0] == expected


@pytest.mark.parametrize("budget", [1e5, 4e5, 1e6, FOREVER])
@pytest.mark.parametrize("n_threads", [2, 3, 8])
def test_threads_that_share_a_single_query_find_the_same(set_budget, n_threads, budget):
    set_budget(budget)
    rng = np.random.default_rng(8)
    codes = random_codes(rng, 3000, 64)
    codes[1000:1400] = codes[999]
    for wide in (True, False):
        segment = Segment(codes, 64, dead=range(0, 3000, 5)).with_tables(4, wide=wide)
        for query in (codes[999:1000], complement(codes[999:1000], 64), random_codes(rng, 1, 64)):
            for k in (1, 7, 450):
                expected = nearest_rows(codes, query, k, segment.dead)
                for _ in range(3):
                    found, report = segment.knn(query, k, n_threads=n_threads)
                    assert found == expected
                    assert report.n_scanned == 0 or budget < FOREVER


@pytest.mark.parametrize("budget", [1e3, 1e4, 2e4, 4e4, 1e5, FOREVER])
@pytest.mark.parametrize("n_threads", [2, 3, 8])
def test_threads_that_share_the_radius_search_of_a_single_query_find_the_same(
    set_budget, monkeypatch, n_threads, budget
):
    monkeypatch.setattr(costs, "ALONE", 0.0)
    set_budget(budget)
    rng = np.random.default_rng(9)
    codes = random_codes(rng, 3000, 64)
    codes[1000:1400] = codes[999]
    for wide in (True, False):
        segment = Segment(codes, 64, dead=range(0, 3000, 5)).with_tables(4, wide=wide)
        for query in (codes[999:1000], complement(codes[999:1000], 64), random_codes(rng, 1, 64)):
            for radius in (0, 3, 5, 9, 16):
                found, report = segment.radius(query, radius, n_threads=n_threads)
                assert report.plan.n_sharing == n_threads
                every = nearest_rows(codes, query, len(codes), segment.dead)
                assert found == [[pair for pair in every[0] if pair[0] <= radius]]
                _, once = segment.radius(query, radius, n_threads=1)
                if budget == FOREVER:
                    assert (report.n_probes, report.n_candidates) == (once.n_probes, once.n_candidates)
                    assert report.substring_radius == once.substring_radius


@pytest.mark.parametrize("wide", [True, False], ids=["wide", "lean"])
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_damage_that_one_of_several_threads_meets_is_known_to_all(set_budget, n_threads, wide):
    set_budget(FOREVER)
    rng = np.random.default_rng(15)
    codes = random_codes(rng, 3000, 64)
    query = random_codes(rng, 1, 64)
    expected = nearest_rows(codes, query, 3000)
    segment = Segment(codes, 64).with_tables(4, wide=wide)
    for number in range(8):
        table = segment.stored.tables[number % 4]
        offsets, rows = table.arrays["offsets"].copy(), table.arrays["rows"].copy()
        if number < 4:
            table.arrays["offsets"][rng.integers(1, len(offsets) - 1)] = 3001
        else:
            table.arrays["rows"][:] = 3000  # each is met in some table first
        damaged = Segment(codes, 64)
        damaged.stored = StoredTables(segment.stored.tables)
        assert damaged.knn(query, 3000, n_threads=n_threads)[0] == expected  # through every bucket there is
        assert len(damaged.stored.problems) == 1
        table.arrays.update(offsets=offsets, rows=rows)


def test_several_callers_search_a_segment_at_the_same_time(shared_segment):
    segment, queries = shared_segment
    expected, within = segment.knn(queries, 12, path="scan")[0], segment.radius(queries, 6, path="scan")[0]

    def search(number):
        few = slice(number % 5, None, 4)
        assert segment.knn(queries[few], 12, n_threads=2)[0] == expected[few]
        assert segment.knn(queries[number, None], 12, n_threads=2)[0] == expected[number : number + 1]
        assert segment.radius(queries[few], 6, n_threads=2)[0] == within[few]

    with ThreadPoolExecutor(4) as callers:
        list(callers.map(search, range(24)))


# Every code is met, and counts once.


@pytest.mark.parametrize("n_substrings", [1, 2, 3, 4, 7, 10])
def test_every_code_is_first_met_no_later_than_at_the_stage_of_its_distance(n_substrings):
    segment = every_code_of_10_bits().with_tables(n_substrings)
    keys = [sum(1 << bit for bit in table.description["bits"]) for table in segment.stored.tables]
    for code in range(1024):  # as far from 0 as it has bits set
        stages = [n_substrings * (code & key).bit_count() + t for t, key in enumerate(keys)]
        assert min(stages) <= code.bit_count()
        assert len(set(stages)) == n_substrings


def every_code_of_10_bits():
    return Segment(np.random.default_rng(9).permutation(1024).astype(np.uint64)[:, None], 10)


@pytest.mark.parametrize("wide", [True, False], ids=["wide", "lean"])
@pytest.mark.parametrize("n_substrings", [1, 2, 3, 4, 7, 10])
def test_every_code_within_every_radius_is_found_once(set_budget, n_substrings, wide):
    set_budget(FOREVER)
    segment = every_code_of_10_bits().with_tables(n_substrings, wide=wide)
    queries = segment.codes[:4]
    for radius in range(11):
        found, report = segment.radius(queries, radius)
        assert found == [[pair for pair in every if pair[0] <= radius] for every in segment.oracle(queries)]
        assert [len(one) for one in found] == [sum(math.comb(10, far) for far in range(radius + 1))] * 4
        assert report.n_candidates >= sum(map(len, found))


@pytest.mark.parametrize("n_substrings", [2, 4, 7, 12], ids=["hashed", "hashed too", "direct", "narrow"])
def test_work_of_a_radius_search_is_that_of_its_stages(set_budget, n_substrings):
    set_budget(FOREVER)
    rng = np.random.default_rng(10)
    codes, queries = random_codes(rng, 500, 48, 0.2), random_codes(rng, 6, 48, 0.2)
    segment = Segment(codes, 48).with_tables(n_substrings)
    for radius in (0, 1, n_substrings - 1, n_substrings, n_substrings + 1, 3 * n_substrings):
        _, report = segment.radius(queries, radius, n_threads=1)
        work = [stages_by_hand(segment, query, radius + 1) for query in as_integers(queries)]
        assert report.n_probes == sum(sum(probes) for probes, _ in work)
        assert report.n_candidates == sum(sum(candidates) for _, candidates in work)


@pytest.mark.parametrize("n_substrings", [2, 4, 7, 12])
def test_substring_radius_of_a_radius_search_is_the_one_of_its_last_stage(set_budget, n_substrings):
    set_budget(FOREVER)
    codes = random_codes(np.random.default_rng(11), 300, 48)
    segment = Segment(codes, 48).with_tables(n_substrings)
    for radius in range(2 * n_substrings + 1):
        assert segment.radius(codes[:2], radius)[1].substring_radius == radius // n_substrings


@pytest.mark.parametrize("n_substrings", [4, 7, 12])
@pytest.mark.parametrize("k", [1, 5, 60])
def test_work_of_a_knn_search_is_that_of_the_stages_up_to_the_last_distance(set_budget, n_substrings, k):
    set_budget(FOREVER)
    rng = np.random.default_rng(12)
    codes = random_codes(rng, 500, 48, 0.2)
    segment = Segment(codes, 48).with_tables(n_substrings)
    for query in random_codes(rng, 5, 48, 0.2):
        found, report = segment.knn(query[None], k, n_threads=1)
        farthest = found[0][-1][0]
        probes, candidates = stages_by_hand(segment, as_integers(query[None])[0], farthest + 1)
        # What is nearer than the last has been met before its own stage; whether that one is needed depends.
        possible = [(sum(probes[:n]), sum(candidates[:n]), (n - 1) // n_substrings) for n in (farthest, farthest + 1)]
        assert (report.n_probes, report.n_candidates, report.substring_radius) in possible


def stages_by_hand(segment, query, n_stages):
    """Buckets looked into, and codes in them, of the first stages, from the definition."""
    m, n = len(segment.stored.tables), len(segment.codes)
    probes, candidates = [], []
    for stage in range(n_stages):
        radius, t = divmod(stage, m)
        description = segment.stored.tables[t].description
        bits, d = description["bits"], description["directory_bits"]

        def bucket(key, hashed=description["directory"] == "hashed", d=d):
            return (key * HASH_FACTOR % 2**64) >> (64 - d) if hashed else key

        def key_of(code, bits=bits):
            return sum((code >> bit & 1) << place for place, bit in enumerate(bits))

        held = Counter(bucket(key_of(code)) for code in as_integers(segment.codes))
        assert held.total() == n
        keys = [
            key_of(query) ^ sum(1 << place for place in flipped)
            for flipped in itertools.combinations(range(len(bits)), radius)
        ]
        probes.append(len(keys))
        candidates.append(sum(held[bucket(key)] for key in keys))
    return probes, candidates


@pytest.mark.parametrize("budget", [3e3, 1e5])
def test_a_query_that_is_given_up_has_looked_into_no_more_buckets_than_it_paid_for(set_budget, budget):
    set_budget(budget)
    rng = np.random.default_rng(14)
    segment = Segment(random_codes(rng, 500, 48), 48).with_tables(2)
    query = random_codes(rng, 1, 48)
    for report in (segment.knn(query, 1, n_threads=1)[1], segment.radius(query, 14, n_threads=1)[1]):
        assert report.n_scanned == 1
        assert report.n_probes <= budget / costs.PROBE + 64  # some are under way when it is noticed


def test_work_of_a_batch_is_the_sum_of_its_parts(set_budget, shared_segment):
    set_budget(FOREVER)
    segment, queries = shared_segment
    for search, argument in ((segment.knn, 12), (segment.radius, 5)):
        whole = search(queries, argument, n_threads=2)[1]
        parts = [search(part, argument, n_threads=1)[1] for part in np.split(queries, [1, 40, 107])]
        for name in ("n_queries", "n_scanned", "n_probes", "n_candidates"):
            assert getattr(whole, name) == sum(getattr(part, name) for part in parts)
        assert whole.substring_radius == max(part.substring_radius for part in parts)


# Several segments.


@PROPERTY
@given(
    seed=st.integers(0, 2**32),
    n_segments=st.integers(1, 4),
    k=st.sampled_from((0, 1, 7, 100, 2000)),
    path=st.sampled_from((None, "scan", "buckets")),
    n_threads=n_threads_wanted,
)
def test_segments_with_and_without_tables_give_one_answer(seed, n_segments, k, path, n_threads):
    rng = np.random.default_rng(seed)
    parts, table = [], []
    for number in range(n_segments):
        n = int(rng.integers(0, 300))
        codes = random_codes(rng, n, 20, 0.3)
        dead = np.flatnonzero(rng.random(n) < 0.2).tolist()
        # Ids of three segments interleave.
        segment = Segment(codes, 20, n_blocks=2, dead=dead, first_id=number % 3 + 900 * (number // 3))
        if n and rng.random() < 0.7:
            segment.with_tables(2, wide=bool(rng.random() < 0.5))
        parts.append(segment)
        rows = [row for row in range(n) if row not in set(dead)]
        table += [(segment.first_id + 3 * row, as_integers(codes[row, None])[0]) for row in rows]
    queries = random_codes(rng, 4, 20, 0.3)
    expected = [sorted(((code ^ query).bit_count(), one) for one, code in table) for query in as_integers(queries)]
    found = engine.knn(parts, queries, k, n_bits=20, n_threads=n_threads, path=path)
    assert [
        list(zip(far, ids, strict=True)) for far, ids in zip(found.distances.tolist(), found.ids.tolist(), strict=True)
    ] == [every[:k] for every in expected]
    check_stats(found.stats, parts, 4)
    within = engine.radius(parts, queries, 4, n_bits=20, n_threads=n_threads, path=path)
    inside = [[pair for pair in every if pair[0] <= 4] for every in expected]
    assert np.diff(within.lims).tolist() == [len(one) for one in inside]
    assert list(zip(within.distances.tolist(), within.ids.tolist(), strict=True)) == [
        pair for one in inside for pair in one
    ]
    check_stats(within.stats, parts, 4)


def check_stats(stats, parts, n_queries):
    """What an engine says that it did agrees with itself."""
    plans = stats["plan"]
    for name in ("n_probes", "n_candidates"):
        assert stats[name] == sum(plan[name] for plan in plans)
    assert stats["n_compared"] == stats["n_candidates"] + sum(plan["n_scanned"] * plan["rows"] for plan in plans)
    assert stats["substring_radius"] == max((plan["substring_radius"] for plan in plans), default=-1)
    ways = {way for plan in plans for way in plan["path"].split(", then ")}
    assert stats["path"] == (" and ".join(sorted(ways)) or "scan")
    assert len({plan["segment"] for plan in plans}) == len(plans)
    for plan in plans:
        assert plan["rows"] == len(parts[plan["segment"]].codes)
        assert plan["n_queries"] == n_queries
        assert (plan["n_probes"] > 0) == plan["path"].startswith("buckets") == (plan["substring_radius"] >= 0)
        assert ("scan" in plan["path"]) == (plan["n_scanned"] > 0)


# Arguments.


@pytest.mark.parametrize("path", [None, "scan", "buckets"])
def test_no_queries_find_nothing(shared_segment, path):
    segment, queries = shared_segment
    assert segment.knn(queries[:0], 3, path=path)[0] == []
    assert segment.radius(queries[:0], 3, path=path)[0] == []
    within = engine.radius([segment], queries[:0], 3, n_bits=64, path=path)
    assert (within.lims.tolist(), len(within.ids)) == ([0], 0)
    assert engine.knn([segment], queries[:0], 3, n_bits=64, path=path).ids.shape == (0, 3)


@pytest.mark.parametrize("path", [None, "scan", "buckets"])
@pytest.mark.parametrize("number", [-1, 2.5, True])
def test_wrong_numbers_are_refused_on_every_path(shared_segment, path, number):
    segment, queries = shared_segment
    with pytest.raises(ArgumentError, match=f"k is {number}"):
        segment.knn(queries, number, path=path)
    with pytest.raises(ArgumentError, match=f"radius is {number}"):
        segment.radius(queries, number, path=path)


@pytest.mark.parametrize("path", [None, "scan", "buckets"])
def test_wrong_bounds_and_queries_are_refused_on_every_path(shared_segment, path):
    segment, queries = shared_segment
    with pytest.raises(ArgumentError, match="bound has shape"):
        segment.knn(queries, 3, path=path, bound=np.zeros(2, np.int32))
    with pytest.raises(ArgumentError, match="codes have shape"):
        segment.knn(np.zeros((1, 2), np.uint64), 3, path=path)
    with pytest.raises(ArgumentError, match="codes have shape"):
        segment.radius(np.zeros((1, 2), np.uint64), 3, path=path)


def test_an_unknown_path_is_refused(shared_segment):
    segment, queries = shared_segment
    for search in (segment.knn, segment.radius):
        with pytest.raises(ArgumentError, match="path is 'tables'"):
            search(queries, 3, path="tables")


# Damaged tables: what can be told is told, the scan answers, and nothing crashes.


def change(kind, name, value):
    """Damage an array or the description of a table."""

    def damage(table, n):
        if kind == "array":
            table.arrays[name] = np.ascontiguousarray(value(table.arrays[name], n))
        elif kind == "layout of array":
            table.arrays[name] = value(table.arrays[name], n)
        elif kind == "field":
            table.description = {**table.description, name: value}
        else:
            del (table.arrays if kind == "without array" else table.description)[name]

    return damage


def put(at, value):
    def changed(array, n):
        array = array.copy()
        array[at] = value(array, n)
        return array

    return changed


SEEN_AT_ONCE = {
    "offsets begin late": change("array", "offsets", put(0, lambda a, n: 1)),
    "offsets end early": change("array", "offsets", put(-1, lambda a, n: n - 1)),
    "offsets end late": change("array", "offsets", put(-1, lambda a, n: n + 1)),
    "offsets too short": change("array", "offsets", lambda a, n: np.r_[a[:-2], a[-1:]]),
    "offsets too long": change("array", "offsets", lambda a, n: np.r_[a, a[-1:]]),
    "offsets in columns": change("array", "offsets", lambda a, n: a[:, None]),
    "offsets of int64": change("array", "offsets", lambda a, n: a.astype(np.int64)),
    "offsets of int32": change("array", "offsets", lambda a, n: a.astype(np.int32)),
    "offsets of big endian": change("array", "offsets", lambda a, n: a.astype(">u4")),
    "offsets in steps": change("layout of array", "offsets", lambda a, n: np.repeat(a, 2)[::2]),
    "no offsets": change("without array", "offsets", None),
    "rows too few": change("array", "rows", lambda a, n: a[:-1]),
    "rows too many": change("array", "rows", lambda a, n: np.r_[a, a[:1]]),
    "rows of uint64": change("array", "rows", lambda a, n: a.astype(np.uint64)),
    "no rows": change("without array", "rows", None),
    "codes too few": change("array", "codes", lambda a, n: a[:-1]),
    "codes of another width": change("array", "codes", lambda a, n: np.hstack([a, a])),
    "codes in one dimension": change("array", "codes", lambda a, n: a[:, 0]),
    "codes of int64": change("array", "codes", lambda a, n: a.view(np.int64)),
    "no codes": change("without array", "codes", None),
    "no bits": change("without field", "bits", None),
    "bits of none": change("field", "bits", []),
    "bits twice": change("field", "bits", [0, 0, 1]),
    "bits past the width": change("field", "bits", [0, 1, 30]),
    "bits below zero": change("field", "bits", [-1, 0, 1]),
    "bits beyond integers": change("field", "bits", [10**30]),
    "bits that are words": change("field", "bits", ["a"]),
    "bits that are nothing": change("field", "bits", None),
    "bits of lists": change("field", "bits", [[0, 1], [2]]),
    "no layout": change("without field", "layout", None),
    "an unknown layout": change("field", "layout", "high"),
    "a layout of another kind": change("field", "layout", ["wide"]),
    "another layout than the others": change("field", "layout", "lean"),
    "no directory": change("without field", "directory", None),
    "an unknown directory": change("field", "directory", "tree"),
    "a direct directory of fewer bits": change("field", "directory_bits", 3),
    "a directory of no bits": change("field", "directory_bits", 0),
    "a directory of too many bits": change("field", "directory_bits", 1000),
    "a directory of infinitely many bits": change("field", "directory_bits", math.inf),
    "a directory of some bits": change("field", "directory_bits", "some"),
    "a directory of unknown bits": change("field", "directory_bits", None),
    "occupancy of nothing": change("field", "occupancy", []),
    "occupancy that is a number": change("field", "occupancy", 3.0),
    "occupancy that is not a number": change("field", "occupancy", [1.0, math.nan]),
    "occupancy that is infinite": change("field", "occupancy", [math.inf]),
    "occupancy below zero": change("field", "occupancy", [1.0, -1.0]),
    "occupancy of lists": change("field", "occupancy", [[1.0]]),
    "occupancy that is a word": change("field", "occupancy", ["much"]),
    "occupancy of far too many": change("field", "occupancy", [1.0] * 65),
}
# Of the first table: the others say the same of the segment, which is not read again.
SEEN_IN_THE_FIRST = {
    "distances of neighbours without number": change("field", "near", [[1, 2], [3]]),
    "distances of neighbours in one list": change("field", "near", [1, 2, 3]),
    "distances of neighbours that descend": change("field", "near", [[1, 9], [10, 8]]),
    "distances of the zeroth neighbour": change("field", "near", [[0, 9]]),
    "distances of neighbours beyond the width": change("field", "near", [[1, 31]]),
    "distances of neighbours that are no numbers": change("field", "near", [[1, math.nan]]),
    "distances of neighbours that are words": change("field", "near", [["a", "b"]]),
}
SEEN_BY_PROBES = {
    "offsets descend": change("array", "offsets", put(slice(1, -1), lambda a, n: a[-2:0:-1])),
    "offsets beyond the rows": change("array", "offsets", put(slice(1, -1), lambda a, n: n + 1)),
    "offsets far beyond the rows": change("array", "offsets", put(slice(1, -1), lambda a, n: 2**32 - 1)),
    "rows beyond the segment": change("array", "rows", lambda a, n: a + np.uint32(n)),
    "rows far beyond the segment": change("array", "rows", put(slice(None), lambda a, n: 2**32 - 1)),
}


def damaged_segment(wide=True, seed=13):
    rng = np.random.default_rng(seed)
    codes = random_codes(rng, 1000, 30)
    segment = Segment(codes, 30, dead=range(0, 1000, 50)).with_tables(3, wide=wide)
    return segment, queries_of(rng, codes, 30)


def check_that_the_scan_answers(segment, queries, search):
    """Search by buckets, then again; give the reasons why tables were disabled."""
    for _ in range(2):
        if search == "radius":
            found, report = segment.radius(queries, 10)
            assert found == [[pair for pair in every if pair[0] <= 10] for every in segment.oracle(queries)]
        else:
            found, report = segment.knn(queries, 10)
            assert found == [every[:10] for every in segment.oracle(queries)]
        assert report.n_scanned == len(queries)
    (reason,) = segment.stored.problems
    assert isinstance(reason, str)
    assert reason in report.plan.reason
    assert (report.path, report.tables) == ("scan", "none")


@pytest.mark.parametrize("search", ["knn", "radius"])
@pytest.mark.parametrize(
    ("damage", "number"),
    [
        *((damage, number) for damage in SEEN_AT_ONCE for number in (0, 2)),
        *((damage, 0) for damage in SEEN_IN_THE_FIRST),
    ],
)
def test_tables_that_do_not_describe_the_segment_are_not_used(damage, number, search):
    segment, queries = damaged_segment()
    {**SEEN_AT_ONCE, **SEEN_IN_THE_FIRST}[damage](segment.stored.tables[number], 1000)
    check_that_the_scan_answers(segment, queries, search)


@pytest.mark.parametrize("search", ["knn", "radius"])
@pytest.mark.parametrize("tables", [slice(0), slice(2), slice(1, None), [0, 0, 1], [0, 1, 2, 2]])
def test_tables_that_are_not_one_for_each_substring_are_not_used(tables, search):
    segment, queries = damaged_segment()
    numbers = tables if isinstance(tables, list) else range(3)[tables]
    segment.stored.tables = [segment.stored.tables[number] for number in numbers]
    check_that_the_scan_answers(segment, queries, search)


@pytest.mark.parametrize("search", ["knn", "radius"])
@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("wide", [True, False], ids=["wide", "lean"])
@pytest.mark.parametrize("damage", SEEN_BY_PROBES)
def test_tables_found_damaged_on_the_way_are_left_to_the_scan(set_budget, damage, wide, number, search):
    set_budget(FOREVER)
    for n_queries in (1, 5):
        segment, queries = damaged_segment(wide)
        SEEN_BY_PROBES[damage](segment.stored.tables[number], 1000)
        check_that_the_scan_answers(segment, queries[:n_queries], search)


@PROPERTY
@given(
    seed=st.integers(0, 99),
    wide=st.booleans(),
    name=st.sampled_from(("offsets", "rows")),
    number=st.integers(0, 2),
    places=st.lists(st.integers(1, 1 << 20), min_size=1, max_size=40),
    beyond=st.sampled_from((0, 1, 1000, 2**31)),
    n_threads=n_threads_wanted,
)
def test_places_beyond_the_rows_never_change_an_answer(set_budget, seed, wide, name, number, places, beyond, n_threads):
    set_budget(FOREVER)
    for search in ("knn", "radius"):
        segment, queries = damaged_segment(wide, seed)
        array = segment.stored.tables[number].arrays[name]
        array[[1 + place % (len(array) - 2) for place in places]] = 1000 + beyond + (name == "offsets")
        if search == "radius":
            found, report = segment.radius(queries, 4, n_threads=n_threads)
            assert found == [[pair for pair in every if pair[0] <= 4] for every in segment.oracle(queries)]
        else:
            found, report = segment.knn(queries, 10, n_threads=n_threads)
            assert found == [every[:10] for every in segment.oracle(queries)]
        assert report.n_scanned == (len(queries) if segment.stored.problems else 0)


def segments_with_a_bucket_too_large():
    """One bucket reaches over many that follow, whose rows are met twice; the next one ends before it begins."""
    for seed in range(60):
        for wide in (True, False):
            segment, queries = damaged_segment(wide, seed)
            table = segment.stored.tables[0]
            table.arrays["offsets"][7] = table.arrays["offsets"][1000]
            mine = sum(1 << bit for bit in table.description["bits"])
            yield segment, queries[3:4] & ~np.uint64(mine)  # looks into buckets 0; 1, 2, 4 …; 3, 5, 6, 9 …; 7 …


@pytest.mark.parametrize("search", ["knn", "radius"])
def test_what_damaged_tables_led_to_is_forgotten(set_budget, search):
    set_budget(FOREVER)
    n_seen = 0
    for segment, query in segments_with_a_bucket_too_large():
        oracle = segment.oracle(query)[0]
        found = segment.knn(query, 20, n_threads=1)[0] if search == "knn" else segment.radius(query, 9)[0]
        if segment.stored.problems:
            assert found == [oracle[:20] if search == "knn" else [pair for pair in oracle if pair[0] <= 9]]
            n_seen += 1
    assert n_seen > 20


def test_offsets_that_descend_where_no_probe_looks_make_no_row_count_twice(set_budget):
    set_budget(FOREVER)
    for segment, query in segments_with_a_bucket_too_large():
        found = segment.radius(query, 6)[0]
        assert found == [[pair for pair in segment.oracle(query)[0] if pair[0] <= 6]]
