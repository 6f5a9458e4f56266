"""Iterative quantisation (ITQ).

Y. Gong, S. Lazebnik: Iterative Quantization: A Procrustean Approach to Learning Binary Codes. IEEE Conference on
Computer Vision and Pattern Recognition (CVPR), 2011. Extended: Y. Gong, S. Lazebnik, A. Gordo, F. Perronnin, IEEE
Transactions on Pattern Analysis and Machine Intelligence 35(12), 2013.

With V = (X - μ) P the projections on the n_bits principal directions P, find an orthogonal R and B in {-1, 1} that
minimise

    (1)  Q(B, R) = ||B - V R||^2        (Frobenius norm)

by turns:

    (2)  B = sgn(V R)
    (3)  R = U W',  where V'B = U S W' is a singular value decomposition

Both turns lower Q or leave it. The first R is a random rotation.

    (4)  bit(x) = [R' P' (x - μ) > 0]

Cost: fit n dim^2 + dim^3 for P, then n n_bits^2 + n_bits^3 for each of the iterations; memory dim^2 and n n_bits
floats and bools. Encode n dim n_bits, P R being one matrix. At most dim bits. ``history`` in the state is Q after each
iteration.

Differs from the paper: nothing. It stops before ``iterations`` where Q does not fall any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _linear
from hashdb_plugins._rotation import rotate


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="itq",
        title="Iterative quantisation",
        paper="Gong, Lazebnik, Iterative Quantization: A Procrustean Approach to Learning Binary Codes, CVPR",
        year=2011,
        params=(
            Param("iterations", int, 50, minimum=1, maximum=1000, grid=(20, 50, 100), help="turns of signs, rotation"),
        ),
        max_bits=None,
        default_train=100_000,
        when="the default without labels: short codes (16 to 128 bits) of any dense vectors; at most dim bits",
    )


@hookimpl
def fit(
    vectors: np.ndarray, n_bits: int, params: dict[str, Any], seed: int, progress: Callable[[int, int], None]
) -> dict[str, np.ndarray]:
    """Find the principal directions, then the rotation."""
    _linear.require_directions("itq", n_bits, vectors.shape[1])
    mean = _linear.mean_of(vectors)
    covariance = _linear.covariance(vectors, mean)
    directions = _linear.principal_directions(covariance, n_bits)
    weights, history = rotate(vectors, mean, directions, covariance, params["iterations"], seed, progress)
    return _linear.state_of(mean, weights) | {"history": history}


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (4)."""
    return _linear.encode(state, vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give R' P' (x - μ)."""
    return _linear.project(state, vectors)
