"""Codes from shift-invariant kernels: the contract, and what the paper promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("sklsh", only=[check])


def test_bits_differ_with_the_probability_of_the_kernel():
    """Equation (3), which is lemma 2 of the paper."""
    rng = np.random.default_rng(0)
    distances = np.array([0.05, 0.2, 0.5, 1.0, 2.0, 8.0])
    directions = rng.standard_normal((len(distances), 12))
    moved = distances[:, None] * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    gamma, n_bits = 1.7, 4096
    model = hashdb.fit(np.vstack([moved, -moved]), "sklsh", n_bits, params={"gamma": gamma}, seed=2)
    bits = hashdb.codes.unpack(model.encode(np.vstack([np.zeros(12), moved])), n_bits)
    terms = np.arange(1, 1000)[:, None]
    kernel = np.exp(-gamma * (terms * distances) ** 2 / 2)
    expected = 8 / math.pi**2 * ((1 - kernel) / (4 * terms**2 - 1)).sum(axis=0)
    # Four standard errors of a share of 4096 draws.
    assert np.all(np.abs((bits[1:] != bits[0]).mean(axis=1) - expected) < 4 * 0.5 / 64)
    assert (np.diff(expected) > 0).all()


def test_projections_are_cosines_with_a_threshold(vectors):
    model = hashdb.fit(vectors, "sklsh", 100)
    state = model.state
    phases = (vectors - state["mean"]).astype(np.float64) @ state["weights"] - state["offset"]
    expected = math.sqrt(2) * np.cos(2 * math.pi * phases) + state["thresholds"]
    np.testing.assert_allclose(model.project(vectors), expected, atol=1e-5)
    assert (np.abs(state["thresholds"]) <= math.sqrt(2)).all()


def test_directions_have_the_variance_gamma(vectors):
    state = hashdb.fit(vectors, "sklsh", 4096, params={"gamma": 0.3}).state
    assert (2 * math.pi * state["weights"]).std() == pytest.approx(math.sqrt(0.3), rel=0.02)
    assert state["gamma"] == 0.3


@pytest.mark.parametrize("neighbour", [1, 50])
def test_gamma_is_the_inverse_square_of_the_distance_to_a_near_row(vectors, neighbour):
    wide = vectors.astype(np.float64)
    distances = np.sort(np.sqrt(((wide[:, None] - wide) ** 2).sum(axis=2)), axis=1)
    found = hashdb.fit(vectors, "sklsh", 8, params={"neighbour": neighbour}).state["gamma"]
    assert found == pytest.approx(1 / distances[:, neighbour].mean() ** 2, rel=1e-5)


def test_rows_that_repeat_take_gamma_from_their_spread(vectors):
    repeated = np.repeat(vectors[:5], 100, axis=0)
    square = 2 * ((repeated - repeated.mean(axis=0)) ** 2).sum(axis=1).mean()
    assert hashdb.fit(repeated, "sklsh", 8).state["gamma"] == pytest.approx(1 / square, rel=1e-5)
    assert hashdb.fit(repeated[:1], "sklsh", 8).state["gamma"] == 1


def test_a_longer_code_begins_with_the_shorter_one(vectors):
    short, long = (hashdb.fit(vectors, "sklsh", n_bits, seed=1).encode(vectors) for n_bits in (64, 128))
    assert np.array_equal(long[:, :1], short)


def test_codes_do_not_depend_on_the_scale(vectors):
    expected = hashdb.fit(vectors, "sklsh", 32).encode(vectors)
    for exponent in (-60, 60, 100):
        scaled = np.ldexp(vectors, exponent)
        assert np.array_equal(hashdb.fit(scaled, "sklsh", 32).encode(scaled), expected)


def test_frequencies_beyond_float32_are_refused(vectors):
    with pytest.raises(ArgumentError, match=r"sklsh needs frequencies up to .*expected vectors on a larger scale"):
        hashdb.fit(vectors * 1e-41, "sklsh", 8)


def test_long_codes_of_real_images_find_near_images(digits):
    def recall(n_bits):
        bits = hashdb.codes.unpack(hashdb.fit(digits.data, "sklsh", n_bits).encode(digits.data), n_bits)
        distances = (bits[:200, None] != bits[None]).sum(axis=2)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, 1:11]
        true = np.argsort(((digits.data[:200, None] - digits.data) ** 2).sum(axis=2), axis=1)[:, 1:11]
        return np.mean([len(np.intersect1d(a, b)) for a, b in zip(nearest, true, strict=True)]) / 10

    short, long = recall(16), recall(256)
    assert long > short + 0.2
    assert long > 0.4
