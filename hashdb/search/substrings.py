"""Substrings: which bits of a code are looked up together in one bucket table.

A search looks into few buckets where the bits of a substring are independent of each other: correlated bits fall into
few buckets, which are full. The paper's greedy optimisation spreads them (Norouzi, Punjani and Fleet, arXiv 1307.2982,
section 5, option R of the authors' program).

Differs from the paper: the bits that the substrings begin with are not random but those most correlated with each
other, so that an index built twice has the same tables; and at the end pairs of bits are exchanged while that lowers
the squared correlations within the substrings, for the last bits to be assigned have little choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint64]
MAX_WIDTH = 64  # bits of a substring: its value is one word
SAMPLE_WORK = 1 << 33  # multiplications that estimating the correlations may take
EXCHANGE_WORK = 1 << 27  # pairs of bits that exchanging may look at
_MOST_ROWS = 1 << 14


def sample_rows(blocks: Sequence[Codes], n_rows: int) -> Codes:
    """Take about ``n_rows`` codes, evenly spread over a segment.

    Parameters
    ----------
    blocks : sequence of ndarray of uint64, shape (m, n_words)
    n_rows : int

    Returns
    -------
    ndarray of uint64, shape (min(n_rows, n), n_words)
    """
    n = sum(map(len, blocks))
    rows = np.arange(min(n_rows, n)) * n // max(1, min(n_rows, n))
    parts, first = [], 0
    for block in blocks:
        here = rows[(rows >= first) & (rows < first + len(block))] - first
        parts.append(block[here])
        first += len(block)
    return np.ascontiguousarray(np.concatenate(parts))


def correlation_rows(n_bits: int) -> int:
    """Count the rows that correlations are estimated from: fewer for wide codes."""
    return max(1024, min(_MOST_ROWS, SAMPLE_WORK // n_bits**2))


def correlations(codes: Codes, n_bits: int) -> NDArray[np.float64]:
    """Estimate how much the bits of codes are correlated.

    Parameters
    ----------
    codes : ndarray of uint64, shape (n, n_words)
        At most 2^24.
    n_bits : int

    Returns
    -------
    ndarray of float64, shape (n_bits, n_bits)
        0 to 1, magnitudes; 0 for a bit that never changes.
    """
    bits = np.unpackbits(np.ascontiguousarray(codes, "<u8").view(np.uint8), axis=1, count=n_bits, bitorder="little")
    ones = bits.astype(np.float32)
    # Whole numbers below 2^24: the product is exact, however the library sums.
    both = (ones.T @ ones).astype(np.float64) / max(1, len(codes))
    mean = np.diag(both)
    spread = np.sqrt(mean * (1 - mean))
    scale = np.outer(spread, spread)
    covariance: NDArray[np.float64] = np.abs(both - np.outer(mean, mean))
    known = scale > 1e-9
    covariance[known] /= scale[known]
    covariance[~known] = 0.0
    return covariance


def assign_bits(correlated: NDArray[np.float64], n_substrings: int) -> list[NDArray[np.int64]]:
    """Assign bits to substrings so that those of one substring are as little correlated as may be.

    Parameters
    ----------
    correlated : ndarray of float64, shape (n_bits, n_bits)
        From :func:`correlations`.
    n_substrings : int

    Returns
    -------
    list of ndarray of int64
        Bits of each substring, ascending; the first n_bits mod n_substrings of them have one more than the others.

    Notes
    -----
    In turn, each substring takes the bit that is left over and whose largest correlation with the bits that the
    substring has is least, O(n_bits^2); then the best exchanges are made, O(n_bits^2) each.

    Examples
    --------
    >>> twins = np.kron(np.eye(2), np.ones((2, 2)))  # bits 0 and 1 are the same, and so are 2 and 3
    >>> [bits.tolist() for bits in assign_bits(twins, 2)]
    [[0, 2], [1, 3]]
    """
    n_bits = len(correlated)
    others = correlated * (1 - np.eye(n_bits))
    free = np.ones(n_bits, bool)
    chosen: list[list[int]] = []
    closest = others.sum(axis=1)  # then: the largest correlation with the first bits of the other substrings
    for number in range(n_substrings):
        bit = int(np.argmax(np.where(free, closest, -1.0)))
        closest = others[bit].copy() if number == 0 else np.maximum(closest, others[bit])
        free[bit] = False
        chosen.append([bit])
    worst = np.stack([others[bits[0]] for bits in chosen])
    for number in range(n_substrings, n_bits):
        t = number % n_substrings
        bit = int(np.argmin(np.where(free, worst[t], np.inf)))
        free[bit] = False
        worst[t] = np.maximum(worst[t], others[bit])
        chosen[t].append(bit)
    owner = np.empty(n_bits, np.int64)
    for t, bits in enumerate(chosen):
        owner[bits] = t
    _exchange(others**2, owner)
    return [np.flatnonzero(owner == t) for t in range(n_substrings)]


def _exchange(squared: NDArray[np.float64], owner: NDArray[np.int64]) -> None:
    """Exchange bits between substrings, best pair first, while the sum within the substrings falls."""
    n_bits = len(owner)
    every = np.arange(n_bits)
    for _ in range(min(4 * n_bits, EXCHANGE_WORK // n_bits**2)):
        members = (owner[:, None] == np.arange(owner.max() + 1)).astype(np.float64)
        to = squared @ members  # of each bit, the sum over the bits of each substring
        own = to[every, owner]
        # Bit a goes to the substring of b, and b to that of a; what they have with each other goes with neither.
        crossed = to[:, owner]
        change = crossed + crossed.T - 2 * squared - own[:, None] - own[None, :]
        change[owner[:, None] == owner[None, :]] = 0.0
        a, b = np.unravel_index(np.argmin(change), change.shape)
        if change[a, b] >= -1e-9:
            break
        owner[a], owner[b] = owner[b], owner[a]


def masks_of(substrings: Sequence[NDArray[np.int64]], n_words: int) -> Codes:
    """Mark the bits of each substring.

    Returns
    -------
    ndarray of uint64, shape (n_substrings, n_words)
    """
    masks = np.zeros((len(substrings), n_words), np.uint64)
    for t, bits in enumerate(substrings):
        np.bitwise_or.at(masks[t], bits // 64, np.uint64(1) << (bits % 64).astype(np.uint64))
    return masks


def contributions_of(bits: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Tell what each byte of a code adds to a substring; bit i of it is bit ``bits[i]`` of the code.

    Returns
    -------
    places : ndarray of int64, shape (m,)
        Bytes of a code that the substring has bits of.
    contributions : ndarray of uint64, shape (256 * m,)
        ``contributions[256 * i + b]`` is what byte ``places[i]`` adds where it has the value b.
    """
    places = np.unique(bits // 8)
    values = np.arange(256, dtype=np.uint64)
    table = np.zeros((len(places), 256), np.uint64)
    for position, bit in enumerate(bits.tolist()):
        ones = (values >> np.uint64(bit % 8)) & np.uint64(1)
        table[np.searchsorted(places, bit // 8)] |= ones << np.uint64(position)
    return places, table.reshape(-1)


def check_substrings(substrings: Sequence[Any], n_bits: int) -> list[NDArray[np.int64]]:
    """Return substrings as arrays where they share out the bits of a code; raise ValueError where they do not."""
    arrays = [np.asarray(bits, np.int64) for bits in substrings]
    joined = np.sort(np.concatenate(arrays)) if arrays else np.empty(0, np.int64)
    if not np.array_equal(joined, np.arange(n_bits)):
        raise ValueError(f"the substrings do not share out {n_bits} bits")
    if any(not 1 <= len(bits) <= MAX_WIDTH or bool((np.diff(bits) <= 0).any()) for bits in arrays):
        raise ValueError(f"a substring has not 1 to {MAX_WIDTH} bits in ascending order")
    return arrays
