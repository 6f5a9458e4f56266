"""Iterative quantisation on canonical correlation analysis: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("itq-cca", only=[check])


@pytest.fixture(scope="module")
def task():
    """600 rows whose five classes lie in directions that vary little beside the rest."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 600)
    vectors = rng.standard_normal((600, 30)) * np.linspace(10, 1, 30)
    vectors[:, -6:] += 2 * rng.standard_normal((5, 6))[labels]
    return vectors.astype(np.float32), labels


def precision(model, vectors, labels, n_bits):
    bits = hashdb.codes.unpack(model.encode(vectors), n_bits)
    distances = (bits[:100, None] != bits[None]).sum(axis=2)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, 1:11]
    return (labels[nearest] == labels[:100, None]).mean()


def test_labels_find_what_variance_does_not(task):
    vectors, labels = task
    with_labels = hashdb.fit(vectors, "itq-cca", 16, labels=labels)
    without = hashdb.fit(vectors, "itq", 16)
    assert precision(with_labels, vectors, labels, 16) > precision(without, vectors, labels, 16) + 0.2


def test_span_and_correlations_solve_the_eigenproblem(task):
    """Equation (1), by a general eigensolver on dense covariances."""
    from scipy.linalg import eigh

    vectors, labels = task
    state = hashdb.fit(vectors, "itq-cca", 8, labels=labels).state
    x = (vectors - state["mean"]).astype(np.float64)
    y = np.eye(5)[labels] - np.eye(5)[labels].mean(axis=0)
    c_x, c_y, c_xy = x.T @ x / 600, y.T @ y / 600, x.T @ y / 600
    c_x += 1e-4 * np.trace(c_x) / 30 * np.eye(30)
    c_y += 1e-4 * np.trace(c_y) / 5 * np.eye(5)
    squares, directions = eigh(c_xy @ np.linalg.solve(c_y, c_xy.T), c_x)
    np.testing.assert_allclose(state["correlations"][:4], np.sqrt(squares[::-1][:4]), rtol=1e-5)
    np.testing.assert_allclose(state["correlations"][4:], 0, atol=1e-6)
    # W = P R: W W' = P P' whatever the rotation.
    scaled = directions[:, ::-1][:, :4] * np.sqrt(squares[::-1][:4])
    weights = state["weights"].astype(np.float64)
    np.testing.assert_allclose(weights @ weights.T, scaled @ scaled.T, atol=1e-5 * np.abs(scaled).max() ** 2)


def test_bits_beyond_the_classes_are_all_in_use(task):
    vectors, labels = task
    model = hashdb.fit(vectors, "itq-cca", 24, labels=labels)
    shares = hashdb.codes.unpack(model.encode(vectors), 24).mean(axis=0)
    assert ((shares > 0.02) & (shares < 0.98)).all()
    shorter = hashdb.fit(vectors, "itq-cca", 8, labels=labels)
    assert precision(model, vectors, labels, 24) > precision(shorter, vectors, labels, 8) - 0.02


def test_the_quantisation_loss_never_rises(task):
    vectors, labels = task
    assert (np.diff(hashdb.fit(vectors, "itq-cca", 8, labels=labels).state["history"]) <= 0).all()


def test_one_label_a_row_is_the_same_as_multi_hot_with_one(task):
    vectors, labels = task
    classes = hashdb.fit(vectors, "itq-cca", 8, labels=labels)
    hot = hashdb.fit(vectors, "itq-cca", 8, labels=np.eye(5, dtype=bool)[labels])
    assert np.array_equal(classes.encode(vectors), hot.encode(vectors))


def test_unlabelled_rows_and_empty_classes_are_left_out(task):
    vectors, labels = task
    half = hashdb.fit(vectors[:300], "itq-cca", 8, labels=labels[:300])
    some = np.where(np.arange(600) < 300, labels, -1)
    hot = np.zeros((600, 9), bool)
    hot[np.arange(300), labels[:300] + 2] = True
    for others in (some, hot):
        assert np.array_equal(hashdb.fit(vectors, "itq-cca", 8, labels=others).encode(vectors), half.encode(vectors))


def test_rows_with_several_labels_are_learned_from():
    rng = np.random.default_rng(1)
    hot = rng.random((500, 6)) < 0.3
    vectors = (hot @ rng.standard_normal((6, 20)) + 0.1 * rng.standard_normal((500, 20))).astype(np.float32)
    model = hashdb.fit(vectors, "itq-cca", 6, labels=hot)
    assert model.state["correlations"].min() > 0.9


@pytest.mark.parametrize("labels", [np.zeros(600, int), np.ones((600, 1), bool)])
def test_one_class_is_refused(task, labels):
    with pytest.raises(ArgumentError, match="the labels have 1 class, expected 2 or more"):
        hashdb.fit(task[0], "itq-cca", 8, labels=labels)


def test_more_bits_than_dimensions_are_refused(task):
    with pytest.raises(ArgumentError, match="at most one bit a dimension"):
        hashdb.fit(task[0], "itq-cca", 31, labels=task[1])


@pytest.mark.parametrize("n", [2, 5])
def test_fewer_rows_than_dimensions_give_finite_codes(task, n):
    vectors, _ = task
    model = hashdb.fit(vectors[:n], "itq-cca", 30, labels=np.arange(n))
    assert np.isfinite(model.state["weights"]).all()
    constant = np.ones((n, 4), np.float32)
    assert np.isfinite(hashdb.fit(constant, "itq-cca", 4, labels=np.arange(n)).state["weights"]).all()


def test_cifar_images_find_their_class(data):
    """Mean average precision over the whole ranking: the published .29 and .17 at 32 bits."""
    gist = np.load(data / "cifar10" / "gist512_float16.npy").astype(np.float32)
    files = [data / "cifar10" / f"{part}_labels.npy" for part in ("train", "test")]
    labels = np.concatenate([np.load(file).ravel() for file in files])
    order = np.random.default_rng(0).permutation(len(gist))
    queries, train, rest = order[:200], order[200:5200], order[200:20_200]

    def mean_average_precision(method):
        model = hashdb.fit(gist[train], method, 32, labels=labels[train] if method == "itq-cca" else None)
        codes, asked = model.encode(gist[rest]), model.encode(gist[queries])
        scores = []
        for query, label in zip(asked, labels[queries], strict=True):
            distances = np.bitwise_count(codes ^ query).sum(axis=1)
            hits = labels[rest][np.argsort(distances, kind="stable")] == label
            scores.append((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())
        return np.mean(scores)

    assert 0.26 < mean_average_precision("itq-cca") < 0.33
    assert 0.15 < mean_average_precision("itq") < 0.20
