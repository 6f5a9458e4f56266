"""PCA hashing: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.model import partial_fit
from hashdb.testing import METHOD_CHECKS, check_method


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("pcah", only=[check])


def test_directions_are_the_leading_eigenvectors_of_the_covariance(vectors):
    state = hashdb.fit(vectors, "pcah", 10).state
    covariance = np.cov(vectors.astype(np.float64), rowvar=False, bias=True)
    weights = state["weights"].astype(np.float64)
    values = np.einsum("jk,jl,lk->k", weights, covariance, weights)
    np.testing.assert_allclose(covariance @ weights, weights * values, atol=1e-5 * values[0])
    np.testing.assert_allclose(values, np.linalg.eigvalsh(covariance)[::-1][:10], rtol=1e-5)
    np.testing.assert_allclose(weights.T @ weights, np.eye(10), atol=1e-6)
    np.testing.assert_allclose(state["mean"], vectors.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_the_sign_of_a_direction_is_settled(vectors):
    weights = hashdb.fit(vectors, "pcah", 24).state["weights"]
    assert (weights[np.abs(weights).argmax(axis=0), np.arange(24)] > 0).all()


def test_fewer_directions_than_bits_are_completed(vectors):
    flat = vectors.copy()
    flat[:, 5:] = 3
    for rows in (flat, vectors[:4], vectors[:1], np.zeros((10, 24), np.float32)):
        model = hashdb.fit(rows, "pcah", 24)
        weights = model.state["weights"].astype(np.float64)
        np.testing.assert_allclose(weights.T @ weights, np.eye(24), atol=1e-5)
        assert np.array_equal(model.encode(rows[:1]), model.encode(rows)[:1])


def test_huge_and_tiny_data_give_the_same_codes(vectors):
    expected = hashdb.fit(vectors, "pcah", 12).encode(vectors)
    for exponent in (-60, 60, 100):
        scaled = np.ldexp(vectors, exponent)
        assert np.array_equal(hashdb.fit(scaled, "pcah", 12).encode(scaled), expected)


def test_more_bits_than_dimensions_are_refused(vectors):
    with pytest.raises(
        ArgumentError, match="n_bits is 25, the vectors have dim 24; ask for n_bits of at most 24, use lsh"
    ):
        hashdb.fit(vectors, "pcah", 25)


def test_rows_in_blocks_give_the_codes_of_all_rows_at_once(vectors):
    rows = vectors + np.float32(100)
    whole = hashdb.fit(rows, "pcah", 12)
    model = hashdb.fit(rows[:40], "pcah", 12)
    for first, last in ((40, 41), (41, 300), (300, 500)):
        model = partial_fit(model, rows[first:last])
    assert model.n_train == 500
    assert np.array_equal(model.encode(rows), whole.encode(rows))
    np.testing.assert_allclose(model.state["weights"], whole.state["weights"], atol=1e-5)
    np.testing.assert_allclose(model.state["mean"], rows.mean(axis=0, dtype=np.float64), rtol=1e-6)
    assert int(model.state["seen"]) == 500


def test_what_is_kept_are_the_moments_of_the_rows(vectors):
    state = partial_fit(hashdb.fit(vectors[:1], "pcah", 8), vectors[1:]).state
    wide = vectors.astype(np.float64)
    expected = np.cov(wide, rowvar=False, bias=True) * 500
    np.testing.assert_allclose(state["seen_scatter"], expected[np.tril_indices(24)], atol=1e-6 * expected.max())
    np.testing.assert_allclose(state["seen_mean"], wide.mean(axis=0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("exponent", [-70, 100])
def test_rows_in_blocks_may_be_huge_or_tiny(vectors, exponent):
    scaled = np.ldexp(vectors, exponent)
    expected = hashdb.fit(vectors, "pcah", 12).encode(vectors)
    assert np.array_equal(partial_fit(hashdb.fit(scaled[:200], "pcah", 12), scaled[200:]).encode(scaled), expected)


def test_a_new_model_is_made_and_the_old_one_stays(vectors):
    old = hashdb.fit(vectors[:100], "pcah", 8, normalise="l2")
    before = old.encode(vectors)
    new = partial_fit(old, vectors[100:])
    assert np.array_equal(old.encode(vectors), before)
    assert np.array_equal(new.encode(vectors), hashdb.fit(vectors, "pcah", 8, normalise="l2").encode(vectors))
    again = hashdb.Model.from_document(*new.to_document())
    assert np.array_equal(again.encode(vectors), new.encode(vectors))
    assert np.array_equal(
        partial_fit(again, vectors[:9]).encode(vectors), partial_fit(new, vectors[:9]).encode(vectors)
    )


def test_moments_are_kept_for_few_dimensions_unless_chosen(vectors):
    assert "seen_scatter" not in hashdb.fit(vectors, "pcah", 8, params={"incremental": False}).state
    wide = np.random.default_rng(0).standard_normal((40, 1025)).astype(np.float32)
    assert "seen_scatter" not in hashdb.fit(wide, "pcah", 8).state
    assert "seen_scatter" in hashdb.fit(wide, "pcah", 8, params={"incremental": True}).state


def test_going_on_is_refused_where_it_cannot(vectors):
    with pytest.raises(
        ArgumentError, match=r"does not keep what partial_fit goes on from; fit with .*incremental=true"
    ):
        partial_fit(hashdb.fit(vectors, "pcah", 8, params={"incremental": False}), vectors)
    with pytest.raises(ArgumentError, match="vectors have dim 23, expected dim 24"):
        partial_fit(hashdb.fit(vectors, "pcah", 8), vectors[:, :23])
    with pytest.raises(ArgumentError, match="thresholds of quantiser dbq rest on the rows of the first fit"):
        partial_fit(hashdb.fit(vectors, "pcah", 8, quantiser="dbq"), vectors)
    with pytest.raises(ArgumentError, match="method sh has no partial_fit"):
        partial_fit(hashdb.fit(vectors, "sh", 8), vectors)
