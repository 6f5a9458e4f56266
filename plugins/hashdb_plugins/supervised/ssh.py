"""Semi-supervised hashing (SSH).

J. Wang, S. Kumar, S.-F. Chang: Semi-Supervised Hashing for Scalable Image Retrieval. IEEE Conference on Computer Vision
and Pattern Recognition (CVPR), 2010; Semi-Supervised Hashing for Large-Scale Search. IEEE Transactions on Pattern
Analysis and Machine Intelligence 34(12), 2012.

X are the centred vectors, X_l those with a label, s_ij is 1 for two of these that share a class and -1 for two that do
not. A = Σ_ij s_ij x_i x_j' rewards bits that are equal in a class and differ between classes, the covariance C of all
rows rewards bits that vary. With ||·|| the Frobenius norm,

    (1)  J(W) = tr(W' M W) / 2,     W'W = I,     M = A / ||A|| + η C / ||C||
    (2)  M u_k = λ_k u_k,           λ_1 ≥ λ_2 ≥ …,     W = U = [u_1, …, u_K],   K = n_bits
    (3)  bit_k(x) = [w_k · (x - μ) > 0]

That is the orthogonal solution, ``relaxation`` 0. It gives one bit to every direction, whatever its λ, and directions
of little λ soon outnumber the others. The relaxed problem has a penalty in place of W'W = I:

    (4)  max J(W) - ρ/4 ||W'W - I||^2,     stationary where M W = ρ W (W'W - I)
    (5)  W = U (I + Λ / ρ)^(1/2) R,        R any orthogonal matrix,     ρ = λ_1 / ``relaxation``

J and the penalty do not know R, but the bits do: a random R puts every direction, by its weight, into each bit. A λ
below zero, which long codes may reach, counts as zero in (5).

Rows without a label (-1, or no class) enter C and μ only. Labels of c classes give A a rank of c at most: directions
beyond are for the variance that is left.

Cost: fit n dim^2 + dim^3, and u^2 dim for u different sets of labels where rows may have several; memory dim^2 and
u dim doubles, never a matrix of pairs. Encode n dim n_bits. At most dim bits. ``eigenvalues`` in the state are the λ.

Differs from the paper: A and C are scaled to norm 1, so that η means the same for data of any scale, number of rows
and number of labels; the paper adds X_l S X_l' + η X X' as they are. Of the solutions (5) of the relaxed problem it
takes another, from a Cholesky factor. Reconstructed from its objective as later papers and the authors' code of its
successor state it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _linear
from hashdb_plugins._label_pairs import LabelPairs, unit
from hashdb_plugins._labels import labelled


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="ssh",
        title="Semi-supervised hashing",
        paper="Wang, Kumar, Chang, Semi-Supervised Hashing for Scalable Image Retrieval, CVPR",
        year=2010,
        params=(
            Param(
                "eta",
                float,
                1.0,
                minimum=0.0,
                maximum=1e6,
                grid=(0.1, 0.3, 1.0, 3.0, 10.0),
                help="weight of the variance of all rows beside the labels",
            ),
            Param(
                "relaxation",
                float,
                0.0,
                minimum=0.0,
                maximum=1e6,
                grid=(0.0, 1.0, 10.0, 100.0),
                help="0 for orthogonal directions, else how much more the better ones weigh, mixed by a rotation",
            ),
        ),
        supervision="labels",
        max_bits=None,
        default_train=100_000,
        when="few labels among many rows: one eigenproblem, at most dim bits; relaxation=10 for more bits than classes",
    )


@hookimpl
def fit(
    vectors: np.ndarray, n_bits: int, params: dict[str, Any], labels: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Find the directions of equation (2), or (5)."""
    _linear.require_directions("ssh", n_bits, vectors.shape[1])
    similar = LabelPairs(labelled("ssh", vectors, labels))
    mean = _linear.mean_of(vectors)
    pairs = similar.pair_sum(similar.sums_of_rows(mean))
    adjusted = unit(pairs) + params["eta"] * unit(_linear.covariance(vectors, mean))
    directions = _linear.principal_directions(adjusted, n_bits)
    eigenvalues = np.einsum("jk,jl,lk->k", directions, adjusted, directions, optimize=True)
    if params["relaxation"]:
        above = np.maximum(eigenvalues, 0)
        lengths = np.sqrt(1 + params["relaxation"] * above / (above[0] or 1.0))
        rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((n_bits, n_bits)))[0]
        directions = directions * lengths @ rotation
    return _linear.state_of(mean, directions) | {"eigenvalues": eigenvalues}


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of equation (3)."""
    return _linear.encode(state, vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give w_k · (x - μ)."""
    return _linear.project(state, vectors)
