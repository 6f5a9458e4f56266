"""Supervised hashing with kernels: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method
from hashdb_plugins import _anchors
from hashdb_plugins._label_pairs import LabelPairs
from hashdb_plugins._labels import labelled
from hashdb_plugins.supervised import ksh

FEW = {"anchors": 40, "iterations": 30}


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("ksh", params=FEW, only=[check])


@pytest.fixture(scope="module")
def task():
    """400 rows of four classes, two clusters each, so that no linear bit tells a class from the rest."""
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 8, 400)
    vectors = 3 * rng.standard_normal((8, 10))[clusters] + rng.standard_normal((400, 10))
    return vectors.astype(np.float32), clusters % 4


def kernel_of(state, vectors):
    values = _anchors.kernel(vectors, state["anchors"], float(state["gamma"])).astype(np.float64)
    return values - values.mean(axis=0)


def signed(labels):
    return np.where(labels[:, None] == labels, 1.0, -1.0)


def smooth_objective(kernel, residual, a):
    phi = np.tanh(kernel @ a / 2)
    return -phi @ residual @ phi


def test_the_objective_falls_with_every_bit_and_is_that_of_the_codes(task):
    vectors, labels = task
    model = hashdb.fit(vectors, "ksh", 16, labels=labels, params=FEW)
    bits = np.where(hashdb.codes.unpack(model.encode(vectors), 16), 1.0, -1.0)
    history = model.state["history"]
    assert (np.diff(history) < 0).all()
    for k in (1, 5, 16):
        error = ((bits[:, :k] @ bits[:, :k].T / 16 - signed(labels)) ** 2).mean()
        assert history[k - 1] == pytest.approx(error, rel=1e-9)


def test_the_first_bit_starts_from_the_largest_eigenvector(task):
    from scipy.linalg import eigh

    vectors, labels = task
    state = hashdb.fit(vectors, "ksh", 3, labels=labels, params={"anchors": 40, "iterations": 0}).state
    kernel = kernel_of(state, vectors)
    inner = kernel.T @ kernel
    residual = 3 * signed(labels)
    for k in range(3):
        a = state["weights"][:, k].astype(np.float64)
        sizes, directions = eigh(kernel.T @ residual @ kernel, inner)
        best = directions[:, -1] * np.sqrt(400)
        np.testing.assert_allclose(np.abs(kernel @ a), np.abs(kernel @ best), atol=2e-3)
        assert a @ inner @ a == pytest.approx(400, rel=1e-3)
        assert a @ kernel.T @ residual @ kernel @ a == pytest.approx(sizes[-1] * 400, rel=1e-3)
        h = np.where(kernel @ a > 0, 1.0, -1.0)
        residual = residual - np.outer(h, h)


def test_margins_are_about_the_mean_of_training(task):
    vectors, labels = task
    model = hashdb.fit(vectors, "ksh", 8, labels=labels, params=FEW)
    margins = model.project(vectors)
    expected = kernel_of(model.state, vectors) @ model.state["weights"].astype(np.float64)
    np.testing.assert_allclose(margins, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(margins.mean(axis=0), 0, atol=1e-5 * np.abs(expected).max())
    # σ^2 is the mean squared distance, and enters as 2 σ^2.
    squares = ((vectors[:, None].astype(np.float64) - model.state["anchors"]) ** 2).sum(axis=2)
    assert float(model.state["gamma"]) == pytest.approx(1 / (2 * squares.mean()))


def test_a_step_of_the_descent_follows_the_gradient(task):
    vectors, labels = task
    state = hashdb.fit(vectors, "ksh", 1, labels=labels, params={"anchors": 30, "iterations": 0}).state
    kernel, residual = kernel_of(state, vectors), 4 * signed(labels)
    start = state["weights"][:, 0].astype(np.float64) * 0.3
    moved = ksh.descend(kernel, lambda v: residual @ v, start, 1)
    gradient = np.array(
        [
            (smooth_objective(kernel, residual, start + d) - smooth_objective(kernel, residual, start - d)) / 2e-5
            for d in 1e-5 * np.eye(30)
        ]
    )
    step = (start - moved) @ gradient / (gradient @ gradient)
    np.testing.assert_allclose(start - moved, step * gradient, rtol=1e-4, atol=1e-6 * np.abs(start - moved).max())
    assert np.log2(step) == pytest.approx(round(np.log2(step)), abs=1e-4)
    fallen = smooth_objective(kernel, residual, start) - smooth_objective(kernel, residual, moved)
    assert fallen >= step / 2 * (gradient @ gradient) * (1 - 1e-6)


def test_the_descent_lowers_the_smooth_objective_and_more_steps_lower_it_more(task):
    vectors, labels = task
    state = hashdb.fit(vectors, "ksh", 1, labels=labels, params={"anchors": 30, "iterations": 0}).state
    kernel, residual = kernel_of(state, vectors), 4 * signed(labels)
    start = state["weights"][:, 0].astype(np.float64)
    values = [
        smooth_objective(kernel, residual, ksh.descend(kernel, lambda v: residual @ v, start, n)) for n in (1, 10, 100)
    ]
    assert smooth_objective(kernel, residual, start) > values[0] >= values[1] >= values[2]


def test_the_descent_never_makes_a_bit_worse_than_its_start(task):
    vectors, labels = task
    spectral, moved = (
        hashdb.fit(vectors, "ksh", 8, labels=labels, params={"anchors": 40, "iterations": n}).state["history"]
        for n in (0, 100)
    )
    assert moved[0] <= spectral[0]
    assert moved[-1] < spectral[-1]


@pytest.mark.parametrize("several", [False, True])
def test_pairs_by_label_sets_are_the_matrix_of_all_pairs(several):
    rng = np.random.default_rng(0)
    labels = rng.random((150, 5)) < 0.3 if several else rng.integers(0, 5, 150)
    known = labelled("ksh", np.zeros((150, 1), np.float32), labels)
    pairs = LabelPairs(known, other=-0.25)
    dense = np.where(known.share(slice(None), slice(None)), 1.0, -0.25)
    values = rng.standard_normal((len(known.vectors), 3))
    np.testing.assert_allclose(pairs.times(pairs.sums(values))[pairs.of_rows], dense @ values, atol=1e-9)
    assert np.array_equal(pairs.table(pairs.of_rows[:7])[:, pairs.of_rows], dense[:7])


def test_rows_with_several_labels_are_learned_from():
    rng = np.random.default_rng(1)
    hot = rng.random((400, 4)) < 0.35
    vectors = (hot @ (3 * rng.standard_normal((4, 12))) + 0.3 * rng.standard_normal((400, 12))).astype(np.float32)
    model = hashdb.fit(vectors[:300], "ksh", 12, labels=hot[:300], params=FEW)
    codes = hashdb.codes.unpack(model.encode(vectors), 12)
    distances = (codes[300:, None] != codes[:300]).sum(axis=2)
    share = hot[300:].astype(int) @ hot[:300].T.astype(int) > 0
    assert distances[share].mean() + 2 < distances[~share].mean()


def test_one_label_a_row_is_the_same_as_multi_hot_with_one(task):
    vectors, labels = task
    classes = hashdb.fit(vectors, "ksh", 6, labels=labels, params=FEW)
    hot = hashdb.fit(vectors, "ksh", 6, labels=np.eye(4, dtype=bool)[labels], params=FEW)
    assert (classes.encode(vectors) != hot.encode(vectors)).mean() < 0.05


def test_unlabelled_rows_are_left_out(task):
    vectors, labels = task
    half = hashdb.fit(vectors[:200], "ksh", 6, labels=labels[:200], params=FEW)
    some = hashdb.fit(vectors, "ksh", 6, labels=np.where(np.arange(400) < 200, labels, -1), params=FEW)
    assert np.array_equal(half.encode(vectors), some.encode(vectors))


def test_fewer_rows_than_anchors_are_all_anchors(task):
    vectors, labels = task
    model = hashdb.fit(vectors[:50], "ksh", 6, labels=labels[:50])
    assert model.state["anchors"].shape == (50, 10)


@pytest.mark.parametrize("exponent", [-120, -60, 60, 100])
def test_the_scale_of_the_data_changes_nothing(task, exponent):
    vectors, labels = task
    scaled = np.ldexp(vectors, exponent)
    same = hashdb.fit(scaled, "ksh", 6, labels=labels, params=FEW).encode(scaled)
    assert np.array_equal(same, hashdb.fit(vectors, "ksh", 6, labels=labels, params=FEW).encode(vectors))


def test_equal_rows_one_class_and_too_many_sets_of_labels_are_refused(task, monkeypatch):
    vectors, labels = task
    with pytest.raises(ArgumentError, match="the labelled rows are all equal, expected vectors that differ"):
        hashdb.fit(np.ones((20, 3)), "ksh", 4, labels=np.arange(20) % 2)
    with pytest.raises(ArgumentError, match="the labels have 1 class, expected 2 or more for ksh"):
        hashdb.fit(vectors, "ksh", 4, labels=0 * labels)
    monkeypatch.setattr(ksh, "_MOST_SETS", 3)
    with pytest.raises(ArgumentError, match="the labels have 4 of them, expected at most 3; train on fewer rows"):
        hashdb.fit(vectors, "ksh", 4, labels=labels)


def test_images_of_digits_find_their_class(digits):
    def precision(method, **more):
        model = hashdb.fit(digits.data[:1000], method, 24, **more)
        bits = hashdb.codes.unpack(model.encode(digits.data), 24)
        distances = (bits[1000:, None] != bits[:1000]).sum(axis=2)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :50]
        return (digits.target[nearest] == digits.target[1000:, None]).mean()

    found = precision("ksh", labels=digits.target[:1000], params={"anchors": 200, "iterations": 100})
    assert found > precision("itq") + 0.1
    assert found > 0.85
