"""Counts by distance: against pairs one by one, whatever threads and blocks, in bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashdb.codes import pack
from hashdb.errors import ArgumentError
from hashdb.evaluation import LabelTruth, count_by_distance, counts

from .conftest import PROPERTY


class GivenGrades:
    """A truth of any grades, which remembers what it was asked."""

    def __init__(self, table, n_grades):
        self.table, self.n_grades, self.asked = table, n_grades, []

    n_queries = property(lambda self: self.table.shape[0])
    n_database = property(lambda self: self.table.shape[1])

    def grades(self, start, stop):
        self.asked.append((start, stop))
        return self.table[start:stop].astype(np.uint8)


def case(seed, n_queries, n, n_bits, n_grades=1):
    rng = np.random.default_rng(seed)
    stored, asked = rng.random((n, n_bits)) < 0.5, rng.random((n_queries, n_bits)) < 0.3
    return stored, asked, rng.integers(0, n_grades + 1, (n_queries, n))


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 40), st.integers(1, 300), st.integers(1, 4))
@PROPERTY
def test_every_pair_is_counted_at_its_distance_and_grade(seed, n_queries, n, n_bits, n_grades):
    stored, asked, table = case(seed, n_queries, n, n_bits, n_grades)
    wanted = np.zeros((n_queries, n_grades + 1, n_bits + 1), int)
    for q in range(n_queries):
        for row in range(n):
            wanted[q, table[q, row], int((asked[q] != stored[row]).sum())] += 1
    found = count_by_distance(pack(stored), pack(asked), GivenGrades(table, n_grades), n_bits=n_bits)
    assert found.by_grade.tolist() == wanted.tolist()
    assert found.total.tolist() == wanted.sum(axis=1).tolist()
    assert found.relevant.tolist() == wanted[:, 1:].sum(axis=1).tolist()
    assert found.n_relevant.tolist() == (table > 0).sum(axis=1).tolist()


@pytest.mark.parametrize("n_threads", [1, 3])
def test_blocks_and_threads_change_nothing(monkeypatch, n_threads):
    stored, asked, table = case(1, 23, 50, 70)
    codes = pack(stored), pack(asked)
    whole = count_by_distance(*codes, GivenGrades(table, 1), n_bits=70).by_grade
    monkeypatch.setattr(counts, "_PAIRS_AT_ONCE", 200)
    truth = GivenGrades(table, 1)
    seen = {}
    found = count_by_distance(
        *codes,
        truth,
        n_bits=70,
        visit=lambda query, distances, grades: seen.update({query: (distances.copy(), grades.copy())}),
        n_threads=n_threads,
    )
    assert (found.by_grade == whole).all()
    assert sorted(truth.asked) == [(start, min(start + 4, 23)) for start in range(0, 23, 4)]
    for query in range(23):
        distances, grades = seen[query]
        assert distances.tolist() == (stored != asked[query]).sum(axis=1).tolist()
        assert grades.tolist() == table[query].tolist()


def test_thermometer_codes_are_counted_at_their_manhattan_distance():
    rng = np.random.default_rng(2)
    stored, asked = rng.integers(0, 4, (40, 5)), rng.integers(0, 4, (3, 5))
    codes, queries = (pack((regions[:, :, None] > np.arange(3)).reshape(-1, 15)) for regions in (stored, asked))
    found = count_by_distance(codes, queries, GivenGrades(np.ones((3, 40), int), 1), n_bits=15)
    manhattan = np.abs(asked[:, None] - stored[None]).sum(axis=2)
    assert found.relevant.tolist() == [np.bincount(row, minlength=16).tolist() for row in manhattan]


def test_memory_does_not_grow_with_the_number_of_pairs():
    rng = np.random.default_rng(0)
    codes, queries = rng.integers(0, 2**63, (20_000, 1), np.uint64), rng.integers(0, 2**63, (3000, 1), np.uint64)
    truth = LabelTruth(rng.integers(0, 10, 3000), rng.integers(0, 10, 20_000))
    tracemalloc.start()
    try:
        count_by_distance(codes, queries, truth, n_bits=64, n_threads=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The matrix of pairs would take 60 MB in bytes alone.
    assert peak < 20e6


def test_bad_input_is_refused():
    stored, asked, table = case(0, 3, 5, 10)
    truth = GivenGrades(table, 1)
    codes, queries = pack(stored), pack(asked)
    with pytest.raises(ArgumentError, match="there are 2 query codes, but the truth is about 3"):
        count_by_distance(codes, queries[:2], truth, n_bits=10)
    with pytest.raises(ArgumentError, match="there are 4 database codes, but the truth is about 5"):
        count_by_distance(codes[:4], queries, truth, n_bits=10)
    with pytest.raises(ArgumentError, match="there are no query codes, expected some to evaluate"):
        count_by_distance(codes, queries[:0], GivenGrades(table[:0], 1), n_bits=10)
    with pytest.raises(ArgumentError, match="expected \\(n, 2\\) words for 65 bits"):
        count_by_distance(codes, queries, truth, n_bits=65)
    with pytest.raises(ArgumentError, match="grades a row of query 0 above its n_grades of 1"):
        count_by_distance(codes, queries, GivenGrades(table + 2, 1), n_bits=10)
