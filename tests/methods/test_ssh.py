"""Semi-supervised hashing: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("ssh", only=[check])


@pytest.fixture(scope="module")
def task():
    """500 rows, 200 with a label, whose five classes lie in directions that vary little beside the rest."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 5, 500)
    vectors = rng.standard_normal((500, 30)) * np.linspace(4, 1, 30) + 5
    vectors[:, -6:] += 3 * rng.standard_normal((5, 6))[classes]
    labels = np.where(rng.permutation(500) < 200, classes, -1)
    return vectors.astype(np.float32), labels, classes


def adjusted(vectors, share, known, eta):
    """M of the paper, from the matrix S of all pairs."""
    x = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    pairs = x[known].T @ np.where(share, 1.0, -1.0) @ x[known]
    return pairs / np.linalg.norm(pairs) + eta * x.T @ x / np.linalg.norm(x.T @ x)


def assert_solves(state, matrix, n_bits):
    weights = state["weights"].astype(np.float64)
    values = np.linalg.eigvalsh(matrix)[::-1][:n_bits]
    np.testing.assert_allclose(weights.T @ weights, np.eye(n_bits), atol=1e-5)
    np.testing.assert_allclose(matrix @ weights, weights * values, atol=1e-5)
    np.testing.assert_allclose(state["eigenvalues"], values, atol=1e-6)


@pytest.mark.parametrize("eta", [0.0, 0.3, 2.0])
def test_directions_solve_the_eigenproblem_of_all_pairs(task, eta):
    vectors, labels, _ = task
    known = labels >= 0
    share = labels[known][:, None] == labels[known]
    state = hashdb.fit(vectors, "ssh", 12, params={"eta": eta}, labels=labels).state
    assert_solves(state, adjusted(vectors, share, known, eta), 12)


def test_directions_solve_it_for_rows_with_several_labels(task):
    vectors, _, _ = task
    hot = np.random.default_rng(1).random((500, 6)) < 0.25
    known = hot.any(axis=1)
    share = hot[known].astype(int) @ hot[known].T.astype(int) > 0
    state = hashdb.fit(vectors, "ssh", 12, labels=hot).state
    assert_solves(state, adjusted(vectors, share, known, 1.0), 12)


def test_many_label_sets_in_small_blocks_add_up_to_the_same(task, monkeypatch):
    vectors, _, _ = task
    hot = np.random.default_rng(1).random((500, 6)) < 0.25
    whole = hashdb.fit(vectors, "ssh", 12, labels=hot).state["eigenvalues"]
    monkeypatch.setattr("hashdb_plugins._label_pairs._BLOCK_PAIRS", 100)
    np.testing.assert_allclose(hashdb.fit(vectors, "ssh", 12, labels=hot).state["eigenvalues"], whole, rtol=1e-12)


def test_labels_find_what_variance_does_not(task):
    vectors, labels, classes = task

    def precision(method, given=None, **params):
        bits = hashdb.codes.unpack(hashdb.fit(vectors, method, 12, labels=given, params=params).encode(vectors), 12)
        distances = (bits[:200, None] != bits[None]).sum(axis=2)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, 1:11]
        return (classes[nearest] == classes[:200, None]).mean()

    assert precision("ssh", labels) > precision("pcah") + 0.05
    assert precision("ssh", labels, relaxation=10.0) > precision("ssh", labels) + 0.05


@pytest.mark.parametrize("relaxation", [0.5, 20.0])
def test_relaxed_weights_are_a_stationary_point(task, relaxation):
    vectors, labels, _ = task
    known = labels >= 0
    matrix = adjusted(vectors, labels[known][:, None] == labels[known], known, 1.0)
    state = hashdb.fit(vectors, "ssh", 12, params={"relaxation": relaxation}, labels=labels).state
    weights, rho = state["weights"].astype(np.float64), np.linalg.eigvalsh(matrix)[-1] / relaxation
    pull = rho * weights @ (weights.T @ weights - np.eye(12))
    np.testing.assert_allclose(matrix @ weights, pull, atol=1e-5 * np.abs(pull).max() * 10)
    # No other weights near them are better.
    rng = np.random.default_rng(0)

    def objective(w):
        return np.trace(w.T @ matrix @ w) / 2 - rho / 4 * np.linalg.norm(w.T @ w - np.eye(12)) ** 2

    assert all(objective(weights + 0.1 * rng.standard_normal(weights.shape)) < objective(weights) for _ in range(20))


def test_much_weight_on_the_variance_gives_principal_directions(task):
    vectors, labels, _ = task
    state = hashdb.fit(vectors, "ssh", 8, params={"eta": 1e6}, labels=labels).state
    np.testing.assert_allclose(state["weights"], hashdb.fit(vectors, "pcah", 8).state["weights"], atol=1e-4)


def test_unlabelled_rows_count_for_the_variance_only(task):
    vectors, labels, _ = task
    hot = np.zeros((500, 7), bool)
    hot[labels >= 0, labels[labels >= 0] + 2] = True
    one, several = (hashdb.fit(vectors, "ssh", 12, labels=given) for given in (labels, hot))
    np.testing.assert_allclose(one.state["eigenvalues"], several.state["eigenvalues"], rtol=1e-9)
    np.testing.assert_allclose(one.state["weights"], several.state["weights"], atol=1e-5)


@pytest.mark.parametrize("exponent", [-70, 60])
def test_the_scale_of_the_data_changes_no_code(task, exponent):
    vectors, labels, _ = task
    codes = hashdb.fit(vectors, "ssh", 12, labels=labels).encode(vectors)
    scaled = np.ldexp(vectors, exponent)
    assert np.array_equal(hashdb.fit(scaled, "ssh", 12, labels=labels).encode(scaled), codes)


@pytest.mark.parametrize("labels", [np.zeros(500, int), np.ones((500, 1), bool)])
def test_one_class_is_refused(task, labels):
    with pytest.raises(ArgumentError, match="the labels have 1 class, expected 2 or more for ssh"):
        hashdb.fit(task[0], "ssh", 8, labels=labels)


def test_more_bits_than_dimensions_are_refused(task):
    with pytest.raises(ArgumentError, match="ssh gives at most one bit a dimension: n_bits is 31"):
        hashdb.fit(task[0], "ssh", 31, labels=task[1])


def test_constant_rows_give_finite_weights():
    state = hashdb.fit(np.ones((6, 4), np.float32), "ssh", 4, labels=[0, 1, 0, 1, -1, -1]).state
    assert all(np.isfinite(array).all() for array in state.values())


def test_relaxed_codes_of_digits_use_more_bits_than_classes(digits):
    vectors, classes = digits.data.astype(np.float32), digits.target

    def precision(n_bits, **params):
        model = hashdb.fit(vectors[:800], "ssh", n_bits, labels=classes[:800], params=params)
        bits = hashdb.codes.unpack(model.encode(vectors), n_bits)
        nearest = np.argsort((bits[800:, None] != bits[None, :800]).sum(axis=2), axis=1, kind="stable")[:, :20]
        return (classes[:800][nearest] == classes[800:, None]).mean()

    assert precision(8) > 0.5
    assert precision(32) < precision(8)
    assert precision(32, relaxation=10.0) > precision(8) + 0.1
