"""Search through bucket tables equals a slow oracle, whatever the codes, tables, budgets and deletes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .buckets_kit import FOREVER, n_threads_wanted, queries_of, segments
from .conftest import PROPERTY, Segment, nearest_rows, oracle_lists, random_codes

pytestmark = pytest.mark.usefixtures("kernels_always")

# Bits, and substrings so that all buckets together are few: with up to 10 bits each they are numbered directly by a
# segment of 1000 rows, with more by a hash. Most do not come out even.
SHAPES = [
    (1, 1), (8, 1), (8, 3), (8, 8), (30, 3), (30, 4), (64, 7), (64, 8), (70, 7), (100, 11), (128, 13), (256, 26),
    (1024, 103),
    (30, 2), (64, 5), (70, 6), (100, 8), (128, 10), (256, 20), (1024, 90),
]  # fmt: skip
budgets = st.sampled_from((FOREVER, 1e6, 3e4, 1e3, 0.0))


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
