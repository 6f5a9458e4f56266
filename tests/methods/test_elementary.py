"""Cosine and exponential of additions and multiplications: near the true values, and each value's own."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hashdb_plugins._elementary import cosine, exponential


def values(low, high):
    rng = np.random.default_rng(0)
    return np.concatenate([rng.uniform(low, high, 4000), rng.normal(0, 1e-3, 1000) % (high - low) + low])


def test_cosine_is_that_of_the_library():
    turns = np.concatenate([values(-3, 3), np.arange(-12, 13) / 8]).astype(np.float32)
    expected = [math.cos(2 * math.pi * math.fmod(t, 1)) for t in turns.tolist()]
    np.testing.assert_allclose(cosine(turns), expected, atol=1e-10)


def test_the_sign_of_a_cosine_is_exact():
    quarters = np.arange(-41, 42, 2).astype(np.float32) / 4
    assert (cosine(quarters) == 0).all()
    below, above = np.nextafter(quarters, np.float32(-100)), np.nextafter(quarters, np.float32(100))
    # From 1/4 to 3/4 of a turn the cosine is below 0.
    falling = np.mod(quarters, 1) == 0.25
    assert np.array_equal(np.sign(cosine(below)), np.where(falling, 1, -1))
    assert np.array_equal(np.sign(cosine(above)), np.where(falling, -1, 1))


def test_cosines_of_huge_phases_are_finite():
    huge = np.array([1e8, -3e20, np.finfo(np.float32).max], np.float32)
    assert (np.abs(cosine(huge)) <= 1 + 1e-9).all()


def test_exponential_is_that_of_the_library():
    x = np.concatenate([values(-190, 0), [0.0, -1e-300]])
    np.testing.assert_allclose(exponential(x), [math.exp(v) for v in x.tolist()], rtol=1e-10)
    assert exponential(np.array([-1e300]))[0] < 1e-80


@pytest.mark.parametrize("function", [cosine, exponential])
def test_a_value_is_its_own_in_any_company_and_layout(function):
    x = -np.abs(values(-40, 0)).astype(np.float32)
    whole = function(x)
    for size in (1, 3, 64):
        assert np.array_equal(np.concatenate([function(x[i : i + size]) for i in range(0, len(x), size)]), whole)
    assert np.array_equal(function(x[::-1]), whole[::-1])
    assert np.array_equal(function(x.reshape(-1, 10).T), whole.reshape(-1, 10).T)
    assert np.array_equal(function(np.concatenate([np.float32([-1e30]), x]))[1:], whole)
