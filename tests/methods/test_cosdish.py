"""Column sampling based discrete supervised hashing: the contract, and what the paper promises."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method
from hashdb_plugins._labels import labelled
from hashdb_plugins.supervised import cosdish


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("cosdish", params={"rounds": 4}, only=[check])


@pytest.mark.parametrize("check", ["shapes", "encode_is_sign_of_project", "row_independence", "threads", "degenerate"])
def test_contract_with_kernel_features(check):
    check_method("cosdish", params={"rounds": 4, "features": "kernel", "anchors": 50}, only=[check])


@pytest.fixture(scope="module")
def task():
    """600 rows of six classes that overlap."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 600)
    vectors = 0.8 * rng.standard_normal((6, 12))[labels] + rng.standard_normal((600, 12))
    return vectors.astype(np.float32), labels


def rows_with(labels):
    return labelled("cosdish", np.zeros((len(labels), 1), np.float32), labels)


def random_labels(rng, several):
    return rng.random((90, 5)) < 0.3 if several else rng.integers(0, 5, 90)


def dense(known):
    """S, balanced: the values of the pairs sum to 0."""
    share = known.share(slice(None), slice(None))
    return np.where(share, 1.0, -min(1.0, share.sum() / (~share).sum()))


def codes_of(model, n_bits):
    return np.where(hashdb.codes.unpack(model.training_codes, n_bits), 1.0, -1.0)


@pytest.mark.parametrize("several", [False, True])
def test_similarities_are_balanced_and_the_loss_is_that_of_all_pairs(several):
    rng = np.random.default_rng(1)
    known = rows_with(random_labels(rng, several))
    s, pairs = dense(known), cosdish.balanced_pairs(known)
    assert np.allclose(pairs.table(pairs.of_rows)[:, pairs.of_rows], s)
    if not several:
        assert s.sum() == pytest.approx(0, abs=1e-8)
    codes = np.where(rng.random((len(s), 7)) < 0.5, -1.0, 1.0)
    assert cosdish.loss(codes, pairs) == pytest.approx(((s - codes @ codes.T / 7) ** 2).mean())


def test_binary_programmes_are_solved_within_the_bound_and_mostly_exactly():
    """Against all 2^10 answers; the bound is for the cost of the clusters, with the diagonal raised."""
    rng = np.random.default_rng(2)
    every = np.array(list(product([-1.0, 1.0], repeat=10)))
    every = every[every[:, -1] == 1]
    n_exact = 0
    for _ in range(60):
        form = rng.standard_normal((10, 10)) * rng.choice([0.1, 1, 5], (10, 1))
        form = form + form.T
        np.fill_diagonal(form, 0)
        present = every[rng.integers(len(every))]
        found = cosdish.maximise(form, present, rng)
        assert found[-1] == 1
        assert (np.abs(found) == 1).all()
        value, best = found @ form @ found, np.einsum("ij,jk,ik->i", every, form, every).max()
        assert value >= present @ form @ present
        raised = -np.linalg.eigvalsh(form)[0]
        cost, least = (10 * raised - (v + 10 * raised) / 10 for v in (value, best))
        assert cost <= 2 * least + 1e-9
        n_exact += value >= best - 1e-9
    assert n_exact > 50


@pytest.mark.parametrize("several", [False, True])
def test_the_step_of_the_rows_drawn_lowers_the_loss_on_their_columns(several):
    rng = np.random.default_rng(3)
    known = rows_with(random_labels(rng, several))
    s, pairs, n = dense(known), cosdish.balanced_pairs(known), len(known.labels)
    codes = np.where(rng.random((n, 6)) < 0.5, -1.0, 1.0)
    drawn = rng.choice(n, 15, replace=False)

    def on_columns(b):
        return ((6 * s[:, drawn] - b @ b[drawn].T) ** 2).sum()

    before = on_columns(codes)
    for _ in range(4):
        changed = codes.copy()
        changed[drawn] = cosdish.solve_drawn(codes, drawn, pairs.table(pairs.of_rows[drawn]), pairs, rng)
        assert on_columns(changed) <= before
        codes, before = changed, on_columns(changed)


