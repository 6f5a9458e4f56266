"""Hierarchical quantisation (HQ): the sign of a projection, then a threshold of its own on either side.

W. Liu, J. Wang, S. Kumar, S.-F. Chang: Hashing with Graphs. Proceedings of the 28th International Conference on Machine
Learning (ICML), 2011, section on hierarchical hashing (two-layer AGH).

Let y be a projection of n training rows, A their affinity (1 for a pair of neighbours, else 0), D its row sums and
L = D - A. The first bit is [y > 0]. The second thresholds, b+ for y > 0 and b- for y ≤ 0, fold the two sides onto one
another,

    (1)  f = y - b+ where y > 0,     f = -y + b- where y ≤ 0,

and are to keep neighbours together under a balanced second bit:

    (2)  minimise f'Lf     subject to     Σ f = 0.

With e the indicator of y > 0, n+ and n- the rows of either side, and s = Σ |y|, (1) is f = |y| - b+ e + b- (1 - e). The
constraint gives b- = (n+ b+ - s) / n-; put into f, with L 1 = 0, the quadratic form has the derivative 0 at

    (3)  b+ = (s + n- r) / n,     b- = (n+ r - s) / n,     r = e'L|y| / e'Le.

These are the paper's thresholds for a general L. For the L above, e'Lv is the sum of v_i - v_j over the pairs of
neighbours with y_i > 0 ≥ y_j, so that

    (4)  r = mean of |y_i| - |y_j| over the pairs of neighbours that the first bit separates.

Bits of projection k: 2k is [y > 0]; 2k + 1 is [f > 0], that is, far from 0. From left to right: 01, 00, 10, 11; the
outermost two regions are at Hamming distance 1, which is what double-bit quantisation was made to mend.

Cost: fit n and the pairs for each of the n_bits / 2 projections; encode a subtraction a bit.

Differs from the paper: A is the graph of neighbours among at most 2,000 training rows, in place of an anchor graph, and
y any projection instead of an eigenvector of L, for which s = 2 Σ_{y > 0} y. Where the first bit separates no pair of
neighbours (2) is the same for every b+, and all pairs of rows are taken, r = mean |y| on the positive side less that on
the other: b+ and b- are then the means of their sides. Where one side is empty r is 0.
"""

from __future__ import annotations

import numpy as np

from hashdb import MethodInfo, hookimpl
from hashdb.errors import ArgumentError

_LARGEST = float(np.finfo(np.float32).max)


@hookimpl
def describe() -> MethodInfo:
    """Say what the quantiser is."""
    return MethodInfo(
        name="hq",
        title="Hierarchical quantisation",
        paper="Liu, Wang, Kumar, Chang, Hashing with Graphs, ICML",
        year=2011,
        kind="quantiser",
        min_bits=2,
        when="projections smooth on a graph of neighbours; else dbq or mhq, which keep the order of regions",
    )


@hookimpl
def n_projections(n_bits: int) -> int:
    """Want half as many projections as bits."""
    if n_bits % 2:
        raise ArgumentError(
            f"hq gives every projection two bits: n_bits is {n_bits}, expected an even number such as "
            f"{f'{n_bits - 1} or ' if n_bits > 1 else ''}{n_bits + 1}"
        )
    return n_bits // 2


@hookimpl
def fit_quantiser(projections: np.ndarray, neighbours: np.ndarray) -> dict[str, np.ndarray]:
    """Find the second thresholds of each projection."""
    found = np.array([second_thresholds(column, neighbours) for column in projections.T])
    return {"thresholds": np.clip(found, -_LARGEST, _LARGEST).astype(np.float32)}


@hookimpl
def quantise(state: dict[str, np.ndarray], projections: np.ndarray) -> np.ndarray:
    """Give y and f of each projection."""
    above, below = state["thresholds"].T
    result = np.empty((len(projections), 2 * len(above)), np.float32)
    result[:, 0::2] = projections
    # A difference of two floats has its exact sign: gradual underflow keeps it from rounding to 0.
    with np.errstate(over="ignore"):
        result[:, 1::2] = np.where(projections > 0, projections - above, below - projections)
    return result


def second_thresholds(column: np.ndarray, neighbours: np.ndarray) -> tuple[float, float]:
    """Give b+ and b- of (3).

    Parameters
    ----------
    column : ndarray of float32, shape (n,)
        One projection of the training rows, n >= 1.
    neighbours : ndarray of int64, shape (m, 2)
        Pairs of rows.
    """
    positive, size = column > 0, np.abs(column.astype(np.float64))
    n, n_positive = len(column), int(positive.sum())
    left, right = neighbours.T
    # +1 where only the first of a pair is positive, -1 where only the second.
    side = positive[left].astype(np.int8) - positive[right]
    n_separated = np.count_nonzero(side)
    if n_separated:
        lift = float(side @ (size[left] - size[right])) / n_separated
    elif 0 < n_positive < n:
        lift = float(size[positive].mean() - size[~positive].mean())
    else:
        lift = 0.0
    total = float(size.sum())
    return (total + (n - n_positive) * lift) / n, (n_positive * lift - total) / n
