"""Neighbourhood preserving quantisation: the contract, and what the paper promises."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import QUANTISER_CHECKS, check_quantiser
from hashdb_plugins._segmentation import column_of
from hashdb_plugins.quantisers import mhq, npq

NO_PAIRS = np.empty((0, 2), np.int64)


@pytest.mark.parametrize("check", QUANTISER_CHECKS)
def test_contract(check):
    check_quantiser("npq", only=[check])


@pytest.mark.parametrize(("q", "alpha"), [(1, 1.0), (3, 0.7), (4, 0.0)])
def test_contract_with_other_params(q, alpha):
    checks = ["n_projections", "margins", "projections_unchanged", "degenerate_projections"]
    check_quantiser("npq", n_bits=(2 * q, 4 * q), params={"q": q, "alpha": alpha}, only=checks)


def example(seed, n, rounded=False):
    """A projection and pairs that are near along it and along a second direction that is not seen."""
    rng = np.random.default_rng(seed)
    column = (rng.standard_normal(n) * rng.choice([0.3, 2], n)).astype(np.float32)
    if rounded:
        column = np.round(2 * column) / 2
    distances = np.abs(column[:, None] - column) + rng.exponential(1, (n, n))
    distances += distances.T
    return column, np.argwhere(np.triu(distances < np.quantile(distances, 0.15), 1)).astype(np.int64)


def slow_value(column, pairs, cuts, alpha=1.0, beta=1.0):
    """Equation (3), pair by pair; ``cuts`` are the first values of the regions but the first."""
    wide, region = column.astype(np.float64), (column[:, None] >= np.asarray(cuts)).sum(axis=1)
    near = {tuple(pair) for pair in pairs.tolist()}
    tp = fp = fn = 0
    for pair in combinations(range(len(column)), 2):
        together = region[pair[0]] == region[pair[1]]
        tp += together and pair in near
        fp += together and pair not in near
        fn += not together and pair in near
    f = 0.0
    if tp:
        precision, recall = tp / (tp + fp), tp / (tp + fn)
        f = (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
    within = sum(((wide[region == k] - wide[region == k].mean()) ** 2).sum() for k in np.unique(region))
    return alpha * f + (1 - alpha) * (1 - within / (((wide - wide.mean()) ** 2).sum() or 1.0))


def found(column, pairs, n_regions, alpha=1.0, beta=1.0):
    sorted_column = column_of(column, pairs)
    objective = npq.Objective.of(sorted_column, alpha, beta)
    cuts, value = npq.search(sorted_column, n_regions, objective)
    return sorted_column.values[cuts], value


def highest(column, pairs, n_regions, alpha=1.0, beta=1.0):
    values = np.unique(column)
    every = combinations(values[1:], min(n_regions, len(values)) - 1)
    return max(slow_value(column, pairs, cuts, alpha, beta) for cuts in every)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([2, 4]), st.sampled_from([0.5, 1.0, 2.0]))
def test_thresholds_are_the_best_of_all(seed, rounded, n_regions, beta):
    column, pairs = example(seed, 10, rounded)
    cuts, value = found(column, pairs, n_regions, beta=beta)
    assert value == pytest.approx(slow_value(column, pairs, cuts, beta=beta), abs=1e-9)
    assert value == pytest.approx(highest(column, pairs, n_regions, beta=beta), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([0.0, 0.3, 0.7, 0.95]))
def test_thresholds_between_the_two_terms_are_nearly_the_best_of_all(seed, rounded, alpha):
    column, pairs = example(seed, 10, rounded)
    cuts, value = found(column, pairs, 4, alpha)
    assert value == pytest.approx(slow_value(column, pairs, cuts, alpha), abs=1e-6)
    best = highest(column, pairs, 4, alpha)
    assert value > 0.999 * best
    if alpha == 0:
        assert value == pytest.approx(best, abs=1e-6)


def test_no_single_threshold_can_be_moved_to_a_better_place():
    column, pairs = example(3, 40)
    values = np.unique(column)
    cuts, value = found(column, pairs, 4, alpha=0.6)
    for k in range(3):
        for place in values[1:]:
            moved = np.sort(np.concatenate([np.delete(cuts, k), [place]]))
            assert slow_value(column, pairs, moved, 0.6) <= value + 1e-6


@pytest.mark.parametrize("alpha", [1.0, 0.8])
def test_objective_beats_uniform_thresholds_and_as_many_random_ones_as_the_paper_tries(alpha):
    """The authors' genetic algorithm looks at 15 generations of 15."""
    column, pairs = example(1, 60)
    _, value = found(column, pairs, 4, alpha)
    ordered, rng = np.unique(column), np.random.default_rng(0)
    spaced = np.linspace(column.min(), column.max(), 5)[1:-1]
    counted = ordered[[15, 30, 45]]
    assert value > slow_value(column, pairs, spaced, alpha)
    assert value > slow_value(column, pairs, counted, alpha)
    tried = [np.sort(rng.choice(ordered[1:], 3, replace=False)) for _ in range(225)]
    assert value >= max(slow_value(column, pairs, cuts, alpha) for cuts in tried)


