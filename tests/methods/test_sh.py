"""Spectral hashing: the contract, and what the paper promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method
from hashdb_plugins.unsupervised import sh


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("sh", only=[check])


def reference(vectors, n_bits):
    """Spectral hashing in the words of the paper: modes of all axes, products of sines, the smoothest kept."""
    wide = vectors.astype(np.float64)
    values, directions = np.linalg.eigh(np.cov(wide, rowvar=False, bias=True))
    n_axes = min(n_bits, wide.shape[1])
    principal = directions[:, np.argsort(values)[::-1][:n_axes]]
    projected = (wide - wide.mean(axis=0)) @ principal
    low, high = projected.min(axis=0), projected.max(axis=0)
    sides = high - low
    highest = np.ceil((n_bits + 1) * sides / sides.max()).astype(int)
    modes = [[0] * n_axes]
    for axis in range(n_axes):
        for mode in range(1, highest[axis]):
            modes.append([mode if other == axis else 0 for other in range(n_axes)])
    modes = np.array(modes)
    omega = modes * math.pi / sides
    order = np.argsort((omega**2).sum(axis=1), kind="stable")[1 : n_bits + 1]
    waves = np.ones((len(wide), n_bits))
    for bit, row in enumerate(order):
        for axis in range(n_axes):
            waves[:, bit] *= np.sin(omega[row, axis] * (projected[:, axis] - low[axis]) + math.pi / 2)
    return waves, (omega[order] ** 2).sum(axis=1)


@pytest.mark.parametrize("n_bits", [1, 8, 24, 60])
def test_functions_are_those_of_the_paper(vectors, n_bits):
    model = hashdb.fit(vectors, "sh", n_bits)
    waves, eigenvalues = reference(vectors, n_bits)
    np.testing.assert_allclose(model.state["eigenvalues"], eigenvalues, rtol=1e-5)
    # The paper leaves the sign of a direction open, and with it that of the odd modes.
    found = model.project(vectors)
    flips = np.sign((found * waves).sum(axis=0))
    assert (flips[model.state["modes"] % 2 == 0] == 1).all()
    np.testing.assert_allclose(found * flips, waves, atol=1e-4)


def test_functions_are_balanced_and_uncorrelated_on_an_even_box():
    rng = np.random.default_rng(0)
    box = (rng.random((20_000, 3)) * [8, 3, 1]).astype(np.float32)
    projections = hashdb.fit(box, "sh", 12).project(box).astype(np.float64)
    assert (np.abs(projections.mean(axis=0)) < 0.03).all()
    np.testing.assert_allclose(projections.T @ projections / len(box), np.eye(12) / 2, atol=0.03)


def test_a_long_axis_gets_bits_before_a_short_one():
    rng = np.random.default_rng(0)
    box = (rng.random((5000, 3)) * [10, 4.1, 1]).astype(np.float32)
    state = hashdb.fit(box, "sh", 15).state
    # 10 / j against 4.1 / j: two modes of the first axis come before the first of the second.
    assert state["axes"].tolist()[:4] == [0, 0, 1, 0]
    assert state["modes"].tolist()[:4] == [1, 2, 1, 3]
    assert (np.diff(state["eigenvalues"]) >= 0).all()
    assert np.bincount(state["axes"], minlength=3).tolist() == [10, 4, 1]


def test_axes_that_do_not_vary_get_no_bits(vectors):
    flat = vectors.copy()
    flat[:, 3:] = 5
    state = hashdb.fit(flat, "sh", 40).state
    assert set(state["axes"].tolist()) <= {0, 1, 2}
    one_axis = np.zeros((50, 4), np.float32)
    one_axis[:, 2] = np.arange(50)
    model = hashdb.fit(one_axis, "sh", 20)
    assert model.state["modes"].tolist() == list(range(1, 21))
    assert len(np.unique(model.encode(one_axis))) > 15


def test_smoothest_modes_are_those_of_all():
    rng = np.random.default_rng(0)
    for n_modes in (1, 7, 50):
        sides = rng.random(9) ** 3
        axes, modes = sh.smoothest_modes(sides, n_modes)
        every = sorted((j / side, i, j) for i, side in enumerate(sides) for j in range(1, n_modes + 1))
        assert [(i, j) for _, i, j in every[:n_modes]] == list(zip(axes.tolist(), modes.tolist(), strict=True))


def test_codes_do_not_depend_on_the_scale(vectors):
    expected = hashdb.fit(vectors, "sh", 30).encode(vectors)
    for exponent in (-60, 60, 100):
        scaled = np.ldexp(vectors, exponent)
        assert np.array_equal(hashdb.fit(scaled, "sh", 30).encode(scaled), expected)


def test_frequencies_beyond_float32_are_refused(vectors):
    with pytest.raises(ArgumentError, match=r"sh needs frequencies up to .*, more than float32 holds"):
        hashdb.fit(vectors * 1e-43, "sh", 8)


def recall(vectors, method, n_bits):
    """Share of the 20 nearest rows among the 50 of nearest codes."""
    wide = vectors.astype(np.float64)
    true = np.argsort(((wide[:200, None] - wide) ** 2).sum(axis=2), axis=1)[:, 1:21]
    bits = hashdb.codes.unpack(hashdb.fit(vectors, method, n_bits).encode(vectors), n_bits)
    nearest = np.argsort((bits[:200, None] != bits[None]).sum(axis=2), axis=1, kind="stable")[:, 1:51]
    return np.mean([len(np.intersect1d(a, b)) for a, b in zip(nearest, true, strict=True)]) / 20


def test_short_codes_of_real_images_find_near_images_better_than_random_directions(digits):
    assert recall(digits.data, "sh", 8) > recall(digits.data, "lsh", 8) + 0.05


def test_bits_beyond_the_first_components_are_spent_better_than_by_pca(digits):
    assert recall(digits.data, "sh", 64) > recall(digits.data, "pcah", 64) + 0.1


def test_short_codes_of_sift_find_near_rows_better_than_random_directions(data):
    vectors = np.load(data / "sift_bigann10k" / "base.npy")[:3000].astype(np.float32)
    assert recall(vectors, "sh", 16) > recall(vectors, "lsh", 16) + 0.03
