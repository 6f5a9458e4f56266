"""Anchor graph hashing (AGH), one layer.

W. Liu, J. Wang, S. Kumar, S.-F. Chang: Hashing with Graphs. Proceedings of the 28th International Conference on Machine
Learning (ICML), 2011.

Bits are signs of the smoothest functions on a graph of the training rows, which anchors a_1 … a_m stand in for: Z
joins every row to the s anchors nearest to it, A = Z Λ^-1 Z' with Λ = diag(Z'1) joins the rows to each other (module
``_anchor_graph``, equations 1 to 3).

    (1)  M = Λ^-1/2 Z'Z Λ^-1/2,   M v_k = λ_k v_k,   1 > λ_1 ≥ λ_2 ≥ … > 0   without the constant, v = Λ^1/2 1 of λ = 1
    (2)  W = √n Λ^-1/2 [v_1 / √λ_1, …, v_K / √λ_K],   K = n_bits
    (3)  bit_k(x) = [(z(x) W)_k > 0]

z(x) being the row of Z that x would have. The columns of Y = Z W are eigenvectors of A, Y'Y = n I, 1'Y = 0; for rows
never seen (3) is their Nyström extension. A has rank m at most: m - 1 bits at most, fewer where rows repeat.

Cost: fit 7 n m dim (five iterations of k-means, then distances), n s^2 for M, m^3 for its eigenvectors; memory 2 n dim
and n s values. Encode: n m dim for the distances, n s (dim + n_bits) for the rest. There are at most as many anchors as
distinct rows. ``eigenvalues`` in the state are the λ.

Differs from the paper: nothing. The authors' code leaves out every λ above 0.999 where this leaves out the constant
only: in a graph that falls apart, the others near 1 are what tells its parts from each other. By default s = 3, the
authors having 2 on MNIST: of images, 2 and 3 find classes best (GIST of CIFAR-10, digits), 10 finds distances (SIFT).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb.errors import ArgumentError
from hashdb_plugins import _anchor_graph
from hashdb_plugins._linear import signs_of
from hashdb_plugins._parallel import workers

# Eigenvalues that the float32 weights of Z cannot tell from 0.
_LEAST = 1e-6


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="agh",
        title="Anchor graph hashing, one layer",
        paper="Liu, Wang, Kumar, Chang, Hashing with Graphs, ICML",
        year=2011,
        params=(
            Param("n_anchors", int, 300, minimum=2, maximum=100_000, grid=(100, 300, 1000), help="anchors"),
            Param("n_nearest", int, 3, minimum=2, maximum=1000, grid=(2, 3, 5, 10), help="anchors of a row"),
        ),
        max_bits=None,
        default_train=100_000,
        when="data in clusters or on a curved surface, 8 to 32 bits, fewer than anchors; n_nearest 10 for distances",
    )


@hookimpl
def fit(
    vectors: np.ndarray, n_bits: int, params: dict[str, Any], seed: int, progress: Callable[[int, int], None]
) -> dict[str, np.ndarray]:
    """Build the graph and find its smoothest functions."""
    progress(0, 2)
    graph, z = _anchor_graph.fit_graph(vectors, params["n_anchors"], params["n_nearest"], seed)
    progress(1, 2)
    functions, eigenvalues = smoothest_functions(z)
    if n_bits > len(eigenvalues):
        raise ArgumentError(
            f"agh gives at most one bit an anchor but one: n_bits is {n_bits}, the graph of {z.shape[1]} anchors on "
            f"{len(vectors)} rows has {len(eigenvalues)} functions; ask for fewer bits, or give more distinct rows and "
            f"a larger n_anchors (now {params['n_anchors']})"
        )
    progress(2, 2)
    return graph | {"functions": functions[:, :n_bits].astype(np.float32), "eigenvalues": eigenvalues[:n_bits]}


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give z(x) W."""
    return _anchor_graph.smooth(state, state["functions"], vectors)


def smoothest_functions(z: Any) -> tuple[np.ndarray, np.ndarray]:
    """Solve (1) and (2).

    Parameters
    ----------
    z : scipy.sparse.csr_array, shape (n, m)
        Z; no column is zero.

    Returns
    -------
    functions : ndarray of float64, shape (m, r)
        W for every eigenvalue above 0 but the constant's.
    eigenvalues : ndarray of float64, shape (r,)
        λ, descending.
    """
    from scipy.linalg import eigh

    roots = np.sqrt(z.sum(axis=0))
    products = (z.T @ z).toarray() / np.outer(roots, roots)
    constant = roots / np.linalg.norm(roots)
    # Taken out, the constant has the eigenvalue 0.
    # One thread of the library: for so small a matrix a second one is waited for more than it does.
    with workers():
        values, vectors = eigh(products - np.outer(constant, constant))
    above = values > _LEAST
    values, vectors = values[above][::-1], vectors[:, above][:, ::-1]
    functions = np.sqrt(z.shape[0]) * vectors * signs_of(vectors) / roots[:, None] / np.sqrt(values)
    return functions, values
