"""The exact search along one coordinate that binary reconstructive embeddings take again and again."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types

from hashdb_plugins._kernels.compiling import kernel, readable, writable


@numba.njit(nogil=True)
def _cost(bits: Any, starts: Any, others: Any, costs: Any) -> Any:
    """Sum the costs of the pairs whose bits differ."""
    total = 0.0
    for i in range(bits.shape[0]):
        for edge in range(starts[i], starts[i + 1]):
            if others[edge] > i and bits[others[edge]] != bits[i]:
                total += costs[edge]
    return total


@numba.njit(nogil=True)
def _evaluate(values: Any, weights: Any, sums: Any, bits: Any) -> None:
    """Write the sums and bits of weights, always added up in one order."""
    for i in range(values.shape[0]):
        total = 0.0
        for q in range(weights.shape[0]):
            total += weights[q] * values[i, q]
        sums[i] = total
        bits[i] = total > 0


@kernel(
    types.void(
        readable(types.float64, 2),
        readable(types.int64, 1),
        readable(types.int64, 1),
        readable(types.int64, 1),
        readable(types.float64, 1),
        writable(types.float64, 1),
        writable(types.boolean, 1),
    )
)
def descend(values: Any, coordinates: Any, starts: Any, others: Any, costs: Any, weights: Any, bits: Any) -> None:
    """Lower the cost of the pairs that a bit tells apart, along some coordinates in turn, to the least of each.

    The bit of row i is [Σ_q weights_q values_iq > 0]. As one weight goes from -inf to inf each row changes its bit at
    one value, so that a pass over the rows, sorted by these values, meets every cost there is along the coordinate.

    Parameters
    ----------
    values : ndarray of float64, shape (n, s)
    coordinates : ndarray of int64
        Which weights to change, in this order.
    starts : ndarray of int64, shape (n + 1,)
    others : ndarray of int64, shape (2 * n_pairs,)
        Row i is paired with ``others[starts[i] : starts[i + 1]]``; each pair is there from both sides.
    costs : ndarray of float64, shape (2 * n_pairs,)
        Cost of telling a pair apart, the same from both sides.
    weights : ndarray of float64, shape (s,)
        Changed in place.
    bits : ndarray of bool, shape (n,)
        Written: the bits of the new weights, whose cost is at most that of the weights given.
    """
    n = values.shape[0]
    sums = np.empty(n)
    _evaluate(values, weights, sums, bits)
    current = _cost(bits, starts, others, costs)
    rest = np.empty(n)
    turns = np.empty(n)
    trial = np.empty(n, np.bool_)
    for q in coordinates:
        n_turning = 0
        for i in range(n):
            v = values[i, q]
            rest[i] = sums[i] - weights[q] * v
            turns[i] = np.inf
            if v != 0:
                turns[i] = -rest[i] / v
            if abs(turns[i]) < np.inf:
                trial[i] = v < 0
                n_turning += 1
            else:
                # A row that the coordinate does not reach.
                turns[i] = np.inf
                trial[i] = rest[i] > 0
        if n_turning == 0:
            continue
        order = np.argsort(turns)
        first, last = turns[order[0]], turns[order[n_turning - 1]]
        margin = last - first
        if margin == 0:
            margin = max(abs(first), 1.0)
        cost = _cost(trial, starts, others, costs)
        best, best_weight = cost, first - margin
        for place in range(n_turning):
            i = order[place]
            for edge in range(starts[i], starts[i + 1]):
                if trial[others[edge]] == trial[i]:
                    cost += costs[edge]
                else:
                    cost -= costs[edge]
            trial[i] = not trial[i]
            if cost < best:
                if place + 1 == n_turning:
                    best, best_weight = cost, last + margin
                else:
                    # Rows that turn at one value turn together: there is nothing between them.
                    left, right = turns[i], turns[order[place + 1]]
                    middle = left + (right - left) / 2
                    if left < middle < right:
                        best, best_weight = cost, middle
        if best < current:
            # Rounding may leave a row on the wrong side of a narrow gap: only what is counted again is believed.
            kept, weights[q] = weights[q], best_weight
            _evaluate(values, weights, rest, trial)
            cost = _cost(trial, starts, others, costs)
            if cost < current:
                current = cost
                for i in range(n):
                    sums[i] = rest[i]
                    bits[i] = trial[i]
            else:
                weights[q] = kept
