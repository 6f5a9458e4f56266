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
from hashdb.errors import ArgumentError
from hashdb_plugins import _anchors, _linear, _svm
from hashdb_plugins._labels import Labelled, labelled
from hashdb_plugins.unsupervised import itq, lsh

_MOST_KERNEL_ROWS = 10_000
_BLOCK_PAIRS = 1 << 22


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="grh",
        title="Graph regularised hashing",
        paper="Moran, Lavrenko, Graph Regularised Hashing, ECIR",
        year=2015,
        params=(
            Param("initial", str, "lsh", choices=("lsh", "itq"), grid=("lsh", "itq"), help="method of the first codes"),
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
            Param("c", float, 1.0, minimum=1e-6, maximum=1e6, grid=(0.1, 1.0, 10.0, 100.0), help="C of the machines"),
            Param(
                "gamma",
                float,
                1.0,
                minimum=1e-6,
                maximum=1e6,
                grid=(0.1, 0.3, 1.0, 3.0),
                help="of kernel rbf, in units of one over the mean square length of centred rows",
            ),
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
    vectors = known.vectors
    is_linear = params["kernel"] == "linear"
    if not is_linear and len(vectors) > _MOST_KERNEL_ROWS:
        raise ArgumentError(
            f"grh with kernel rbf keeps a matrix of all pairs of rows: got {len(vectors)}, expected at most "
            f"{_MOST_KERNEL_ROWS}; train on fewer or use kernel=linear"
        )
    mean = _linear.mean_of(vectors)
    rows = _linear.centred(vectors, mean)
    scale = _svm.unit_scale(rows)
    rows /= scale
    gamma = params["gamma"] / scale**2
    inputs = rows if is_linear else _anchors.kernel(vectors, vectors, gamma).astype(np.float64)
    first = _first_bits(vectors, n_bits, params["initial"], seed)
    bits, total = first, params["iterations"] * n_bits
    for turn in range(params["iterations"]):
        wanted = _smoothed(bits, first, known, params["alpha"])
        learn = _svm.planes if is_linear else _svm.kernel_planes
        done_before = turn * n_bits
        weights, bias = learn(
            inputs, wanted, params["c"], "balanced", lambda done, before=done_before: progress(before + done, total)
        )
        bits = inputs @ weights + bias > 0
    if is_linear:
        return _svm.state_of(mean, weights, bias, scale)
    used = (weights != 0).any(axis=1)
    used[0] |= not used.any()
    return _anchors.state_of(vectors[used], gamma, weights[used], bias)


def _first_bits(vectors: np.ndarray, n_bits: int, initial: str, seed: int) -> np.ndarray:
    """Encode the training rows by an unsupervised method."""
    if initial == "lsh":
        return lsh.encode(lsh.fit(vectors, n_bits, seed), vectors)
    if n_bits > vectors.shape[1]:
        raise ArgumentError(
            f"grh starts from codes of itq, of at most one bit a dimension: n_bits is {n_bits}, the vectors have "
            f"{vectors.shape[1]} dimensions; ask for fewer bits or use initial=lsh"
        )
    return itq.encode(itq.fit(vectors, n_bits, {"iterations": 50}, seed, lambda done, total: None), vectors)


def _smoothed(bits: np.ndarray, first: np.ndarray, known: Labelled, alpha: float) -> np.ndarray:
    """Give B of step (A), bool; a bit without two values stays."""
    codes = np.where(bits, 1.0, -1.0)
    if known.labels.ndim == 1:
        sums = np.zeros((known.n_classes, codes.shape[1]))
        np.add.at(sums, known.labels, codes)
        means = (sums / np.bincount(known.labels)[:, None])[known.labels]
    else:
        means = np.empty_like(codes)
        step = max(1, _BLOCK_PAIRS // len(codes))
        for start in range(0, len(codes), step):
            share = known.share(slice(start, start + step), slice(None)).astype(np.float64)
            means[start : start + step] = share @ codes / share.sum(axis=1, keepdims=True)
    smooth = alpha * means + (1 - alpha) * np.where(first, 1.0, -1.0) >= 0
    return np.where(smooth.all(axis=0) | ~smooth.any(axis=0), bits, smooth)


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (1) or (2)."""
    return _anchors.encode(state, vectors) if "anchors" in state else _svm.encode(state, vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the margins of equation (1), in units of the vectors, or (2)."""
    return _anchors.project(state, vectors) if "anchors" in state else _svm.project(state, vectors)
