"""Isotropic hashing: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method
from hashdb_plugins.unsupervised import isohash

SOLVERS = ("lp", "gf")


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("isohash", only=[check])


@pytest.mark.parametrize("check", ["better_than_chance", "degenerate", "reproducible"])
def test_contract_with_gradient_flow(check):
    check_method("isohash", params={"solver": "gf"}, only=[check])


def covariance(vectors):
    return np.cov(vectors.astype(np.float64), rowvar=False, bias=True)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_bits", [2, 7, 16, 24])
def test_all_projections_have_one_variance(vectors, solver, n_bits):
    state = hashdb.fit(vectors, "isohash", n_bits, params={"solver": solver, "iterations": 2000}).state
    weights = state["weights"].astype(np.float64)
    variances = np.einsum("jk,jl,lk->k", weights, covariance(vectors), weights)
    np.testing.assert_allclose(variances, variances.mean(), rtol=1e-4)
    top = np.linalg.eigvalsh(covariance(vectors))[::-1][:n_bits]
    assert variances.sum() == pytest.approx(top.sum(), rel=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_are_a_rotation_of_the_principal_directions(vectors, solver):
    weights = hashdb.fit(vectors, "isohash", 12, params={"solver": solver}).state["weights"].astype(np.float64)
    principal = hashdb.fit(vectors, "pcah", 12).state["weights"].astype(np.float64)
    rotation = principal.T @ weights
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(12), atol=1e-5)
    np.testing.assert_allclose(principal @ rotation, weights, atol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_objective_falls_and_is_that_of_the_weights(vectors, solver):
    for n in (1, 3, 10):
        state = hashdb.fit(vectors, "isohash", 16, params={"solver": solver, "iterations": n}).state
        assert len(state["history"]) <= n
        assert (np.diff(state["history"]) < 0).all()
        weights = state["weights"].astype(np.float64)
        variances = np.einsum("jk,jl,lk->k", weights, covariance(vectors), weights)
        error = ((variances / variances.mean() - 1) ** 2).sum()
        assert error == pytest.approx(state["history"][-1], rel=1e-3, abs=1e-9)


def test_lift_finds_the_nearest_matrix_of_these_eigenvalues():
    """Among random rotations close to it and far from it."""
    rng = np.random.default_rng(0)
    variances = np.sort(rng.random(5))[::-1] * 2
    start = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    target = (start.T * variances) @ start
    np.fill_diagonal(target, 1)

    def distance(rotation):
        return np.linalg.norm((rotation.T * variances) @ rotation - target)

    found = isohash.lift_and_project(start, variances)
    np.testing.assert_allclose(found @ found.T, np.eye(5), atol=1e-12)
    for size in (0.01, 0.1, 1, 10):
        for _ in range(50):
            other = np.linalg.qr(found + size * rng.standard_normal((5, 5)))[0]
            assert distance(found) <= distance(other) + 1e-12
    assert distance(found) <= distance(start)


def test_flow_goes_down_the_gradient():
    """The slope of F along Q [β, Z], by differences, is minus twice the square of the norm of [β, Z]."""
    rng = np.random.default_rng(1)
    variances = rng.random(6) * 2
    variances /= variances.mean()
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    matrix = (rotation.T * variances) @ rotation
    beta = np.diag(matrix.diagonal() - 1)
    skew = beta @ matrix - matrix @ beta
    small = 1e-6
    there = np.linalg.qr(rotation @ (np.eye(6) + small * skew))
    there = there[0] * np.sign(there[1].diagonal())
    slope = (isohash.unevenness(there, variances) - isohash.unevenness(rotation, variances)) / small
    assert slope == pytest.approx(-2 * (skew**2).sum(), rel=1e-3)
    assert isohash.unevenness(isohash.flow(rotation, variances), variances) < isohash.unevenness(rotation, variances)


def test_equal_variances_need_no_rotation():
    even = np.vstack([np.eye(6), -np.eye(6)]).astype(np.float32)
    for solver in SOLVERS:
        history = hashdb.fit(even, "isohash", 6, params={"solver": solver}).state["history"]
        assert len(history) == 1
        assert history[0] < 1e-12


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("exponent", [-60, 60, 100])
def test_codes_of_huge_and_tiny_data_are_finite_and_varied(vectors, solver, exponent):
    scaled = np.ldexp(vectors, exponent)
    model = hashdb.fit(scaled, "isohash", 12, params={"solver": solver})
    assert np.isfinite(model.state["history"]).all()
    assert len(np.unique(model.encode(scaled))) > 100


def test_progress_counts_iterations(vectors):
    seen = []
    hashdb.fit(vectors, "isohash", 8, params={"iterations": 7}, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (7, 7)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_more_bits_than_dimensions_are_refused(vectors):
    with pytest.raises(ArgumentError, match="isohash gives at most one bit a dimension: n_bits is 25"):
        hashdb.fit(vectors, "isohash", 25)


@pytest.mark.parametrize("solver", SOLVERS)
def test_codes_of_real_images_find_classes_better_than_pca(digits, solver):
    def precision(method, **params):
        bits = hashdb.codes.unpack(hashdb.fit(digits.data, method, 32, params=params).encode(digits.data), 32)
        distances = (bits[:100, None] != bits[None]).sum(axis=2)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, 1:11]
        return (digits.target[nearest] == digits.target[:100, None]).mean()

    assert precision("isohash", solver=solver) > precision("pcah") + 0.02
