"""Double-bit quantisation (DBQ): three regions a projection, none of whose thresholds cuts through its dense middle.

W. Kong, W.-J. Li: Double-Bit Quantization for Hashing. Proceedings of the 26th AAAI Conference on Artificial
Intelligence, 2012.

Each projection is cut at a ≤ b into S_0 = {p ≤ a}, S_1 = {a < p ≤ b}, S_2 = {p > b}, coded 01, 00, 10: neighbouring
regions are at Hamming distance 1, the outer two at 2. The thresholds minimise the squared error about the means μ_0,
0, μ_2 of the regions, that is, they maximise

    (1)  F(a, b) = n_0 μ_0^2 + n_2 μ_2^2 = (Σ_{S_0} p)^2 / |S_0| + (Σ_{S_2} p)^2 / |S_2|

among the cuts that keep the mean of S_1 next to 0, which one sweep goes through:

    (2)  S_0 = {p ≤ 0}, S_1 = {}, S_2 = {p > 0};  until S_0 and S_2 are empty: where Σ_{S_1} p > 0 move the largest of
         S_0 into S_1, else the smallest of S_2.

Order of the bits: of projection k, bit 2k says S_2 (margin p - b), bit 2k + 1 says S_0 (margin: a - p).

Cost: fit n log n for each of the n_bits / 2 projections, memory n; encode a subtraction a bit.

Differs from the paper: cuts that would separate equal values are left out, for no threshold makes them.
"""

from __future__ import annotations

import numpy as np

from hashdb import MethodInfo, hookimpl
from hashdb.errors import ArgumentError


@hookimpl
def describe() -> MethodInfo:
    """Say what the quantiser is."""
    return MethodInfo(
        name="dbq",
        title="Double-bit quantisation",
        paper="Kong, Li, Double-Bit Quantization for Hashing, AAAI",
        year=2012,
        kind="quantiser",
        min_bits=2,
        when="Euclidean neighbours, projections of unequal spread (pcah), or fewer dimensions than bits; even n_bits",
    )


@hookimpl
def n_projections(n_bits: int) -> int:
    """Want half as many projections as bits."""
    if n_bits % 2:
        raise ArgumentError(
            f"dbq gives every projection two bits: n_bits is {n_bits}, expected an even number such as "
            f"{f'{n_bits - 1} or ' if n_bits > 1 else ''}{n_bits + 1}"
        )
    return n_bits // 2


@hookimpl
def fit_quantiser(projections: np.ndarray) -> dict[str, np.ndarray]:
    """Find the thresholds of each projection."""
    thresholds = np.array([best_thresholds(column) for column in projections.T], dtype=np.float32)
    return {"thresholds": thresholds}


@hookimpl
def quantise(state: dict[str, np.ndarray], projections: np.ndarray) -> np.ndarray:
    """Give the margins p - b and a - p of each projection."""
    left, right = state["thresholds"].T
    result = np.empty((len(projections), 2 * len(left)), np.float32)
    # A difference of two floats has its exact sign: gradual underflow keeps it from rounding to 0.
    with np.errstate(over="ignore"):
        np.subtract(projections, right, out=result[:, 0::2])
        np.subtract(left, projections, out=result[:, 1::2])
    return result


def best_thresholds(column: np.ndarray) -> tuple[np.float32, np.float32]:
    """Maximise (1) over the cuts of (2).

    Parameters
    ----------
    column : ndarray of float32, shape (n,)
        One projection of the training rows, n >= 1.

    Returns
    -------
    left, right : float32
        p is in S_0 where p < left, in S_2 where p > right; left is the float that follows a, and an empty region has
        its threshold at the outermost value.
    """
    ordered = np.sort(column)
    split = int(np.searchsorted(ordered, 0, side="right"))
    # Both in the order in which the sweep takes them, with their running sums; the first sum is 0.
    below, above = ordered[:split][::-1], ordered[split:]
    fall = np.concatenate([[0.0], np.cumsum(-below.astype(np.float64))])
    rise = np.concatenate([[0.0], np.cumsum(above.astype(np.float64))])
    # With i and j taken, Σ_{S_1} = rise[j] - fall[i]: the sweep takes from below where fall[i] < rise[j], else from
    # above, which is to merge the two ascending sequences, ties from above first.
    merged = np.argsort(np.concatenate([rise[:-1], fall[:-1]]), kind="stable")
    i = np.concatenate([[0], np.cumsum(merged >= len(above))])
    j = np.arange(len(merged) + 1) - i
    objective = _square_over(fall[-1] - fall[i], len(below) - i) + _square_over(rise[-1] - rise[j], len(above) - j)
    objective[_cuts_ties(below, i) | _cuts_ties(above, j)] = -1
    best = int(objective.argmax())
    return _left(below, int(i[best])), _right(above, int(j[best]))


def _square_over(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.where(counts > 0, sums**2 / np.maximum(counts, 1), 0.0)


def _cuts_ties(values: np.ndarray, n_taken: np.ndarray) -> np.ndarray:
    """Say where the last value taken equals the first one left."""
    tied = np.zeros(len(values) + 1, np.bool_)
    tied[1:-1] = values[1:] == values[:-1]
    return tied[n_taken]


def _left(below: np.ndarray, n_taken: int) -> np.float32:
    if n_taken == len(below):
        return below[-1] if n_taken else np.float32(0)
    edge = below[n_taken] if n_taken else np.float32(0)
    return np.nextafter(edge, np.float32(np.inf))


def _right(above: np.ndarray, n_taken: int) -> np.float32:
    return above[n_taken - 1] if n_taken else np.float32(0)
