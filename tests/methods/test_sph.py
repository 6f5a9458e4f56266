"""Spherical hashing: the contract, and what the paper promises."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import hashdb
from hashdb.testing import METHOD_CHECKS, check_method
from hashdb_plugins.unsupervised import sph


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("sph", only=[check])


def balls(state):
    """Centres and squared radii in the space of the vectors."""
    weights, unit = state["weights"].astype(np.float64), float(state["unit"])
    centres = weights[:-2].T / 2
    assert (weights[-2:] == -1).all()
    squares = (centres**2).sum(axis=1) - state["offset"]
    return centres / unit + state["mean"], squares / unit**2


def test_a_bit_says_whether_a_row_is_inside_a_ball(vectors):
    model = hashdb.fit(vectors, "sph", 20)
    centres, squares = balls(model.state)
    margins = squares - ((vectors[:, None].astype(np.float64) - centres) ** 2).sum(axis=2)
    sure = np.abs(margins) > 1e-5 * squares
    assert sure.mean() > 0.99
    bits = hashdb.codes.unpack(model.encode(vectors), 20)
    assert np.array_equal(bits[sure], margins[sure] > 0)
    unit = float(model.state["unit"])
    np.testing.assert_allclose(model.project(vectors), margins * unit**2, rtol=1e-4, atol=1e-4)


def test_margins_are_exact_far_from_the_origin(vectors):
    """Against rational arithmetic on what the state holds."""
    far = vectors + 300
    model = hashdb.fit(far, "sph", 4)
    state = model.state
    z = sph.scaled(far[:20], state["mean"], state["unit"])
    for row, margins in zip(z, model.project(far[:20]), strict=True):
        exact = [Fraction(float(value)) for value in row]
        square = sum(value * value for value in exact)
        for k in range(4):
            weights = [Fraction(float(w)) for w in state["weights"][:-2, k]]
            product = sum(w * v for w, v in zip(weights, exact, strict=True))
            true = product - square - Fraction(float(state["offset"][k]))
            assert abs(float(true) - margins[k]) <= 1e-7 * abs(float(true)) + 1e-12


@pytest.mark.parametrize("n_rows", [400, 499])
def test_every_ball_holds_half_of_the_training_rows(vectors, n_rows):
    rows = vectors[:n_rows]
    bits = hashdb.codes.unpack(hashdb.fit(rows, "sph", 40).encode(rows), 40)
    # The row in the middle of an odd number lies on the ball itself, on either side by rounding.
    assert set(bits.sum(axis=0).tolist()) <= {n_rows // 2, (n_rows + 1) // 2}


def test_every_two_balls_hold_about_a_quarter(vectors):
    state = hashdb.fit(vectors, "sph", 24).state
    bits = hashdb.codes.unpack(hashdb.fit(vectors, "sph", 24).encode(vectors), 24).astype(float)
    shares = (bits.T @ bits / len(bits))[~np.eye(24, dtype=bool)]
    assert np.abs(shares - 0.25).mean() <= 0.1 * 0.25 + 1e-3
    assert shares.std() <= 0.15 * 0.25 + 1e-3
    assert np.abs(shares * 4 - 1).mean() == pytest.approx(state["history"][-1], abs=5e-3)
    assert len(state["history"]) < 100
    assert state["history"][-1] < state["history"][0] / 2


def test_centres_move_by_the_forces_of_the_paper():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((6, 3))
    common = rng.integers(0, 50, (6, 6))
    common = common + common.T
    n = 120
    expected = centres.copy()
    for i in range(6):
        force = np.zeros(3)
        for j in range(6):
            if j != i:
                force += 0.5 * (common[i, j] - n / 4) / (n / 4) * (centres[i] - centres[j])
        expected[i] += force / 6
    np.testing.assert_allclose(sph.pushed(centres, common / (n / 4) - 1), expected, rtol=1e-12)


def test_overlaps_are_counted_in_balls_of_median_radius(vectors):
    state = {"mean": np.zeros(24, np.float32), "unit": np.float32(0.125)}
    rows = sph.lifted(state, vectors)
    centres = rows[:5, :-2].astype(np.float64)
    distances = ((rows[:, None, :-2].astype(np.float64) - centres) ** 2).sum(axis=2)
    inside = distances < np.median(distances, axis=0)
    expected = (inside[:, :, None] & inside[:, None, :]).sum(axis=0)
    assert np.array_equal(sph.overlaps(rows, centres), expected)


def test_the_square_of_a_row_is_kept_to_the_digits_of_float64(vectors):
    state = {"mean": np.zeros(24, np.float32), "unit": np.float32(1)}
    rows = sph.lifted(state, vectors).astype(np.float64)
    np.testing.assert_allclose(rows[:, -2] + rows[:, -1], (rows[:, :-2] ** 2).sum(axis=1), rtol=1e-13)


def test_codes_do_not_depend_on_the_scale(vectors):
    expected = hashdb.fit(vectors, "sph", 16).encode(vectors)
    for exponent in (-100, -60, 60, 100):
        scaled = np.ldexp(vectors, exponent)
        assert np.array_equal(hashdb.fit(scaled, "sph", 16).encode(scaled), expected)


def test_rows_very_far_away_lie_outside(vectors):
    model = hashdb.fit(vectors, "sph", 16)
    for size in (1e6, 1e19, 3e38):
        far = np.full((2, 24), size, np.float32)
        far[1] *= -1
        assert not model.encode(far).any()
        assert (model.project(far) < 0).all()


def test_one_bit_needs_no_pairs(vectors):
    state = hashdb.fit(vectors, "sph", 1).state
    assert state["history"].tolist() == [0.0]


def test_gives_more_bits_than_dimensions(vectors):
    assert hashdb.fit(vectors[:, :3], "sph", 70, params={"iterations": 30}).encode(vectors[:, :3]).shape == (500, 2)


def test_codes_of_sift_find_near_rows_better_than_random_directions(data):
    vectors = np.load(data / "sift_bigann10k" / "base.npy")[:3000].astype(np.float32)
    wide = vectors.astype(np.float64)
    true = np.argsort(((wide[:200, None] - wide) ** 2).sum(axis=2), axis=1)[:, 1:21]

    def recall(method):
        bits = hashdb.codes.unpack(hashdb.fit(vectors, method, 32).encode(vectors), 32)
        nearest = np.argsort((bits[:200, None] != bits[None]).sum(axis=2), axis=1, kind="stable")[:, 1:51]
        return np.mean([len(np.intersect1d(a, b)) for a, b in zip(nearest, true, strict=True)]) / 20

    assert recall("sph") > recall("lsh") + 0.03
