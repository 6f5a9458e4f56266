"""Manhattan quantisation: the contract, and what the paper promises."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import QUANTISER_CHECKS, check_quantiser
from hashdb_plugins.quantisers import mhq


@pytest.mark.parametrize("check", QUANTISER_CHECKS)
def test_contract(check):
    check_quantiser("mhq", only=[check])


@pytest.mark.parametrize("q", [3, 4])
def test_contract_with_more_bits(q):
    checks = ["n_projections", "margins", "degenerate_projections", "round_trip"]
    check_quantiser("mhq", n_bits=(2 * q, 4 * q), params={"q": q}, only=checks)


def error_of(column, groups):
    wide = column.astype(np.float64)
    return sum(((wide[groups == g] - wide[groups == g].mean()) ** 2).sum() for g in np.unique(groups))


def error_of_thresholds(column, thresholds):
    return error_of(column, (column[:, None] > thresholds).sum(axis=1))


def lowest_error(column, n_clusters):
    """Try every way to cut the sorted values."""
    values = np.unique(column)
    every = combinations(values[1:], min(n_clusters, len(values)) - 1)
    return min(error_of(column, (column[:, None] >= np.array(cuts)).sum(axis=1)) for cuts in every)


columns = hnp.arrays(
    np.float32,
    st.integers(1, 14),
    elements=st.one_of(st.integers(-5, 5).map(float), st.integers(-(2**12), 2**12).map(lambda v: v / 64)),
)


@settings(max_examples=60, deadline=None)
@given(columns)
def test_clusters_have_the_lowest_squared_error_of_all(column):
    found = error_of_thresholds(column, mhq.best_thresholds(column, 3))
    assert found == pytest.approx(lowest_error(column, 4), rel=1e-9, abs=1e-9)


def test_thresholds_are_halfway_between_the_means():
    column = np.array([0, 1, 10, 11, 12, 30, 50, 51], np.float32)
    assert mhq.best_thresholds(column, 3).tolist() == [(0.5 + 11) / 2, (11 + 30) / 2, (30 + 50.5) / 2]


@pytest.mark.parametrize("q", [2, 3, 4])
def test_no_k_means_of_the_library_has_a_lower_error(q):
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(q)
    column = np.concatenate([rng.lognormal(0, 1, 400), 8 + 0.3 * rng.standard_normal(100)]).astype(np.float32)
    found = error_of_thresholds(column, mhq.best_thresholds(column, 2**q - 1))
    wide = column[:, None].astype(np.float64)
    others = [KMeans(2**q, n_init=1, tol=0, max_iter=1000, random_state=seed).fit(wide).inertia_ for seed in range(10)]
    assert found <= min(others) * (1 + 1e-9)
    assert found > min(others) * 0.9


@pytest.mark.parametrize("q", [2, 4])
def test_many_values_are_clustered_as_well_as_by_k_means(q):
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(q)
    column = np.concatenate([rng.lognormal(0, 1, 4000), 8 + 0.3 * rng.standard_normal(1000)]).astype(np.float32)
    best = KMeans(2**q, n_init=5, tol=0, max_iter=1000, random_state=0).fit(column[:, None].astype(np.float64))
    found = error_of_thresholds(column, mhq.best_thresholds(column, 2**q - 1))
    assert found <= best.inertia_ * 1.0005


@pytest.mark.parametrize("n_values", [1, 2, 3])
def test_fewer_values_than_regions_are_all_told_apart(n_values):
    column = np.repeat(np.arange(n_values, dtype=np.float32) - 1, 7)
    thresholds = mhq.best_thresholds(column, 3)
    assert (np.diff(thresholds) >= 0).all()
    digits = (column[:, None] > thresholds).sum(axis=1)
    assert np.array_equal(digits, np.repeat(np.arange(n_values), 7))


def test_values_next_to_one_another_are_told_apart():
    column = np.array([1, np.nextafter(np.float32(1), np.float32(2)), 5, 9, 1e30], np.float32)
    digits = (column[:, None] > mhq.best_thresholds(column, 7)).sum(axis=1)
    assert digits.tolist() == [0, 1, 2, 3, 4]


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(allow_nan=False, allow_infinity=False, width=32)),
    hnp.arrays(np.float32, 20, elements=st.floats(allow_nan=False, allow_infinity=False, width=32)),
)
def test_bits_are_those_of_the_definition_whatever_the_values(training, others):
    state = mhq.fit_quantiser(training[:, None], {"q": 2})
    thresholds = state["thresholds"][0]
    assert np.isfinite(thresholds).all()
    for column in (training, others, thresholds):
        margins = mhq.quantise(state, column[:, None])
        assert not np.isnan(margins).any()
        assert np.array_equal(margins > 0, column[:, None] > thresholds)


@pytest.mark.parametrize("q", [2, 3, 4])
def test_hamming_distance_of_codes_is_manhattan_distance_of_digits(vectors, q):
    model = hashdb.fit(vectors, "pcah", 4 * q, quantiser="mhq", params={"q": q})
    assert model.n_stored_bits == 4 * (2**q - 1)
    bits = hashdb.codes.unpack(model.encode(vectors), model.n_stored_bits)
    projections = hashdb.fit(vectors, "pcah", 4).project(vectors)
    thresholds = model.quantiser_state["thresholds"]
    digits = np.array([[sum(p > t for t in ts) for p, ts in zip(row, thresholds, strict=True)] for row in projections])
    manhattan = np.abs(digits[:50, None] - digits[None]).sum(axis=2)
    assert np.array_equal(manhattan, (bits[:50, None] != bits[None]).sum(axis=2))
    assert manhattan.max() > 2**q


@pytest.mark.parametrize(("n_bits", "q", "nearest"), [(33, 2, "32 or 34"), (32, 3, "30 or 33"), (2, 4, "4")])
def test_widths_that_q_does_not_divide_are_refused_with_the_nearest(n_bits, q, nearest):
    with pytest.raises(ArgumentError, match=f"n_bits is {n_bits}, expected a multiple of {q} such as {nearest}"):
        mhq.n_projections(n_bits, {"q": q})


def test_thermometers_wider_than_a_code_are_refused_with_the_widest_that_fits():
    with pytest.raises(ArgumentError, match=r"stores 4110 bits.*ask for up to 1092"):
        mhq.n_projections(1096, {"q": 4})
    assert mhq.n_projections(1092, {"q": 4}) == 273


def recall(vectors, quantiser, n_bits=32):
    """Share of the 20 nearest among the first 50 by code, for the first 200 rows."""
    distances = ((vectors[:200, None] - vectors[None]) ** 2).sum(axis=2)
    true = np.argsort(distances, axis=1)[:, 1:21]
    model = hashdb.fit(vectors, "pcah", n_bits, quantiser=quantiser)
    bits = hashdb.codes.unpack(model.encode(vectors), model.n_stored_bits)
    near = np.argsort((bits[:200, None] != bits[None]).sum(axis=2), axis=1, kind="stable")[:, 1:51]
    return np.mean([len(np.intersect1d(a, b)) for a, b in zip(true, near, strict=True)]) / 20


def test_euclidean_neighbours_of_real_images_are_kept_better_than_by_one_bit(digits):
    """The claim of the paper, at equal information bits."""
    vectors = digits.data.astype(np.float32)
    assert recall(vectors, "mhq") > recall(vectors, None) + 0.1
