"""Spectral hashing (SH).

Y. Weiss, A. Torralba, R. Fergus: Spectral Hashing. Advances in Neural Information Processing Systems 21 (NIPS), 2008.

The smoothest functions on the graph of neighbours, were the data spread evenly over a box whose sides are the ranges of
their principal components. With p_i the i-th principal direction, [l_i, h_i] the range of p_i · (x - μ) over the
training rows and r_i = h_i - l_i, for i = 1 … min(n_bits, dim):

    (1)  Φ_ij(x) = cos(ω_ij (p_i · (x - μ) - l_i)),   ω_ij = j π / r_i,   j = 1, 2, …
    (2)  λ_ij = 1 - exp(-ε^2 ω_ij^2 / 2), which rises with ω_ij whatever ε
    (3)  bit_k(x) = [Φ(x) > 0] for the n_bits functions of least ω, least first

A long axis gets several bits before a short one gets its first; one that does not vary gets none. j = 0, the constant,
is left out. There may be more bits than dimensions.

Cost: fit n dim^2 + dim^3 for the directions, n dim min(n_bits, dim) for their ranges; memory dim^2. Encode n dim n_bits
and a cosine a bit. In the state, ``axes`` and ``modes`` are i (from 0) and j of each bit, ``eigenvalues`` its ω^2.
Phases are rounded to float32.

Differs from the paper: nothing. (The authors' code writes (1) as sin(… + π/2) and widens the box by the smallest step.)
"""

from __future__ import annotations

import numpy as np

from hashdb import MethodInfo, hookimpl
from hashdb_plugins import _linear, _waves
from hashdb_plugins._parallel import blocks


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="sh",
        title="Spectral hashing",
        paper="Weiss, Torralba, Fergus, Spectral Hashing, NIPS",
        year=2008,
        default_train=100_000,
        when="Euclidean neighbours with 8 to 32 bits where a few directions carry most of the variance; else itq",
    )


@hookimpl
def fit(vectors: np.ndarray, n_bits: int) -> dict[str, np.ndarray]:
    """Find the box and its smoothest functions."""
    mean = _linear.mean_of(vectors)
    n_axes = min(n_bits, vectors.shape[1])
    directions = _linear.principal_directions(_linear.covariance(vectors, mean), n_axes)
    low, high = ranges(vectors, mean, directions)
    # All rows equal: any box will do.
    sides = high - low if (high > low).any() else np.ones(n_axes)
    axes, modes = smoothest_modes(sides, n_bits)
    frequencies = modes / (2 * sides[axes])
    state = _waves.state_of("sh", mean, directions[:, axes] * frequencies, low[axes] * frequencies)
    return state | {"axes": axes, "modes": modes, "eigenvalues": (2 * np.pi * frequencies) ** 2}


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give Φ(x) of equation (1)."""
    return _waves.project(state, vectors)


def ranges(vectors: np.ndarray, mean: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the least and the largest projection on each direction."""
    low, high = np.full(directions.shape[1], np.inf), np.full(directions.shape[1], -np.inf)
    for block in blocks(*vectors.shape):
        projections = _linear.centred(vectors[block], mean) @ directions
        low, high = np.minimum(low, projections.min(axis=0)), np.maximum(high, projections.max(axis=0))
    return low, high


def smoothest_modes(sides: np.ndarray, n_modes: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose the functions of least j / r_i.

    Parameters
    ----------
    sides : ndarray of float64, shape (n_axes,)
        r, at least one of them above 0.
    n_modes : int

    Returns
    -------
    axes, modes : ndarray of int64, shape (n_modes,)
        i from 0 and j from 1, by ascending j / r_i, of equals the first axis first.
    """
    # The longest axis alone has n_modes functions up to n_modes / max r; none above is needed.
    counts = np.floor(n_modes * (sides / sides.max())).astype(np.int64)
    axes = np.repeat(np.arange(len(sides)), counts)
    modes = np.arange(len(axes)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    order = np.argsort(modes / sides[axes], kind="stable")[:n_modes]
    return axes[order], modes[order]
