"""Iterative quantisation: the contract, and what the paper promises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import hashdb
from hashdb.errors import ArgumentError
from hashdb.model import partial_fit
from hashdb.testing import METHOD_CHECKS, check_method
from hashdb_plugins.unsupervised import itq, pcah


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("itq", only=[check])


def loss(vectors, state):
    """||sgn(XW) - XW||^2 of the final weights, equation (1)."""
    projections = (vectors - state["mean"]).astype(np.float64) @ state["weights"]
    return float(((np.where(projections >= 0, 1, -1) - projections) ** 2).sum())


def test_the_loss_never_rises_and_is_that_of_the_weights(vectors):
    states = [hashdb.fit(vectors, "itq", 16, params={"iterations": n}).state for n in (1, 2, 5, 20)]
    histories = [state["history"] for state in states]
    for state, history, n in zip(states, histories, (1, 2, 5, 20), strict=True):
        assert len(history) <= n
        assert (np.diff(history) <= 0).all()
        np.testing.assert_allclose(history, histories[-1][: len(history)], rtol=1e-9)
        # The history has B of before the last rotation; new signs can only lower the loss.
        assert loss(vectors, state) <= history[-1] * (1 + 1e-6)
    finals = [loss(vectors, state) for state in states]
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in pairwise(finals))


def test_each_iteration_is_signs_then_procrustes(vectors):
    """One iteration more, done here by the paper's equations, gives the rotation of one iteration more."""
    before, after = (hashdb.fit(vectors, "itq", 8, params={"iterations": n}).state for n in (3, 4))
    projections = (vectors - before["mean"]).astype(np.float64) @ before["weights"]
    u, _, w = np.linalg.svd(projections.T @ np.where(projections >= 0, 1, -1))
    np.testing.assert_allclose(before["weights"] @ (u @ w), after["weights"], atol=1e-5)


def test_weights_are_a_rotation_of_the_principal_directions(vectors):
    weights = hashdb.fit(vectors, "itq", 12).state["weights"].astype(np.float64)
    principal = hashdb.fit(vectors, "pcah", 12).state["weights"].astype(np.float64)
    rotation = principal.T @ weights
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(12), atol=1e-5)
    np.testing.assert_allclose(principal @ rotation, weights, atol=1e-5)


def test_quantises_better_than_the_principal_directions(vectors):
    assert loss(vectors, hashdb.fit(vectors, "itq", 16).state) < loss(vectors, hashdb.fit(vectors, "pcah", 16).state)


def test_progress_counts_iterations(vectors):
    seen = []
    hashdb.fit(vectors, "itq", 8, params={"iterations": 7}, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (7, 7)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_fixed_point_ends_the_iterations():
    corners = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]], np.float32).repeat(5, axis=0)
    state = hashdb.fit(corners, "itq", 2, params={"iterations": 1000}).state
    assert len(state["history"]) < 20
    assert np.isfinite(state["weights"]).all()


@pytest.mark.parametrize("exponent", [-60, 60, 100])
def test_codes_of_huge_and_tiny_data_are_finite_and_varied(vectors, exponent):
    scaled = np.ldexp(vectors, exponent)
    model = hashdb.fit(scaled, "itq", 12)
    assert np.isfinite(model.state["history"]).all()
    assert len(np.unique(model.encode(scaled))) > 100


def test_the_number_of_threads_changes_nothing_that_shows(vectors, monkeypatch):
    codes = []
    for n_threads in ("1", "3"):
        monkeypatch.setenv("HASHDB_NUM_THREADS", n_threads)
        rows = np.tile(vectors, (60, 1))
        codes.append(hashdb.fit(rows, "itq", 8, params={"iterations": 5}).encode(vectors))
    assert (codes[0] != codes[1]).mean() < 0.01


def test_fits_at_once_leave_the_threads_of_the_library_as_they_were(vectors):
    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    hashdb.fit(vectors, "itq", 8)
    before = threads()
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: hashdb.fit(vectors, "itq", 8), range(8)))
    assert threads() == before
    assert all(np.array_equal(model.encode(vectors), models[0].encode(vectors)) for model in models)


def test_more_bits_than_dimensions_are_refused(vectors):
    with pytest.raises(ArgumentError, match="at most one bit a dimension: n_bits is 64, the vectors have dim 24"):
        hashdb.fit(vectors, "itq", 64)


