"""Which bits go together: all of them once, the same every time, correlated ones apart; against slow definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashdb.search.layouts import widths_of
from hashdb.search.substrings import (
    assign_bits,
    check_substrings,
    contributions_of,
    correlation_rows,
    correlations,
    masks_of,
    sample_rows,
)

from .conftest import as_integers, random_codes

SHORT = settings(deadline=None, max_examples=80)


def bits_of(codes, n_bits):
    """Codes as a matrix of 0 and 1."""
    return np.array([[code >> bit & 1 for bit in range(n_bits)] for code in as_integers(codes)]).reshape(-1, n_bits)


def codes_of(bits):
    codes = np.zeros((len(bits), -(-bits.shape[1] // 64)), np.uint64)
    for bit in range(bits.shape[1]):
        codes[:, bit // 64] |= bits[:, bit].astype(np.uint64) << np.uint64(bit % 64)
    return codes


def worst_within(correlated, substrings):
    """The largest correlation of two bits of one substring."""
    pairs = [correlated[a, b] for bits in substrings for a in bits for b in bits if a != b]
    return max(pairs, default=0.0)


def planted(rng, sizes, noise, n=800):
    """Codes of groups of bits next to each other; those of a group are the same but for a share of noise."""
    bits = [rng.random(n) < rng.uniform(0.3, 0.7) for _ in sizes]
    columns = [(bit ^ (rng.random(n) < noise)) for bit, size in zip(bits, sizes, strict=True) for _ in range(size)]
    return codes_of(np.array(columns).T)


@SHORT
@given(n_bits=st.integers(1, 200), seed=st.integers(0, 2**32), data=st.data())
def test_substrings_share_out_the_bits(n_bits, seed, data):
    n_substrings = data.draw(st.integers(-(-n_bits // 64), n_bits))
    correlated = np.random.default_rng(seed).random((n_bits, n_bits))
    correlated = np.maximum(correlated, correlated.T)
    substrings = assign_bits(correlated, n_substrings)
    assert sorted(np.concatenate(substrings).tolist()) == list(range(n_bits))
    assert [len(bits) for bits in substrings] == widths_of(n_bits, n_substrings)
    assert all((np.diff(bits) > 0).all() for bits in substrings)
    again = assign_bits(correlated.copy(), n_substrings)
    assert [bits.tolist() for bits in substrings] == [bits.tolist() for bits in again]
    checked = check_substrings([bits.tolist() for bits in substrings], n_bits)
    assert [bits.tolist() for bits in checked] == [bits.tolist() for bits in substrings]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n_pairs", "n_substrings"), [(4, 2), (32, 2), (4, 4), (16, 4), (16, 8), (16, 16), (64, 16)])
def test_equal_bits_come_into_different_substrings(n_pairs, n_substrings, seed):
    rng = np.random.default_rng(seed)
    bits = rng.random((1000, n_pairs)) < 0.5
    order = rng.permutation(2 * n_pairs)
    codes = codes_of(np.hstack([bits, bits])[:, order])
    for group in assign_bits(correlations(codes, 2 * n_pairs), n_substrings):
        pairs = (order[group] % n_pairs).tolist()
        assert len(set(pairs)) == len(pairs)


@SHORT
@given(
    n_substrings=st.integers(2, 8),
    noise=st.sampled_from((0.0, 0.05, 0.2)),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_correlated_neighbours_are_kept_apart_no_worse_than_by_cutting(n_substrings, noise, seed, data):
    sizes = []
    while sum(sizes) < 4 * n_substrings:  # so that cutting leaves neighbours together
        sizes.append(data.draw(st.integers(2, n_substrings), label="bits of a group"))
    n_bits = sum(sizes)
    correlated = correlations(planted(np.random.default_rng(seed), sizes, noise), n_bits)
    consecutive = np.split(np.arange(n_bits), np.cumsum(widths_of(n_bits, n_substrings))[:-1])
    ours = worst_within(correlated, assign_bits(correlated, n_substrings))
    assert ours <= worst_within(correlated, consecutive) + 0.1  # groups are not correlated to the same degree


def test_correlated_neighbours_are_far_better_apart_than_cut():
    sizes = [4] * 16
    correlated = correlations(planted(np.random.default_rng(0), sizes, 0.02), 64)
    consecutive = np.split(np.arange(64), 4)
    assert worst_within(correlated, consecutive) > 0.8
    assert worst_within(correlated, assign_bits(correlated, 4)) < 0.2


@SHORT
@given(n=st.integers(1, 60), n_bits=st.sampled_from((1, 5, 64, 70)), density=st.floats(0, 1), seed=st.integers(0, 99))
def test_correlations_are_those_of_the_definition(n, n_bits, density, seed):
    codes = random_codes(np.random.default_rng(seed), n, n_bits, density)
    found = correlations(codes, n_bits)
    assert found.shape == (n_bits, n_bits)
    bits = bits_of(codes, n_bits)
    changing = [bit for bit in range(n_bits) if 0 < bits[:, bit].sum() < n]
    expected = np.zeros((n_bits, n_bits))
    if changing:
        expected[np.ix_(changing, changing)] = np.abs(np.corrcoef(bits[:, changing].T))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_opposite_bits_are_as_correlated_as_equal_ones():
    bits = np.random.default_rng(1).random((300, 1)) < 0.4
    correlated = correlations(codes_of(np.hstack([bits, ~bits, bits])), 3)
    np.testing.assert_allclose(correlated, 1)


@SHORT
@given(n_bits=st.integers(1, 150), seed=st.integers(0, 2**32), data=st.data())
def test_masks_and_contributions_are_those_of_the_definition(n_bits, seed, data):
    rng = np.random.default_rng(seed)
    n_substrings = data.draw(st.integers(-(-n_bits // 64), n_bits))
    order = rng.permutation(n_bits)
    substrings = [np.sort(part) for part in np.array_split(order, n_substrings)]
    n_words = -(-n_bits // 64)
    masks = masks_of(substrings, n_words)
    assert (masks.dtype, masks.shape) == (np.uint64, (n_substrings, n_words))
    assert as_integers(masks) == [sum(1 << bit for bit in bits.tolist()) for bits in substrings]
    codes = random_codes(rng, 5, n_bits)
    for bits in substrings:
        places, contributions = contributions_of(bits)
        assert places.tolist() == sorted({bit // 8 for bit in bits.tolist()})
        assert contributions.shape == (256 * len(places),)
        for code in as_integers(codes):
            given_by_bytes = [
                int(contributions[256 * i + (code >> 8 * place & 255)]) for i, place in enumerate(places.tolist())
            ]
            assert sum(given_by_bytes) == sum((code >> bit & 1) << i for i, bit in enumerate(bits.tolist()))


@SHORT
@given(n=st.integers(1, 300), n_rows=st.integers(1, 400), cuts=st.lists(st.integers(0, 300), max_size=4))
def test_a_sample_is_spread_evenly_over_the_blocks(n, n_rows, cuts):
    rows = np.arange(n, dtype=np.uint64)[:, None]
    sample = sample_rows(np.split(rows, sorted(min(cut, n) for cut in cuts)), n_rows)
    assert sample.shape == (min(n, n_rows), 1)
    assert sample.dtype == np.uint64
    steps = np.diff(np.append(sample[:, 0].astype(int), n))
    assert sample[0, 0] == 0
    assert steps.min() >= 1
    assert steps.max() - steps.min() <= 1


def test_wide_codes_are_correlated_from_fewer_rows():
    rows = [correlation_rows(n_bits) for n_bits in (1, 64, 256, 1024, 4096)]
    assert rows == sorted(rows, reverse=True)
    assert 1000 <= rows[-1] < rows[0] < 2**24


@pytest.mark.parametrize(
    ("substrings", "words"),
    [
        ([[0, 1], [2]], "share out 4 bits"),
        ([[0, 1], [1, 2, 3]], "share out 4 bits"),
        ([[0, 1], [2, 4]], "share out 4 bits"),
        ([], "share out 4 bits"),
        ([[1, 0], [2, 3]], "ascending order"),
        ([[0, 1, 2, 3], []], "1 to 64 bits"),
        ([[[0, 1]], [[2, 3]]], "share out 4 bits"),
    ],
)
def test_substrings_that_are_none_are_refused(substrings, words):
    with pytest.raises(ValueError, match=words):
        check_substrings(substrings, 4)


def test_a_substring_of_more_than_a_word_is_refused():
    assert len(check_substrings([range(64), [64]], 65)) == 2
    with pytest.raises(ValueError, match="1 to 64 bits"):
        check_substrings([range(65)], 65)
