"""The ordered sums of a kernel model: squared distances dimension by dimension, the weighted kernel anchor by anchor.

No fast-math flag is set, so that LLVM neither reorders a sum nor joins a multiply with an add: each value is, bit for
bit, what NumPy gives operation by operation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from hashdb_plugins._elementary import EXPONENTIAL_SERIES, LOG_2
from hashdb_plugins._kernels.compiling import kernel, readable, writable

LARGEST = float(np.finfo(np.float32).max)
TILE_ROWS = 16
LOWEST = -200.0
SERIES = np.array(EXPONENTIAL_SERIES[::-1])
HALVES = np.ldexp(1.0, -np.arange(300))


@kernel(
    types.void(
        readable(types.float32, 2),
        readable(types.float64, 2),
        types.float64,
        readable(types.float64, 2),
        readable(types.float64, 1),
        writable(types.float32, 2),
        types.int64,
        types.int64,
    )
)
def project_rows(x: Any, anchors: Any, gamma: Any, weights: Any, bias: Any, out: Any, start: Any, stop: Any) -> None:
    """Write the margins of rows ``start`` to ``stop``.

    Parameters
    ----------
    x : ndarray of float32, shape (n, dim)
    anchors : ndarray of float64, shape (dim, m)
        One column per anchor.
    gamma : float
    weights : ndarray of float64, shape (m, n_bits)
    bias : ndarray of float64, shape (n_bits,)
    out : ndarray of float32, shape (n, n_bits)
    start, stop : int
    """
    dim, m = anchors.shape
    n_bits = weights.shape[1]
    # Allocated here, for then the compiler knows that they overlap no argument.
    z = np.empty((TILE_ROWS, dim), np.float64)
    values = np.empty((TILE_ROWS, m), np.float64)
    sums = np.empty(n_bits, np.float64)
    for first in range(start, stop, TILE_ROWS):
        n = min(TILE_ROWS, stop - first)
        for i in range(n):
            for j in range(dim):
                z[i, j] = np.float64(x[first + i, j])
            for c in range(m):
                values[i, c] = 0.0
        j = 0
        # Four dimensions at a time keep a sum in its register for four steps.
        while j + 4 <= dim:
            for i in range(n):
                z0, z1, z2, z3 = z[i, j], z[i, j + 1], z[i, j + 2], z[i, j + 3]
                for c in range(m):
                    s = values[i, c]
                    d = z0 - anchors[j, c]
                    s = s + d * d
                    d = z1 - anchors[j + 1, c]
                    s = s + d * d
                    d = z2 - anchors[j + 2, c]
                    s = s + d * d
                    d = z3 - anchors[j + 3, c]
                    s = s + d * d
                    values[i, c] = s
            j += 4
        while j < dim:
            for i in range(n):
                for c in range(m):
                    d = z[i, j] - anchors[j, c]
                    values[i, c] = values[i, c] + d * d
            j += 1
        for i in range(n):
            for c in range(m):
                t = max(-gamma * values[i, c], LOWEST)
                halvings = np.rint(t / LOG_2)
                rest = t - halvings * LOG_2
                p = SERIES[0]
                for k in range(1, SERIES.shape[0]):
                    p = p * rest
                    p = p + SERIES[k]
                values[i, c] = p * HALVES[int(-halvings)]
            for b in range(n_bits):
                sums[b] = 0.0
            for c in range(m):
                value = values[i, c]
                for b in range(n_bits):
                    sums[b] = sums[b] + value * weights[c, b]
            for b in range(n_bits):
                margin = sums[b] + bias[b]
                out[first + i, b] = np.float32(min(max(margin, -LARGEST), LARGEST))