def test_more_regions_are_never_worse_than_a_part_of_them_split_off():
    column, pairs = example(2, 200)
    values = [found(column, pairs, n_regions)[1] for n_regions in (1, 2, 4, 8, 16)]
    m, n = len(pairs), len(column)
    assert values[0] == pytest.approx(2 * m / (m + n * (n - 1) / 2))
    assert values[1] > values[0]
    assert values[2] > values[1]


def test_threshold_stands_in_the_gap_between_two_groups_of_neighbours():
    rng = np.random.default_rng(0)
    column = np.concatenate([rng.uniform(-3, -1, 50), rng.uniform(0.5, 4, 50)]).astype(np.float32)[:, None]
    pairs = np.array([(i, j) for i, j in combinations(range(100), 2) if (i < 50) == (j < 50)])
    state = npq.fit_quantiser(column, pairs, {"q": 1, "alpha": 1.0, "beta": 1.0})
    below, above = column[:50].max(), column[50:].min()
    assert state["thresholds"].item() == pytest.approx((below + above) / 2)
    assert state["objective"].item() == 1
    assert ((npq.quantise(state, column) > 0)[:, 0] == np.repeat([False, True], 50)).all()


def test_squared_error_keeps_regions_where_a_projection_tells_nothing():
    """There F alone rises with the size of regions, and its best thresholds split off single rows."""
    rng = np.random.default_rng(0)
    noise, labels = rng.standard_normal((400, 1)).astype(np.float32), rng.integers(0, 4, 400)
    pairs = np.argwhere(np.triu(labels[:, None] == labels, 1)).astype(np.int64)

    def largest_share(alpha):
        state = npq.fit_quantiser(noise, pairs, {"q": 2, "alpha": alpha, "beta": 1.0})
        return np.bincount((npq.quantise(state, noise) > 0).sum(axis=1)).max() / 400

    assert largest_share(1.0) > 0.95
    assert largest_share(0.9) < 0.9
    assert largest_share(0.5) < 0.5


def test_without_neighbours_the_squared_error_decides():
    rng = np.random.default_rng(0)
    projections = rng.standard_normal((300, 3)).astype(np.float32)
    state = npq.fit_quantiser(projections, NO_PAIRS, {"q": 2, "alpha": 1.0, "beta": 1.0})
    digits, others = (
        (projections[:, :, None] > thresholds).sum(axis=2)
        for thresholds in (state["thresholds"], mhq.fit_quantiser(projections, {"q": 2})["thresholds"])
    )
    assert np.array_equal(digits, others)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("column", [[5], [5, 5, 5], [1, 1, 2], [0, 0, 0, 1, 1, 3, 3, 3, 3]])
def test_few_rows_and_equal_values_are_never_cut_apart(column, alpha):
    rows = np.array(column, np.float32)[:, None]
    pairs = np.array(list(combinations(range(len(column)), 2))[:3], np.int64).reshape(-1, 2)
    state = npq.fit_quantiser(rows, pairs, {"q": 3, "alpha": alpha, "beta": 1.0})
    assert state["thresholds"].shape == (1, 7)
    assert (np.diff(state["thresholds"]) >= 0).all()
    digits = (npq.quantise(state, rows) > 0).sum(axis=1)
    assert np.array_equal(digits, np.unique(rows, return_inverse=True)[1].reshape(-1))


@pytest.mark.parametrize("q", [1, 2, 3, 4])
def test_hamming_distance_of_codes_is_manhattan_distance_of_digits(vectors, q):
    model = hashdb.fit(vectors, "pcah", 4 * q, quantiser="npq", params={"q": q})
    assert model.n_stored_bits == 4 * (2**q - 1)
    bits = hashdb.codes.unpack(model.encode(vectors), model.n_stored_bits)
    projections = hashdb.fit(vectors, "pcah", 4).project(vectors)
    thresholds = model.quantiser_state["thresholds"]
    digits = np.array([[sum(p > t for t in ts) for p, ts in zip(row, thresholds, strict=True)] for row in projections])
    manhattan = np.abs(digits[:50, None] - digits[None]).sum(axis=2)
    assert np.array_equal(manhattan, (bits[:50, None] != bits[None]).sum(axis=2))


def test_labels_say_who_is_a_neighbour(vectors):
    """The first principal component is made to tell classes apart at a place of its own."""
    first = hashdb.fit(vectors, "pcah", 1).project(vectors)[:, 0]
    edge = np.quantile(first, 0.8)
    model = hashdb.fit(vectors, "pcah", 1, quantiser="npq", params={"q": 1}, labels=(first > edge).astype(int))
    assert model.quantiser_state["thresholds"].item() == pytest.approx(edge, rel=0.05)


@pytest.mark.parametrize(("n_bits", "q", "nearest"), [(33, 2, "32 or 34"), (32, 3, "30 or 33"), (2, 4, "4")])
def test_widths_that_q_does_not_divide_are_refused_with_the_nearest(n_bits, q, nearest):
    with pytest.raises(ArgumentError, match=f"n_bits is {n_bits}, expected a multiple of {q} such as {nearest}"):
        npq.n_projections(n_bits, {"q": q})


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

    assert recall("npq") > recall(None) + 0.1
