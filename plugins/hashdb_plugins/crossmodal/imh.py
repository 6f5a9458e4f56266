"""Inter-media hashing (IMH).

J. Song, Y. Yang, Y. Yang, Z. Huang, H. T. Shen: Inter-Media Hashing for Large-Scale Retrieval from Heterogeneous Data
Sources. ACM SIGMOD Conference, 2013. Each of V media gets an embedding Y_v (n, n_bits) of its training items that is
smooth on a graph of its nearest neighbours, that linear functions of its vectors give, and that is the same for items
which belong together. With X_v the centred rows (n, dim_v) and L_v the Laplacian of the graph that joins two items
where one is among the k nearest of the other:

    (1)  minimise Σ_v [λ tr(Y_v' L_v Y_v) + |X_v W_v - Y_v|^2 + β |W_v|^2] + U Σ_v<w |Y_v - Y_w|^2,   Y'Y = I
    (2)  W_v = (X_v' X_v + β I)^-1 X_v' Y_v
         which leaves tr(Y_v' A_v Y_v) of the last two terms in the brackets,  A_v = I - X_v (X_v' X_v + β I)^-1 X_v'
    (3)  Y = eigenvectors of the n_bits smallest eigenvalues of M = Σ_v (A_v + λ L_v),   Y_v = Y
    (4)  bit(x) = [w_v · (x - μ_v) > t_v],   t_v the median of the training rows' projections

(3) is the limit of large U. For two media and any U the best Y_2 is C Y_1 with C = (A_2 + λ L_2 + U I)^-1 U: at the
U = 1e10 of a public implementation it differs from Y_1 by less than |A_2 + λ L_2| / U, some 1e-9.

The constant vector is an eigenvector of M too (L_v 1 = 0, X_v' 1 = 0), which no function of centred rows gives: it is
left out. Where there are more than 2,000 rows, and more than 5 a bit, M is never made: A_v is I less a matrix of rank
dim_v, L_v is sparse, and the eigenvectors are found from products with M (module ``_eigenvectors``). ``eigenvalues`` in
the state are those of M, one a bit. More bits than Σ dim_v are allowed, as in the paper; functions of so few values
tell the eigenvectors apart less and less.

Cost: fit n^2 Σ dim for the neighbours, n (Σ dim)^2, then n n_bits (Σ dim + n_bits) for each of some hundred steps;
memory 2 n Σ dim + 10 n n_bits doubles and n k for each graph. Encode n dim n_bits. More rows than bits.

Differs from the paper: the limit of U, the constant vector and centring as said; vectors of a medium are scaled by one
number to mean square length 1, so that β means the same for data of any scale; any number of media. Items that have one
medium alone, which the paper allows in training, are not taken. Reconstructed from that public implementation, with its
λ = β = 1, but k = 5 where it has 1 in its demonstration and 15 in its function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl, margins
from hashdb.errors import ArgumentError
from hashdb_plugins import _linear
from hashdb_plugins._eigenvectors import smallest_eigenvectors
from hashdb_plugins._linear import signs_of
from hashdb_plugins._neighbours import neighbour_graph
from hashdb_plugins._svm import unit_scale


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="imh",
        title="Inter-media hashing",
        paper="Song, Yang, Yang, Huang, Shen, Inter-Media Hashing for Large-Scale Retrieval, SIGMOD",
        year=2013,
        params=(
            Param("n_neighbours", int, 5, minimum=1, maximum=1000, grid=(1, 5, 15), help="k of the graphs"),
            Param(
                "smoothness",
                float,
                1.0,
                minimum=0.0,
                maximum=1e6,
                grid=(0.1, 1.0, 10.0),
                help="λ, weight of the graphs against the regression",
            ),
            Param(
                "regularisation",
                float,
                1.0,
                minimum=1e-6,
                maximum=1e6,
                grid=(0.01, 1.0, 100.0),
                help="β, for rows of mean square length 1",
            ),
        ),
        supervision="paired modalities",
        default_train=5000,
        max_bits=1024,
        when="two or more modalities, pairs but no labels, and items in groups that neighbours show; balanced bits",
    )


@hookimpl
def fit(
    vectors: Mapping[str, np.ndarray],
    n_bits: int,
    params: dict[str, Any],
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Embed the pairs, then learn the functions of each medium that give the embedding."""
    n = len(next(iter(vectors.values())))
    if n <= n_bits:
        raise ArgumentError(
            f"imh takes each bit from an eigenvector of the graph of training pairs: {n_bits} bits need more than "
            f"{n_bits} pairs, got {n}; train on more or ask for fewer bits"
        )
    means = {name: _linear.mean_of(part) for name, part in vectors.items()}
    media = {name: _Medium(part, means[name], params["regularisation"]) for name, part in vectors.items()}
    graph = sum(neighbour_graph(part, params["n_neighbours"]) for part in vectors.values())
    eigenvalues, embedding = _embedding(
        [medium.basis for medium in media.values()], params["smoothness"] * graph, n_bits, seed, progress
    )
    state = {"eigenvalues": eigenvalues}
    for name, medium in media.items():
        weights = medium.functions(embedding).astype(np.float32)
        projections = margins.project(vectors[name], weights, mean=means[name])
        state[f"mean_{name}"], state[f"weights_{name}"] = means[name], np.ascontiguousarray(weights)
        state[f"offset_{name}"] = np.median(projections.astype(np.float64), axis=0)
    return state


