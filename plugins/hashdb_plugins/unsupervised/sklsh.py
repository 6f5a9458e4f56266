"""Locality-sensitive codes from shift-invariant kernels (SKLSH, SIKH).

M. Raginsky, S. Lazebnik: Locality-Sensitive Binary Codes from Shift-Invariant Kernels. Advances in Neural Information
Processing Systems 22 (NIPS), 2009. The features are those of A. Rahimi, B. Recht: Random Features for Large-Scale
Kernel Machines, NIPS 20, 2007.

For the Gaussian kernel κ(x - y) = exp(-γ |x - y|^2 / 2):

    (1)  w_k ~ N(0, γ I),   b_k ~ U[0, 2π],   t_k ~ U[-√2, √2],          k = 1 … n_bits
    (2)  p_k(x) = √2 cos(w_k · (x - μ) + b_k) + t_k,    bit_k(x) = [p_k(x) > 0]
    (3)  P(bit_k(x) ≠ bit_k(y)) = 8/π^2 Σ_{m ≥ 1} (1 - κ(m (x - y))) / (4 m^2 - 1)

The probability (3) rises with the distance and levels off at 4/π^2 = 0.41 where γ |x - y|^2 is well above 1: γ says up
to what distance codes tell near from far. Left open, it is

    (4)  γ = 1 / d^2,   d the mean distance of a training row to its 50th nearest (``neighbour``)

from up to 1,000 rows among up to 20,000: the bandwidth with which the literature compares (Gong and Lazebnik, CVPR
2011). Where rows repeat so often that d is 0, d^2 is their mean squared distance; 1 where all are equal.

Cost: fit n dim for μ, and for γ the distances of 1,000 rows to 20,000 (2 · 10^7 dim); memory dim n_bits. Encode n dim
n_bits and a cosine a bit. Phases are rounded to float32.

Differs from the paper: the data are centred, which by (3) changes no probability and keeps the digits of the phases.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _linear, _waves
from hashdb_plugins._scaled import scaled, unit_of

_MOST_QUERIES, _MOST_ROWS = 1_000, 20_000
# Distance, in units of the spread, that the search cannot tell from 0.
_EQUAL = 1e-6


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="sklsh",
        title="Codes from shift-invariant kernels",
        paper="Raginsky, Lazebnik, Locality-Sensitive Binary Codes from Shift-Invariant Kernels, NIPS",
        year=2009,
        params=(
            Param("gamma", float, None, minimum=1e-38, help="of the kernel exp(-gamma |x - y|^2 / 2)"),
            Param("neighbour", int, 50, minimum=1, maximum=10_000, grid=(10, 50, 200), help="rank that sets gamma"),
        ),
        default_train=100_000,
        when="a baseline with a law for Euclidean distances, 512 bits and more; lsh finds more with the same bits",
    )


@hookimpl
def fit(vectors: np.ndarray, n_bits: int, params: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    """Draw the waves and learn the mean."""
    # A stream for each purpose and one wave after another: the first bits of a longer code are those of a shorter one.
    of_directions, of_phases, of_sample = np.random.default_rng(seed).spawn(3)
    mean = _linear.mean_of(vectors)
    gamma = params["gamma"] or 1 / typical_square(vectors, mean, params["neighbour"], of_sample)
    frequencies = of_directions.standard_normal((n_bits, vectors.shape[1])).T * (math.sqrt(gamma) / (2 * math.pi))
    phases, thresholds = of_phases.random((n_bits, 2)).T
    state = _waves.state_of("sklsh", mean, frequencies, -phases)
    return state | {"thresholds": (2 * thresholds - 1) * math.sqrt(2), "gamma": np.asarray(gamma)}


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give p_k(x) of equation (2)."""
    return _waves.project(state, vectors, math.sqrt(2), state["thresholds"])


def typical_square(vectors: np.ndarray, mean: np.ndarray, neighbour: int, rng: np.random.Generator) -> float:
    """Give d^2 of equation (4), above 0."""
    from sklearn.neighbors import NearestNeighbors

    unit = unit_of(vectors, mean)
    rows = rng.permutation(len(vectors))[:_MOST_ROWS]
    sample = scaled(vectors[rows], mean, unit).astype(np.float64)
    # A row is its own nearest.
    search = NearestNeighbors(n_neighbors=min(neighbour + 1, len(rows)), algorithm="brute").fit(sample)
    distances, _ = search.kneighbors(sample[:_MOST_QUERIES])
    distance = float(distances[:, -1].mean())
    square = distance**2 if distance > _EQUAL else 2 * float(np.einsum("ij,ij->", sample, sample)) / len(rows) or 1.0
    return square / float(unit) ** 2
