"""Sign random projections: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.model import partial_fit
from hashdb.testing import METHOD_CHECKS, check_method


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("lsh", only=[check])


def test_bits_differ_with_a_probability_of_angle_over_pi():
    rng = np.random.default_rng(0)
    angles = np.array([0.1, 0.5, 1.0, np.pi / 2, 2.5])
    first, second = np.linalg.qr(rng.standard_normal((20, 2)))[0].T
    turned = np.cos(angles)[:, None] * first + np.sin(angles)[:, None] * second
    # Training rows in pairs about the origin, so that the mean is 0 and angles are those about it.
    model = hashdb.fit(np.vstack([turned, -turned]), "lsh", 4096, seed=3)
    bits = hashdb.codes.unpack(model.encode(np.vstack([first, turned])), 4096)
    differing = (bits[1:] != bits[0]).mean(axis=1)
    # Four standard errors of a share of 4096 draws.
    assert np.all(np.abs(differing - angles / np.pi) < 4 * 0.5 / 64)


def test_a_longer_code_begins_with_the_shorter_one(vectors):
    short, long = (hashdb.fit(vectors, "lsh", n_bits, seed=1).encode(vectors) for n_bits in (64, 128))
    assert np.array_equal(long[:, :1], short)


def test_directions_are_standard_normal(vectors):
    weights = hashdb.fit(vectors, "lsh", 4096).state["weights"]
    assert abs(weights.mean()) < 0.02
    assert abs(weights.std() - 1) < 0.02


def test_gives_more_bits_than_dimensions(vectors):
    assert hashdb.fit(vectors, "lsh", 1000).encode(vectors).shape == (500, 16)


def test_rows_in_blocks_give_the_codes_of_all_rows_at_once(vectors):
    rows = vectors + np.float32(3)
    model = hashdb.fit(rows[:1], "lsh", 64, seed=5)
    for first, last in ((1, 120), (120, 500)):
        model = partial_fit(model, rows[first:last])
    whole = hashdb.fit(rows, "lsh", 64, seed=5)
    assert np.array_equal(model.encode(rows), whole.encode(rows))
    assert not np.array_equal(model.encode(rows), hashdb.fit(rows[:1], "lsh", 64, seed=5).encode(rows))
    assert int(model.state["seen"]) == 500
