"""Buckets and scan give one answer over several segments, and refuse the same arguments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashdb.errors import ArgumentError
from hashdb.search import engine

from .buckets_kit import n_threads_wanted
from .conftest import PROPERTY, Segment, as_integers, random_codes

pytestmark = pytest.mark.usefixtures("kernels_always")


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
