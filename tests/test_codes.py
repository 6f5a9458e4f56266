"""Packing, and the readings of what users bring."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashdb import codes
from hashdb.errors import ArgumentError


def slow_pack(bits: np.ndarray) -> list[list[int]]:
    n_words = -(-bits.shape[1] // 64)
    rows = []
    for row in bits.tolist():
        words = [0] * n_words
        for j, bit in enumerate(row):
            words[j // 64] |= int(bit) << (j % 64)
        rows.append(words)
    return rows


@given(st.integers(1, 300), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_pack_equals_the_slow_definition_and_unpack_inverts_it(n_bits: int, n: int, seed: int) -> None:
    bits = np.random.default_rng(seed).random((n, n_bits)) < 0.5
    packed = codes.pack(bits)
    assert packed.tolist() == slow_pack(bits)
    assert (codes.unpack(packed, n_bits) == bits).all()
    assert codes.check_codes(packed, n_bits).shape == (n, codes.n_words_of(n_bits))


def test_pack_refuses_what_is_not_bool() -> None:
    with pytest.raises(ArgumentError, match="expected bool"):
        codes.pack(np.zeros((2, 3)))


@pytest.mark.parametrize("n_bits", [0, -1, 4097, 1.5, True, "64", None])
def test_n_bits_outside_1_to_4096_is_refused(n_bits: object) -> None:
    with pytest.raises(ArgumentError, match="n_bits is"):
        codes.check_n_bits(n_bits)


def test_codes_with_bits_past_their_width_are_refused_with_the_row() -> None:
    stray = np.array([[1], [1 << 10]], np.uint64)
    with pytest.raises(ArgumentError, match="row 1 has bits set past its width of 10"):
        codes.check_codes(stray, 10)


@pytest.mark.parametrize(("array", "message"), [
    (np.zeros((2, 2), np.uint64), "expected .n, 1. words"),
    (np.zeros((2, 1), np.int64), "int64, expected uint64"),
    (np.zeros((2, 1, 1), np.uint64), "expected .n, 1. words"),
])  # fmt: skip
def test_codes_of_another_shape_or_dtype_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        codes.check_codes(array, 64)


def test_bit_order_of_each_packed_type() -> None:
    first = np.array([[0x80, 0x01]], np.uint8)
    assert np.flatnonzero(codes.to_bits(first, "packed-msb")[0]).tolist() == [0, 15]
    assert np.flatnonzero(codes.to_bits(first, "packed-lsb")[0]).tolist() == [7, 8]
    assert np.flatnonzero(codes.to_bits(np.array(["8001"]), "hex")[0]).tolist() == [0, 15]
    assert np.flatnonzero(codes.to_bits(np.array([1 << 63 | 1], np.uint64), "packed-lsb")[0]).tolist() == [0, 63]


def test_hex_goes_out_as_it_came_in() -> None:
    texts = ["00ff10a7", "deadbeef"]
    packed = codes.pack(codes.to_bits(np.array(texts), "hex"))
    assert codes.format_hex(packed, 32) == texts


def test_bool_pm1_and_float_read_the_same_bits() -> None:
    bits = np.array([[1, 0, 1, 1], [0, 0, 1, 0]])
    expected = bits.astype(bool).tolist()
    assert codes.to_bits(bits, "bool").tolist() == expected
    assert codes.to_bits(2 * bits - 1, "pm1").tolist() == expected
    assert codes.to_bits((bits - 0.5).astype(np.float32), "float").tolist() == expected


@pytest.mark.parametrize(("array", "kind", "message"), [
    (np.array([[0, 2]]), "bool", "row 0, column 1 is 2, expected 0 or 1"),
    (np.array([[1, 0]]), "pm1", "row 0, column 1 is 0, expected -1 or 1"),
    (np.array([[np.nan]]), "float", "expected finite"),
    (np.array(["abc"]), "hex", "expected an even number"),
    (np.array(["ab", "abcd"]), "hex", "row 1"),
    (np.array(["zz"]), "hex", "expected the digits"),
    (np.array([[1.0]]), "packed-msb", "expected uint8"),
    (np.array([["a"]]), "bool", "expected numbers"),
])  # fmt: skip
def test_a_value_the_type_does_not_have_is_named(array: np.ndarray, kind: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        codes.to_bits(array, kind)


@pytest.mark.parametrize(("array", "want_bits", "expected"), [
    (np.array(["ff"]), True, "hex"),
    (np.zeros((1, 2), bool), True, "bool"),
    (np.array([[0.0, 1.0]]), True, "bool"),
    (np.array([[-1, 1]]), True, "pm1"),
    (np.array([[-0.5, 1.2]]), True, "float"),
    (np.zeros((1, 1), np.uint64), True, "packed-lsb"),
    (np.zeros((1, 2), np.uint8), False, "float"),
    (np.array([[0.0, 1.0]]), False, "float"),
])  # fmt: skip
def test_auto_takes_the_only_reading(array: np.ndarray, want_bits: bool, expected: str) -> None:
    assert codes.resolve_input_type(array, "auto", want_bits) == expected


@pytest.mark.parametrize(("array", "message"), [
    (np.array([[3, 200]], np.uint8), "packed-msb .* or packed-lsb"),
    (np.array([[0, 1]], np.uint8), "bool.*packed-msb"),
    (np.ones((2, 2)), "bool or pm1"),
    (np.array([[3, 9]], np.int64), "neither 0 and 1 nor -1 and 1"),
])  # fmt: skip
def test_auto_refuses_two_readings_and_names_them(array: np.ndarray, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        codes.resolve_input_type(array, "auto", True)


def test_padding_of_packed_codes_must_be_zero() -> None:
    bits = np.zeros((2, 8), bool)
    assert codes.fit_width(bits, 5, slack=7).shape == (2, 5)
    bits[1, 6] = True
    with pytest.raises(ArgumentError, match="row 1 has bits set past 5"):
        codes.fit_width(bits, 5, slack=7)
    with pytest.raises(ArgumentError, match="8 bits wide, expected 9"):
        codes.fit_width(bits, 9, slack=7)
    with pytest.raises(ArgumentError, match="8 bits wide, expected 5"):
        codes.fit_width(bits[:1], 5)


def test_slack_is_that_of_the_unit_of_packing() -> None:
    assert codes.slack_of(np.zeros((1, 8), bool), "bool") == 0
    assert codes.slack_of(np.zeros((1, 8), np.uint8), "packed-msb") == 7
    assert codes.slack_of(np.zeros((1, 1), np.uint64), "packed-lsb") == 63


def test_float64_beyond_float32_is_refused() -> None:
    with pytest.raises(ArgumentError, match="float32 cannot hold"):
        codes.to_vectors(np.array([[1e300]]), "float")
    assert codes.to_vectors(np.array([[True, False]]), "bool").tolist() == [[1.0, -1.0]]
