"""Search through bucket tables gives the same, however bits are turned, batches cut, and threads and callers share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashdb.search import costs

from .buckets_kit import FOREVER, complement, n_threads_wanted, segments
from .conftest import PROPERTY, Segment, nearest_rows, random_codes

pytestmark = pytest.mark.usefixtures("kernels_always")


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
