"""Hierarchical quantisation: the contract, and what the paper derives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import QUANTISER_CHECKS, check_quantiser
from hashdb_plugins.quantisers import hq

NO_PAIRS = np.empty((0, 2), np.int64)


@pytest.mark.parametrize("check", QUANTISER_CHECKS)
def test_contract(check):
    check_quantiser("hq", only=[check])


def example(seed, n=40, share=0.2):
    rng = np.random.default_rng(seed)
    column = (rng.standard_normal(n) + rng.choice([0, 0.7])).astype(np.float32)
    nearness = np.abs(column[:, None] - column) + rng.exponential(0.5, (n, n))
    pairs = np.argwhere(np.triu(nearness < np.quantile(nearness, share), 1)).astype(np.int64)
    affinity = np.zeros((n, n))
    affinity[tuple(pairs.T)] = affinity[tuple(pairs.T[::-1])] = 1
    return column, pairs, affinity


def folded(column, above, below):
    """Equation (1)."""
    wide = column.astype(np.float64)
    return np.where(wide > 0, wide - above, below - wide)


@pytest.mark.parametrize("seed", range(5))
def test_thresholds_minimise_the_laplacian_form_of_a_balanced_second_bit(seed):
    column, pairs, affinity = example(seed)
    above, below = hq.second_thresholds(column, pairs)
    assert folded(column, above, below).sum() == pytest.approx(0, abs=1e-5)
    laplacian = np.diag(affinity.sum(axis=1)) - affinity
    n_positive = (column > 0).sum()
    total = np.abs(column.astype(np.float64)).sum()

    def form(b):
        f = folded(column, b, (n_positive * b - total) / (len(column) - n_positive))
        return f @ laplacian @ f

    # A parabola: three values give its lowest point.
    left, middle, right = form(-1.0), form(0.0), form(1.0)
    assert above == pytest.approx((left - right) / (2 * (left - 2 * middle + right)), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_thresholds_are_those_published_for_an_eigenvector_of_a_regular_graph(seed):
    """In the paper A has row sums of 1 and y is an eigenvector; its formula, with A for the anchor graph."""
    rng = np.random.default_rng(seed)
    n = 30
    affinity = np.zeros((n, n))
    for step in rng.choice(np.arange(1, n // 2), 4, replace=False):
        affinity += np.roll(np.eye(n), step, axis=1) + np.roll(np.eye(n), -step, axis=1)
    smooth = affinity / affinity[0].sum()
    y = np.linalg.eigh(smooth)[1][:, -2].astype(np.float32)
    wide = y.astype(np.float64)
    positive = y > 0
    s1 = np.abs(wide) @ smooth @ positive
    s2 = positive.sum() - positive @ smooth @ positive
    s3 = wide[positive].sum()
    above = (2 * s3 + (~positive).sum() * (s3 - s1) / s2) / n
    below = (positive.sum() * (s3 - s1) / s2 - 2 * s3) / n
    pairs = np.argwhere(np.triu(affinity, 1) > 0).astype(np.int64)
    assert hq.second_thresholds(y, pairs) == pytest.approx((above, below), rel=1e-4)


def test_without_a_separated_pair_the_thresholds_are_the_means_of_the_sides():
    column = np.array([-4, -2, 1, 2, 3, 6], np.float32)
    for pairs in (NO_PAIRS, np.array([[0, 1], [2, 5]])):
        assert hq.second_thresholds(column, pairs) == (3, -3)
    uneven = np.array([-1, -3, -5, 10, 20], np.float32)
    assert hq.second_thresholds(uneven, NO_PAIRS) == pytest.approx((15, -3))


@pytest.mark.parametrize("column", [[1, 2, 6], [-1, -2, -6]])
def test_with_one_side_empty_the_thresholds_are_the_mean_size(column):
    assert hq.second_thresholds(np.array(column, np.float32), np.array([[0, 1]])) == (3, -3)


def test_codes_are_01_00_10_11_from_left_to_right():
    column = np.array([-3, -2.5, -0.1, 0, 0.1, 2.5, 3], np.float32)[:, None]
    bits = hq.quantise(hq.fit_quantiser(column, NO_PAIRS), column) > 0
    assert bits.astype(int).tolist() == [[0, 1], [0, 1], [0, 0], [0, 0], [1, 0], [1, 1], [1, 1]]


floats = st.floats(allow_nan=False, allow_infinity=False, width=32)


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.float32, st.integers(1, 20), elements=floats), hnp.arrays(np.float32, 20, elements=floats))
def test_bits_are_those_of_the_definition_whatever_the_values(training, others):
    pairs = np.argwhere(np.triu(np.ones((len(training), len(training))), 1))
    state = hq.fit_quantiser(training[:, None], pairs)
    above, below = state["thresholds"][0]
    for column in (training, others, state["thresholds"][0]):
        margins = hq.quantise(state, column[:, None])
        assert not np.isnan(margins).any()
        second = np.where(column > 0, column > above, column < below)
        assert np.array_equal(margins > 0, np.stack([column > 0, second], axis=1))


def test_takes_half_as_many_projections_as_bits(vectors):
    model = hashdb.fit(vectors, "pcah", 32, quantiser="hq")
    assert model.state["weights"].shape == (24, 16)
    assert model.n_stored_bits == 32


@pytest.mark.parametrize(("n_bits", "nearest"), [(33, "32 or 34"), (1, "2")])
def test_odd_widths_are_refused_with_the_nearest(n_bits, nearest):
    with pytest.raises(ArgumentError, match=f"n_bits is {n_bits}, expected an even number such as {nearest}"):
        hq.n_projections(n_bits)


def test_both_bits_are_balanced_on_real_images(digits):
    model = hashdb.fit(digits.data, "pcah", 16, quantiser="hq")
    bits = hashdb.codes.unpack(model.encode(digits.data), 16)
    shares = bits.mean(axis=0)
    assert (np.abs(shares[0::2] - 0.5) < 0.1).all()
    assert (np.abs(shares[1::2] - 0.5) < 0.15).all()


def test_second_bit_adds_neighbours_to_the_sign_of_the_same_projections(digits):
    vectors = digits.data.astype(np.float32)
    distances = ((vectors[:200, None] - vectors[None]) ** 2).sum(axis=2)
    true = np.argsort(distances, axis=1)[:, 1:21]

    def recall(n_bits, quantiser):
        bits = hashdb.codes.unpack(hashdb.fit(vectors, "pcah", n_bits, quantiser=quantiser).encode(vectors), n_bits)
        near = np.argsort((bits[:200, None] != bits[None]).sum(axis=2), axis=1, kind="stable")[:, 1:51]
        return np.mean([len(np.intersect1d(a, b)) for a, b in zip(true, near, strict=True)]) / 20

    assert recall(32, "hq") > recall(16, None) + 0.05
