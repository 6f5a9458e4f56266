"""Double-bit quantisation: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import QUANTISER_CHECKS, check_quantiser
from hashdb_plugins.quantisers import dbq


@pytest.mark.parametrize("check", QUANTISER_CHECKS)
def test_contract(check):
    check_quantiser("dbq", only=[check])


def regions(column, left, right):
    return np.where(column < left, 0, np.where(column > right, 2, 1))


def objective(column, region):
    """Equation (1)."""
    return sum(column[region == r].sum() ** 2 / max((region == r).sum(), 1) for r in (0, 2))


def sweep(column):
    """Equation (2) as the paper writes it, one value at a time: every partition that a threshold can make."""
    below, middle, above = sorted(v for v in column if v <= 0), [], sorted(v for v in column if v > 0)
    while True:
        outer = (not below or not middle or below[-1] < min(middle)) and (
            not above or not middle or above[0] > max(middle)
        )
        if outer:
            edges = (below[-1] if below else -np.inf, above[0] if above else np.inf)
            yield np.where(column <= edges[0], 0, np.where(column >= edges[1], 2, 1))
        if not below and not above:
            return
        if below and (sum(middle) > 0 or not above):
            middle.append(below.pop())
        else:
            middle.append(above.pop(0))


columns = hnp.arrays(
    np.float32,
    st.integers(1, 25),
    elements=st.one_of(st.integers(-5, 5).map(float), st.integers(-(2**12), 2**12).map(lambda v: v / 64)),
)


@settings(max_examples=300, deadline=None)
@given(columns)
def test_thresholds_are_the_best_of_the_sweep(column):
    wide = column.astype(np.float64)
    best = max(objective(wide, region) for region in sweep(wide))
    found = objective(wide, regions(column, *dbq.best_thresholds(column)))
    assert found == pytest.approx(best, rel=1e-12, abs=1e-12)


def test_error_is_below_that_of_one_threshold_and_near_the_best_of_all():
    """Against every pair of thresholds, with the mean of the middle region held at 0 as in the objective."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        column = (rng.standard_normal(40) * rng.choice([0.2, 3], 40)).astype(np.float32)
        wide, cuts = column.astype(np.float64), np.sort(column)
        every = max(objective(wide, regions(column, a, b)) for a in cuts for b in cuts[cuts >= a])
        found = objective(wide, regions(column, *dbq.best_thresholds(column)))
        assert objective(wide, np.where(column > 0, 2, 0)) <= found <= every
        assert found > 0.9 * every


def test_codes_are_01_00_10_from_left_to_right():
    column = np.array([-3, -2.5, -0.1, 0, 0.1, 2.5, 3], np.float32)[:, None]
    state = dbq.fit_quantiser(column)
    bits = dbq.quantise(state, column) > 0
    assert bits.astype(int).tolist() == [[0, 1], [0, 1], [0, 0], [0, 0], [0, 0], [1, 0], [1, 0]]


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(1, 30), elements=st.floats(allow_nan=False, allow_infinity=False, width=32)),
    hnp.arrays(np.float32, st.integers(0, 30), elements=st.floats(allow_nan=False, allow_infinity=False, width=32)),
)
def test_never_both_bits_whatever_the_values(training, others):
    state = dbq.fit_quantiser(training[:, None])
    assert np.isfinite(state["thresholds"]).all()
    for column in (training, others):
        margins = dbq.quantise(state, column[:, None])
        assert not np.isnan(margins).any()
        assert not (margins > 0).all(axis=1).any()
        left, right = state["thresholds"][0]
        assert np.array_equal(margins > 0, np.stack([column > right, column < left], axis=1))


def test_takes_half_as_many_projections_as_bits(vectors):
    model = hashdb.fit(vectors, "pcah", 32, quantiser="dbq")
    assert model.state["weights"].shape == (24, 16)
    assert model.n_stored_bits == 32


@pytest.mark.parametrize(("n_bits", "nearest"), [(33, "32 or 34"), (7, "6 or 8")])
def test_odd_widths_are_refused_with_the_nearest(vectors, n_bits, nearest):
    with pytest.raises(ArgumentError, match=f"n_bits is {n_bits}, expected an even number such as {nearest}"):
        hashdb.fit(vectors, "pcah", n_bits, quantiser="dbq")


def test_euclidean_neighbours_are_kept_better_than_by_one_bit():
    """The claim of the paper, at equal bits, on principal components."""
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((1500, 32)) * np.linspace(4, 0.5, 32)).astype(np.float32)
    distances = ((vectors[:100, None] - vectors[None]) ** 2).sum(axis=2)
    true = np.argsort(distances, axis=1)[:, 1:21]

    def recall(quantiser):
        model = hashdb.fit(vectors, "pcah", 32, quantiser=quantiser)
        bits = hashdb.codes.unpack(model.encode(vectors), 32)
        near = np.argsort((bits[:100, None] != bits[None]).sum(axis=2), axis=1, kind="stable")[:, 1:51]
        return np.mean([len(np.intersect1d(a, b)) for a, b in zip(true, near, strict=True)]) / 20

    assert recall("dbq") > recall(None)
