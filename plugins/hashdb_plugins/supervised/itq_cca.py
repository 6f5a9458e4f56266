"""Iterative quantisation on canonical correlation analysis with labels (ITQ-CCA, CCA-ITQ).

Y. Gong, S. Lazebnik, A. Gordo, F. Perronnin: Iterative Quantization: A Procrustean Approach to Learning Binary Codes
for Large-Scale Image Retrieval. IEEE Transactions on Pattern Analysis and Machine Intelligence 35(12), 2013, section
3.2; first in Y. Gong, S. Lazebnik, CVPR 2011.

With X the centred vectors, Y the centred label indicators, C the covariances of and between them:

    (1)  C_xy (C_y + ε_y I)^-1 C_yx w_k = ρ_k^2 (C_x + ε_x I) w_k,     ρ_1 ≥ ρ_2 ≥ …,   w_k' (C_x + ε_x I) w_k = 1
    (2)  P = [ρ_1 w_1, …, ρ_K w_K],   K = n_bits
    (3)  R minimises ||sgn(X P R) - X P R|| as in ITQ (module ``itq``, equations 1 to 3)
    (4)  bit(x) = [R' P' (x - μ) > 0]

Labels of c classes give at most c - 1 correlations above 0 (c where rows may have several labels). With more bits than
that, the columns of P beyond are zero, as they are in the authors' code, and the rotation spreads what there is over
all bits. Rows without a label are left out.

Cost: fit n (dim + c)^2 + dim^3 + c^3, then n n_bits^2 + n_bits^3 for each of the iterations; memory (dim + c)^2
doubles and n n_bits floats and bools; encode n dim n_bits. At most dim bits, at most 10,000 classes. ``history`` in
the state is the quantisation loss after each iteration, ``correlations`` the ρ.

Differs from the paper: ε is a fraction of the mean variance of X (and of Y), where the authors' code adds an absolute
0.0001, which means something else for every scale of the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _linear
from hashdb_plugins._canonical import canonical_directions
from hashdb_plugins._labels import labelled
from hashdb_plugins._rotation import rotate

_MAX_CLASSES = 10_000


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="itq-cca",
        title="Iterative quantisation on canonical correlation analysis",
        paper="Gong, Lazebnik, Gordo, Perronnin, Iterative Quantization, IEEE TPAMI 35(12)",
        year=2013,
        params=(
            Param("iterations", int, 50, minimum=1, maximum=1000, grid=(20, 50, 100), help="turns of signs, rotation"),
            Param(
                "regularisation",
                float,
                1e-4,
                minimum=1e-10,
                maximum=1e4,
                grid=(1e-6, 1e-4, 1e-2, 1.0),
                help="added to the variances, as a fraction of their mean",
            ),
        ),
        supervision="labels",
        max_bits=None,
        default_train=100_000,
        when="labels of a few to some hundred classes and no time: one eigenproblem, linear codes; at most dim bits",
    )


@hookimpl
def fit(
    vectors: np.ndarray,
    n_bits: int,
    params: dict[str, Any],
    labels: np.ndarray,
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Find the canonical directions, then the rotation."""
    n_dim = vectors.shape[1]
    _linear.require_directions("itq-cca", n_bits, n_dim)
    known = labelled("itq-cca", vectors, labels, _MAX_CLASSES)
    vectors, indicators, n_classes = known.vectors, known.indicators, known.n_classes
    mean = _linear.mean_of(vectors)
    n = len(vectors)
    shares = _linear.column_means(n, n_classes, indicators)

    def both_views(block: slice) -> np.ndarray:
        return np.hstack([_linear.centred(vectors[block], mean), indicators(block) - shares])

    joint = _linear.second_moment(n, n_dim + n_classes, both_views)
    directions, _, found = canonical_directions(joint, n_dim, params["regularisation"])
    correlations = np.zeros(n_dim)
    correlations[: len(found)] = found
    scaled = directions[:, :n_bits] * correlations[:n_bits]
    weights, history = rotate(vectors, mean, scaled, joint[:n_dim, :n_dim], params["iterations"], seed, progress)
    return _linear.state_of(mean, weights) | {"history": history, "correlations": correlations[:n_bits]}


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (4)."""
    return _linear.encode(state, vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give R' P' (x - μ)."""
    return _linear.project(state, vectors)
