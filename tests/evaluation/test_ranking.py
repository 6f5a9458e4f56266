"""Average precision, precision, recall and NDCG over ties, against every order and against libraries."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashdb.errors import ArgumentError
from hashdb.evaluation import (
    average_precision,
    average_precision_of_ranks,
    ndcg_at,
    precision_at,
    ranks_of_relevant,
    recall_at,
)
from hashdb.evaluation.ties import chances, harmonic_span, tie_sums

from .conftest import PROPERTY, counts_of, every_order, rankings, slow_average_precision, slow_ndcg, total_and_relevant

CUTS = st.one_of(st.none(), st.integers(1, 8))
NORMALISERS = st.sampled_from(["found", "possible"])


def all_ties(total, relevant, **options):
    return {
        ties: average_precision(total, relevant, ties=ties, **options)
        for ties in ("expected", "optimistic", "pessimistic")
    }


@given(rankings(), CUTS, NORMALISERS)
@settings(PROPERTY, max_examples=150)
def test_average_precision_over_ties_is_that_of_all_orders(rows, at, normaliser):
    values = [slow_average_precision(grades, at, normaliser) for grades in every_order(rows)]
    found = all_ties(*total_and_relevant(rows), at=at, normaliser=normaliser)
    assert found["expected"].item() == pytest.approx(math.fsum(values) / len(values), abs=1e-12)
    assert found["optimistic"].item() == pytest.approx(max(values), abs=1e-12)
    assert found["pessimistic"].item() == pytest.approx(min(values), abs=1e-12)


@pytest.mark.parametrize(("at", "normaliser"), [(None, "found"), (60, "found"), (60, "possible")])
def test_expected_average_precision_is_the_mean_over_random_orders(at, normaliser):
    rng = np.random.default_rng(3)
    distances, relevant = rng.integers(0, 5, 300), rng.random(300) < 0.3
    rows = list(zip(distances.tolist(), relevant.astype(int).tolist(), strict=True))
    values = []
    for _ in range(3000):
        order = np.lexsort((rng.random(300), distances))
        ranks = np.flatnonzero(relevant[order]) + 1
        values.append(average_precision_of_ranks(ranks, at=at, normaliser=normaliser))
    error = np.std(values) / math.sqrt(len(values))
    expected = average_precision(*total_and_relevant(rows), at=at, normaliser=normaliser).item()
    assert error > 0
    assert abs(expected - np.mean(values)) < 4 * error


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=12), CUTS, NORMALISERS)
@PROPERTY
def test_expected_lies_between_the_worst_and_the_best_order(groups, at, normaliser):
    total = np.array([[a + b for a, b in groups]])
    found = all_ties(total, np.array([[a for a, _ in groups]]), at=at and at * 37, normaliser=normaliser)
    assert -1e-12 <= found["pessimistic"].item() <= found["expected"].item() + 1e-10
    assert found["expected"].item() <= found["optimistic"].item() + 1e-10 <= 1 + 2e-10


def test_without_ties_it_is_what_scikit_learn_computes():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    relevant = rng.random((20, 700)) < rng.random((20, 1)) * 0.5 + 0.01
    wanted = [average_precision_score(row, -np.arange(700)) for row in relevant]
    for values in all_ties(np.ones((20, 700), int), relevant.astype(int)).values():
        np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-9)
    by_rank = [average_precision_of_ranks(np.flatnonzero(row) + 1) for row in relevant]
    np.testing.assert_allclose(by_rank, wanted, rtol=0, atol=1e-9)


def test_queries_to_which_nothing_is_relevant_have_the_value_0():
    total, none = np.array([[3, 0, 2], [0, 0, 0]]), np.zeros((2, 3), int)
    for at in (None, 2):
        for values in all_ties(total, none, at=at).values():
            assert values.tolist() == [0, 0]
    assert recall_at(total, none, 2).tolist() == [0, 0]
    assert ndcg_at(np.stack([total, none], axis=1), 2).tolist() == [0, 0]
    assert average_precision_of_ranks(np.array([], int)) == 0


def test_the_normaliser_decides_what_a_cut_ranking_is_worth():
    total, relevant = np.array([[1, 1, 8]]), np.array([[1, 0, 3]])
    assert average_precision(total, relevant, at=2).item() == 1
    assert average_precision(total, relevant, at=2, normaliser="possible").item() == 0.5


@given(rankings(), st.integers(1, 8))
@PROPERTY
def test_precision_and_recall_at_k_are_means_over_all_orders(rows, k):
    hits = [sum(grades[:k]) for grades in every_order(rows)]
    mean = math.fsum(hits) / len(hits)
    total, relevant = total_and_relevant(rows)
    assert precision_at(total, relevant, k).item() == pytest.approx(mean / k, abs=1e-12)
    assert recall_at(total, relevant, k).item() == pytest.approx(mean / max(1, relevant.sum()), abs=1e-12)


@given(rankings(max_grade=3), st.integers(1, 8), st.sampled_from(["exponential", "linear"]))
@PROPERTY
def test_ndcg_is_the_mean_over_all_orders(rows, k, gain):
    values = [slow_ndcg(grades, k, gain) for grades in every_order(rows)]
    found = ndcg_at(counts_of(rows, n_grades=3), k, gain=gain).item()
    assert found == pytest.approx(math.fsum(values) / len(values), abs=1e-12)


@pytest.mark.parametrize("k", [1, 10, 100, 500])
def test_ndcg_with_linear_gains_is_what_scikit_learn_computes(k):
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(1)
    grades, distances = rng.integers(0, 5, (6, 200)), rng.integers(0, 12, (6, 200))
    counts = np.concatenate(
        [counts_of(list(zip(d, g, strict=True)), 12, 4) for d, g in zip(distances, grades, strict=True)]
    )
    wanted = [ndcg_score(grades[i : i + 1], -distances[i : i + 1], k=k) for i in range(6)]
    np.testing.assert_allclose(ndcg_at(counts, k, gain="linear"), wanted, rtol=0, atol=1e-9)


@given(rankings(max_size=40, max_distance=6), CUTS, NORMALISERS)
@PROPERTY
def test_the_ranking_by_row_is_one_of_the_orders(rows, at, normaliser):
    order = sorted(range(len(rows)), key=lambda row: (rows[row][0], row))
    distances, grades = (np.array(column, np.uint8) for column in zip(*rows, strict=True))
    ranks = ranks_of_relevant(distances, grades)
    assert ranks.tolist() == [place + 1 for place, row in enumerate(order) if rows[row][1]]
    wanted = slow_average_precision([rows[row][1] for row in order], at, normaliser)
    value = average_precision_of_ranks(ranks, at=at, normaliser=normaliser)
    assert value == pytest.approx(wanted, abs=1e-12)
    found = all_ties(*total_and_relevant(rows), at=at, normaliser=normaliser)
    assert found["pessimistic"].item() - 1e-12 <= value <= found["optimistic"].item() + 1e-12


@given(st.integers(0, 200), st.integers(0, 200))
@PROPERTY
def test_harmonic_spans_are_exact(start, length):
    wanted = sum((Fraction(1, p) for p in range(start + 1, start + length + 1)), Fraction(0))
    assert harmonic_span(start, length).item() == pytest.approx(float(wanted), rel=1e-14, abs=1e-15)


@pytest.mark.parametrize(("s", "t", "c", "r"), [(10**7, 1000, 10, 7), (10**8, 3, 5, 2), (63, 10**5, 63, 10**5)])
@pytest.mark.parametrize("ties", ["expected", "optimistic", "pessimistic"])
def test_ties_far_down_a_ranking_lose_no_digits(s, t, c, r, ties):
    p = np.arange(s + 1, s + t + 1, dtype=np.float64)
    if ties == "expected":
        terms = r / t * (c + 1 + (p - s - 1) * (r - 1) / (t - 1)) / p
    else:
        p = p[:r] if ties == "optimistic" else p[t - r :]
        terms = np.arange(c + 1, c + r + 1) / p
    assert tie_sums(s, t, c, r, ties).item() == pytest.approx(math.fsum(terms), rel=1e-9, abs=1e-14 * t)


@pytest.mark.parametrize(("total", "relevant", "kept"), [(10, 4, 3), (10, 9, 5), (5000, 2500, 1), (60_000, 6000, 5000)])
def test_chances_are_the_hypergeometric_distribution(total, relevant, kept):
    from scipy.stats import hypergeom

    few, weights = chances(total, relevant, kept)
    assert few[0] == max(0, kept + relevant - total)
    assert few[-1] == min(kept, relevant)
    np.testing.assert_allclose(weights, hypergeom(total, relevant, kept).pmf(few), rtol=1e-7, atol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n: average_precision(n, n, ties="lucky"), "ties is 'lucky', expected one of expected, optimistic"),
        (lambda n: average_precision(n, n, normaliser="none"), "normaliser is 'none', expected one of found, possible"),
        (lambda n: average_precision(n, n, at=0), "cut after 0 codes, expected a whole number from 1"),
        (lambda n: average_precision(n, n + 1), "more codes are relevant at some distance than lie there"),
        (lambda n: average_precision(n, n[0]), "expected whole numbers"),
        (lambda n: precision_at(n * 1.0, n, 3), "counts are float64"),
        (lambda n: recall_at(n, n, True), "cut after True codes"),
        (lambda n: ndcg_at(n[:, None], 3, gain="steep"), "gain is 'steep', expected exponential or linear"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call(np.array([[2, 3]]))
