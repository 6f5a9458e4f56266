"""The nearest anchors of rows, decided exactly: products with an error bound choose, exact sums decide."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from hashdb_plugins._kernels.compiling import kernel, readable, writable

# Partial sums of one exact product; columns come in multiples of this.
LANES = 16


@kernel(
    types.void(
        readable(types.float32, 2),
        readable(types.float32, 1),
        readable(types.float32, 2),
        readable(types.float32, 2),
        readable(types.float64, 1),
        writable(types.int32, 2),
        writable(types.float64, 2),
    )
)
def nearest_rows(
    products: Any, bounds: Any, rows: Any, anchors: Any, half_squares: Any, indices: Any, scores: Any
) -> None:
    """Write the anchors of highest score of each row, best first, the lower number first among equals.

    The score of anchor a for row z is z · a - |a|^2 / 2, highest where the distance is least. All products of float32
    values are exact in float64, so sums round only in their additions, whose order is fixed: lane by lane, then the
    lanes in halves.

    Parameters
    ----------
    products : ndarray of float32, shape (n, m)
        Scores, each within its row's bound of the exact one.
    bounds : ndarray of float32, shape (n,)
    rows : ndarray of float32, shape (n, width)
        The width is a multiple of LANES.
    anchors : ndarray of float32, shape (m, width)
    half_squares : ndarray of float64, shape (m,)
    indices : ndarray of int32, shape (n, s)
        Written; s is at most m.
    scores : ndarray of float64, shape (n, s)
        Written.
    """
    n, m = products.shape
    s = indices.shape[1]
    width = rows.shape[1]
    lanes = np.empty(LANES, np.float64)
    highest = np.empty(s, np.float32)
    candidates = np.empty(m, np.int32)
    for i in range(n):
        for place in range(s):
            highest[place] = -np.inf
        # At least s anchors have an exact score of a bound below the s-th highest product, or more: none of the s best
        # has a product two bounds below it.
        margin = 2.0 * np.float64(bounds[i])
        least = -np.inf
        n_candidates = 0
        for j in range(m):
            value = products[i, j]
            if value < least:
                continue
            candidates[n_candidates] = j
            n_candidates += 1
            if value > highest[0]:
                place = 1
                while place < s and highest[place] < value:
                    highest[place - 1] = highest[place]
                    place += 1
                highest[place - 1] = value
                least = np.float64(highest[0]) - margin
        kept = 0
        for c in range(n_candidates):
            j = candidates[c]
            if products[i, j] < least:
                continue
            for lane in range(LANES):
                lanes[lane] = 0.0
            for first in range(0, width, LANES):
                for lane in range(LANES):
                    lanes[lane] += np.float64(rows[i, first + lane]) * np.float64(anchors[j, first + lane])
            half = LANES // 2
            while half:
                for lane in range(half):
                    lanes[lane] += lanes[lane + half]
                half //= 2
            score = lanes[0] - half_squares[j]
            if kept < s:
                place = kept
                kept += 1
            elif score > scores[i, s - 1]:
                place = s - 1
            else:
                continue
            while place > 0 and scores[i, place - 1] < score:
                scores[i, place] = scores[i, place - 1]
                indices[i, place] = indices[i, place - 1]
                place -= 1
            scores[i, place] = score
            indices[i, place] = j
