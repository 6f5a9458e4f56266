"""Binary reconstructive embeddings: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method
from hashdb_plugins._kernels.bre import descend
from hashdb_plugins.supervised import bre

QUICK = {"sweeps": 2, "pairs": 20, "kernel_rows": 10}


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("bre", params=QUICK, only=[check])


def pair_cost(bits, pairs, costs):
    return costs[bits[pairs[0]] != bits[pairs[1]]].sum()


def cheapest_along(values, weights, q, pairs, costs):
    """The least cost there is along one weight, by trying a value in every gap."""
    column = values[:, q]
    rest = values @ weights - weights[q] * column
    turns = np.unique(-rest[column != 0] / column[column != 0])
    if not len(turns):
        return pair_cost(rest > 0, pairs, costs)
    tried = np.concatenate([[turns[0] - 1], (turns[1:] + turns[:-1]) / 2, [turns[-1] + 1]])
    return min(pair_cost(rest + t * column > 0, pairs, costs) for t in tried)


@pytest.mark.parametrize("seed", range(20))
def test_each_step_finds_the_least_cost_along_its_weight(seed):
    rng = np.random.default_rng(seed)
    n, s = 40, 5
    values, weights = rng.standard_normal((n, s)), rng.standard_normal(s)
    values[rng.random((n, s)) < 0.1] = 0
    values[: n // 4] = values[n // 4 : n // 4 * 2]
    pairs = bre._random_pairs(n, 8, rng)
    costs = rng.standard_normal(pairs.shape[1])
    starts, others, pair_of = bre._neighbours(pairs, n)
    bits = np.empty(n, bool)
    for q in range(s):
        before = pair_cost(values @ weights > 0, pairs, costs)
        best = cheapest_along(values, weights, q, pairs, costs)
        descend(values, np.array([q]), starts, others, costs[pair_of], weights, bits)
        assert np.array_equal(bits, values @ weights > 0)
        assert pair_cost(bits, pairs, costs) == pytest.approx(min(before, best), abs=1e-9)


def test_pairs_are_distinct_and_each_row_has_its_partners():
    for n, asked in ((50, 7), (5, 50), (2, 1)):
        pairs = bre._random_pairs(n, asked, np.random.default_rng(0))
        assert (pairs[0] < pairs[1]).all()
        assert pairs.min() >= 0
        assert pairs.max() < n
        assert len(np.unique(pairs, axis=1).T) == pairs.shape[1]
        assert np.bincount(pairs.reshape(-1), minlength=n).min() >= min(asked, n - 1)


def objective(model, vectors, targets, pairs):
    """Equation (2), of the codes that the model gives."""
    bits = hashdb.codes.unpack(model.encode(vectors), model.n_bits)
    apart = (bits[pairs[0]] != bits[pairs[1]]).mean(axis=1)
    return 0.5 * ((targets - apart) ** 2).sum()


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(7)
    return (rng.standard_normal((60, 24)) @ rng.standard_normal((24, 24)) + 3).astype(np.float32)


@pytest.mark.parametrize("labels", [None, np.arange(60) % 3, np.arange(60)[:, None] % np.array([2, 3, 5]) == 0])
def test_the_objective_never_rises_and_is_that_of_the_codes(rows, labels):
    params = {"pairs": 10_000}
    states = {}
    for sweeps in (1, 3, 20):
        model = hashdb.fit(rows, "bre", 12, params=params | {"sweeps": sweeps}, labels=labels)
        history = states[sweeps] = model.state["history"]
        assert len(history) <= sweeps + 1
        assert (np.diff(history) <= 0).all()
        assert history[1] < history[0]
    np.testing.assert_allclose(states[1], states[20][:2])
    kept = np.ones(60, bool) if labels is None or labels.ndim == 1 else labels.any(axis=1)
    x = rows[kept] - rows[kept].mean(axis=0, dtype=np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    pairs = np.triu_indices(len(x), 1)
    if labels is None:
        targets = ((x[pairs[0]] - x[pairs[1]]) ** 2).sum(axis=1)
        targets /= targets.max()
    elif labels.ndim == 1:
        targets = (labels[pairs[0]] != labels[pairs[1]]).astype(float)
    else:
        known = labels[kept]
        targets = 1.0 - (known[pairs[0]] & known[pairs[1]]).any(axis=1)
    # A row near a threshold may fall on its other side when weights are rounded to float32.
    assert objective(model, rows[kept], targets, pairs) == pytest.approx(states[20][-1], rel=1e-2)


def test_reconstructs_distances_better_than_random_directions(digits):
    vectors = digits.data.astype(np.float32)
    model = hashdb.fit(vectors[:600], "bre", 32, params={"sweeps": 5})
    unseen = vectors[600:900]
    x = unseen - model.state["mean"].astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    pairs = np.triu_indices(300, 1)
    true = ((x[pairs[0]] - x[pairs[1]]) ** 2).sum(axis=1)

    def agreement(fitted):
        bits = hashdb.codes.unpack(fitted.encode(unseen), 32)
        return np.corrcoef((bits[pairs[0]] != bits[pairs[1]]).sum(axis=1), true)[0, 1]

    assert agreement(model) > agreement(hashdb.fit(vectors[:600], "lsh", 32)) + 0.03


def test_labels_find_classes_better_than_distances(digits):
    vectors, classes = digits.data.astype(np.float32), digits.target

    def precision(labels):
        model = hashdb.fit(vectors[:600], "bre", 16, params={"sweeps": 5}, labels=labels)
        bits = hashdb.codes.unpack(model.encode(vectors[600:]), 16)
        distances = (bits[:200, None] != bits[None]).sum(axis=2)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, 1:11]
        return (classes[600:][nearest] == classes[600:800, None]).mean()

    assert precision(classes[:600]) > precision(None) + 0.02


def test_unlabelled_rows_are_left_out(rows):
    labels = np.arange(60) % 3
    partly = np.where(np.arange(60) < 40, labels, -1)
    some = hashdb.fit(rows, "bre", 8, labels=partly)
    assert np.array_equal(some.encode(rows), hashdb.fit(rows[:40], "bre", 8, labels=labels[:40]).encode(rows))


@pytest.mark.parametrize("exponent", [-70, 60])
def test_the_scale_of_the_data_changes_no_code(rows, exponent):
    scaled = np.ldexp(rows, exponent)
    codes = hashdb.fit(rows, "bre", 12).encode(rows)
    assert np.array_equal(hashdb.fit(scaled, "bre", 12).encode(scaled), codes)


def test_one_row_and_one_class_are_refused(rows):
    with pytest.raises(ArgumentError, match="bre learns from pairs of rows: got 1 training row, expected at least 2"):
        hashdb.fit(rows[:1], "bre", 8)
    with pytest.raises(ArgumentError, match="the labels have 1 class"):
        hashdb.fit(rows, "bre", 8, labels=np.zeros(60, int))


def test_progress_ends_at_the_total(rows):
    seen = []
    hashdb.fit(rows, "bre", 8, params={"sweeps": 50}, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (50, 50)


RBF = {"kernel": "rbf"}


@pytest.mark.parametrize(
    "check",
    ["shapes", "reproducible", "encode_is_sign_of_project", "row_independence", "degenerate", "better_than_chance"],
)
def test_contract_with_the_rbf_kernel(check):
    check_method("bre", params=RBF | QUICK, only=[check])


def square_distances(rows):
    wide = rows.astype(np.float64)
    return ((wide[:, None] - wide) ** 2).sum(axis=2)


@pytest.mark.parametrize("labels", [None, np.arange(60) % 3])
@pytest.mark.parametrize("width", [None, 20.0])
def test_with_the_rbf_kernel_the_objective_is_that_of_kernel_distances(rows, labels, width):
    params = RBF | {"pairs": 10_000, "width": width}
    model = hashdb.fit(rows, "bre", 12, params=params, labels=labels)
    history = model.state["history"]
    assert (np.diff(history) <= 0).all()
    assert history[1] < history[0]
    squares = square_distances(rows)
    # Of all pairs, a row with itself among them.
    gamma = 1 / (2 * width**2) if width else 1 / squares.mean()
    assert float(model.state["gamma"]) == pytest.approx(gamma)
    pairs = np.triu_indices(60, 1)
    targets = 2 - 2 * np.exp(-gamma * squares[pairs])
    targets = targets / targets.max() if labels is None else (labels[pairs[0]] != labels[pairs[1]]).astype(float)
    assert objective(model, rows, targets, pairs) == pytest.approx(history[-1], rel=1e-2)


def test_with_the_rbf_kernel_each_bit_is_made_of_its_own_rows(rows):
    state = hashdb.fit(rows, "bre", 12, params=RBF | {"kernel_rows": 7}).state
    anchors, weights = state["anchors"], state["weights"]
    assert (anchors[:, None] == rows).all(axis=2).any(axis=1).all()
    assert ((weights != 0).sum(axis=0) == 7).all()
    np.testing.assert_allclose(np.linalg.norm(weights, axis=0), 1, atol=1e-6)
    assert not state["bias"].any()
    kernel = np.exp(-float(state["gamma"]) * ((rows[:, None].astype(np.float64) - anchors) ** 2).sum(axis=2))
    margins = hashdb.fit(rows, "bre", 12, params=RBF | {"kernel_rows": 7}).project(rows)
    np.testing.assert_allclose(margins, kernel @ weights, atol=1e-6)


def test_with_the_rbf_kernel_distances_are_reconstructed_better_than_by_random_directions(digits):
    vectors = digits.data.astype(np.float32)
    model = hashdb.fit(vectors[:600], "bre", 32, params=RBF | {"sweeps": 5})
    unseen = vectors[600:900]
    pairs = np.triu_indices(300, 1)
    true = 1 - np.exp(-float(model.state["gamma"]) * square_distances(unseen)[pairs])

    def agreement(fitted):
        bits = hashdb.codes.unpack(fitted.encode(unseen), 32)
        return np.corrcoef((bits[pairs[0]] != bits[pairs[1]]).sum(axis=1), true)[0, 1]

    assert agreement(model) > agreement(hashdb.fit(vectors[:600], "lsh", 32)) + 0.03


@pytest.mark.parametrize("exponent", [-70, 60])
def test_with_the_rbf_kernel_the_scale_of_the_data_changes_no_code(rows, exponent):
    scaled = np.ldexp(rows, exponent)
    codes = hashdb.fit(rows, "bre", 12, params=RBF).encode(rows)
    assert np.array_equal(hashdb.fit(scaled, "bre", 12, params=RBF).encode(scaled), codes)
