"""Anchor graph hashing: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method
from hashdb_plugins import _anchor_graph
from hashdb_plugins.unsupervised import agh


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("agh", only=[check])


@pytest.mark.parametrize("check", ["better_than_chance", "row_independence", "degenerate"])
def test_contract_with_few_anchors(check):
    check_method("agh", params={"n_anchors": 40, "n_nearest": 3}, only=[check])


def moons(n_rows, seed=0):
    """Two curved bands in three dimensions."""
    rng = np.random.default_rng(seed)
    angles, side = rng.uniform(0, np.pi, n_rows), rng.integers(0, 2, n_rows)
    x = np.where(side, 1 - np.cos(angles), np.cos(angles))
    y = np.where(side, 0.5 - np.sin(angles), np.sin(angles))
    return np.stack([x, y, np.zeros(n_rows)], axis=1).astype(np.float32) + 0.05 * rng.standard_normal(
        (n_rows, 3)
    ).astype(np.float32), side


def dense_z(state, vectors):
    """Equations (1) and (2) of the graph, done pair by pair in the space of the vectors."""
    unit = float(state["unit"])
    anchors = state["anchors"].astype(np.float64) / unit + state["mean"]
    sigma = float(state["sigma"]) / unit
    squares = ((vectors[:, None].astype(np.float64) - anchors) ** 2).sum(axis=2)
    s = min(int(state["n_nearest"]), len(anchors))
    z = np.zeros(squares.shape)
    for row, distances in zip(z, squares, strict=True):
        near = np.argsort(distances, kind="stable")[:s]
        row[near] = np.exp(-distances[near] / sigma**2)
    return z / z.sum(axis=1, keepdims=True), np.sort(np.sqrt(squares), axis=1)[:, s - 1]


@pytest.fixture
def graph(vectors):
    return _anchor_graph.fit_graph(vectors, 60, 4, 0)


def test_weights_are_those_of_the_paper(vectors, graph):
    state, z = graph
    expected, furthest = dense_z(state, vectors)
    np.testing.assert_allclose(z.toarray(), expected, atol=1e-5)
    assert float(state["sigma"]) / float(state["unit"]) == pytest.approx(furthest.mean(), rel=1e-5)
    assert z.nnz == 4 * len(vectors)
    unseen = np.random.default_rng(1).permuted(vectors, axis=0)
    np.testing.assert_allclose(_anchor_graph.affinity(state, unseen).toarray(), dense_z(state, unseen)[0], atol=1e-5)


def test_functions_are_eigenvectors_of_the_graph(vectors, graph):
    _, z = graph
    functions, values = agh.smoothest_functions(z)
    y = z @ functions
    adjacency = (z / z.sum(axis=0)) @ z.T
    np.testing.assert_allclose(adjacency.toarray() @ y, y * values, atol=1e-4)
    np.testing.assert_allclose(y.T @ y, len(vectors) * np.eye(len(values)), atol=len(vectors) * 1e-5)
    assert (np.abs(y.mean(axis=0)) < 1e-4).all()
    assert (np.diff(values) <= 0).all()
    # Nothing is left out: the eigenvalues with that of the constant are the trace.
    assert values.sum() + 1 == pytest.approx(adjacency.trace(), rel=1e-5)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(adjacency.toarray())[::-1][1 : len(values) + 1], atol=1e-6)


def test_rows_out_of_sample_get_the_codes_of_training(vectors):
    model = hashdb.fit(vectors, "agh", 16, params={"n_anchors": 60, "n_nearest": 4})
    state = model.state
    y = _anchor_graph.affinity(state, vectors) @ state["functions"].astype(np.float64)
    np.testing.assert_allclose(model.project(vectors), y, rtol=1e-6, atol=1e-6)
    sure = np.abs(y) > 1e-6
    assert np.array_equal(hashdb.codes.unpack(model.encode(vectors), 16)[sure], y[sure] > 0)
    assert sure.mean() > 0.999
    again = hashdb.fit(vectors, "agh", 16, params={"n_anchors": 60, "n_nearest": 4})
    assert np.array_equal(again.encode(vectors), model.encode(vectors))


def test_numpy_and_the_kernel_find_the_same_neighbours():
    rng = np.random.default_rng(0)
    for dim, m, s in ((3, 20, 2), (16, 50, 5), (100, 30, 30), (530, 40, 7)):
        # Coarse values make ties of distance; equal anchors make exact ones.
        points = np.round(rng.standard_normal((m, dim)) * 2).astype(np.float32)
        points[1] = points[0]
        rows = np.zeros((200, -(-dim // 16) * 16), np.float32)
        rows[:, :dim] = np.round(rng.standard_normal((200, dim)) * 2)
        rows[:50, :dim] = (points[rng.integers(0, m, 50)] + points[rng.integers(0, m, 50)]) / 2
        anchors = np.zeros((m, rows.shape[1]), np.float32)
        anchors[:, :dim] = points
        half_squares = (points.astype(np.float64) ** 2).sum(axis=1) / 2
        small, kernel = (
            find(anchors, half_squares, rows, s) for find in (_anchor_graph._nearest_small, _anchor_graph._nearest)
        )
        for left, right in zip(small, kernel, strict=True):
            assert np.array_equal(left, right)
        exact = ((rows[:, None, :dim].astype(np.float64) - points) ** 2).sum(axis=2)
        assert np.array_equal(small[0], np.argsort(exact, axis=1, kind="stable")[:, :s])


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch):
    from hashdb_plugins._kernels import compiling

    compile_as_asked = compiling.numba.njit

    def njit(*arguments, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_as_asked(*arguments, **options)

    monkeypatch.setattr(compiling.numba, "njit", njit)
    twice = compiling.kernel(compiling.types.int64(compiling.types.int64))(lambda value: 2 * value)
    assert twice(21) == 42


def test_many_rows_get_what_each_gets_alone(monkeypatch):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3000, 40)).astype(np.float32)
    state, _ = _anchor_graph.fit_graph(rows, 100, 5, 0)
    functions = rng.standard_normal((100, 7)).astype(np.float32)
    results = []
    for small, threaded in ((1 << 40, 1 << 60), (0, 1 << 60), (0, 0)):
        monkeypatch.setattr(_anchor_graph, "_SMALL_WORK", small)
        monkeypatch.setattr(_anchor_graph, "_THREADED_WORK", threaded)
        results.append(_anchor_graph.smooth(state, functions, rows))
        results.append(
            np.vstack([_anchor_graph.smooth(state, functions, rows[i : i + 37]) for i in range(0, 3000, 37)])
        )
    for result in results[1:]:
        assert np.array_equal(result, results[0])


def test_parts_that_do_not_touch_are_told_apart():
    rng = np.random.default_rng(0)
    clusters = np.arange(400) % 4
    far_apart = (rng.standard_normal((400, 5)) + 100 * np.eye(5)[clusters]).astype(np.float32)
    model = hashdb.fit(far_apart, "agh", 3, params={"n_anchors": 40, "n_nearest": 2})
    np.testing.assert_allclose(model.state["eigenvalues"], 1, atol=1e-6)
    projections = model.project(far_apart)
    for cluster in range(4):
        own = projections[clusters == cluster]
        np.testing.assert_allclose(own, np.broadcast_to(own[0], own.shape), atol=1e-3)


def test_the_first_bit_cuts_between_curved_bands():
    """Which no hyperplane does."""
    rows, side = moons(2000)
    model = hashdb.fit(rows, "agh", 1, params={"n_anchors": 100, "n_nearest": 2})
    bits = hashdb.codes.unpack(model.encode(rows), 1)[:, 0]
    assert max((bits == side).mean(), (bits != side).mean()) > 0.95
    unseen, side = moons(500, seed=1)
    bits = hashdb.codes.unpack(model.encode(unseen), 1)[:, 0]
    assert max((bits == side).mean(), (bits != side).mean()) > 0.95


def test_codes_do_not_depend_on_the_scale(vectors):
    expected = hashdb.fit(vectors, "agh", 12, params={"n_anchors": 50}).encode(vectors)
    for exponent in (-100, -60, 60, 100):
        scaled = np.ldexp(vectors, exponent)
        assert np.array_equal(hashdb.fit(scaled, "agh", 12, params={"n_anchors": 50}).encode(scaled), expected)


def test_rows_very_far_away_get_finite_projections(vectors):
    model = hashdb.fit(vectors, "agh", 12, params={"n_anchors": 50})
    for size in (1e6, 1e19, 3e38):
        assert np.isfinite(model.project(np.full((2, 24), size, np.float32))).all()


def test_there_are_no_more_anchors_than_rows_that_differ(vectors):
    state = hashdb.fit(np.repeat(vectors[:30], 10, axis=0), "agh", 8).state
    assert len(np.unique(state["anchors"], axis=0)) == len(state["anchors"]) <= 30
    assert len(hashdb.fit(vectors[:40], "agh", 8).state["anchors"]) <= 40


def test_more_bits_than_the_graph_has_functions_are_refused(vectors):
    with pytest.raises(ArgumentError, match=r"n_bits is 32, the graph of 20 anchors on 500 rows has 19 functions"):
        hashdb.fit(vectors, "agh", 32, params={"n_anchors": 20})
    with pytest.raises(ArgumentError, match=r"n_bits is 4, the graph of 1 anchors on 50 rows has 0 functions"):
        hashdb.fit(np.ones((50, 3), np.float32), "agh", 4)


def test_codes_of_real_images_find_classes_better_than_random_directions(digits):
    def precision(method):
        bits = hashdb.codes.unpack(hashdb.fit(digits.data, method, 16).encode(digits.data), 16)
        distances = (bits[:300, None] != bits[None]).sum(axis=2)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, 1:101]
        return (digits.target[nearest] == digits.target[:300, None]).mean()

    assert precision("agh") > precision("lsh") + 0.2
