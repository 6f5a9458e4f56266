"""The planner's choices, the costs that it goes by, and that no choice or budget changes an answer."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hashdb.search import costs, engine, planner, scan, segment_search
from hashdb.search.planner import Plan, plan_knn, plan_radius
from hashdb.search.segment_search import Report
from hashdb.search.tables import met_by, prepare

from .conftest import PROPERTY, Segment, random_codes

pytestmark = pytest.mark.usefixtures("kernels_always")
CONSTANTS = [
    name for name in dir(costs) if name.isupper() and isinstance(getattr(costs, name), float) and name != "NEVER"
]

LARGE = 1 << 19


@pytest.fixture(scope="module")
def large():
    """A segment of clusters of 50 codes, with tables, and a query for each of some of them."""
    rng = np.random.default_rng(0)
    centres = random_codes(rng, LARGE // 50 + 1, 64)
    codes = np.repeat(centres, 50, axis=0)[:LARGE] ^ random_codes(rng, LARGE, 64, 0.05)
    return Segment(codes, 64, n_blocks=2).with_tables(4), centres[:300]


def tables_of(segment):
    return prepare(segment.stored, segment.code_blocks, segment.n_bits)


# Choices.


@pytest.mark.parametrize("n_queries", [1, 7, 300])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_segment_without_tables_is_scanned(n_queries, n_threads):
    for plan in (
        plan_knn(None, "there are none", 10**8, 1, n_queries, 10, n_threads, None),
        plan_radius(None, "there are none", 10**8, 1, n_queries, 0, n_threads, None),
        plan_knn(None, "there are none", 10**8, 1, n_queries, 10, n_threads, "buckets"),
        plan_radius(None, "there are none", 10**8, 1, n_queries, 0, n_threads, "buckets"),
    ):
        assert (plan.path, plan.reason, plan.buckets) == ("scan", "there are none", math.inf)
        assert plan.scan > 0


@pytest.mark.parametrize("n_queries", [1, 300])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_few_neighbours_of_a_large_segment_are_looked_for_in_buckets(large, n_queries, n_threads):
    segment, queries = large
    for k in (1, 10):
        found, report = segment.knn(queries[:n_queries], k, path=None, n_threads=n_threads)
        assert report.plan.path == "buckets"
        assert report.n_probes > 0
        assert report.n_scanned < n_queries
        assert found == segment.knn(queries[:n_queries], k, path="scan")[0]
    for radius in (0, 1, 3):
        found, report = segment.radius(queries[:n_queries], radius, path=None, n_threads=n_threads)
        assert (report.plan.path, report.path, report.n_scanned) == ("buckets", "buckets", 0)
        assert report.plan.buckets < report.plan.scan
        assert found == segment.radius(queries[:n_queries], radius, path="scan")[0]


@pytest.mark.parametrize("n_queries", [1, 20])
def test_half_of_the_rows_are_scanned(large, n_queries):
    segment, queries = large
    report = segment_search.knn(segment, queries[:n_queries], LARGE // 2, n_bits=64, n_threads=2)[1]
    assert (report.plan.path, report.path) == ("scan", "scan")
    assert report.n_scanned == n_queries
    assert plan_radius(tables_of(segment), "", LARGE, 1, n_queries, 32, 2, None).path == "scan"


def test_codes_that_are_all_equal_are_scanned(large):
    codes = np.full((1 << 16, 1), 7, np.uint64)
    report = Segment(codes, 64).with_tables(3).knn(codes[:50], 5, path=None)[1]
    assert (report.plan.path, report.path, report.n_probes) == ("scan", "scan", 0)


def test_the_first_queries_of_a_process_wait_for_no_kernels(large, monkeypatch):
    segment, queries = large
    monkeypatch.setattr(scan, "_budget", scan._Budget())
    monkeypatch.setattr(scan, "NUMPY_BUDGET", 20 * LARGE)
    for search, argument in ((segment.knn, 5), (segment.radius, 0)):
        report = search(queries[:1], argument, path=None)[1]
        assert (report.path, report.n_probes) == ("scan", 0)
        assert "kernels" in report.plan.reason
        assert search(queries[:1], argument, path="buckets")[1].path == "buckets"
    segment.knn(queries[:50], 5, path="scan")
    assert segment.knn(queries[:1], 5, path=None)[1].path == "buckets"


def test_a_reason_tells_why_tables_are_not_used(large):
    segment, queries = large
    bare = Segment(segment.codes[:100], 64)
    assert bare.knn(queries, 3)[1].plan.reason == "no bucket tables"
    bare.with_tables(2).stored.disable("a file is missing")
    assert "a file is missing" in bare.knn(queries, 3, path=None)[1].plan.reason
    assert "a file is missing" in bare.radius(queries, 3)[1].plan.reason


@pytest.mark.parametrize("n_threads", [1, 2, 8])
@pytest.mark.parametrize("n_queries", [1, 3, 1000])
def test_plans_hold_what_they_say(large, n_queries, n_threads):
    tables = tables_of(large[0])
    before = 0.0
    for k in (1, 10, 100, 1000, 10_000, 100_000, LARGE, LARGE + 1):
        plan = plan_knn(tables, "", LARGE, 1, n_queries, k, n_threads, None)
        assert plan.scan >= costs.scan(LARGE, 1, n_queries, n_threads)
        assert plan.path == "scan" or plan.budget > 0
        assert 0 < plan.buckets < math.inf
        if n_queries >= n_threads:  # else the threads share a query that is expected to take long
            assert before <= plan.buckets
        before = plan.buckets
        for path in planner.PATHS:
            told = plan_knn(tables, "", LARGE, 1, n_queries, k, n_threads, path)
            assert (told.path, told.scan, told.buckets) == (path, plan.scan, plan.buckets)
            assert told.budget > told.scan
    before = 0.0
    for radius in range(65):
        plan = plan_radius(tables, "", LARGE, 1, n_queries, radius, n_threads, None)
        assert plan.path == ("buckets" if plan.buckets < plan.scan else "scan")
        assert plan.path == "scan" or plan.budget > 0
        if n_queries >= n_threads:
            assert before < plan.buckets
        before = plan.buckets
    assert plan_radius(tables, "", LARGE, 1, n_queries, 900, n_threads, None).buckets == before


# No budget and no costs change an answer.


@pytest.fixture(scope="module")
def mixed():
    """A segment of clusters, and queries of which some find their neighbours soon and some never."""
    rng = np.random.default_rng(1)
    centres = random_codes(rng, 50, 64)
    codes = centres[rng.integers(0, 50, 2000)] ^ random_codes(rng, 2000, 64, 0.05)
    segment = Segment(codes, 64, n_blocks=3, dead=range(0, 2000, 6)).with_tables(4)
    queries = np.concatenate([codes[:15], random_codes(rng, 15, 64)])
    return segment, queries, segment.oracle(queries)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("budget", [-1.0, 0.0, 1.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5, 1e6, 1e9, math.inf])
def test_no_budget_changes_an_answer(set_budget, mixed, budget, n_threads):
    set_budget(budget)
    segment, queries, oracle = mixed
    n_left = []
    for k in (1, 20, 500):
        found, report = segment.knn(queries, k, n_threads=n_threads)
        assert found == [every[:k] for every in oracle]
        check_report(report, segment, len(queries))
        n_left.append(report.n_scanned)
    for radius in (0, 6, 20):
        found, report = segment.radius(queries, radius, n_threads=n_threads)
        assert found == [[pair for pair in every if pair[0] <= radius] for every in oracle]
        check_report(report, segment, len(queries))
        n_left.append(report.n_scanned)
    if budget == math.inf:
        assert n_left == [0] * 6
    if budget <= 0:
        # Within a radius each bucket is paid for before it is looked at; a k-NN search may end in its first ones.
        assert n_left[3:] == [30] * 3
        assert min(n_left[1:3]) > 0


def test_a_batch_is_left_to_the_scan_in_part(set_budget, mixed):
    segment, queries, oracle = mixed
    set_budget(5e4)
    assert 0 < segment.knn(queries, 5, n_threads=1)[1].n_scanned < len(queries)
    set_budget(math.inf)
    answers = [segment.radius(query[None], 8, n_threads=1) for query in queries]
    spent = [costs.PROBE * one.n_probes + costs.candidate(1, True) * one.n_candidates for _, one in answers]
    # Rows that are found cost too; those of the last buckets are not waited for.
    at_most = [cost + costs.found(2000, 1) * len(found[0]) for cost, (found, _) in zip(spent, answers, strict=True)]
    budget = (min(spent) + max(spent)) / 2
    set_budget(budget)
    found, report = segment.radius(queries, 8, n_threads=2)
    assert sum(one > budget for one in spent) <= report.n_scanned <= sum(one > budget for one in at_most)
    assert 0 < report.n_scanned < len(queries)
    assert found == [[pair for pair in every if pair[0] <= 8] for every in oracle]


def test_the_few_that_a_batch_leaves_look_once_more(monkeypatch, kernels_always, mixed):
    segment, queries, oracle = mixed
    asked = []

    def plan(tables, why_none, n, n_words, n_queries, k, n_threads, path):
        asked.append(n_queries)
        # A batch gives up where its queries are far from all; what it leaves may cost as much as it likes.
        return Plan("buckets", "told", 1e9, 1.0, 5e4 if n_queries == len(queries) else math.inf)

    monkeypatch.setattr(segment_search, "plan_knn", plan)
    found, report = segment.knn(queries, 5, n_threads=1, path=None)
    assert found == [every[:5] for every in oracle]
    assert asked[0] == len(queries)
    assert 0 < asked[1] < len(queries)
    assert (report.n_scanned, report.path) == (0, "buckets")
    n_probes = report.n_probes
    monkeypatch.setattr(segment_search, "_WORTH_MORE", math.inf)
    found, report = segment.knn(queries, 5, n_threads=1, path=None)
    assert found == [every[:5] for every in oracle]
    assert report.n_scanned == asked[1]
    assert report.n_probes < n_probes


@pytest.mark.parametrize("distance", [0, 9])
def test_a_radius_search_does_not_read_buckets_that_are_too_full(set_budget, distance):
    equal = np.zeros((40_000, 1), np.uint64)
    segment = Segment(np.concatenate([equal, random_codes(np.random.default_rng(0), 1000, 64)]), 64).with_tables(4)
    # The query differs in one substring only: the others lead to all that is equal, within the radius or not.
    first_bits = [1 << bit for bit in range(64) if int(tables_of(segment).masks[0, 0]) >> bit & 1]
    query = np.array([[sum(first_bits[:distance])]], np.uint64)
    set_budget(2.5 * (costs.PROBE + costs.candidates(1, True)[1] * 40_000))
    found, report = segment.radius(query, 3, n_threads=1)
    assert found == [[pair for pair in segment.oracle(query)[0] if pair[0] <= 3]]
    assert report.n_scanned == 1
    assert report.n_candidates < 2 * 41_000


@PROPERTY
@given(
    factors=st.dictionaries(st.sampled_from(CONSTANTS), st.sampled_from((0.0, 1e-3, 0.1, 10.0, 1e4)), max_size=4),
    n_queries=st.integers(1, 30),
    k=st.sampled_from((1, 20, 500)),
    n_threads=st.integers(1, 2),
)
@example(factors={"SCAN": 1e4}, n_queries=30, k=20, n_threads=2)
def test_no_costs_change_an_answer(kernels_always, mixed, factors, n_queries, k, n_threads):
    segment, queries, oracle = mixed
    stored = segment.stored
    with pytest.MonkeyPatch.context() as patch:
        for name, factor in factors.items():
            patch.setattr(costs, name, factor * getattr(costs, name))
        # Prepared anew: what is known of tables holds costs.
        again = Segment(segment.codes, 64, n_blocks=3, dead=segment.dead)
        again.stored = type(stored)(stored.tables)
        found, report = again.knn(queries[:n_queries], k, path=None, n_threads=n_threads)
        assert found == [every[:k] for every in oracle[:n_queries]]
        check_report(report, again, n_queries)
        assert report.plan.path == "buckets" or factors != {"SCAN": 1e4}
        found, report = again.radius(queries[:n_queries], 6, path=None, n_threads=n_threads)
        assert found == [[pair for pair in every if pair[0] <= 6] for every in oracle[:n_queries]]
        check_report(report, again, n_queries)


def check_report(report, segment, n_queries):
    """What a report says agrees with itself."""
    n = len(segment.codes)
    assert (report.rows, report.n_queries) == (n, n_queries)
    assert 0 <= report.n_scanned <= n_queries
    expected = {0: "buckets", n_queries: "scan" if report.plan.path == "scan" else "buckets, then scan"}
    assert report.path == expected.get(report.n_scanned, "buckets, then scan")
    if report.plan.path == "scan":
        assert (report.n_probes, report.n_candidates, report.substring_radius) == (0, 0, -1)
    else:
        assert report.n_probes >= n_queries
        assert report.n_candidates >= 0
        assert 0 <= report.substring_radius <= segment.n_bits
    known = report.to_dict()
    assert json.loads(json.dumps(known)) == known
    assert known["scan_estimate_ms"] == round(report.plan.scan / 1e6, 4)
    assert (known["buckets_estimate_ms"] is None) == (report.plan.buckets == math.inf)
    for name in ("rows", "tables", "path", "n_queries", "n_scanned", "n_probes", "n_candidates", "substring_radius"):
        assert known[name] == getattr(report, name)
    assert (known["plan"], known["reason"]) == (report.plan.path, report.plan.reason)


# Reports.


def test_joined_reports_are_of_both_parts():
    plan = plan_knn(None, "", 10, 1, 1, 1, 1, None)
    one = Report(10, plan, "buckets", 3, 0, 7, 20, 2, "4 wide")
    other = Report(10, plan, "scan", 2, 2, tables="4 wide")
    for joined in (one.joined(other), other.joined(one)):
        assert replace(joined, plan=plan) == Report(10, plan, "buckets, then scan", 5, 2, 7, 20, 2, "4 wide")
    assert one.joined(one).path == "buckets"
    assert other.joined(other).path == "scan"


def test_stats_of_parts_of_a_batch_are_summed_by_segment(mixed):
    segment, queries, _ = mixed
    parts = [segment.knn(part, 3, n_threads=1)[1] for part in (queries[:4], queries[4:])]
    other = Report(5, parts[0].plan, "scan", 30, 30)
    stats = engine.stats_of([(0, parts[0]), (2, other), (0, parts[1])])
    assert [plan["segment"] for plan in stats["plan"]] == [0, 2]
    assert stats["plan"][0]["n_queries"] == 30
    assert stats["n_probes"] == sum(part.n_probes for part in parts)
    assert stats["n_candidates"] == sum(part.n_candidates for part in parts)
    assert stats["n_compared"] == stats["n_candidates"] + 30 * 5 + sum(part.n_scanned for part in parts) * 2000
    assert stats["path"] == "buckets and scan"
    empty = engine.stats_of([])
    assert (empty["path"], empty["n_compared"], empty["substring_radius"], empty["plan"]) == ("scan", 0, -1, [])


# Costs.


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize(("n_bits", "m"), [(8, 3), (64, 4), (64, 1), (100, 7), (4096, 64)])
def test_stages_are_the_sum_of_their_buckets(n_bits, m, wide):
    widths = [n_bits // m + (t < n_bits % m) for t in range(m)]
    occupancy = np.random.default_rng(2).random((m, 3)) * 50
    n_words = -(-n_bits // 64)
    stages = costs.stages(widths, occupancy, n_bits, n_words, wide)
    each = [
        costs.PROBE + costs.candidate(n_words, wide) * occupancy[stage % m, min(stage // m, 2)]
        for stage in range(n_bits + 1)
    ]
    expected, total = [], 0.0
    for stage in range(n_bits + 1):
        total += math.comb(widths[stage % m], stage // m) * each[stage]
        expected.append(total)
    np.testing.assert_allclose(stages, expected, rtol=1e-9)
    assert (np.diff(stages) >= 0).all()
    assert np.isfinite(stages).all()


def test_a_scan_costs_more_the_more_there_is_to_scan():
    for n_queries in (1, 10, 256, 5000):
        sizes = [costs.scan(n, 1, n_queries, 1) for n in (0, 1, 1000, 10**6, 10**9)]
        assert sizes == sorted(sizes)
        assert 0 < sizes[0] < sizes[-1]
        words = [costs.scan(10**6, n_words, n_queries, 1) for n_words in (1, 2, 4, 16, 64)]
        assert words == sorted(words)
        assert words[0] < words[-1]
        for n_threads in (2, 16):
            assert costs.scan(10**9, 1, n_queries, n_threads) > costs.scan(10**6, 1, n_queries, n_threads)
            assert costs.scan(10**9, 1, n_queries, n_threads) < costs.scan(10**9, 1, n_queries, 1)
    for n in (1000, 10**7):
        batches = [costs.scan(n, 1, n_queries, 1) for n_queries in (1, 2, 10, 100, 256, 1000)]
        assert batches == sorted(batches, reverse=True)


def test_buckets_are_counted():
    assert [costs.n_buckets(5, radius) for radius in range(7)] == [1, 5, 10, 10, 5, 1, 0]


def test_a_code_beside_its_neighbours_costs_less_than_one_wherever_its_row_is():
    for n_words in (1, 2, 4):
        assert 0 < costs.candidate(n_words, True) < costs.candidate(n_words, False)


@pytest.mark.parametrize("n_bits", [64, 256])
def test_the_likely_distance_is_that_of_random_codes(n_bits):
    rng = np.random.default_rng(3)
    codes, queries = random_codes(rng, 5000, n_bits), random_codes(rng, 20, n_bits)
    distances = np.sort(np.bitwise_count(queries[:, None, :] ^ codes[None]).sum(axis=2), axis=1)
    tables = tables_of(Segment(codes, n_bits).with_tables(n_bits // 12))
    for k in (1, 10, 100, 1000):
        # Few bits make steps, and the far end of a normal distribution is not quite that of a binomial one.
        assert abs(costs.likely_distance(k, 5000, n_bits) - distances[:, k - 1].mean()) < 2.5
        assert abs(tables.likely_distance(k) - distances[:, k - 1].mean()) < 3.5
    every = [tables.likely_distance(k) for k in range(1, 5001, 7)]
    assert every == sorted(every)
    assert 0 <= every[0] <= every[-1] <= n_bits


def test_the_likely_distance_is_one_that_there_is():
    for k, n, n_bits in ((1, 2**32, 1), (5, 5, 8), (10, 5, 8), (1, 1, 1), (0, 10, 64)):
        assert 0 <= costs.likely_distance(k, n, n_bits) <= n_bits
        codes = np.zeros((n % 100 + 1, 1), np.uint64)
        assert tables_of(Segment(codes, n_bits).with_tables(1)).likely_distance(k) <= n_bits


@pytest.mark.parametrize("widths", [[3, 3, 2], [4, 4], [8], [1] * 8, [2, 1, 1]])
def test_the_probability_to_be_met_is_that_of_all_codes(widths):
    n_bits = sum(widths)
    ends = np.cumsum(widths)
    keys = [(1 << int(end)) - (1 << int(end - width)) for end, width in zip(ends, widths, strict=True)]
    found = met_by(widths)
    assert found.shape == (n_bits // len(widths) + 2, n_bits + 1)
    for radius, distance in itertools.product(range(len(found)), range(n_bits + 1)):
        codes = [code for code in range(1 << n_bits) if code.bit_count() == distance]
        met = [min((code & key).bit_count() for key in keys) <= radius for code in codes]
        assert found[radius, distance] == pytest.approx(sum(met) / len(codes), abs=1e-9)


@pytest.mark.parametrize(("widths", "distance"), [([16] * 4, 13), ([13, 13, 13, 13, 12], 15), ([10] * 10, 30)])
def test_the_probability_to_be_met_is_that_of_a_simulation(widths, distance):
    rng = np.random.default_rng(4)
    n_bits, n_trials = sum(widths), 20_000
    owner = np.repeat(np.arange(len(widths)), widths)
    drawn = owner[np.argsort(rng.random((n_trials, n_bits)), axis=1)[:, :distance]]
    least = np.stack([(drawn == t).sum(axis=1) for t in range(len(widths))]).min(axis=0)
    found = met_by(widths)
    for radius in range(4):
        share = (least <= radius).mean()
        assert abs(found[radius, distance] - share) < 5 * math.sqrt(0.25 / n_trials)
    assert 0 < found[0, distance] < found[2, distance] < 1.0001


@pytest.mark.parametrize("widths", [[16] * 4, [16] * 64, [64], [64, 63], [17, 17, 16, 16, 16], [1]])
def test_probabilities_to_be_met_are_probabilities(widths):
    found, m = met_by(widths), len(widths)
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found, axis=0) >= -1e-9).all()  # the farther one looks, the more is met
    assert (np.diff(found, axis=1) <= 1e-9).all()  # and the farther it is, the less
    for radius in range(len(found)):
        assert (found[radius, : m * (radius + 1)] == 1).all()  # pigeonhole
    if len(found) > max(widths):  # the last row is for all radii that follow
        assert (found[-1] == 1).all()
    assert found[0, -1] < 1e-9  # the complement


@pytest.mark.parametrize(("m", "width"), [(4, 16), (64, 16), (64, 64)])
def test_the_probability_of_a_substring_without_a_difference_is_exact(m, width):
    found, n_bits = met_by([width] * m), m * width
    for distance in range(0, n_bits + 1, m // 4):
        # By inclusion and exclusion, in whole numbers.
        ways = sum((-1) ** (j + 1) * math.comb(m, j) * math.comb(n_bits - j * width, distance) for j in range(1, m + 1))
        exact = ways / math.comb(n_bits, distance) if distance else 1.0
        assert found[0, distance] == pytest.approx(exact, abs=1e-6)
