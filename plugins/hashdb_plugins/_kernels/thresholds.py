"""The best cuts of a sorted projection into regions, by dynamic programming.

A region that holds the values l … r - 1 of the ascending distinct values is worth

    score(l, r) = pair_gain * N(l, r) - size_cost * C(l, r) - spread_cost * W(l, r)

with N the neighbour pairs inside it, C all pairs of rows inside it, and W the squared error of its rows about their
mean. Scores add over regions, so that the best division of the values from l on into k + 1 regions follows from the
best ones into k:

    tail_0(l) = score(l, d),    tail_k(l) = max over r of score(l, r) + tail_{k-1}(r)

Going down with r, the scores of one r are made from those of r + 1, raise the maxima of every l and k, and are dropped.

Cost: d^2 / 2 for the scores of d distinct values, and d^2 / 2 for each region but the first and the last; memory
n_regions * d.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types

from hashdb_plugins._kernels.compiling import kernel, readable

_DOUBLES = readable(types.float64, 1)
_INTS = readable(types.int64, 1)


# Regions have rows; with Python's test for a division by zero the loops would not be vectorised.
@numba.njit(nogil=True, error_model="numpy")
def _score(
    counts: Any,
    sums: Any,
    squares: Any,
    left: Any,
    r: Any,
    within: Any,
    pair_gain: Any,
    size_cost: Any,
    spread_cost: Any,
) -> Any:
    n = counts[r] - counts[left]
    total = sums[r] - sums[left]
    spread = squares[r] - squares[left] - total * total / n
    return pair_gain * within - size_cost * (0.5 * n * (n - 1.0)) - spread_cost * spread


@numba.njit(nogil=True)
def _count(first: Any, last: Any, lows: Any, sign: Any, hits: Any, within: Any) -> None:
    """Add the pairs ``first`` to ``last`` to the counts of regions by left end, or take them out."""
    if first == last:
        return
    for pair in range(first, last):
        hits[lows[pair]] += sign
    running = 0
    for left in range(hits.shape[0] - 1, -1, -1):
        running += hits[left]
        hits[left] = 0
        within[left] += running


@numba.njit(nogil=True)
def _raise(tail: Any, n: Any, score: Any, rest: Any) -> None:
    for left in range(n):
        value = score[left] + rest
        tail[left] = value if value > tail[left] else tail[left]


@kernel(
    types.int64[::1](
        _DOUBLES,
        _DOUBLES,
        _DOUBLES,
        _INTS,
        _INTS,
        types.float64,
        types.float64,
        types.float64,
        types.int64,
    )
)
def best_cuts(
    counts: Any,
    sums: Any,
    squares: Any,
    starts: Any,
    lows: Any,
    pair_gain: Any,
    size_cost: Any,
    spread_cost: Any,
    n_regions: Any,
) -> Any:
    """Divide values into regions of the highest total score, none of them empty.

    Parameters
    ----------
    counts, sums, squares : ndarray of float64, shape (d + 1,)
        Rows before each distinct value, the sum of their values, and of the squares.
    starts : ndarray of int64, shape (d + 1,)
        Pairs whose higher value is b stand at ``starts[b]`` to ``starts[b + 1]``.
    lows : ndarray of int64, shape (n_pairs,)
        The lower value of each pair, at most its higher one.
    pair_gain, size_cost, spread_cost : float
    n_regions : int
        1 to d.

    Returns
    -------
    ndarray of int64, shape (n_regions - 1,)
        First value of each region but the first, ascending.
    """
    d = counts.shape[0] - 1
    within, hits = np.zeros(d, np.int64), np.zeros(d, np.int64)
    score = np.empty(d)
    tail = np.full((n_regions, d + 1), -np.inf)
    _count(0, starts[d], lows, 1, hits, within)
    for r in range(d, 0, -1):
        for left in range(r):
            score[left] = _score(counts, sums, squares, left, r, within[left], pair_gain, size_cost, spread_cost)
        if r == d:
            tail[0, :d] = score
        for k in range(1, min(n_regions, d - r + 1)):
            # All regions together begin with the first value only.
            _raise(tail[k], r if k < n_regions - 1 else 1, score, tail[k - 1, r])
        _count(starts[r - 1], starts[r], lows, -1, hits[:r], within)
    cuts = np.empty(n_regions - 1, np.int64)
    left = 0
    for k in range(n_regions - 1, 0, -1):
        inside, highest, place = 0, -np.inf, left + 1
        for r in range(left + 1, d):
            for pair in range(starts[r - 1], starts[r]):
                if lows[pair] >= left:
                    inside += 1
            value = tail[k - 1, r] + _score(counts, sums, squares, left, r, inside, pair_gain, size_cost, spread_cost)
            if value > highest:
                highest, place = value, r
        cuts[n_regions - 1 - k] = left = place
    return cuts
