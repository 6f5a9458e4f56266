"""Fast supervised discrete hashing: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method
from hashdb_plugins import _anchors

FEW = {"anchors": 60}


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("fsdh", params=FEW, only=[check])


@pytest.fixture(scope="module")
def task():
    """500 rows of five classes that overlap."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 500)
    vectors = 1.2 * rng.standard_normal((5, 12))[labels] + rng.standard_normal((500, 12))
    return vectors.astype(np.float32), labels


def codes_of(model, n_bits):
    return np.where(hashdb.codes.unpack(model.training_codes, n_bits), 1.0, -1.0)


def features_of(state, vectors):
    kernel = _anchors.kernel(vectors, state["anchors"], float(state["gamma"])).astype(np.float64)
    return np.hstack([kernel, np.ones((len(vectors), 1))])


def regression(left, right, ridge):
    return np.linalg.solve(left.T @ left + ridge * np.eye(left.shape[1]), left.T @ right)


def steps(codes, indicators, features, params):
    """G and P, equations (2) and (3), and J of the codes with them."""
    words = regression(indicators, codes, params["lambda"])
    weights = regression(features, codes, params["delta"])
    fit = ((codes - indicators @ words) ** 2).sum() + params["lambda"] * (words**2).sum()
    rest = ((codes - features @ weights) ** 2).sum() + params["delta"] * (weights**2).sum()
    return words, weights, fit + params["nu"] * rest


@pytest.mark.parametrize("nu", [1e-5, 0.3, 10.0])
def test_the_objective_never_rises_and_is_that_of_the_codes(task, nu):
    vectors, labels = task
    model = hashdb.fit(vectors, "fsdh", 12, labels=labels, params=FEW | {"nu": nu, "iterations": 10})
    history = model.state["history"]
    assert len(history) >= 2
    assert (np.diff(history) <= 1e-9 * history[0]).all()
    expected = steps(codes_of(model, 12), np.eye(5)[labels], features_of(model.state, vectors), model.params)[2]
    assert history[-1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("nu", [1e-5, 0.3])
def test_the_codes_end_as_the_signs_of_what_labels_and_kernel_predict(task, nu):
    vectors, labels = task
    model = hashdb.fit(vectors, "fsdh", 12, labels=labels, params=FEW | {"nu": nu, "iterations": 100})
    codes, indicators, features = codes_of(model, 12), np.eye(5)[labels], features_of(model.state, vectors)
    words, weights, _ = steps(codes, indicators, features, model.params)
    assert np.array_equal(codes, np.sign(indicators @ words + nu * features @ weights))
    np.testing.assert_allclose(model.project(vectors), features @ weights, atol=1e-3)


def test_every_class_gets_a_code_word(task):
    vectors, labels = task
    model = hashdb.fit(vectors, "fsdh", 24, labels=labels, params=FEW)
    codes = codes_of(model, 24)
    words = np.array([codes[labels == c][0] for c in range(5)])
    assert np.array_equal(codes, words[labels])
    assert len(np.unique(words, axis=0)) == 5


def test_rows_with_several_labels_are_learned_from():
    rng = np.random.default_rng(1)
    hot = rng.random((400, 4)) < 0.4
    vectors = (hot @ (3 * rng.standard_normal((4, 12))) + 0.5 * rng.standard_normal((400, 12))).astype(np.float32)
    model = hashdb.fit(vectors[:300], "fsdh", 16, labels=hot[:300], params=FEW | {"nu": 0.01})
    assert (np.diff(model.state["history"]) <= 1e-9 * model.state["history"][0]).all()
    codes = hashdb.codes.unpack(model.encode(vectors), 16)
    distances = (codes[300:, None] != codes[:300]).sum(axis=2)
    same = (hot[300:, None] == hot[:300]).all(axis=2)
    assert distances[same].mean() + 3 < distances[~same].mean()


def test_unlabelled_rows_are_left_out_and_get_predicted_codes(task):
    vectors, labels = task
    some = hashdb.fit(vectors, "fsdh", 8, labels=np.where(np.arange(500) < 300, labels, -1), params=FEW)
    part = hashdb.fit(vectors[:300], "fsdh", 8, labels=labels[:300], params=FEW)
    assert np.array_equal(some.encode(vectors), part.encode(vectors))
    assert np.array_equal(some.training_codes[300:], some.encode(vectors[300:]))


@pytest.mark.parametrize("exponent", [-120, 100])
def test_the_scale_of_the_data_changes_nothing(task, exponent):
    vectors, labels = task
    scaled = np.ldexp(vectors, exponent)
    same = hashdb.fit(scaled, "fsdh", 8, labels=labels, params=FEW).encode(scaled)
    assert np.array_equal(same, hashdb.fit(vectors, "fsdh", 8, labels=labels, params=FEW).encode(vectors))


def test_one_class_and_too_many_classes_are_refused(task):
    vectors = task[0]
    with pytest.raises(ArgumentError, match="the labels have 1 class, expected 2 or more for fsdh"):
        hashdb.fit(vectors, "fsdh", 8, labels=np.zeros(500, int))
    with pytest.raises(ArgumentError, match="the labels have 5001 classes, expected at most 5000"):
        hashdb.fit(np.zeros((5001, 2)), "fsdh", 8, labels=np.arange(5001))


def test_images_of_digits_find_their_class_as_with_sdh(digits):
    def precision(method):
        model = hashdb.fit(digits.data[:1000], method, 24, labels=digits.target[:1000], params={"anchors": 300})
        bits = hashdb.codes.unpack(model.encode(digits.data), 24)
        distances = (bits[1000:, None] != bits[:1000]).sum(axis=2)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :50]
        return (digits.target[nearest] == digits.target[1000:, None]).mean()

    found = precision("fsdh")
    assert found > 0.88
    assert abs(found - precision("sdh")) < 0.05