class _Medium:
    """The regression of one medium: ``basis`` is Q, float64 (n, dim), for which A = I - Q Q'."""

    def __init__(self, vectors: np.ndarray, mean: np.ndarray, regularisation: float) -> None:
        from scipy.linalg import solve_triangular

        rows = _linear.centred(vectors, mean)
        self._scale = unit_scale(rows)
        rows /= self._scale
        self._root = np.linalg.cholesky(rows.T @ rows + regularisation * np.eye(rows.shape[1]))
        self.basis = solve_triangular(self._root, rows.T, lower=True).T

    def functions(self, embedding: np.ndarray) -> np.ndarray:
        """Give W of equation (2), for rows that are not scaled, float64 (dim, n_bits)."""
        from scipy.linalg import solve_triangular

        return solve_triangular(self._root, self.basis.T @ embedding, lower=True, trans=1) / self._scale


def _embedding(
    bases: list[np.ndarray], graph: Any, n_bits: int, seed: int, progress: Callable[[int, int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Solve equation (3) for Q_v and λ Σ_v S_v, without the constant vector.

    Returns
    -------
    eigenvalues : ndarray of float64, shape (n_bits,)
    embedding : ndarray of float64, shape (n, n_bits)
        Y; the largest component of each column is positive.
    """
    degrees = graph.sum(axis=1)
    # No eigenvalue of M is larger: so much is added along the constant vector.
    bound = len(bases) + 2 * float(degrees.max())
    own = len(bases) + degrees

    def product(block: np.ndarray) -> np.ndarray:
        result = own[:, None] * block - graph @ block + bound * block.mean(axis=0)
        for basis in bases:
            result -= basis @ (basis.T @ block)
        return result

    diagonal = own + bound / len(own) - sum(np.einsum("ij,ij->i", basis, basis) for basis in bases)
    eigenvalues, vectors = smallest_eigenvectors(product, diagonal, n_bits, np.random.default_rng(seed), progress)
    return eigenvalues, vectors * signs_of(vectors)


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give the bits of equation (4)."""
    return margins.encode(vectors, *_model(state, modality), mean=state[f"mean_{modality}"])


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give w · (x - μ) - t of the modality."""
    return margins.project(vectors, *_model(state, modality), mean=state[f"mean_{modality}"])


def _model(state: dict[str, np.ndarray], modality: str) -> tuple[np.ndarray, np.ndarray]:
    return state[f"weights_{modality}"], state[f"offset_{modality}"]
