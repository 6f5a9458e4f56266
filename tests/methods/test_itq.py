"""Iterative quantisation: the contract, and what the paper promises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method


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
    with pytest.raises(ArgumentError, match="at most one bit a dimension: n_bits is 64, the vectors have 24"):
        hashdb.fit(vectors, "itq", 64)


def test_codes_of_real_images_find_classes_better_than_pca(digits):
    def precision(method):
        bits = hashdb.codes.unpack(hashdb.fit(digits.data, method, 32).encode(digits.data), 32)
        distances = (bits[:100, None] != bits[None]).sum(axis=2)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, 1:11]
        return (digits.target[nearest] == digits.target[:100, None]).mean()

    assert precision("itq") > precision("pcah") + 0.02