def test_the_loss_of_the_codes_is_the_lowest_of_all_rounds(task):
    vectors, labels = task
    model = hashdb.fit(vectors, "cosdish", 12, labels=labels)
    history = model.state["history"]
    assert len(history) == 10
    codes = codes_of(model, 12)
    s = np.where(labels[:, None] == labels, 1.0, 0.0)
    s[s == 0] = -s.sum() / (s == 0).sum()
    assert history.min() == pytest.approx(((s - codes @ codes.T / 12) ** 2).mean())
    longer = hashdb.fit(vectors, "cosdish", 12, labels=labels, params={"rounds": 20}).state["history"]
    assert longer.min() <= history.min()


@pytest.mark.parametrize("n_bits", [8, 16, 32])
def test_classes_get_code_words_far_apart(task, n_bits):
    """Six words of q bits can differ by q/2 and somewhat more on average; random ones differ by q/2 less a spread."""
    vectors, labels = task
    codes = codes_of(hashdb.fit(vectors, "cosdish", n_bits, labels=labels), n_bits)
    words = np.array([np.sign(codes[labels == c].sum(axis=0) + 0.5) for c in range(6)])
    assert (codes == words[labels]).mean() > 0.98
    distances = (words[:, None] != words).sum(axis=2)[~np.eye(6, dtype=bool)]
    assert distances.min() >= 0.4 * n_bits
    assert distances.mean() >= 0.55 * n_bits


def test_more_classes_than_rows_drawn_still_get_words_of_their_own():
    labels = np.arange(1000) % 100
    vectors = np.random.default_rng(4).standard_normal((100, 30))[labels].astype(np.float32)
    codes = codes_of(hashdb.fit(vectors, "cosdish", 32, labels=labels, params={"columns": 50}), 32)
    words = np.array([np.sign(codes[labels == c].sum(axis=0) + 0.5) for c in range(100)])
    distances = (words[:, None] != words).sum(axis=2)
    assert np.median(distances) >= 14
    assert ((distances == 0).sum(axis=1) == 1).mean() > 0.95


def test_the_linear_function_is_the_ridge_regression_on_standardised_columns(task):
    vectors, labels = task
    model = hashdb.fit(vectors, "cosdish", 12, labels=labels, params={"ridge": 1e-2})
    codes = codes_of(model, 12)
    standard = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    weights = np.linalg.solve(
        standard.T @ standard + 0.01 * len(vectors) * np.eye(12), standard.T @ (codes - codes.mean(axis=0))
    )
    np.testing.assert_allclose(model.project(vectors), standard @ weights + codes.mean(axis=0), atol=1e-4)


def test_learned_codes_of_the_database_find_more_than_predicted_ones(task):
    vectors, labels = task
    model = hashdb.fit(vectors[:500], "cosdish", 16, labels=labels[:500])

    def precision(stored):
        bits = hashdb.codes.unpack(stored, 16)
        asked = hashdb.codes.unpack(model.encode(vectors[500:]), 16)
        nearest = np.argsort((asked[:, None] != bits).sum(axis=2), axis=1, kind="stable")[:, :50]
        return (labels[:500][nearest] == labels[500:, None]).mean()

    assert precision(model.training_codes) > precision(model.encode(vectors[:500])) + 0.02


def test_an_index_may_hold_the_learned_codes(task, path):
    vectors, labels = task
    model = hashdb.fit(vectors, "cosdish", 16, labels=labels)
    options = {"method": "cosdish", "n_bits": 16, "labels": labels, "database_codes": "learned"}
    with hashdb.build(path, vectors, **options) as index:
        ids, codes = next(iter(index.codes()))
        assert np.array_equal(codes, model.training_codes[ids])


