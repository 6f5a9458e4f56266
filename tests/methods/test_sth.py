"""Self-taught hashing: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method
from hashdb_plugins.supervised import sth


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("sth", only=[check])


@pytest.fixture(scope="module")
def rows():
    """400 rows of eight groups of different sizes."""
    rng = np.random.default_rng(3)
    groups = rng.choice(8, 400, p=np.arange(1, 9) / 36)
    vectors = 1.5 * rng.standard_normal((8, 20))[groups] + rng.standard_normal((400, 20)) + 1
    return vectors.astype(np.float32), groups


def slow_graph(vectors, k, labels=None):
    """W of equation (1), pair by pair."""
    x = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    cosines = x @ x.T
    allowed = ~np.eye(len(x), dtype=bool)
    if labels is not None:
        allowed &= labels[:, None] == labels
    graph = np.zeros_like(cosines)
    for i, row in enumerate(np.where(allowed, cosines, -np.inf)):
        for j in np.argsort(-row)[:k]:
            if allowed[i, j]:
                graph[i, j] = graph[j, i] = max(cosines[i, j], sth._LEAST_WEIGHT)
    return graph


def test_the_graph_is_of_nearest_rows_by_cosine(rows):
    vectors, _ = rows
    ours = sth._graph(sth._directions(vectors), None, 25, 0.1)[0].toarray()
    np.testing.assert_allclose(ours, slow_graph(vectors, 25), atol=1e-5)


def test_the_graph_of_labels_is_mixed_with_it(rows):
    vectors, groups = rows
    known = sth.labelled("sth", vectors, groups)
    ours, n_pieces = sth._graph(sth._directions(vectors), known, 25, 0.2)
    assert n_pieces == 8
    np.testing.assert_allclose(
        ours.toarray(), slow_graph(vectors, 25, groups) + 0.2 * slow_graph(vectors, 25), atol=1e-5
    )


@pytest.mark.parametrize("dense_rows", [1000, 200])
def test_embeds_by_eigenvectors_of_the_laplacian(rows, monkeypatch, dense_rows):
    from scipy.linalg import eigh

    monkeypatch.setattr(sth, "_DENSE_ROWS", dense_rows)
    graph, _ = sth._graph(sth._directions(rows[0][:240]), None, 25, 0.1)
    embedded = sth._eigenmaps(graph, 12, 0)
    w = graph.toarray()
    degrees = np.diag(w.sum(axis=1))
    values, vectors = eigh(degrees - w, degrees)
    assert values[0] == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose((degrees - w) @ embedded, degrees @ embedded * values[1:13], atol=1e-5)
    overlap = np.abs(vectors[:, 1:13].T @ degrees @ embedded)
    np.testing.assert_allclose(overlap, np.eye(12), atol=1e-4)


def test_takes_the_whole_matrix_where_lanczos_does_not_converge(rows, monkeypatch):
    import scipy.sparse.linalg as solvers

    def fails(*_, **__):
        raise solvers.ArpackNoConvergence("no convergence", np.empty(0), np.empty((0, 0)))

    before = hashdb.fit(rows[0], "sth", 6)
    monkeypatch.setattr(solvers, "eigsh", fails)
    after = hashdb.fit(rows[0], "sth", 6)
    # The sign of an eigenvector is open.
    ours, others = (hashdb.codes.unpack(model.training_codes, 6) for model in (before, after))
    agreement = (ours == others).mean(axis=0)
    assert np.maximum(agreement, 1 - agreement).min() > 0.99


def test_training_codes_are_balanced_and_the_machines_reproduce_them(rows):
    vectors, _ = rows
    model = hashdb.fit(vectors, "sth", 16)
    bits = hashdb.codes.unpack(model.training_codes, 16)
    assert (bits.sum(axis=0) == 200).all()
    agreement = (hashdb.codes.unpack(model.encode(vectors), 16) == bits).mean(axis=0)
    assert agreement[:5].min() > 0.9
    assert agreement.mean() > 0.75


def test_a_graph_in_pieces_is_linked_and_its_pieces_are_told_apart():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 60)
    vectors = (30 * np.eye(4, 12)[groups] + rng.standard_normal((240, 12))).astype(np.float32)
    rows = sth._directions(vectors)
    linked = sth._linked(sth._edges(rows, *sth._nearest(rows, 10)), rows)
    assert sth._edges(rows, *sth._nearest(rows, 10)).nnz + 2 * 3 == linked.nnz
    codes = hashdb.codes.unpack(hashdb.fit(vectors, "sth", 3, params={"neighbours": 10}).encode(vectors), 3)
    common = np.array([np.round(codes[groups == g].mean(axis=0)) for g in range(4)])
    assert len(np.unique(common, axis=0)) == 4


def test_labels_make_other_codes_unless_they_are_not_to_be_used(rows):
    vectors, groups = rows
    without = hashdb.fit(vectors, "sth", 8)
    ignored = hashdb.fit(vectors, "sth", 8, labels=groups, params={"use_labels": False})
    assert np.array_equal(without.encode(vectors), ignored.encode(vectors))
    assert not np.array_equal(without.encode(vectors), hashdb.fit(vectors, "sth", 8, labels=groups).encode(vectors))


def test_the_first_bits_with_labels_are_those_of_classes(rows):
    vectors, groups = rows
    bits = hashdb.codes.unpack(hashdb.fit(vectors, "sth", 7, labels=groups % 4).training_codes, 7)[:, :3]
    agreement = [
        np.maximum(bits[groups % 4 == c].mean(axis=0), 1 - bits[groups % 4 == c].mean(axis=0)) for c in range(4)
    ]
    assert np.mean(agreement) > 0.85


def test_further_bits_with_labels_are_of_classes_too_unless_the_graph_is_asked_for(rows):
    """Each bit ought to be nearly constant in a class; further eigenvectors halve the classes."""
    vectors, groups = rows

    def purity(further_bits, n_bits):
        params = {"further_bits": further_bits}
        bits = hashdb.codes.unpack(
            hashdb.fit(vectors, "sth", n_bits, labels=groups, params=params).training_codes, n_bits
        )
        shares = np.array([bits[groups == g].mean(axis=0) for g in range(8)])
        return np.maximum(shares, 1 - shares).mean(axis=0)

    assert np.array_equal(purity("classes", 7), purity("graph", 7))
    assert purity("classes", 24)[7:].mean() > purity("graph", 24)[7:].mean() + 0.05
    assert np.array_equal(purity("classes", 24)[:7], purity("classes", 7))


def test_two_classes_fill_any_number_of_bits(rows):
    model = hashdb.fit(rows[0], "sth", 16, labels=rows[1] % 2)
    assert np.isfinite(model.state["weights"]).all()


@pytest.mark.parametrize("mixing", [0.0, 0.1])
def test_unlabelled_rows_single_rows_of_a_class_and_several_labels_are_learned_from(rows, mixing):
    vectors, groups = rows
    partly = np.where(np.arange(400) % 2, groups, -1)
    partly[1] = 99
    hot = np.random.default_rng(0).random((400, 5)) < 0.3
    for labels in (partly, hot):
        model = hashdb.fit(vectors, "sth", 12, labels=labels, params={"mixing": mixing})
        assert model.training_codes is None
        assert np.isfinite(model.state["weights"]).all()
        shares = hashdb.codes.unpack(model.encode(vectors), 12).mean(axis=0)
        assert ((shares > 0.1) & (shares < 0.9)).all()


@pytest.mark.parametrize("exponent", [-70, 60])
def test_the_scale_of_the_data_changes_no_code(rows, exponent):
    vectors, _ = rows
    scaled = np.ldexp(vectors, exponent)
    assert np.array_equal(hashdb.fit(vectors, "sth", 8).encode(vectors), hashdb.fit(scaled, "sth", 8).encode(scaled))


def test_as_many_bits_as_rows_are_refused(rows):
    with pytest.raises(ArgumentError, match="12 bits need more than 12 rows, got 12"):
        hashdb.fit(rows[0][:12], "sth", 12)
    hashdb.fit(rows[0][:13], "sth", 12)


def test_finds_digits_better_than_principal_directions_and_better_with_labels(digits):
    vectors, classes = digits.data.astype(np.float32), digits.target

    def precision(method, labels=None):
        bits = hashdb.codes.unpack(hashdb.fit(vectors[:1200], method, 8, labels=labels).encode(vectors), 8)
        distances = (bits[1200:1500, None] != bits[None, :1200]).sum(axis=2)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :50]
        return (classes[:1200][nearest] == classes[1200:1500, None]).mean()

    assert precision("sth") > precision("pcah") + 0.05
    assert precision("sth", classes[:1200]) > precision("sth") + 0.05
