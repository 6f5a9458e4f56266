"""PCA hashing: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
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
        ArgumentError, match="n_bits is 25, the vectors have 24 dimensions; ask for at most 24 bits, use lsh"
    ):
        hashdb.fit(vectors, "pcah", 25)
