"""Scores against sums in exact arithmetic, and their independence of everything but query and row."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashdb.errors import ArgumentError
from hashdb.search import rerank

from .conftest import random_codes


def slow_score(query, row, metric):
    query, row = [float(x) for x in query], [float(x) for x in row]
    if metric == "l2":
        return math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(query, row, strict=True)))
    product = math.fsum(a * b for a, b in zip(query, row, strict=True))
    if metric == "ip":
        return -product
    norms = math.sqrt(math.fsum(a * a for a in query) * math.fsum(b * b for b in row))
    return 1 - (product / norms if norms else 0.0)


@pytest.mark.parametrize("metric", rerank.METRICS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("dim", [1, 3, 17, 128, 1000])
def test_scores_equal_exact_sums(metric, dtype, dim):
    rng = np.random.default_rng(dim)
    query = rng.standard_normal(dim).astype(np.float32)
    rows = rng.standard_normal((20, dim)).astype(dtype)
    rows[3] = 0
    scores = rerank.vector_scores(query, rows, metric)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [slow_score(query, row, metric) for row in rows], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("metric", rerank.METRICS)
@pytest.mark.parametrize("dim", [1, 7, 8, 9, 127, 130, 1025])
def test_score_depends_on_query_and_row_alone(metric, dim, monkeypatch):
    rng = np.random.default_rng(dim)
    query = (rng.standard_normal(dim) * 10.0 ** rng.integers(-3, 4, dim)).astype(np.float32)
    rows = (rng.standard_normal((101, dim)) * 10.0 ** rng.integers(-3, 4, dim)).astype(np.float32)
    whole = rerank.vector_scores(query, rows, metric)
    one_by_one = np.concatenate([rerank.vector_scores(query, row[None], metric) for row in rows])
    np.testing.assert_array_equal(whole, one_by_one)
    strided = np.repeat(np.repeat(rows, 2, axis=0), 3, axis=1)[::2, ::3]
    np.testing.assert_array_equal(whole, rerank.vector_scores(np.repeat(query, 2)[::2], strided, metric))
    np.testing.assert_array_equal(whole, rerank.vector_scores(query, np.asfortranarray(rows), metric))
    monkeypatch.setattr(rerank, "_BYTES_AT_ONCE", 8 * dim * 7)
    np.testing.assert_array_equal(whole, rerank.vector_scores(query, rows, metric))


def test_int8_rows_are_scaled_per_dimension():
    rng = np.random.default_rng(1)
    rows = rng.integers(-128, 128, (30, 12)).astype(np.int8)
    scale, zero = rng.random(12).astype(np.float32), rng.standard_normal(12).astype(np.float32)
    query = rng.standard_normal(12).astype(np.float32)
    restored = [[float(v) * float(s) + float(z) for v, s, z in zip(row, scale, zero, strict=True)] for row in rows]
    for metric in rerank.METRICS:
        scores = rerank.vector_scores(query, rows, metric, scale=scale, zero=zero)
        np.testing.assert_allclose(scores, [slow_score(query, row, metric) for row in restored], rtol=1e-5, atol=1e-6)


def test_zero_vectors_have_cosine_zero_with_everything():
    rows = np.array([[0, 0], [1, 1]], np.float32)
    assert rerank.vector_scores(np.zeros(2, np.float32), rows, "cosine").tolist() == [1.0, 1.0]
    assert rerank.vector_scores(np.ones(2, np.float32), rows, "cosine").tolist()[0] == 1.0


def test_a_vector_is_at_no_distance_from_itself():
    rows = np.random.default_rng(2).standard_normal((50, 33)).astype(np.float32)
    assert all(rerank.vector_scores(row, row[None], "l2")[0] == 0 for row in rows)
    assert all(0 <= rerank.vector_scores(row, row[None], "cosine")[0] < 1e-6 for row in rows)


def test_scores_beyond_float32_are_infinite_without_a_warning():
    huge = np.full((1, 4), 3e38, np.float32)
    assert rerank.vector_scores(-huge[0], huge, "l2").tolist() == [np.inf]


@settings(deadline=None)
@given(n_bits=st.sampled_from([1, 7, 64, 65, 300]), seed=st.integers(0, 999))
def test_asymmetric_score_sums_the_margins_of_differing_bits(n_bits, seed):
    rng = np.random.default_rng(seed)
    margins = rng.standard_normal(n_bits).astype(np.float32)
    codes = random_codes(rng, 9, n_bits)
    scores = rerank.asymmetric_scores(margins, codes[0], codes)
    expected = [
        math.fsum(
            abs(float(margins[bit]))
            for bit in range(n_bits)
            if (int(row[bit // 64]) ^ int(codes[0][bit // 64])) >> (bit % 64) & 1
        )
        for row in codes
    ]
    assert scores.dtype == np.float32
    assert scores[0] == 0
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    np.testing.assert_array_equal(scores, [rerank.asymmetric_scores(margins, codes[0], row[None])[0] for row in codes])
    np.testing.assert_array_equal(
        scores, rerank.asymmetric_scores(-margins, codes[0], np.repeat(codes, 2, axis=0)[::2])
    )


def test_order_is_by_score_then_id():
    scores = np.array([2, 1, 1, 0.5], np.float32)
    assert rerank.order_by_score(scores, np.array([1, 9, -4, 3])).tolist() == [3, 2, 1, 0]
    assert rerank.order_by_score(scores, np.array(["a", "z", "b", "c"])).tolist() == [3, 2, 1, 0]
    # Ties are those of the float32 score.
    close = np.array([1 + 1e-12, 1]).astype(np.float32)
    assert rerank.order_by_score(close, np.array([1, 2])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rerank.vector_scores(np.zeros(2, np.float32), np.zeros((1, 2)), "manhattan"), "manhattan"),
        (lambda: rerank.vector_scores(np.zeros(2, np.float32), np.zeros((1, 3)), "l2"), "do not fit"),
        (lambda: rerank.asymmetric_scores(np.zeros(65), np.zeros(1, np.uint64), np.zeros((1, 1), np.uint64)), "do not"),
    ],
)
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(ArgumentError, match=words):
        call()
