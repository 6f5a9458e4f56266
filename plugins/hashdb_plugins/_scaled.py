"""Rows about a mean in a unit of their own spread, so that float32 squares neither overflow nor vanish.

The unit is a power of two: scaling by it rounds nothing, and what is far or near, inside or outside, stays so.
"""

from __future__ import annotations

import numpy as np

from hashdb_plugins._linear import centred
from hashdb_plugins._parallel import blocks, sum_over

# Squares of this, summed over 2^20 dimensions, still leave float32 room for a product by 2^6.
_FARTHEST = np.float32(2.0**50)


def unit_of(vectors: np.ndarray, mean: np.ndarray) -> np.float32:
    """Give the power of two by which the root mean square distance of rows to their mean falls in [1/2, 1).

    1 where all rows are equal; at least 2^-126 and at most 2^126, which float32 holds.
    """

    def squares(block: slice) -> np.ndarray:
        rows = centred(vectors[block], mean)
        return np.einsum("ij,ij->", rows, rows)

    energy = float(sum_over(blocks(*vectors.shape), squares)) / len(vectors)
    exponent = int(np.frexp(np.sqrt(energy))[1])
    return np.float32(2.0 ** -min(max(exponent, -126), 126))


def scaled(vectors: np.ndarray, mean: np.ndarray, unit: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Give (x - mean) * unit, float32 (n, dim); rows more than 2^50 units away are drawn in.

    Each value comes from one value of the row by one subtraction: the same in every batch and on every machine.
    """
    unit = np.float32(unit)
    with np.errstate(over="ignore", under="ignore"):
        rows = np.multiply(vectors, unit, out=out)
        rows -= mean * unit
        return np.clip(rows, -_FARTHEST, _FARTHEST, out=rows)