def test_codes_of_real_images_find_classes_better_than_pca(digits):
    def precision(method):
        bits = hashdb.codes.unpack(hashdb.fit(digits.data, method, 32).encode(digits.data), 32)
        distances = (bits[:100, None] != bits[None]).sum(axis=2)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, 1:11]
        return (digits.target[nearest] == digits.target[:100, None]).mean()

    assert precision("itq") > precision("pcah") + 0.02


def in_blocks(vectors, n_bits, edges, method="itq"):
    model = hashdb.fit(vectors[: edges[0]], method, n_bits)
    for first, last in pairwise(edges):
        model = partial_fit(model, vectors[first:last])
    return model


def test_rows_in_blocks_give_the_mean_and_directions_of_all_rows_at_once(vectors):
    model = in_blocks(vectors, 12, (60, 61, 250, 500))
    state = model.state
    np.testing.assert_allclose(state["mean"], vectors.mean(axis=0), rtol=1e-5, atol=1e-6)
    principal = hashdb.fit(vectors, "pcah", 12).state["weights"].astype(np.float64)
    rotation = principal.T @ state["weights"]
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(12), atol=1e-5)
    np.testing.assert_allclose(principal @ rotation, state["weights"], atol=1e-5)


def test_rows_in_blocks_are_quantised_nearly_as_well_as_at_once(digits):
    rows = digits.data.astype(np.float32)

    def agreement(model):
        """tr(R'V'B), which the rotation raises."""
        return np.abs((rows - model.state["mean"]).astype(np.float64) @ model.state["weights"]).sum()

    plain, whole = (agreement(hashdb.fit(rows, method, 32)) for method in ("pcah", "itq"))
    first = agreement(hashdb.fit(rows[:200], "itq", 32))
    blocks = agreement(in_blocks(rows, 32, (200, 600, 1000, 1400, 1797)))
    assert blocks > first + 0.05 * (whole - plain)
    assert blocks > plain + 0.85 * (whole - plain)


def test_the_signs_of_earlier_rows_are_held(vectors):
    """The history is Q of all rows, with the signs of the first as they were at the end of their own fit."""
    first = hashdb.fit(vectors[:300], "itq", 8)
    state = partial_fit(first, vectors[300:]).state
    wide = (vectors - state["mean"]).astype(np.float64)
    old = (vectors[:300] - first.state["mean"]).astype(np.float64) @ first.state["weights"]
    held = np.where(old >= 0, 1.0, -1.0)
    np.testing.assert_allclose(first.state["seen_ones"], held.sum(axis=0))
    projections = wide @ state["weights"]
    new = np.where(projections[300:] >= 0, 1.0, -1.0)
    with_best = ((np.vstack([held, new]) - projections) ** 2).sum()
    history = state["history"]
    assert (np.diff(history) <= 1e-9 * history[0]).all()
    # The last history has the signs of before the last rotation, which the new ones can only better.
    assert with_best == pytest.approx(history[-1], rel=1e-3)
    assert with_best <= history[-1] * (1 + 1e-6)
    signs = np.vstack([held, new])
    np.testing.assert_allclose(state["seen_signs"], wide.T @ signs, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(state["seen_ones"], signs.sum(axis=0))


def test_a_few_more_rows_change_few_bits(vectors):
    before = hashdb.fit(vectors[:495], "itq", 16)
    old, new = (
        hashdb.codes.unpack(model.encode(vectors), 16) for model in (before, partial_fit(before, vectors[495:]))
    )
    assert (old != new).mean() < 0.02


def test_no_new_rows_leave_the_state_as_it_was(vectors):
    state = hashdb.fit(vectors, "itq", 8).state
    after = itq.partial_fit(state, vectors[:0], {"iterations": 50})
    assert all(np.array_equal(array, after[name]) for name, array in state.items())
    moments = pcah.partial_fit(hashdb.fit(vectors, "pcah", 8).state, vectors[:0])
    assert int(moments["seen"]) == 500


def test_going_on_without_what_was_kept_is_refused(vectors):
    with pytest.raises(ArgumentError, match="this model of itq does not keep what partial_fit goes on from"):
        partial_fit(hashdb.fit(vectors, "itq", 8, params={"incremental": False}), vectors)
