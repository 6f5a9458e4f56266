"""What methods whose projection is a cosine along a direction share.

The state has ``mean`` float32 (dim,), ``weights`` float32 (dim, n_bits) in turns for a unit of length, and ``offset``
float64 (n_bits,) in turns; the phase is (x - mean) · weights - offset. It is summed by :mod:`hashdb.margins` and the
cosine is taken by :mod:`hashdb_plugins._elementary`, so that a row's code depends on that row alone.
"""

from __future__ import annotations

import numpy as np

from hashdb import margins
from hashdb.errors import ArgumentError
from hashdb_plugins._elementary import cosine
from hashdb_plugins._parallel import blocks


def state_of(method: str, mean: np.ndarray, frequencies: np.ndarray, offset: np.ndarray) -> dict[str, np.ndarray]:
    """Make the state of waves with these frequencies, float64 (dim, n_bits), in turns."""
    highest = float(np.abs(frequencies).max())
    if not highest <= float(np.finfo(np.float32).max):
        raise ArgumentError(
            f"{method} needs frequencies up to {highest:.1e} for vectors that vary so little, more than float32 holds; "
            "expected vectors on a larger scale: multiply them by a constant"
        )
    return {"mean": mean, "weights": np.ascontiguousarray(frequencies, dtype=np.float32), "offset": offset}


def project(
    state: dict[str, np.ndarray], vectors: np.ndarray, amplitude: float = 1.0, shift: float | np.ndarray = 0.0
) -> np.ndarray:
    """Give amplitude · cos(2π phase) + shift, float32 (n, n_bits)."""
    # The phases make room for the projections, block by block.
    result = margins.project(vectors, state["weights"], state["offset"], mean=state["mean"])
    for block in blocks(*result.shape):
        wave = cosine(result[block])
        wave *= amplitude
        wave += shift
        result[block] = wave
    return result
