"""Search through bucket tables meets every code, counts it once, and does the work of its stages and no more."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from hashdb.search import costs

from .buckets_kit import FOREVER
from .conftest import Segment, as_integers, random_codes

pytestmark = pytest.mark.usefixtures("kernels_always")

HASH_FACTOR = 0x9E3779B97F4A7C15  # docs/format.md, section 7


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
