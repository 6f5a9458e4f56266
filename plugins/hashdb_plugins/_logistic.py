"""Kernel logistic regressions, one for each bit, as hash functions.

With k the kernel of a row at m points, K_0 that of the points themselves, and s_i the bit of row i as 1 or -1,

    (1)  w minimises  Σ_i log(1 + exp(-s_i w'k_i)) + C w' K_0 w

K_0 = E S E' makes the penalty C |v|^2 for w = E S^-1/2 v: a plain logistic regression on the features S^-1/2 E' k.
Directions with less than 1e-6 of the largest eigenvalue are left out: points may coincide, and weights are float32.

A bit that equals another, or is its opposite in all rows, has that one's w, or -w: few classes leave few others.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from hashdb_plugins import _anchors
from hashdb_plugins._parallel import Sum, blocks, workers

_LEAST_SPREAD = 1e-6
# Of the mean gradient: margins are right to about a hundredth.
_TOLERANCE = 1e-5
_MOST_TURNS = 1000
_BITS_AT_A_TIME = 8


def regress(
    rows: np.ndarray,
    points: np.ndarray,
    gamma: float,
    codes: np.ndarray,
    ridge: float,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Solve (1) for every bit.

    Cost n m^2 + m^3, and n m for each turn of each bit; memory 2 n m floats.

    Parameters
    ----------
    rows : ndarray of float32, shape (n, dim)
    points : ndarray of float32, shape (m, dim)
    gamma : float
        Of the kernel.
    codes : ndarray of bool, shape (n, n_bits)
    ridge : float
        C, above 0.
    progress : callable, optional
        Called with the number of bits done.

    Returns
    -------
    weights : ndarray of float32, shape (m, n_bits)
        0 for a bit that is the same for all rows.
    bias : ndarray of float64, shape (n_bits,)
        1 or -1 for such a bit, else 0.
    """
    from sklearn.linear_model import LogisticRegression

    # Every bit turned so that the first row's is 0.
    turned = codes ^ codes[0]
    _, examples, which = np.unique(np.packbits(turned, axis=0), axis=1, return_index=True, return_inverse=True)
    with workers() as total, warnings.catch_warnings():
        # A regression that has not quite settled is a hash function all the same.
        warnings.simplefilter("ignore")
        features, root = _features(rows, points, gamma, total)
        solved = np.zeros((len(points), len(examples)), np.float32)

        def solve(part: slice) -> np.ndarray:
            wanted = turned[:, examples[part.start]]
            if wanted.any():
                machine = LogisticRegression(C=0.5 / ridge, fit_intercept=False, tol=_TOLERANCE, max_iter=_MOST_TURNS)
                solved[:, part.start] = root @ machine.fit(features, wanted).coef_[0].astype(np.float64)
            return np.zeros(())

        for first in range(0, len(examples), _BITS_AT_A_TIME):
            last = min(first + _BITS_AT_A_TIME, len(examples))
            total([slice(bit, bit + 1) for bit in range(first, last)], solve)
            progress(codes.shape[1] * last // len(examples))
    signs = np.where(codes[0], np.float32(-1), np.float32(1))
    weights = solved[:, which.reshape(-1)] * signs
    return weights, np.where(turned.any(axis=0), 0.0, -signs.astype(np.float64))


def _features(rows: np.ndarray, points: np.ndarray, gamma: float, total: Sum) -> tuple[np.ndarray, np.ndarray]:
    """Give k E S^-1/2 of rows, float32 (n, rank), and E S^-1/2, float64 (m, rank)."""
    from scipy.linalg import eigh

    sizes, directions = eigh(_anchors.kernel(points, points, gamma).astype(np.float64))
    kept = sizes > _LEAST_SPREAD * sizes[-1]
    root = directions[:, kept] / np.sqrt(sizes[kept])
    kernel = _anchors.kernel(rows, points, gamma)
    features = np.empty((len(rows), root.shape[1]), np.float32)

    def fill(block: slice) -> np.ndarray:
        features[block] = kernel[block].astype(np.float64) @ root
        return np.zeros(())

    total(blocks(len(rows), len(points)), fill)
    return features, root
