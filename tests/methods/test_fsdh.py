"""Fast supervised discrete hashing: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.model import partial_fit
from hashdb.testing import METHOD_CHECKS, check_method
from hashdb_plugins import _anchors
from hashdb_plugins.supervised import fsdh

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


def words_of(model, labels, n_bits):
    codes = codes_of(model, n_bits)
    return np.array([codes[labels == c][0] for c in np.unique(labels)])


def test_rows_in_blocks_give_the_codes_of_a_regression_on_all_rows(task):
    """With one label a row, the code words of the first fit and its anchors, all rows at once give the same codes."""
    vectors, labels = task
    first = model = hashdb.fit(vectors[:150], "fsdh", 24, labels=labels[:150], params=FEW)
    for start, stop in ((150, 151), (151, 300), (300, 500)):
        model = partial_fit(model, vectors[start:stop], labels=labels[start:stop])
    codes = words_of(first, labels[:150], 24)[labels]
    features = features_of(first.state, vectors)
    weights = regression(features, codes, model.params["delta"])
    bits = hashdb.codes.unpack(model.encode(vectors), 24)
    assert np.array_equal(bits, features @ weights > 0)
    np.testing.assert_allclose(model.project(vectors), features @ weights, atol=1e-3)
    assert (bits != hashdb.codes.unpack(first.encode(vectors), 24)).any()
    assert int(model.state["seen"]) == model.n_train == 500


@pytest.mark.parametrize("nu", [1e-5, 0.3, 10.0])
def test_the_objective_of_all_rows_with_codes_held_never_rises(task, nu):
    vectors, labels = task
    params = FEW | {"nu": nu, "iterations": 8}
    first = hashdb.fit(vectors[:200], "fsdh", 12, labels=labels[:200], params=params)
    state = partial_fit(first, vectors[200:], labels=labels[200:]).state
    history = state["history"]
    assert (np.diff(history) <= 1e-9 * history[0]).all()
    features, indicators = features_of(state, vectors), np.eye(5)[labels]
    words, weights = (state[name] for name in ("seen_sums", "seen_cross"))
    np.testing.assert_allclose(words[:, 0].sum(), weights[-1, 0], atol=1e-6)
    # The codes of the new rows, from the last turn of (4).
    words = np.linalg.solve(indicators.T @ indicators + first.params["lambda"] * np.eye(5), words)
    weights = np.linalg.solve(features.T @ features + first.params["delta"] * np.eye(features.shape[1]), weights)
    new = np.sign(indicators[200:] @ words + nu * features[200:] @ weights)
    codes = np.vstack([codes_of(first, 12), new])
    assert history[-1] == pytest.approx(steps(codes, indicators, features, first.params)[2], rel=1e-4)
    np.testing.assert_allclose(model_weights(state), weights, rtol=1e-3, atol=1e-3)


def model_weights(state):
    return np.vstack([state["weights"], state["bias"]])


def test_new_classes_get_code_words_of_their_own(task):
    vectors, labels = task
    old = labels < 3
    model = hashdb.fit(vectors[old], "fsdh", 32, labels=labels[old], params=FEW)
    words = words_of(model, labels[old], 32)
    # Other numbers than those of the rows, one of them below those there are; first one class alone.
    numbers = np.array([10, 12, 14, 11, 7])
    model = hashdb.fit(vectors[old], "fsdh", 32, labels=numbers[labels[old]], params=FEW)
    for c in (3, 4):
        model = partial_fit(model, vectors[labels == c], labels=numbers[labels[labels == c]])
    assert model.state["seen_classes"].tolist() == [10, 12, 14, 11, 7]
    kept = np.sign(model.state["seen_sums"])
    assert np.array_equal(kept[:3], words)
    assert len(np.unique(kept, axis=0)) == 5
    bits = np.where(hashdb.codes.unpack(model.encode(vectors), 32), 1, -1)
    assert ((bits @ kept.T).argmax(axis=1) == labels).mean() > 0.75


def test_going_on_with_several_labels_is_the_same_as_with_their_columns(task):
    vectors, labels = task
    hot = np.eye(6, dtype=bool)[labels]
    both = [hashdb.fit(vectors[:200], "fsdh", 12, labels=part[:200], params=FEW) for part in (labels, hot)]
    states = [
        partial_fit(model, vectors[200:], labels=part[200:]).state
        for model, part in ((both[0], hot), (both[1], labels), (both[0], labels), (both[0], hot[:, :5]))
    ]
    for state in states[1:]:
        np.testing.assert_allclose(state["weights"], states[0]["weights"], atol=1e-5)
    wider = np.hstack([hot[200:], np.zeros((300, 3), bool)])
    wider[:50, 8] = True
    more = partial_fit(both[0], vectors[200:], labels=wider).state
    assert more["seen_classes"].tolist() == [0, 1, 2, 3, 4, 8]


def test_going_on_leaves_unlabelled_rows_out(task):
    vectors, labels = task
    first = hashdb.fit(vectors[:200], "fsdh", 12, labels=labels[:200], params=FEW)
    some = partial_fit(first, vectors[200:], labels=np.where(np.arange(300) < 100, labels[200:], -1)).state
    part = partial_fit(first, vectors[200:300], labels=labels[200:300]).state
    assert np.array_equal(some["weights"], part["weights"])
    none = fsdh.partial_fit(first.state, vectors[:0], labels[:0], first.params, 0)
    assert np.array_equal(none["weights"], first.state["weights"])


def test_going_on_is_refused_where_it_cannot(task):
    vectors, labels = task
    with pytest.raises(ArgumentError, match="this model of fsdh does not keep what partial_fit goes on from"):
        partial_fit(
            hashdb.fit(vectors, "fsdh", 8, labels=labels, params=FEW | {"incremental": False}), vectors, labels=labels
        )
    model = hashdb.fit(vectors, "fsdh", 8, labels=labels, params=FEW)
    with pytest.raises(ArgumentError, match="method fsdh learns from labels, got none"):
        partial_fit(model, vectors)
    with pytest.raises(ArgumentError, match="the labels have 5005 classes, expected at most 5000"):
        partial_fit(model, np.zeros((5000, 12)), labels=5 + np.arange(5000))
