"""Sign random projections (LSH).

M. S. Charikar: Similarity Estimation Techniques from Rounding Algorithms. Proceedings of the 34th ACM Symposium on
Theory of Computing (STOC), 2002, section 3; after M. X. Goemans, D. P. Williamson: Improved Approximation Algorithms
for Maximum Cut and Satisfiability Problems Using Semidefinite Programming. Journal of the ACM 42(6), 1995.

    (1)  w_k ~ N(0, I),                        k = 1 … n_bits
    (2)  bit_k(x) = [w_k · (x - μ) > 0],       μ the mean of the training rows
    (3)  P(bit_k(x) = bit_k(y)) = 1 - θ / π,   θ the angle between x - μ and y - μ

Cost: fit n dim for the mean; encode n dim n_bits; memory dim n_bits.

``partial_fit`` is exact: the directions stay, and the mean becomes that of all rows so far.

Differs from the paper: the data are centred first, as all of the literature on learning to hash does when it compares
with LSH, so that (3) speaks of angles about the mean.
"""

from __future__ import annotations

import numpy as np

from hashdb import MethodInfo, hookimpl
from hashdb_plugins import _linear
from hashdb_plugins._moments import Moments


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="lsh",
        title="Sign random projections",
        paper="Charikar, Similarity Estimation Techniques from Rounding Algorithms, STOC",
        year=2002,
        default_train=100_000,
        when="long codes (256 bits and more), or as the baseline; any number of bits whatever the dimension",
    )


@hookimpl
def fit(vectors: np.ndarray, n_bits: int, seed: int) -> dict[str, np.ndarray]:
    """Draw the directions and learn the mean."""
    # One direction after another, so that the first bits of a longer code are those of a shorter one.
    directions = np.random.default_rng(seed).standard_normal((n_bits, vectors.shape[1]), dtype=np.float32)
    moments = Moments.of_rows(vectors, with_scatter=False)
    return _linear.state_of(moments.rounded_mean(), directions.T) | moments.state()


@hookimpl
def partial_fit(state: dict[str, np.ndarray], vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Move the mean to that of the rows so far and these."""
    moments = Moments.of_state("lsh", state, vectors, with_scatter=False).with_rows(vectors)
    return _linear.state_of(moments.rounded_mean(), state["weights"]) | moments.state()


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (2)."""
    return _linear.encode(state, vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give w_k · (x - μ)."""
    return _linear.project(state, vectors)
