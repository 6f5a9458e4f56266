"""Graph regularised hashing (GRH).

S. Moran, V. Lavrenko: Graph Regularised Hashing. European Conference on Information Retrieval (ECIR), 2015; the
author's code for the defaults.

S_ij = 1 for training rows that share a class (a row with itself too), else 0; D = diag(S 1). From codes B_0 in {-1, 1}
of an unsupervised method, M times:

    (A)  B <- sgn(α D^-1 S B + (1 - α) B_0),   sgn(0) = 1                       codes are smoothed over the graph
    (B)  a support vector machine for each bit, rows to B, with as much weight on the rows of either value
    (C)  B <- what the machines say

    (1)  bit_k(x) = [w_k · (x - μ) + b_k > 0]                                     kernel ``linear``
    (2)  bit_k(x) = [Σ_i a_ik exp(-γ |x - x_i|^2) + b_k > 0]                      kernel ``rbf``

with γ = ``gamma`` / (mean of |x - μ|^2), and the planes of (1) found on vectors scaled to mean square length 1: both
mean the same for data of any scale. Only training rows that are support vectors of some bit are kept.

S is never made: D^-1 S B are the class means of B where a row has one label, and goes by blocks of rows where it may
have several. Rows without a label are left out.

Cost: M times n_bits machines, n dim^2 each for ``linear`` and n^2 to n^3 for ``rbf``, which keeps n^2 doubles and takes
at most 10,000 rows. Encode n dim n_bits, or n m (dim + n_bits) for m support vectors.

Differs from the paper: a bit that (A) makes equal for all rows keeps what it was before, since no machine can be
trained on one class. α, M, C and γ, which the paper tunes on validation queries, are params.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _graph_regularised as _graph
from hashdb_plugins._labels import labelled


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="grh",
        title="Graph regularised hashing",
        paper="Moran, Lavrenko, Graph Regularised Hashing, ECIR",
        year=2015,
        params=(
            _graph.INITIAL,
            Param("kernel", str, "rbf", choices=("rbf", "linear"), grid=("rbf", "linear"), help="of the machines"),
            Param(
                "alpha",
                float,
                0.95,
                minimum=0.0,
                maximum=1.0,
                grid=(0.5, 0.75, 0.9, 0.95, 1.0),
                help="weight of the codes of rows that share a class against the first codes",
            ),
            Param("iterations", int, 3, minimum=1, maximum=100, grid=(1, 2, 3, 5), help="M"),
            _graph.C,
            _graph.GAMMA,
        ),
        supervision="labels",
        default_train=1000,
        when="labels of about a thousand rows: smooths the codes of lsh or itq; kernel=linear encodes faster",
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
    """Smooth codes over the graph and learn to predict them, by turns."""
    known = labelled("grh", vectors, labels)
    machines = _graph.Machines.on("grh", known.vectors, params)
    first = _graph.first_bits("grh", known.vectors, n_bits, params["initial"], seed)
    averages, total = _graph.class_averages(known), params["iterations"] * n_bits
    learned = _graph.take_turns(
        machines, first, averages, params["alpha"], params["iterations"], lambda done: progress(done, total)
    )
    return machines.state(*learned)


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (1) or (2)."""
    return _graph.encode(state, vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the margins of equation (1), in units of the vectors, or (2)."""
    return _graph.project(state, vectors)
