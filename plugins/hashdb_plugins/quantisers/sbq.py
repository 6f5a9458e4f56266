"""Single-bit quantisation (SBQ): one threshold a projection, at 0.

The quantisation of every early method; named so in W. Kong, W.-J. Li: Double-Bit Quantization for Hashing. Proceedings
of the 26th AAAI Conference on Artificial Intelligence, 2012, section 2.

    (1)  bit_k(x) = [p_k(x) > 0],   p_k the k-th projection

Cost: none; nothing is learned. ``n_bits`` projections for ``n_bits`` bits.

Differs from the paper: nothing. The threshold is the zero of the projection, which the method has centred (or, for
methods that learn a threshold, has put there), so that the codes are those of the method without a quantiser.
"""

from __future__ import annotations

import numpy as np

from hashdb import MethodInfo, hookimpl


@hookimpl
def describe() -> MethodInfo:
    """Say what the quantiser is."""
    return MethodInfo(
        name="sbq",
        title="Single-bit quantisation",
        paper="Kong, Li, Double-Bit Quantization for Hashing, AAAI",
        year=2012,
        kind="quantiser",
        when="the same codes as without a quantiser: the baseline in comparisons of quantisers",
    )


@hookimpl
def n_projections(n_bits: int) -> int:
    """Want one projection a bit."""
    return n_bits


@hookimpl
def fit_quantiser() -> dict[str, np.ndarray]:
    """Learn nothing."""
    return {}


@hookimpl
def quantise(projections: np.ndarray) -> np.ndarray:
    """Give the projections as margins."""
    return projections