def test_kernel_features_find_classes_that_no_plane_separates():
    rng = np.random.default_rng(5)
    clusters = rng.integers(0, 8, 900)
    vectors = (3 * rng.standard_normal((8, 4))[clusters] + rng.standard_normal((900, 4))).astype(np.float32)
    labels = clusters % 4

    def agreement(features):
        params = {"features": features, "anchors": 100}
        model = hashdb.fit(vectors[:600], "cosdish", 16, labels=labels[:600], params=params)
        codes = hashdb.codes.unpack(model.training_codes, 16)
        words = np.array([codes[labels[:600] == c][0] for c in range(4)])
        return (hashdb.codes.unpack(model.encode(vectors[600:]), 16) == words[labels[600:]]).mean()

    assert agreement("kernel") > agreement("linear") + 0.03


def test_rows_with_several_labels_are_learned_from():
    rng = np.random.default_rng(6)
    hot = rng.random((400, 4)) < 0.35
    vectors = (hot @ (3 * rng.standard_normal((4, 12))) + 0.3 * rng.standard_normal((400, 12))).astype(np.float32)
    model = hashdb.fit(vectors, "cosdish", 16, labels=hot)
    codes = hashdb.codes.unpack(model.encode(vectors), 16)
    distances = (codes[:, None] != codes).sum(axis=2)
    share = hot.astype(int) @ hot.T.astype(int) > 0
    assert distances[share].mean() + 2 < distances[~share].mean()


def test_unlabelled_rows_are_left_out_and_get_predicted_codes(task):
    vectors, labels = task
    some = hashdb.fit(vectors, "cosdish", 8, labels=np.where(np.arange(600) < 400, labels, -1))
    part = hashdb.fit(vectors[:400], "cosdish", 8, labels=labels[:400])
    assert np.array_equal(some.encode(vectors), part.encode(vectors))
    assert np.array_equal(some.training_codes[:400], part.training_codes)
    assert np.array_equal(some.training_codes[400:], some.encode(vectors[400:]))


@pytest.mark.parametrize("exponent", [-120, -60, 60, 100])
def test_the_scale_of_the_data_changes_no_code(task, exponent):
    vectors, labels = task
    scaled = np.ldexp(vectors, exponent)
    same = hashdb.fit(scaled, "cosdish", 8, labels=labels).encode(scaled)
    assert np.array_equal(same, hashdb.fit(vectors, "cosdish", 8, labels=labels).encode(vectors))


def test_subnormal_data_give_finite_weights(task):
    vectors, labels = task
    model = hashdb.fit(vectors * np.float32(1e-44), "cosdish", 8, labels=labels)
    assert np.isfinite(model.state["weights"]).all()


def test_one_class_and_more_classes_than_can_be_drawn_are_refused(task):
    with pytest.raises(ArgumentError, match="the labels have 1 class, expected 2 or more for cosdish"):
        hashdb.fit(task[0], "cosdish", 8, labels=np.zeros(600, int))
    with pytest.raises(
        ArgumentError, match="draws 512 rows in each of 10 rounds, too few for 3000 classes; ask for at least 24 rounds"
    ):
        hashdb.fit(np.zeros((3000, 2)), "cosdish", 8, labels=np.arange(3000))


def test_images_of_digits_find_their_class(digits):
    def precision(features):
        params = {"features": features, "anchors": 300}
        model = hashdb.fit(digits.data[:1000], "cosdish", 24, labels=digits.target[:1000], params=params)
        asked = hashdb.codes.unpack(model.encode(digits.data[1000:]), 24)
        for stored in (model.encode(digits.data[:1000]), model.training_codes):
            distances = (asked[:, None] != hashdb.codes.unpack(stored, 24)).sum(axis=2)
            nearest = np.argsort(distances, axis=1, kind="stable")[:, :50]
            yield (digits.target[nearest] == digits.target[1000:, None]).mean()

    # Planes separate these classes about as well as canonical directions do; the kernel nearly all of them.
    assert min(precision("linear")) > 0.8
    assert min(precision("kernel")) > 0.92
