"""Balance and correlation of bits, distinct codes, quantisation error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashdb.codes import pack
from hashdb.errors import ArgumentError
from hashdb.evaluation import (
    bit_balance,
    bit_correlation,
    bits,
    code_statistics,
    distinct_codes,
    quantisation_error,
)

from .conftest import PROPERTY


def bits_of(seed, n, n_bits):
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((n, n_bits)) @ rng.standard_normal((n_bits, n_bits))
    return mixed > rng.standard_normal(n_bits)


@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(2, 130))
@PROPERTY
def test_statistics_are_those_of_numpy(seed, n, n_bits):
    drawn = bits_of(seed, n, n_bits)
    codes = pack(drawn)
    away = np.abs(drawn.mean(axis=0) - 0.5)
    assert bit_balance(codes, n_bits) == pytest.approx((away.mean(), away.max()))
    varied = drawn[:, drawn.any(axis=0) & ~drawn.all(axis=0)]
    sums = 0.0
    if varied.shape[1] > 1:
        matrix = np.corrcoef(varied.T)
        sums = np.abs(matrix).sum() - len(matrix)
    assert bit_correlation(codes, n_bits) == pytest.approx(sums / (n_bits * (n_bits - 1)), abs=1e-12)
    assert distinct_codes(codes) == len({row.tobytes() for row in drawn})
    found = code_statistics(codes, n_bits)
    assert found["constant_bits"] == n_bits - varied.shape[1]
    assert found["bit_correlation"] == bit_correlation(codes, n_bits)
    assert (found["bit_balance_mean"], found["bit_balance_worst"]) == bit_balance(codes, n_bits)
    assert found["distinct_codes"] == distinct_codes(codes)


def test_blocks_of_rows_change_nothing(monkeypatch):
    codes = pack(bits_of(0, 500, 70))
    whole = code_statistics(codes, 70)
    monkeypatch.setattr(bits, "_VALUES_AT_ONCE", 700)
    assert code_statistics(codes, 70) == whole


def test_perfect_and_degenerate_bits():
    every = pack(np.array([[i >> j & 1 for j in range(4)] for i in range(16)], bool))
    assert code_statistics(every, 4) == {
        "bit_balance_mean": 0,
        "bit_balance_worst": 0,
        "bit_correlation": 0,
        "constant_bits": 0,
        "distinct_codes": 16,
    }
    assert code_statistics(pack(np.ones((5, 3), bool)), 3) == {
        "bit_balance_mean": 0.5,
        "bit_balance_worst": 0.5,
        "bit_correlation": 0,
        "constant_bits": 3,
        "distinct_codes": 1,
    }
    assert bit_correlation(pack(np.array([[True], [False]])), 1) == 0
    assert distinct_codes(np.empty((0, 2), np.uint64)) == 0


@given(st.integers(0, 10**6), st.floats(1e-18, 1e18))
@PROPERTY
def test_quantisation_error_is_the_distance_to_the_signs(seed, scale):
    values = np.random.default_rng(seed).standard_normal((20, 6))
    signs = np.where(values > 0, 1, -1)
    assert quantisation_error(values) == pytest.approx(((signs - values) ** 2).sum(axis=1).mean())
    factor = np.linalg.lstsq(values.reshape(-1, 1), signs.reshape(-1), rcond=None)[0][0]
    best = ((signs - factor * values) ** 2).mean()
    assert quantisation_error(values * scale, scaled=True) == pytest.approx(best)


def test_values_of_one_magnitude_have_no_scaled_error_and_zeros_all_of_it():
    assert quantisation_error([[3.0, -3.0], [-3.0, 3.0]], scaled=True) == 0
    assert quantisation_error(np.zeros((2, 4)), scaled=True) == 1
    assert quantisation_error(np.zeros((2, 4))) == 4


def test_bad_input_is_refused():
    with pytest.raises(ArgumentError, match="there are no codes, expected some to measure"):
        bit_balance(np.empty((0, 1), np.uint64), 8)
    with pytest.raises(ArgumentError, match="expected \\(n, 2\\) words for 70 bits"):
        bit_correlation(np.zeros((3, 1), np.uint64), 70)
    with pytest.raises(ArgumentError, match="expected numbers \\(n, n_bits\\)"):
        quantisation_error([1.0, 2.0])
