"""PCA hashing (PCAH): the signs of principal components.

J. Wang, S. Kumar, S.-F. Chang: Semi-Supervised Hashing for Scalable Image Retrieval. IEEE Conference on Computer Vision
and Pattern Recognition (CVPR), 2010, section 3.2 (the unsupervised case); B. Wang, Z. Li, M. Li, W.-Y. Ma: Large-Scale
Duplicate Detection for Web Image Search. IEEE International Conference on Multimedia and Expo (ICME), 2006.

    (1)  C = (1/n) Σ_i (x_i - μ)(x_i - μ)'
    (2)  C w_k = λ_k w_k,   λ_1 ≥ λ_2 ≥ …,   w_k orthonormal
    (3)  bit_k(x) = [w_k · (x - μ) > 0]

Cost: fit n dim^2 + dim^3, memory dim^2; encode n dim n_bits. At most dim bits. ``partial_fit`` costs n dim^2 for the
new rows, + dim^3.

``partial_fit`` is exact: (1) needs the number, the mean and the second moments of all rows, which the state keeps and
adds to (``_moments``), so that rows give the same directions at once or in blocks, but for rounding in float64.

Where the data have fewer directions than bits (constant or repeated columns, fewer rows than bits), the remaining w_k
are an orthonormal basis of the directions in which they do not vary: their bits carry only rounding of the mean, the
same for the same row always.

Differs from the paper: nothing. The sign of an eigenvector, which (2) leaves open, makes its largest component
positive.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hashdb import MethodInfo, hookimpl
from hashdb_plugins import _linear
from hashdb_plugins._moments import Moments, incremental, keeps


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="pcah",
        title="PCA hashing",
        paper="Wang, Kumar, Chang, Semi-Supervised Hashing for Scalable Image Retrieval, CVPR",
        year=2010,
        params=(incremental("dim^2 / 2 doubles"),),
        max_bits=None,
        default_train=100_000,
        when="a baseline, and projections for quantisers that give a direction several bits; at most dim bits",
    )


@hookimpl
def fit(vectors: np.ndarray, n_bits: int, params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Find the principal directions."""
    dim = vectors.shape[1]
    _linear.require_directions("pcah", n_bits, dim)
    mean = vectors.mean(axis=0, dtype=np.float64)
    rounded = mean.astype(np.float32)
    covariance = _linear.covariance(vectors, rounded)
    state = _linear.state_of(rounded, _linear.principal_directions(covariance, n_bits))
    if keeps(params["incremental"], dim):
        state |= Moments.about(len(vectors), mean, covariance).state()
    return state


@hookimpl
def partial_fit(state: dict[str, np.ndarray], vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Find the principal directions of the rows so far and these."""
    moments = Moments.of_state("pcah", state, vectors, with_scatter=True).with_rows(vectors)
    directions = _linear.principal_directions(moments.covariance(), state["weights"].shape[1])
    return _linear.state_of(moments.rounded_mean(), directions) | moments.state()


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (3)."""
    return _linear.encode(state, vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give w_k · (x - μ)."""
    return _linear.project(state, vectors)
