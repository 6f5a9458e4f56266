"""Variable bit quantisation: the contract, and what the paper promises."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import QUANTISER_CHECKS, check_quantiser
from hashdb_plugins.quantisers import npq, vbq

PARAMS = {"most_bits": 4, "beta": 1.0}
NO_PAIRS = np.empty((0, 2), np.int64)


@pytest.mark.parametrize("check", QUANTISER_CHECKS)
def test_contract(check):
    check_quantiser("vbq", only=[check])


scores = st.tuples(st.integers(1, 5), st.integers(2, 4)).flatmap(
    lambda shape: hnp.arrays(np.float64, shape, elements=st.integers(0, 40).map(lambda v: v / 8))
)


@settings(max_examples=150, deadline=None)
@given(scores, st.integers(1, 8))
def test_allotment_is_the_best_of_all(table, n_bits):
    bits = vbq.allot(table, n_bits)
    every = [q for q in product(range(table.shape[1]), repeat=len(table)) if 1 <= sum(q) <= n_bits]
    rows = np.arange(len(table))
    best = max(table[rows, list(q)].sum() for q in every)
    assert 1 <= bits.sum() <= n_bits
    assert table[rows, bits].sum() == best
    assert bits.sum() == min(sum(q) for q in every if table[rows, list(q)].sum() == best)


def informed(n_informative, n_noise, seed=0, n=300):
    """Projections of which the first tell neighbours, the others nothing."""
    rng = np.random.default_rng(seed)
    useful = rng.standard_normal((n, n_informative))
    noise = rng.standard_normal((n, n_noise))
    distances = ((useful[:, None] - useful[None]) ** 2).sum(axis=2)
    pairs = np.argwhere(np.triu(distances < np.quantile(distances, 0.05), 1)).astype(np.int64)
    return np.hstack([useful, noise]).astype(np.float32), pairs


def test_projections_that_tell_nothing_get_no_bits():
    projections, pairs = informed(2, 6)
    state = vbq.fit_quantiser(projections, 8, pairs, PARAMS)
    assert state["bits"][:2].sum() == 8
    assert (state["bits"][2:] == 0).all()
    assert set(state["columns"]) == {0, 1}


def test_scores_are_those_of_npq_and_of_one_region():
    projections, pairs = informed(1, 2)
    state = vbq.fit_quantiser(projections, 3, pairs, PARAMS)
    n, m = len(projections), len(pairs)
    np.testing.assert_allclose(state["objective"][:, 0], 2 * m / (m + n * (n - 1) / 2))
    for q in (1, 2, 3, 4):
        alone = npq.fit_quantiser(projections, pairs, {"q": q, "alpha": 1.0, "beta": 1.0})
        np.testing.assert_array_equal(state["objective"][:, q], alone["objective"])
        for h in np.flatnonzero(state["bits"] == q):
            np.testing.assert_array_equal(state["thresholds"][state["columns"] == h], alone["thresholds"][h])


@pytest.mark.parametrize("params", [{}, {"most_bits": 2}, {"most_bits": 4, "beta": 0.5}])
def test_hamming_distance_of_codes_is_manhattan_distance_of_digits(vectors, params):
    model = hashdb.fit(vectors, "pcah", 20, quantiser="vbq", params=params)
    state = model.quantiser_state
    assert 1 <= state["bits"].sum() <= model.n_bits == 20
    assert model.n_stored_bits == (2 ** state["bits"] - 1).sum() == len(state["thresholds"])
    bits = hashdb.codes.unpack(model.encode(vectors), model.n_stored_bits)
    projections = hashdb.fit(vectors, "pcah", 20).project(vectors)
    digits = np.zeros((len(vectors), 20), np.int64)
    for column, threshold in zip(state["columns"], state["thresholds"], strict=True):
        digits[:, column] += projections[:, column] > threshold
    assert (digits.max(axis=0) <= 2 ** state["bits"] - 1).all()
    manhattan = np.abs(digits[:50, None] - digits[None]).sum(axis=2)
    assert np.array_equal(manhattan, (bits[:50, None] != bits[None]).sum(axis=2))


def test_without_neighbours_every_projection_gets_a_bit():
    """The squared error falls most with the first threshold of each."""
    projections = np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32)
    assert vbq.fit_quantiser(projections, 6, NO_PAIRS, PARAMS)["bits"].tolist() == [1] * 6


@pytest.mark.parametrize("rows", [np.zeros((20, 5)), np.ones((1, 5)), np.eye(2, 5)])
def test_degenerate_projections_still_get_a_code(rows):
    rows = rows.astype(np.float32)
    pairs = np.array(list(combinations(range(len(rows)), 2)), np.int64).reshape(-1, 2)
    for neighbours in (NO_PAIRS, pairs):
        state = vbq.fit_quantiser(rows, 5, neighbours, PARAMS)
        assert 1 <= state["bits"].sum() <= 5
        assert np.isfinite(state["objective"]).all()
        assert vbq.quantise(state, rows).shape == (len(rows), (2 ** state["bits"] - 1).sum())


def test_thermometers_that_may_be_wider_than_a_code_are_refused():
    with pytest.raises(ArgumentError, match=r"stores 4110 bits.*ask for up to 1092"):
        vbq.n_projections(1096, PARAMS)
    assert vbq.n_projections(1092, PARAMS) == 1092


def test_euclidean_neighbours_of_real_images_are_kept_better_than_by_one_bit(digits):
    """The claim of the paper, at equal information bits."""
    vectors = digits.data.astype(np.float32)
    distances = ((vectors[:200, None] - vectors[None]) ** 2).sum(axis=2)
    true = np.argsort(distances, axis=1)[:, 1:21]

    def recall(quantiser):
        model = hashdb.fit(vectors, "pcah", 32, quantiser=quantiser)
        bits = hashdb.codes.unpack(model.encode(vectors), model.n_stored_bits)
        near = np.argsort((bits[:200, None] != bits[None]).sum(axis=2), axis=1, kind="stable")[:, 1:51]
        return np.mean([len(np.intersect1d(a, b)) for a, b in zip(true, near, strict=True)]) / 20

    assert recall("vbq") > recall(None) + 0.1
