"""The ordered product: sums over the dimensions in their order, vectorised over the outputs.

No fast-math flag is set, so LLVM neither reorders a sum nor joins a multiply with an add; the products of float32
values are exact in float64 anyway, so that even a joined one would round the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from hashdb.search.kernels.compile import kernel, readable, writable

LARGEST = float(np.finfo(np.float32).max)
TILE_ROWS = 32


@kernel(
    types.void(
        readable(types.float32, 2),
        readable(types.float64, 2),
        readable(types.float32, 1),
        readable(types.float64, 1),
        writable(types.float32, 2),
        types.int64,
        types.int64,
        types.int64,
    ),
    makes_arrays=True,
)
def project_rows(x: Any, w: Any, mean: Any, offset: Any, out: Any, left: Any, start: Any, stop: Any) -> None:
    """Write the margins of rows ``start`` to ``stop``, outputs ``left`` to ``left + m``.

    One multiply and one add in float64 per row, dimension and output. Eight dimensions at a time keep a sum in its
    register for eight steps.

    Parameters
    ----------
    x : ndarray of float32, shape (n, dim)
    w : ndarray of float64, shape (dim, m)
        Some columns of the weights.
    mean : ndarray of float32, shape (dim,)
    offset : ndarray of float64, shape (m,)
    out : ndarray of float32, shape (n, at least left + m)
    left, start, stop : int
    """
    dim, m = w.shape
    largest = np.float32(LARGEST)
    # Allocated here, for then the compiler knows that they overlap no argument; passed in, they cost twice the time.
    z = np.empty((TILE_ROWS, dim), np.float64)
    sums = np.empty((TILE_ROWS, m), np.float64)
    for first in range(start, stop, TILE_ROWS):
        n = min(TILE_ROWS, stop - first)
        for i in range(n):
            for j in range(dim):
                difference = x[first + i, j] - mean[j]
                z[i, j] = np.float64(min(max(difference, -largest), largest))
            for c in range(m):
                sums[i, c] = 0.0
        j = 0
        while j + 8 <= dim:
            for i in range(n):
                z0, z1, z2, z3 = z[i, j], z[i, j + 1], z[i, j + 2], z[i, j + 3]
                z4, z5, z6, z7 = z[i, j + 4], z[i, j + 5], z[i, j + 6], z[i, j + 7]
                for c in range(m):
                    s = sums[i, c]
                    s = s + z0 * w[j, c]
                    s = s + z1 * w[j + 1, c]
                    s = s + z2 * w[j + 2, c]
                    s = s + z3 * w[j + 3, c]
                    s = s + z4 * w[j + 4, c]
                    s = s + z5 * w[j + 5, c]
                    s = s + z6 * w[j + 6, c]
                    s = s + z7 * w[j + 7, c]
                    sums[i, c] = s
            j += 8
        while j < dim:
            for i in range(n):
                for c in range(m):
                    sums[i, c] = sums[i, c] + z[i, j] * w[j, c]
            j += 1
        for i in range(n):
            for c in range(m):
                margin = sums[i, c] - offset[c]
                out[first + i, left + c] = np.float32(min(max(margin, -LARGEST), LARGEST))
